"""The way up against a real mosquitto, seen by a plain paho subscriber."""

import asyncio
import random
import signal
import socket
from collections.abc import Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiomqtt import MqttError
from paho.mqtt.enums import MQTTProtocolVersion

from gateway.access import Role
from gateway.component import Component, ComponentKind, Registry
from gateway.errors import Code, Refusal
from gateway.presence import Presence
from gateway.sync import link
from gateway.sync import outbox as module
from gateway.sync.access import Access
from gateway.sync.broker import Broker
from gateway.sync.payload import Encoding
from gateway.sync.requests import RequestServer
from gateway.sync.state import Birth, States
from gateway.sync.topics import Topics
from gateway.sync.uplink import Uplink
from tests.doubles import FakeClock
from tests.doubles_store import MemoryStore
from tests.integration.broker import Mosquitto
from tests.integration.proxy import Proxy
from tests.integration.watcher import Watcher
from tests.unit.test_mqtt_requests import ACTORS, FakeApi
from tests.unit.test_uplink_parts import FakeLink

PROTOCOLS = ("5", "3.1.1")


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path / "mosquitto").start()
    yield broker
    broker.stop()


class Gateway:
    """The way up with two modules, over a store in memory."""

    def __init__(
        self, mosquitto: Mosquitto | Proxy, protocol: str = "5", encoding: Encoding = Encoding.MSGPACK, **broker: Any
    ) -> None:
        self.store = MemoryStore()
        self.api = FakeApi()
        self.registry = Registry(
            Component(f"module-0{n}", ComponentKind.MODULE, "can0", n, parent="pack-01") for n in (1, 2)
        )
        for component in self.registry:
            self.store.see(component.component_id, Presence.ONLINE)
        self.protocol, self.encoding = protocol, encoding
        self._port = mosquitto.port
        self._broker = broker
        self.epoch = 7
        self.clock = FakeClock()
        self.reconnect_s = (0.02, 0.1)
        self.access, self.must_sign = Access(actors=ACTORS), frozenset[Role]()
        self.telemetry: Any = None  # off

    def uplink(self) -> Uplink:
        topics, clock = Topics("gw-1"), self.clock
        broker = Broker(
            "127.0.0.1",
            self._port,
            tls=False,
            client_id="bms-gateway-gw-1",
            protocol=self.protocol,
            **{"session_expiry_s": 3600, "keepalive_s": 2, **self._broker},
        )

        async def audit(entry: Any) -> None:
            await self.store.write(lambda tx: tx.audit(entry, clock.wall_ms()))

        server = RequestServer(
            api=self.api, access=self.access, topics=topics, clock=clock, audit=audit, must_sign=self.must_sign
        )
        return Uplink(
            broker=broker,
            topics=topics,
            states=States(topics, Birth(self.epoch, clock.wall_ms(), "hash", ("can0",)), self.registry, self.encoding),
            store=self.store,
            requests=server,
            clock=clock,
            rng=random.Random(1),
            reconnect_s=self.reconnect_s,
            telemetry=self.telemetry,
        )

    @asynccontextmanager
    async def running(self):
        uplink = self.uplink()
        task = asyncio.create_task(uplink.run())
        try:
            yield uplink
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


def cut(uplink: Uplink) -> None:
    """End the connection without a word."""
    connection = uplink._link._paho.socket() if uplink._link else None
    if isinstance(connection, socket.socket):
        connection.shutdown(socket.SHUT_RDWR)


def seqs(watcher: Watcher) -> list[int]:
    return [payload["seq"] for payload in watcher.on("/events/")]


def births(watcher: Watcher) -> dict[int, int]:
    """The births seen: session -> epoch."""
    seen = watcher.on("/state")
    return {payload["session"]: payload["epoch"] for payload in seen if payload["state"] == "ONLINE"}


def was_born_again(watcher: Watcher, births_before: int) -> bool:
    return len(births(watcher)) > births_before


def in_order_without_gap(seen: list[int], newest: int) -> bool:
    """Whether every event came, and each for the first time in order: what was in flight may come twice."""
    first_times = list(dict.fromkeys(seen))
    return first_times == list(range(1, newest + 1))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("encoding", Encoding)
