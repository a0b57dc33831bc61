"""Telemetry over a real broker, beside everything that goes before it."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import can
import pytest

from gateway.bus.frames import load_codecs
from gateway.bus.link import Link
from gateway.bus.link.replay import ReplayClock, clock_for
from gateway.bus.telemetry import Telemetry as BusTelemetry
from gateway.bus.telemetry.wanted import resolve
from gateway.bus.wire import EXTENDED, EXTENDED_MASK, Condition
from gateway.clock import SystemClock
from gateway.component import Component, ComponentKind
from gateway.settings import BusSection, SignalSection
from gateway.sync.broker import Broker
from gateway.sync.link import connect
from gateway.sync.message import Outgoing, Unpublishable
from gateway.sync.payload import Encoding
from gateway.sync.telemetry import Telemetry
from gateway.sync.topics import Topics
from gateway.sync.uplink import Uplink
from gateway.telemetry import Reading
from tests.doubles_bus import FakeNode
from tests.integration.broker import Mosquitto
from tests.integration.link_bench import until
from tests.integration.test_uplink import Gateway, cut, seqs
from tests.integration.watcher import Watcher
from tests.listening import stop_listening

PROTOCOLS = ("5", "3.1.1")
AT_MS = 1_790_000_000_000


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path / "mosquitto").start()
    yield broker
    broker.stop()


def gateway_of(mosquitto: Mosquitto, protocol: str = "5", encoding: Encoding = Encoding.MSGPACK) -> Gateway:
    gateway = Gateway(mosquitto, protocol, encoding)
    gateway.telemetry = Telemetry(Topics("gw-1"), gateway.epoch, encoding, gateway.clock)
    return gateway


def tell(gateway: Gateway, component_id: str = "module-01", **values: Any) -> None:
    gateway.telemetry.take(Reading(component_id, AT_MS, values))


def told(watcher: Watcher) -> list[dict[str, Any]]:
    return [payload["values"] for payload in watcher.on("/telemetry")]


@asynccontextmanager
async def connected(gateway: Gateway, watcher: Watcher) -> AsyncIterator[Uplink]:
    async with gateway.running() as uplink:
        await watcher.until(lambda: len(watcher.on("/queue")) == 2)
        yield uplink


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("encoding", Encoding)
async def test_values_reach_a_subscriber_and_are_kept_for_nobody(
    mosquitto: Mosquitto, protocol: str, encoding: Encoding
) -> None:
    gateway = gateway_of(mosquitto, protocol, encoding)
    with Watcher(mosquitto.port) as watcher:
        async with connected(gateway, watcher):
            tell(gateway, PackVoltage=402.9, PackState="active")
            await watcher.until(lambda: told(watcher))
            (seen,) = [each for each in watcher.seen if each.topic.endswith("/telemetry")]
            with Watcher(mosquitto.port) as late:
                await late.until(lambda: len(late.on("/queue")) == 2)
                assert told(late) == []
    assert seen.topic == "bms/v1/gw-1/components/module-01/telemetry"
    assert f"(d0, q0, r0, m0, '{seen.topic}'" in mosquitto.log_text()
    assert seen.payload == {
        "component_id": "module-01",
        "epoch": 7,
        "at": "2026-09-21T14:13:20.000Z",
        "values": {"PackVoltage": 402.9, "PackState": "active"},
    }
    content_type = "application/json" if encoding is Encoding.JSON else "application/msgpack"
    assert getattr(seen.properties, "ContentType", None) == (content_type if protocol == "5" else None)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_after_a_lost_connection_the_newest_values_are_told_once(mosquitto: Mosquitto, protocol: str) -> None:
    gateway = gateway_of(mosquitto, protocol)
    gateway.reconnect_s = (0.5, 0.5)
    with Watcher(mosquitto.port) as watcher:
        async with connected(gateway, watcher) as uplink:
            tell(gateway, A=0, B="still")
            await watcher.until(lambda: told(watcher))
            cut(uplink)
            await watcher.until(lambda: not uplink.status()["connected"])
            for value in range(1, 1000):
                tell(gateway, A=value)
            await watcher.until(lambda: len(told(watcher)) == 2)
            gateway.store.emit("request_queued", "module-01")
            await watcher.until(lambda: seqs(watcher))
    assert told(watcher) == [{"A": 0, "B": "still"}, {"A": 999, "B": "still"}]


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_flood_of_values_takes_no_place_among_the_publishes_under_way_and_delays_no_event(
    mosquitto: Mosquitto, protocol: str
) -> None:
    gateway = gateway_of(mosquitto, protocol)
    with Watcher(mosquitto.port) as watcher:
        async with connected(gateway, watcher) as uplink:
            mosquitto.freeze()
            for value in range(20_000):
                tell(gateway, f"module-0{value % 2 + 1}", A=value, padding="x" * 1000)
                if value % 1000 == 0:
                    await asyncio.sleep(0.03)
            assert uplink.status()["under_way"] == 0
            gateway.store.emit_many(100, "request_queued", "module-01")
            await asyncio.sleep(0.1)
            mosquitto.thaw()
            await watcher.until(lambda: len(seqs(watcher)) == 100)
            await watcher.until(lambda: {each["A"] for each in told(watcher)[-2:]} == {19_998, 19_999})
    assert seqs(watcher) == list(range(1, 101))
    assert len(told(watcher)) < 1000, "of 20,000 readings"


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_broker_that_forbids_telemetry_loses_nothing_else(tmp_path: Path, protocol: str) -> None:
    rules = tmp_path / "acl"
    rules.write_text(
        "topic readwrite bms/v1/+/state\ntopic readwrite bms/v1/+/events/#\ntopic readwrite bms/v1/+/requests/#\n"
        "topic readwrite bms/v1/+/components/+/presence\ntopic readwrite bms/v1/+/components/+/queue\n"
        "topic read bms/v1/+/components/+/telemetry\n"
    )
    rules.chmod(0o600)
    mosquitto = Mosquitto(tmp_path / "m", config=f"allow_anonymous true\nacl_file {rules}").start()
    try:
        gateway = gateway_of(mosquitto, protocol)
        with Watcher(mosquitto.port) as watcher:
            async with connected(gateway, watcher) as uplink:
                for value in range(20):
                    tell(gateway, A=value)
                    gateway.store.emit("request_queued", "module-01")
                    await asyncio.sleep(0.05)
                await watcher.until(lambda: len(seqs(watcher)) == 20)
                assert (uplink.status()["reconnects"], told(watcher)) == (0, [])
    finally:
        mosquitto.stop()


# --- the room of a connection -----------------------------------------------------------------------------------------


@asynccontextmanager
async def deaf_broker() -> AsyncIterator[Broker]:
    """A broker that takes a connection and reads no more, behind a way that holds little."""

    writers: list[asyncio.StreamWriter] = []

    async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read(1024)
        writer.write(bytes((0x20, 2, 0, 0)))
        assert isinstance(writer.transport, asyncio.ReadTransport)
        writer.transport.pause_reading()

    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    narrow.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(welcome, sock=narrow)
    try:
        yield Broker("127.0.0.1", narrow.getsockname()[1], tls=False, client_id="gw", protocol="3.1.1")
    finally:
        await stop_listening(server)
        for writer in writers:
            writer.transport.abort()


async def test_a_way_that_does_not_get_rid_of_what_it_was_given_has_no_room_to_spare() -> None:
    async with deaf_broker() as broker, connect(broker) as link:
        before, sent = link.spare_bytes(), 0
        while link.spare_bytes() > 0 and sent < 10_000:
            link.send_unacknowledged(Outgoing("t", bytes(1000), qos=0))
            assert link.spare_bytes() == 0, "first it must leave"
            sent += 1
            await asyncio.sleep(0.002)
        assert before == 4096
        assert sent < 1000, "the rest would stand before whatever matters"
        assert link.window.under_way() == 0


async def test_a_connection_that_is_slow_or_gone_has_no_room_and_takes_nothing(mosquitto: Mosquitto) -> None:
    broker = Broker("127.0.0.1", mosquitto.port, tls=False, client_id="gw")
    with Watcher(mosquitto.port, "#") as watcher:
        async with connect(broker) as link:
            assert link.spare_bytes() == 4096
            mosquitto.freeze()
            sent = await link.send(Outgoing("t", b"{}"))
            await watcher.until(lambda: link.spare_bytes() > 0)
            link.window.limit = 1  # as it is where acknowledgements take their time
            assert link.spare_bytes() == 0
            mosquitto.thaw()
            await link.acknowledged(sent)
            link._largest = 100
            with pytest.raises(Unpublishable, match="and the broker takes 100"):
                link.send_unacknowledged(Outgoing("t", bytes(100), qos=0))
            cut_off = link._paho.socket()
            assert isinstance(cut_off, socket.socket)
            cut_off.shutdown(socket.SHUT_RDWR)
            await watcher.until(lambda: link._loss is not None)
            assert link.spare_bytes() == 0
            link.send_unacknowledged(Outgoing("late", b"{}", qos=0))
    assert not watcher.on("late")


# --- from a bus to the broker -----------------------------------------------------------------------------------------


async def test_a_recording_is_told_with_its_own_times_at_any_speed(tmp_path: Path) -> None:
    path, node = tmp_path / "drive.csv", FakeNode(load_codecs()["HB_PACK"], 0x12)
    lines = ["Time Stamp,ID,Extended,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8"]
    for beat in range(200):
        node.state = 9 if 40 <= beat < 50 or 60 <= beat < 120 or beat >= 150 else 5
        can_id, data, _ = node.beat(0)
        cells = ",".join(f"{byte:02X}" for byte in data)
        lines.append(f"{beat * 100_000},{can_id & EXTENDED_MASK:08X},true,0,8,{cells}")
    path.write_text("\n".join(lines) + "\n")
    section = BusSection(name="can0", interface="replay", channel=str(path), options={"speed": "max"})
    clock = clock_for(section, SystemClock())
    assert isinstance(clock, ReplayClock)
    pack = Component("pack-01", ComponentKind.PACK, "can0", 0x12)
    signals = [SignalSection(component="pack-01", signal="PackState", min_interval_s=7)]
    wanted = resolve(signals, {"pack-01": pack}, {"can0": []})["can0"]
    readings: list[Reading] = []
    link, began_ms = Link("can0", section, clock, random.Random(1)), clock.wall_ms()
    bus = BusTelemetry(wire=link, wanted=wanted, clock=clock, tell=readings.append, sleep_until=clock.sleep_until)
    conditions: list[Condition] = []
    link.watch(lambda event: conditions.append(event.condition))
    tasks = [asyncio.create_task(bus.run()), asyncio.create_task(link.run())]
    await until(lambda: Condition.DOWN in conditions)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert [each.values["PackState"] for each in readings] == ["active", "fault", "active"]
    # The fault at 4 s was over before it could be told, that at 15 s is told at 21 s, and then there is no recording.
    assert [(each.at_ms - began_ms) / 1000 for each in readings] == pytest.approx([0, 7, 14], abs=0.5)


async def test_frames_of_a_bus_become_values_beyond_their_deadband(mosquitto: Mosquitto, tmp_path: Path) -> None:
    dbc = tmp_path / "charger.dbc"
    dbc.write_text('VERSION ""\n\nBU_: X\n\nBO_ 256 Charger: 8 X\n SG_ Current : 0|16@1- (0.1,0) [0|0] "A" X\n')
    pack = Component("pack-01", ComponentKind.PACK, "can0", 0x12)
    signals = [
        SignalSection(component="pack-01", signal="PackState", min_interval_s=0.1),
        SignalSection(component="pack-01", signal="Current", deadband=0.5, min_interval_s=0.1),
    ]
    wanted = resolve(signals, {"pack-01": pack}, {"can0": [dbc]})["can0"]
    gateway = gateway_of(mosquitto)
    clock, channel = SystemClock(), f"telemetry-{random.random()}"
    link = Link("can0", BusSection(name="can0", interface="virtual", channel=channel), clock, random.Random(1))
    bus = BusTelemetry(wire=link, wanted=wanted, clock=clock, tell=gateway.telemetry.take)
    node = FakeNode(load_codecs()["HB_PACK"], 0x12)
    with Watcher(mosquitto.port) as watcher, can.Bus(interface="virtual", channel=channel) as devices:

        def send(can_id: int, data: bytes) -> None:
            extended = bool(can_id & EXTENDED)
            devices.send(can.Message(arbitration_id=can_id & EXTENDED_MASK, is_extended_id=extended, data=data))

        def history(signal: str) -> list[object]:
            return [values[signal] for values in told(watcher) if signal in values]

        async def drive(current: int, state: int, *, broken: bool = False) -> None:
            """Have both messages come in; raw values."""
            node.state = state
            send(*node.beat(0, bad_crc=broken)[:2])
            send(256, current.to_bytes(2, "little", signed=True) + bytes(6))
            await asyncio.sleep(0.3)

        async with gateway.running(), asyncio.TaskGroup() as tasks:
            await watcher.until(lambda: len(watcher.on("/queue")) == 2)
            running = [tasks.create_task(bus.run()), tasks.create_task(link.run())]
            await watcher.until(lambda: link.stats()["state"] == "UP")
            await drive(-100, 5)
            await watcher.until(lambda: history("Current") and history("PackState"))
            await drive(-105, 5)  # just the deadband
            await drive(-106, 5)
            await watcher.until(lambda: len(history("Current")) > 1)
            await drive(-106, 9, broken=True)
            await drive(-106, 10)
            await watcher.until(lambda: len(history("PackState")) > 1)
            for task in running:
                task.cancel()
    assert (history("Current"), history("PackState")) == ([-10.0, -10.6], ["active", "locked"])
