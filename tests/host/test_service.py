"""The installed gateway under its unit: vcan0, devices simulated by processes of their own, a real mosquitto."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateway.bus.simulator.journal import Deed, read_journal

T = TypeVar("T")
ROOT = Path("/project")
COMMAND = "/opt/bms-gateway/bin/bms-gateway"
CONFIG = Path("/etc/bms-gateway/gateway.toml")
UNIT = "bms-gateway.service"
WITHIN_S = 60.0  # the guest shares one slow processor among everything

CONFIGURATION = """
[gateway]
id = "gw-host"
socket_group = "bms-gateway"

[[bus]]
name = "can0"
interface = "socketcan"
channel = "vcan0"

[presence]
period_ms = 500
settle_ms = 100

[sync]
broker = "mqtt://127.0.0.1:1883"
encoding = "json"
"""

COMPONENT = """
[[component]]
id = "{id}"
kind = "{kind}"
bus = "can0"
node = {node}
owner = "root"
"""

COMMANDS = 6  # queued while a module is away
NODES = {"pack-01": 0x12, "module-01": 0xA1, "module-02": 0xA2, "module-03": 0xA3}


def configuration() -> str:
    kinds = {name: name.partition("-")[0].upper() for name in NODES}
    return CONFIGURATION + "".join(COMPONENT.format(id=i, kind=kinds[i], node=n) for i, n in NODES.items())


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def gateway(*words: str) -> Any:
    """Ask the daemon by its command line; what it answers."""
    done = subprocess.run([COMMAND, "--json", *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def until(told: Callable[[], T | None], what: str) -> T:
    """Wait until `told` returns something; return it."""
    ends = time.monotonic() + WITHIN_S
    while time.monotonic() < ends:
        if found := told():
            return found
        time.sleep(0.1)
    pytest.fail(f"{what} did not happen within {WITHIN_S:.0f} s")


class Device:
    """One simulated component as a process: on the bus while it runs, silent otherwise. Its journal stays."""

    def __init__(self, component: str, folder: Path) -> None:
        self.component = component
        self.journal = folder / f"{component}.jsonl"
        self._scenario = folder / f"{component}.toml"
        self._scenario.write_text(f'[[node]]\ncomponent = "{component}"\n')
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["--scenario", self._scenario, "--config", CONFIG, "--journal", self.journal]
        self._process = subprocess.Popen([COMMAND, "simulate", *map(str, words)])

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(WITHIN_S)
            self._process = None

    def deeds(self, kind: str) -> list[Deed]:
        """What it carried out; what it only answered again is left out."""
        if not self.journal.exists():
            return []
        return [deed for deed in read_journal(self.journal) if deed.kind == kind and not deed.repeat]


class Upstream:
    """What a subscriber at the broker has heard."""

    def __init__(self, file: Path) -> None:
        self._file = file
        words = ["mosquitto_sub", "-v", "-q", "1", "-t", "bms/v1/gw-host/#"]
        with file.open("wb") as output:
            self._process = subprocess.Popen(words, stdout=output)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def messages(self, topic: str) -> list[dict[str, Any]]:
        prefix = f"bms/v1/gw-host/{topic} "
        lines = self._file.read_text().splitlines()
        return [json.loads(line.removeprefix(prefix)) for line in lines if line.startswith(prefix)]

    def presence(self, component: str) -> list[dict[str, Any]]:
        return self.messages(f"components/{component}/presence")

    def await_presence(self, component: str, presence: str) -> dict[str, Any]:
        def last() -> dict[str, Any] | None:
            told = self.presence(component)
            return told[-1] if told and told[-1]["presence"] == presence else None

        return until(last, f"{component} {presence}")

    def events(self) -> list[dict[str, Any]]:
        lines = self._file.read_text().splitlines()
        return [json.loads(line.split(" ", 1)[1]) for line in lines if line.startswith("bms/v1/gw-host/events/")]


class Host:
    """The gateway, its devices and its subscriber."""

    def __init__(self, folder: Path) -> None:
        self.devices = {name: Device(name, folder) for name in NODES}
        self.upstream = Upstream(folder / "mqtt.log")

    def main_pid(self) -> int:
        return int(run("systemctl", "show", "--value", "--property", "MainPID", UNIT))

    def restarts(self) -> int:
        return int(run("systemctl", "show", "--value", "--property", "NRestarts", UNIT))

    def await_restart(self, before: int) -> None:
        until(lambda: self.restarts() > before, "a restart by systemd")
        until(lambda: run("systemctl", "show", "--value", "--property", "ActiveState", UNIT) == "active\n", "READY=1")


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> Iterator[Host]:
    CONFIG.write_text(configuration())
    run("chgrp", "bms-gateway", str(CONFIG))
    CONFIG.chmod(0o640)
    run(COMMAND, "check", "--config", str(CONFIG))
    made = Host(tmp_path_factory.mktemp("host"))
    run("systemctl", "start", UNIT)  # returns with READY=1
    for device in made.devices.values():
        device.start()
    yield made
    for device in made.devices.values():
        device.stop()
    made.upstream.close()
    subprocess.run(["systemctl", "stop", UNIT], check=False)
    print(run("journalctl", "--no-pager", "-o", "cat", "-u", UNIT))


def with_status(status: str, component: str) -> set[str]:
    return {request["request_id"] for request in gateway("queue", component, "--status", status)["requests"]}


def test_all_that_send_heartbeats_are_online_upstream(host):
    for component in NODES:
        assert host.upstream.await_presence(component, "ONLINE")["reason"] is None
    assert {told["component_id"]: told["presence"] for told in gateway("components")["components"]} == dict.fromkeys(
        NODES, "ONLINE"
    )


def test_a_silent_module_is_offline_with_evidence_and_its_pairing_is_done_once_when_it_is_back(host):
    device = host.devices["module-01"]
    host.upstream.await_presence("module-01", "ONLINE")
    host.upstream.await_presence("pack-01", "ONLINE")
    device.stop()
    offline = host.upstream.await_presence("module-01", "OFFLINE")
    assert offline["reason"] == "heartbeat_timeout"
    assert offline["evidence"]["window_ms"] == 1750  # 3.5 periods

    queued = gateway("pair", "pack-01", "module-01", "--priority", "HIGH")["request"]
    assert queued["status"] == "QUEUED"
    assert device.deeds("PAIRING") == []

    device.start()
    host.upstream.await_presence("module-01", "ONLINE")
    until(lambda: queued["request_id"] in with_status("COMPLETED", "module-01"), "the pairing")
    assert len(device.deeds("PAIRING")) == 1
    assert len(host.devices["pack-01"].deeds("PAIRING")) == 1


def test_a_killed_daemon_is_restarted_and_works_off_all_that_was_queued(host):
    device = host.devices["module-02"]
    host.upstream.await_presence("module-02", "ONLINE")
    device.stop()
    host.upstream.await_presence("module-02", "OFFLINE")
    fields = {"command_type": "identify", "target_component": "module-02"}
    ids = set()
    for seconds in range(1, COMMANDS + 1):
        reply = json.loads(
            run(
                COMMAND,
                "request",
                "queue_command",
                f'arguments={{"seconds": {seconds}}}',
                *(f"{key}={value}" for key, value in fields.items()),
            )
        )
        ids.add(reply["result"]["request"]["request_id"])

    for moment in range(2):
        before = host.restarts()
        run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", UNIT)
        host.await_restart(before)
        if moment == 0:
            assert with_status("QUEUED", "module-02") == ids
            device.start()
            until(lambda: device.deeds("COMMAND"), "the first command")  # the second kill comes amid the drain

    until(lambda: with_status("COMPLETED", "module-02") >= ids, "all commands")
    assert [deed.arg0 for deed in device.deeds("COMMAND")] == list(range(1, COMMANDS + 1))
    seqs = [event["seq"] for event in host.upstream.events()]
    assert sorted(set(seqs)) == list(range(min(seqs), max(seqs) + 1))


def test_a_daemon_that_stood_still_for_four_seconds_finds_nobody_offline(host):
    for component in NODES:
        host.upstream.await_presence(component, "ONLINE")
    before = host.upstream.events()[-1]["seq"]
    pid = str(host.main_pid())
    run("kill", "-STOP", pid)
    time.sleep(4)
    run("kill", "-CONT", pid)
    time.sleep(3)  # longer than the deadline of any component
    missed = {"component_offline", "bus_down"}
    assert [event for event in host.upstream.events() if event["seq"] > before and event["type"] in missed] == []
    assert {told["presence"] for told in gateway("components")["components"]} == {"ONLINE"}


def test_an_interface_that_goes_down_is_one_event_and_all_are_back_when_it_is_up(host):
    before = host.upstream.events()[-1]["seq"]
    run("ip", "link", "set", "vcan0", "down")
    for component in NODES:
        assert host.upstream.await_presence(component, "OFFLINE")["reason"] == "bus_down"
    run("ip", "link", "set", "vcan0", "up")
    for component in NODES:
        host.upstream.await_presence(component, "ONLINE")
    types = [event["type"] for event in host.upstream.events() if event["seq"] > before]
    assert types.count("bus_down") == 1
    assert types.count("bus_up") == 1


def test_a_hung_daemon_is_restarted_by_the_watchdog(host):
    before, pid = host.restarts(), host.main_pid()
    run("kill", "-STOP", str(pid))
    host.await_restart(before)
    assert host.main_pid() != pid
    assert "Watchdog timeout" in run("journalctl", "--no-pager", "-u", UNIT)
    until(lambda: gateway("health")["healthy"], "health")
    host.upstream.await_presence("module-03", "ONLINE")


def test_a_configuration_that_cannot_be_used_is_not_tried_for_ever(host):
    good = CONFIG.read_text()
    try:
        run("systemctl", "stop", UNIT)
        CONFIG.write_text(good.replace('interface = "socketcan"', 'interfaze = "socketcan"'))
        assert subprocess.run(["systemctl", "start", UNIT], check=False, capture_output=True).returncode != 0
        until(lambda: run("systemctl", "show", "--value", "--property", "ActiveState", UNIT) == "failed\n", "giving up")
        assert run("systemctl", "show", "--value", "--property", "ExecMainStatus", UNIT) == "78\n"
        assert "interfaze" in run("journalctl", "--no-pager", "-u", UNIT)
    finally:
        CONFIG.write_text(good)
        run("systemctl", "reset-failed", UNIT)
        run("systemctl", "start", UNIT)


def test_the_service_runs_as_its_own_user_in_a_narrow_box(host, capsys):
    assert run("stat", "-c", "%U:%G %a", "/run/bms-gateway/control.sock") == "bms-gateway:bms-gateway 660\n"
    assert run("stat", "-c", "%U:%G %a", "/var/lib/bms-gateway") == "bms-gateway:bms-gateway 750\n"
    status = Path(f"/proc/{host.main_pid()}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000001000" in status  # CAP_NET_ADMIN, for the receive buffers, and nothing else
    rating = run("systemd-analyze", "security", "--no-pager", UNIT)
    verdict = rating.strip().splitlines()[-1]
    with capsys.disabled():
        print(f"\n{verdict}")
    exposure = float(verdict.rpartition(": ")[2].split()[0])
    assert exposure <= 2.0


def test_the_example_configuration_has_no_problems(tmp_path):
    assert "no problems" in run(COMMAND, "check", "--config", str(ROOT / "systemd" / "gateway.toml"))