async def test_a_connection_begins_with_birth_then_presence_and_queues_then_the_events(
    mosquitto: Mosquitto, protocol: str, encoding: Encoding
) -> None:
    gateway = Gateway(mosquitto, protocol, encoding)
    gateway.store.emit_many(50, "request_queued", "module-01", priority="HIGH")
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running():
            await watcher.until(lambda: len(seqs(watcher)) == 50)
        order = [seen.topic.removeprefix("bms/v1/gw-1") for seen in watcher.seen[:5]]
        assert order[0] == "/state"
        assert sorted(order[1:]) == sorted(
            f"/components/module-0{n}/{what}" for n in (1, 2) for what in ("presence", "queue")
        )
        birth = watcher.seen[0].payload
        assert (birth["state"], birth["epoch"], birth["session"]) == ("ONLINE", 7, 1)
        assert (birth["components"], birth["buses"]) == (["module-01", "module-02"], ["can0"])
        assert {"version", "started_at", "config_hash"} < birth.keys()
        assert seqs(watcher) == list(range(1, 51))
        assert watcher.on("/events/module-01/request_queued")[0]["attributes"] == {"priority": "HIGH"}
        content_type = "application/json" if encoding is Encoding.JSON else "application/msgpack"
        assert getattr(watcher.seen[0].properties, "ContentType", None) == (content_type if protocol == "5" else None)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_orderly_stop_says_offline_and_leaves_the_last_events_and_state_behind(
    mosquitto: Mosquitto, protocol: str
) -> None:
    gateway = Gateway(mosquitto, protocol)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running():
            await watcher.until(lambda: watcher.on("/presence"))
            gateway.store.emit("gateway_stopping")
        offline = await watcher.until(lambda: [p for p in watcher.on("/state") if p["state"] == "OFFLINE"])
        assert offline == [{"state": "OFFLINE", "epoch": 7, "session": 1, "reason": "stopping"}]
        assert seqs(watcher) == [1]
    assert gateway.store.view.acknowledged == 1
    with Watcher(mosquitto.port) as late:  # retained: who comes later hears it too
        await late.until(lambda: late.states() == ["OFFLINE"] and len(late.on("/presence")) == 2)
        assert all(seen.retain for seen in late.seen)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_gateway_that_vanishes_leaves_its_will_with_its_epoch(mosquitto: Mosquitto, protocol: str) -> None:
    gateway = Gateway(mosquitto, protocol)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running() as uplink:
            await watcher.until(lambda: watcher.states() == ["ONLINE"])
            cut(uplink)
            will = await watcher.until(lambda: [p for p in watcher.on("/state") if p["state"] == "OFFLINE"])
            assert will[0] == {"state": "OFFLINE", "epoch": 7, "session": 1, "reason": "connection_lost"}
            assert "(r1, q1)" in mosquitto.log_text().partition("Will message specified")[2][:30], "retained"
            await watcher.until(lambda: watcher.states()[-1] == "ONLINE")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_what_happened_while_the_broker_was_away_comes_in_order_after_a_new_birth(
    mosquitto: Mosquitto, protocol: str, how: int
) -> None:
    gateway = Gateway(mosquitto, protocol)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running() as uplink:
            gateway.store.emit_many(20, "request_queued", "module-01")
            await watcher.until(lambda: len(seqs(watcher)) == 20)
            mosquitto.stop(how)
            await watcher.until(lambda: not uplink.status()["connected"])
            gateway.store.emit_many(1000, "request_queued", "module-01")
            assert uplink.status()["outbox"] >= 1000
            assert uplink.status()["last_error"]
            mosquitto.start()
            with Watcher(mosquitto.port) as second:
                await second.until(lambda: 1020 in seqs(second))
                await second.until(lambda: uplink.status()["outbox"] == 0)
                heard = [*seqs(watcher), *seqs(second)]
                assert max(payload["session"] for payload in second.on("/state")) > 1
        # Who subscribes a moment after the broker is back may miss the first of them; who keeps a session does not.
        first_times = list(dict.fromkeys(seqs(second)))
        assert first_times == list(range(first_times[0], 1021))
        assert heard[-1] == 1020


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_subscriber_with_a_session_sees_every_event_in_order_through_broker_restarts(
    mosquitto: Mosquitto, protocol: str
) -> None:
    gateway = Gateway(mosquitto, protocol)
    inbox = Watcher(
        mosquitto.port, "bms/v1/gw-1/#", protocol=MQTTProtocolVersion.MQTTv311, client_id="backend", clean=False
    )
    with inbox as watcher:
        async with gateway.running() as uplink:
            total = 0
            for restarts in range(3):
                await watcher.until(partial(was_born_again, watcher, restarts))
                gateway.store.emit_many(300, "request_queued", "module-02")
                total += 300
                await asyncio.to_thread(mosquitto.restart)
                gateway.store.emit_many(300, "request_queued", "module-02")
                total += 300
            await watcher.until(lambda: total in seqs(watcher), within_s=40)
            await watcher.until(lambda: uplink.status()["outbox"] == 0)
        assert in_order_without_gap(seqs(watcher), total)
        assert len(births(watcher)) >= 3
        assert set(births(watcher).values()) == {7}


