"""What may befall a bus, on a real interface under the running service: named rightly, nobody blamed, all well again.

Every test ends with all components ONLINE, in the same process, and without one that was ever OFFLINE by its own fault.
"""

import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gateway.bus.wire import ERROR_FRAME
from tests.host.scene import NODES, Host, ask, run, until

BUS = "vcan0"
BUS_OFF, RESTARTED, CONTROLLER, COUNTERS = 0x040, 0x100, 0x004, 0x200
TRANSMIT_PASSIVE, ACTIVE = 0x20, 0x40
STRANGER = "123"  # an id that nobody listens to
UNKNOWN_NODE = "18FF10F0"  # what a node that is in no configuration sends as its heartbeat
STOPPED_S = 3.0  # less than the watchdog bears


class Faults:
    """A bus that is well, what is done to it, and what is told of it since."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._pid = host.main_pid()
        for component in NODES:
            host.upstream.await_presence(component, "ONLINE")
        self._last_seq = host.upstream.events()[-1]["seq"]
        self._told = {component: len(host.upstream.presence(component)) for component in NODES}

    def events(self, *types: str) -> list[dict[str, Any]]:
        """What was told since the beginning of this test."""
        return [each for each in self.host.upstream.events() if each["seq"] > self._last_seq and each["type"] in types]

    def await_event(self, event: str) -> dict[str, Any]:
        told: dict[str, Any] = until(lambda: self.events(event), event)[0]["attributes"]
        return told

    def await_all_offline(self) -> None:
        for component in NODES:
            assert self.host.upstream.await_presence(component, "OFFLINE")["reason"] == "bus_down"

    def await_recovery(self) -> None:
        for component in NODES:
            self.host.upstream.await_presence(component, "ONLINE")
        until(lambda: ask("get_health")["healthy"], "health")
        assert self.host.main_pid() == self._pid
        assert self.events("component_offline") == []  # bus_down names whoever went with it
        for component, before in self._told.items():
            told = self.host.upstream.presence(component)[before:]
            assert {each["reason"] for each in told if each["presence"] == "OFFLINE"} <= {"bus_down"}


@pytest.fixture
def faults(host) -> Iterator[Faults]:
    made = Faults(host)
    yield made
    made.await_recovery()


def health() -> dict[str, Any]:
    bus: dict[str, Any]
    (bus,) = ask("get_health")["buses"]
    return bus


def await_health(**wanted: Any) -> dict[str, Any]:
    def as_wanted() -> dict[str, Any] | None:
        told = health()
        return told if wanted.items() <= told.items() else None

    return until(as_wanted, f"a bus with {wanted}")


def inject(error: int, status: int = 0, transmit_errors: int = 0) -> None:
    """Put an error frame on the bus, as a driver does."""
    data = bytes([0, status, 0, 0, 0, 0, transmit_errors, 0])
    with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as sock:
        sock.bind((BUS,))
        sock.send(struct.pack("=IB3x8s", error | ERROR_FRAME, 8, data))


@contextmanager
def flood(can_id: str, every_ms: int = 0) -> Iterator[None]:
    """Send an id, by a process of its own, as fast as this machine can or at a pace."""
    words = [
        "cangen",
        BUS,
        "-g",
        str(every_ms),
        "-i",
        "-L",
        "8",
        "-D",
        "00" * 8,
        "-I",
        can_id,
        *(["-e"] if len(can_id) > 3 else []),
    ]
    flooding = subprocess.Popen(words)
    try:
        yield
        assert flooding.poll() is None, "the flood has ended by itself"
    finally:
        flooding.kill()
        flooding.wait()


def cut() -> None:
    run("ip", "link", "set", BUS, "down")


def mend() -> None:
    run("ip", "link", "set", BUS, "up")


def unplug() -> None:
    run("ip", "link", "del", BUS)


def plug_in() -> None:
    run("ip", "link", "add", BUS, "type", "vcan")
    mend()


@pytest.mark.parametrize(("break_it", "mend_it", "state"), [(cut, mend, "DOWN"), (unplug, plug_in, "GONE")])
def test_an_interface_that_is_down_or_gone_is_one_event_and_all_are_back_when_it_is(faults, break_it, mend_it, state):
    break_it()
    try:
        down = faults.await_event("bus_down")
        assert down["bus_state"] in {state, "DOWN"}  # what goes, goes down before
        assert sorted(down["components"]) == sorted(NODES)
        faults.await_all_offline()
        assert await_health(state=state, heard=state)["last_error"]
    finally:
        mend_it()
    assert faults.await_event("bus_up")["bus_state"] == "UP"
    assert len(faults.events("bus_down", "bus_up")) == 2


def test_a_bus_that_went_off_is_told_until_its_controller_has_restarted(faults):
    before = health()["errors"].get("bus_off", 0)
    faults.host.signal_devices(signal.SIGSTOP)  # nobody is heard on a bus that is off
    try:
        inject(BUS_OFF)
        assert faults.await_event("bus_down")["bus_state"] == "BUS_OFF"
        faults.await_all_offline()
        told = health()
        assert (told["state"], told["controller"], told["errors"]["bus_off"]) == ("BUS_OFF", "bus_off", before + 1)
        inject(RESTARTED)
        faults.await_event("bus_up")
        assert await_health(state="UP")["controller"] == "active"
    finally:
        faults.host.signal_devices(signal.SIGCONT)


def test_a_controller_that_is_error_passive_is_named_and_takes_nobody_away(faults):
    inject(CONTROLLER | COUNTERS, TRANSMIT_PASSIVE, transmit_errors=136)
    told = await_health(state="ERROR_PASSIVE")
    assert (told["controller"], told["transmit_error_counter"]) == ("passive", 136)
    assert told["errors"]["transmit_passive"] >= 1
    assert {each["presence"] for each in ask("get_presence")["components"]} == {"ONLINE"}
    inject(CONTROLLER, ACTIVE)
    await_health(state="UP", controller="active")
    assert faults.events("bus_down", "bus_up") == []


@pytest.mark.parametrize("can_id", [STRANGER, UNKNOWN_NODE])
def test_a_flood_at_full_rate_is_named_with_its_id_and_makes_nobody_offline(faults, can_id, capsys):
    def loudest() -> dict[str, Any] | None:
        talkers = health()["talkers"]
        return talkers[0] if talkers and talkers[0]["can_id"] == can_id else None

    with flood(can_id):
        babbler = until(loudest, f"{can_id} as the loudest")
        time.sleep(2)
        told = health()
    with capsys.disabled():
        print(f"\n{can_id}: {babbler['frames_per_s']:,.0f} frames/s, {told['overflow']} lost so far")
    assert babbler["component_id"] is None
    assert babbler["frames_per_s"] > 200
    assert told["frames_per_s"] > 200
    assert faults.events("bus_down") == []


def test_a_receive_buffer_that_overflows_is_our_own_fault(faults):
    lost = health()["overflow"]
    pid = str(faults.host.main_pid())
    run("kill", "-STOP", pid)
    try:
        with flood(UNKNOWN_NODE):
            time.sleep(STOPPED_S)
    finally:
        run("kill", "-CONT", pid)
    until(lambda: health()["overflow"] > lost, "an overflow")
    everything = faults.host.upstream.events  # it is told once a minute, and a flood may have told it before
    until(lambda: [each for each in everything() if each["attributes"].get("cause") == "overflow"], "its event")
    assert faults.events("bus_down") == []


def test_a_bus_that_was_off_without_a_word_of_its_end_is_back_when_somebody_is_heard(faults):
    inject(BUS_OFF)
    down = faults.await_event("bus_down")
    assert (down["bus_state"], down["detail"]) == ("BUS_OFF", "the controller is bus off")
    try:
        with flood(UNKNOWN_NODE, every_ms=100):
            faults.await_event("bus_up")
    finally:
        inject(RESTARTED)  # for the devices: their bus is the same