async def test_a_broker_that_hangs_is_noticed_by_the_keepalive(mosquitto: Mosquitto) -> None:
    gateway = Gateway(mosquitto, keepalive_s=1)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running() as uplink:
            await watcher.until(lambda: watcher.states() == ["ONLINE"])
            mosquitto.freeze()
            gateway.store.emit("component_online", "module-01")
            await watcher.until(lambda: not uplink.status()["connected"])
            mosquitto.thaw()
            await watcher.until(lambda: 1 in seqs(watcher))
            await watcher.until(lambda: uplink.status()["outbox"] == 0)


async def test_a_broker_that_does_not_acknowledge_is_left_and_tried_again(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "ANSWER_WITHIN_S", 0.2)
    gateway = Gateway(mosquitto, keepalive_s=600)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running() as uplink:
            await watcher.until(lambda: watcher.states() == ["ONLINE"])
            mosquitto.freeze()
            gateway.store.emit("component_online", "module-01")
            await watcher.until(lambda: not uplink.status()["connected"])
            assert "no acknowledgement" in uplink.status()["last_error"]
            mosquitto.thaw()
            await watcher.until(lambda: uplink.status()["outbox"] == 0)
        assert 1 in seqs(watcher)


async def test_a_change_is_told_as_event_and_in_the_retained_topic_it_concerns(mosquitto: Mosquitto) -> None:
    gateway = Gateway(mosquitto)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running():
            await watcher.until(lambda: len(watcher.on("/queue")) == 2)
            before = len(watcher.seen)
            gateway.store.see("module-02", Presence.OFFLINE)
            gateway.store.emit("component_offline", "module-02")
            gateway.store.emit("request_queued", "module-01")
            await watcher.until(lambda: len(watcher.on("/queue")) == 3)
            news = {seen.topic.removeprefix("bms/v1/gw-1/"): seen.payload for seen in watcher.seen[before:]}
        assert news["components/module-02/presence"]["presence"] == "OFFLINE"
        assert news["components/module-02/presence"]["as_of_seq"] == 2
        assert "components/module-01/queue" in news
        assert "components/module-01/presence" not in news
        assert "components/module-02/queue" not in news


async def test_a_change_of_which_no_event_tells_is_told_when_somebody_says_so(mosquitto: Mosquitto) -> None:
    gateway = Gateway(mosquitto)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running() as uplink:
            await watcher.until(lambda: len(watcher.on("/presence")) == 2)
            gateway.store.see("module-02", Presence.ONLINE)
            uplink.touch("module-02")
            await watcher.until(lambda: len(watcher.on("/presence")) == 3)
            told = watcher.on("/module-02/presence")[-1]
            assert (told["presence"], told["serial"]) == ("ONLINE", "0x00000000000000A3")
            assert watcher.on("/events/") == []


async def test_a_component_that_changes_its_name_is_told_under_the_new_one_and_cleared_under_the_old(
    mosquitto: Mosquitto,
) -> None:
    gateway = Gateway(mosquitto)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running() as uplink:
            await watcher.until(lambda: len(watcher.on("/queue")) == 2)
            gateway.registry.add(Component("module-22", ComponentKind.MODULE, "can0", 2, owner="fleet-north"))
            uplink.touch("module-22")
            uplink.touch("module-02")
            await watcher.until(lambda: watcher.on("/module-22/queue") and watcher.on("/module-02/queue")[-1] == {})
            assert watcher.on("/module-22/presence")[-1]["presence"] == "UNKNOWN"
    with Watcher(mosquitto.port) as late:
        await late.until(lambda: late.on("/module-22/queue"))
        assert late.on("/module-02/") == []


# --- replay -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_stored_events_are_published_again_on_their_topics(mosquitto: Mosquitto, protocol: str) -> None:
    gateway = Gateway(mosquitto, protocol)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running() as uplink:
            gateway.store.emit_many(100, "request_queued", "module-01", priority="HIGH")
            await watcher.until(lambda: len(seqs(watcher)) == 100 and uplink.status()["outbox"] == 0)
            live = watcher.on("/events/")
            assert await uplink.replay(11, 90) == 80
            await watcher.until(lambda: len(seqs(watcher)) == 180)
        assert watcher.on("/events/module-01/request_queued")[100:] == live[10:90]


async def test_a_replay_ends_where_the_live_events_begin_and_tells_of_fewer_where_some_are_gone(
    mosquitto: Mosquitto,
) -> None:
    gateway = Gateway(mosquitto)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running() as uplink:
            gateway.store.emit_many(20, "request_queued", "module-01")
            await watcher.until(lambda: len(seqs(watcher)) == 20 and uplink.status()["outbox"] == 0)
            gateway.store.forget(5)
            assert await uplink.replay(1, 10_000) == 15
            assert await uplink.replay(21, 30) == 0
            assert await uplink.replay(1, 5) == 0
            await watcher.until(lambda: len(seqs(watcher)) == 35)
        assert seqs(watcher)[20:] == list(range(6, 21))


async def test_new_events_come_in_order_during_a_replay_and_what_is_acknowledged_stays(mosquitto: Mosquitto) -> None:
    gateway = Gateway(mosquitto)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running() as uplink:
            gateway.store.emit_many(2000, "request_queued", "module-01")
            await watcher.until(lambda: gateway.store.view.acknowledged == 2000)
            replay = asyncio.create_task(uplink.replay(1, 2000))
            await asyncio.sleep(0)  # it has begun, and has sixty turns of reading, sending and waiting before it
            gateway.store.emit_many(500, "request_queued", "module-02")
            assert await replay == 2000
            await watcher.until(lambda: gateway.store.view.acknowledged == 2500)
            await watcher.until(lambda: len(seqs(watcher)) == 4500)
        new = [payload["seq"] for payload in watcher.on("/events/module-02/")]
        assert new == list(range(2001, 2501))
        last_old = max(n for n, seq in enumerate(seqs(watcher)) if seq <= 2000)
        assert seqs(watcher).index(2001) < last_old, "they did not wait for the end of the replay"


async def test_what_is_not_acknowledged_yet_is_left_to_come_by_itself(tmp_path: Path) -> None:
    gateway = Gateway(Mosquitto(tmp_path / "never-started"))
    gateway.store.emit_many(100, "request_queued", "module-01")
    uplink, connection = gateway.uplink(), FakeLink()
    uplink._link = connection  # type: ignore[assignment]  # a double
    uplink._outbox.acknowledged = 10
    assert await uplink.replay(1, 100) == 10
    assert len(connection.topics) == 10


async def test_there_is_one_replay_at_a_time_and_none_without_a_connection(mosquitto: Mosquitto) -> None:
    gateway = Gateway(mosquitto)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running() as uplink:
            with pytest.raises(Refusal) as no:
                await uplink.replay(1, 10)
            assert no.value.code is Code.PRECONDITION_FAILED
            gateway.store.emit_many(2000, "request_queued", "module-01")
            await watcher.until(lambda: len(seqs(watcher)) == 2000 and uplink.status()["outbox"] == 0)
            first = asyncio.create_task(uplink.replay(1, 2000))
            await asyncio.sleep(0)
            with pytest.raises(Refusal) as no:
                await uplink.replay(1, 10)
            assert (no.value.code, no.value.retry_after_ms) == (Code.RATE_LIMITED, 1000)
            mosquitto.stop()
            with pytest.raises(Refusal) as no:
                async with asyncio.timeout(link.ANSWER_WITHIN_S / 2):  # nobody waits for room on a lost connection
                    await first
            assert no.value.code is Code.PRECONDITION_FAILED
            mosquitto.start()
            await watcher.until(lambda: uplink.status()["connected"] and uplink.status()["reconnects"])
            assert await uplink.replay(1, 10) == 10


async def test_state_is_coalesced_while_events_are_not(mosquitto: Mosquitto) -> None:
    gateway = Gateway(mosquitto)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running():
            await watcher.until(lambda: len(watcher.on("/queue")) == 2)
            gateway.store.emit_many(1000, "request_queued", "module-01")
            await watcher.until(lambda: len(seqs(watcher)) == 1000)
            await watcher.until(lambda: watcher.on("/module-01/queue")[-1]["as_of_seq"] == 1000)
        assert len(watcher.on("/module-01/queue")) - 1 <= 1000 / module.BATCH + 1


async def test_acknowledgements_are_written_together_and_survive_a_full_disk(mosquitto: Mosquitto) -> None:
    gateway = Gateway(mosquitto)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running() as uplink:
            gateway.store.full = True
            gateway.store.emit_many(1000, "request_queued", "module-01")
            await watcher.until(lambda: len(seqs(watcher)) == 1000)
            await watcher.until(lambda: uplink.status()["refused_by_broker"].get("acknowledgement not stored"))
            gateway.store.full = False
            gateway.store.emit_many(1000, "request_queued", "module-01")
            await watcher.until(lambda: gateway.store.view.acknowledged == 2000)
        assert gateway.store.writes <= 2000 / module.ACKNOWLEDGE_EVERY + 2


async def test_a_new_start_sends_only_what_was_not_acknowledged(mosquitto: Mosquitto) -> None:
    gateway = Gateway(mosquitto)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running():
            gateway.store.emit_many(10, "request_queued", "module-01")
            await watcher.until(lambda: len(seqs(watcher)) == 10)
        gateway.store.emit_many(5, "request_queued", "module-01")
        gateway.epoch = 8
        async with gateway.running():
            await watcher.until(lambda: 15 in seqs(watcher))
        assert seqs(watcher) == list(range(1, 16))
        assert [payload["epoch"] for payload in watcher.on("/events/")] == [7] * 10 + [8] * 5


async def test_components_that_left_are_cleared_from_the_broker(mosquitto: Mosquitto) -> None:
    gateway = Gateway(mosquitto)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running():
            await watcher.until(lambda: len(watcher.on("/queue")) == 2)
        gateway.registry = Registry([Component("module-01", ComponentKind.MODULE, "can0", 1)])
        async with gateway.running():
            await watcher.until(lambda: watcher.on("/module-02/queue")[-1] == {})
    with Watcher(mosquitto.port) as late:
        await late.until(lambda: late.on("/module-01/queue"))
        assert late.on("/module-02/") == []


async def test_nothing_is_published_while_nothing_happens(mosquitto: Mosquitto) -> None:
    gateway = Gateway(mosquitto)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running() as uplink:
            await watcher.until(lambda: len(watcher.on("/queue")) == 2 and uplink.status()["connected"])
            before, lines, writes = len(watcher.seen), len(mosquitto.log_text().splitlines()), gateway.store.writes
            await asyncio.sleep(2.5)  # more than a keepalive: the one thing that may move
            assert len(watcher.seen) == before
            assert gateway.store.writes == writes
            lines_since = mosquitto.log_text().splitlines()[lines:]
            assert not [line for line in lines_since if "PUBLISH" in line]
            assert [line for line in lines_since if "PINGREQ from bms-gateway-gw-1" in line]


async def test_a_stop_in_the_moment_the_connection_is_lost_is_a_stop(mosquitto: Mosquitto) -> None:
    gateway = Gateway(mosquitto)
    with Watcher(mosquitto.port) as watcher:
        task = asyncio.create_task((uplink := gateway.uplink()).run())
        await watcher.until(lambda: uplink.status()["connected"] and watcher.on("/queue"))
        assert uplink._link is not None
        uplink._link._client._disconnected.set_exception(MqttError("lost"))
        await asyncio.sleep(0)  # the watching task has been woken, and not yet told anybody
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)


async def test_without_a_broker_the_gateway_goes_on_and_says_so(tmp_path: Path) -> None:
    gateway = Gateway(Mosquitto(tmp_path / "never-started"))
    async with gateway.running() as uplink:
        gateway.store.emit("component_online", "module-01")
        for _ in range(100):
            await asyncio.sleep(0.01)
            if "last_error" in uplink.status():
                break
        status = uplink.status()
    assert (status["configured"], status["connected"], status["outbox"]) == (True, False, 1)
    assert "refused" in status["last_error"]
