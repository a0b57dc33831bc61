"""What may go wrong between the gateway and its broker: each made to happen, named, and healed."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.sync import link as link_module
from gateway.sync.payload import Encoding, encode
from gateway.sync.uplink import Uplink
from tests.doubles import FakeClock
from tests.integration.broker import Mosquitto
from tests.integration.proxy import DOWN, UP, Proxy
from tests.integration.test_uplink import Gateway, in_order_without_gap, seqs
from tests.integration.watcher import Watcher

PROTOCOLS = ("5", "3.1.1")


class RunningClock(FakeClock):
    """A clock whose monotonic hand runs."""

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path / "mosquitto").start()
    yield broker
    broker.stop()


@pytest.fixture
async def proxy(mosquitto: Mosquitto) -> AsyncIterator[Proxy]:
    async with Proxy(mosquitto.port) as made:
        yield made


def behind(proxy: Proxy, protocol: str = "5", **broker: Any) -> Gateway:
    """A gateway whose way to the broker leads through the proxy."""
    gateway = Gateway(proxy, protocol, **broker)
    gateway.clock = RunningClock()
    return gateway


@asynccontextmanager
async def connected(gateway: Gateway, watcher: Watcher) -> AsyncIterator[Uplink]:
    async with gateway.running() as uplink:
        await watcher.until(lambda: len(watcher.on("/queue")) >= 2)
        yield uplink


async def until(holds: Any, within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


def losses(uplink: Uplink) -> dict[str, int]:
    found: dict[str, int] = uplink.status()["losses"]
    return found


# --- half-open connections --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("directions", [(UP, DOWN), (UP,), (DOWN,)])
async def test_a_half_open_connection_is_found_though_nothing_is_published(
    mosquitto: Mosquitto, proxy: Proxy, protocol: str, directions: tuple[str, ...]
) -> None:
    gateway = behind(proxy, protocol, keepalive_s=1)
    with Watcher(mosquitto.port) as watcher:
        async with connected(gateway, watcher) as uplink:
            proxy.blackhole(*directions)
            await until(lambda: "half_open" in losses(uplink) or "closed" in losses(uplink), 5)
            proxy.blackhole()
            await until(lambda: uplink.status()["connected"])
            gateway.store.emit("component_online", "module-01")
            await watcher.until(lambda: seqs(watcher) == [1])
            # Where the broker does not hear us it hangs up at the same time; which is first is not ours to say.
            assert uplink.status()["cause"] in ({"half_open"} if UP not in directions else {"half_open", "closed"})


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("directions", [(UP, DOWN), (UP,), (DOWN,)])
async def test_a_half_open_connection_is_found_while_publishing_and_nothing_is_lost(
    mosquitto: Mosquitto,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
    directions: tuple[str, ...],
) -> None:
    monkeypatch.setattr(link_module, "ANSWER_WITHIN_S", 0.6)
    gateway = behind(proxy, protocol, keepalive_s=600)
    with Watcher(mosquitto.port) as watcher:
        async with connected(gateway, watcher) as uplink:
            gateway.store.emit_many(300, "request_queued", "module-01")
            await watcher.until(lambda: len(seqs(watcher)) >= 100)
            proxy.blackhole(*directions)
            gateway.store.emit_many(300, "request_queued", "module-02")
            await until(lambda: losses(uplink).get("half_open"))
            proxy.blackhole()
            await watcher.until(lambda: 600 in seqs(watcher))
            assert uplink.status()["cause"] == "half_open"
        assert in_order_without_gap(seqs(watcher), 600)


async def test_a_broker_that_answers_pings_and_no_publish_is_left_as_stalled(
    mosquitto: Mosquitto, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "ANSWER_WITHIN_S", 0.6)
    gateway = behind(proxy)
    with Watcher(mosquitto.port) as watcher:
        async with connected(gateway, watcher) as uplink:
            proxy.swallow_acknowledgements = True
            gateway.store.emit_many(3, "request_queued", "module-01")
            await until(lambda: losses(uplink).get("stalled"))
            assert uplink.status()["cause"] == "stalled"
            proxy.swallow_acknowledgements = False
            await until(lambda: uplink.status()["connected"] and uplink.status()["outbox"] == 0)
        assert in_order_without_gap(seqs(watcher), 3)


# --- slow -------------------------------------------------------------------------------------------------------------


async def test_a_slow_link_is_named_keeps_answering_and_tells_states_once(mosquitto: Mosquitto, proxy: Proxy) -> None:
    gateway = behind(proxy, encoding=Encoding.JSON, keepalive_s=60)
    with Watcher(mosquitto.port) as watcher:
        async with connected(gateway, watcher) as uplink:
            told = len(watcher.on("/module-01/queue"))
            proxy.bytes_per_s = 1000.0
            gateway.store.emit_many(200, "request_queued", "module-02")
            await until(lambda: uplink.status()["state"] == "slow")
            status = uplink.status()
            assert status["oldest_under_way_ms"] > 0
            for _ in range(1000):
                uplink.touch("module-01")
                await asyncio.sleep(0.001)
            topic, asked = "bms/v1/gw-1/requests/tech-anna/get_presence", time.monotonic()
            ask = {"id": "slow-call-1", "expires_at": "2026-09-21T14:20:00.000Z"}
            watcher.publish(topic, encode(ask, Encoding.JSON))
            await watcher.until(lambda: watcher.on("/replies/tech-anna/slow-call-1"))
            assert time.monotonic() - asked < 10
            assert uplink.status()["under_way"] <= 64
            assert losses(uplink) == {}
            proxy.bytes_per_s = None
            await watcher.until(lambda: 200 in seqs(watcher))
            await until(lambda: uplink.status()["state"] == "connected")
        assert in_order_without_gap(seqs(watcher), 200)
        assert len(watcher.on("/module-01/queue")) - told <= 5


# --- sessions and names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_session_the_broker_has_forgotten_is_counted(tmp_path: Path, protocol: str) -> None:
    mosquitto = Mosquitto(tmp_path / "m", persistence=False).start()
    try:
        gateway = Gateway(mosquitto, protocol)
        with Watcher(mosquitto.port) as watcher:
            async with connected(gateway, watcher) as uplink:
                assert uplink.status()["sessions_lost"] == 0, "there was none to lose"
                await asyncio.to_thread(mosquitto.restart)
                await until(lambda: uplink.status()["reconnects"] == 1)
                assert uplink.status()["sessions_lost"] == 1
                with Watcher(mosquitto.port) as late:
                    await late.until(lambda: late.states() == ["ONLINE"] and len(late.on("/presence")) == 2)
    finally:
        mosquitto.stop()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_session_that_is_still_there_is_not_counted_as_lost(
    mosquitto: Mosquitto, proxy: Proxy, protocol: str
) -> None:
    gateway = behind(proxy, protocol)
    with Watcher(mosquitto.port) as watcher:
        async with connected(gateway, watcher) as uplink:
            proxy.cut()
            await until(lambda: uplink.status()["reconnects"] == 1 and uplink.status()["connected"])
            await watcher.until(lambda: len(watcher.states()) > 2)
            assert uplink.status()["sessions_lost"] == 0
            assert uplink.status()["turned_away"] == {}, "our own Will, which the session has kept, is no request"
            assert losses(uplink) == {"closed": 1}


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_two_gateways_of_one_name_do_not_fight_at_full_speed(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, protocol: str
) -> None:
    ours, copy = Gateway(mosquitto, protocol), Gateway(mosquitto, protocol)
    ours.clock, copy.clock = RunningClock(), RunningClock(wall_ms=1_790_000_009_000)
    ours.reconnect_s = copy.reconnect_s = (0.02, 2.0)
    with Watcher(mosquitto.port) as watcher:
        async with connected(ours, watcher) as uplink:
            async with copy.running() as other:
                for n in range(200):  # both have something to tell, which must not count as progress
                    ours.store.emit("request_queued", "module-01", n=n)
                    copy.store.emit("request_queued", "module-01", n=n)
                    await asyncio.sleep(0.02)
                both = uplink.status()["reconnects"] + other.status()["reconnects"]
                assert 2 <= both <= 24, "a wait that doubles from 0.02 s reaches 2 s within seven"
                assert losses(uplink).get("taken_over") or losses(other).get("taken_over")
            await until(lambda: uplink.status()["connected"])
            await watcher.until(lambda: watcher.states()[-1] == "ONLINE")
            await until(lambda: uplink.status()["outbox"] == 0)
    told = [record for record in caplog.records if "taken_over" in record.getMessage()]
    assert 1 <= len(told) <= 2, "each says it once"


# --- a late Will ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("protocol", "session_expiry_s"), [("5", 3600), ("5", 0), ("3.1.1", 0)])
async def test_the_will_of_a_half_open_connection_does_not_outlive_the_birth_of_the_next(
    mosquitto: Mosquitto, proxy: Proxy, protocol: str, session_expiry_s: int
) -> None:
    gateway = behind(proxy, protocol, keepalive_s=1, session_expiry_s=session_expiry_s)
    with Watcher(mosquitto.port) as watcher:
        async with connected(gateway, watcher) as uplink:
            proxy.blackhole(UP, DOWN)
            await until(lambda: not uplink.status()["connected"])
            proxy.blackhole()
            await until(lambda: uplink.status()["connected"])
            await asyncio.sleep(2.5)  # the broker hangs up on the old one after 1.5 keepalives, if it still knows it
            with Watcher(mosquitto.port) as late:
                await late.until(lambda: late.states() == ["ONLINE"])
                assert late.on("/state")[0]["session"] == uplink._session


async def test_a_will_that_comes_after_the_birth_is_answered_with_the_birth_again(mosquitto: Mosquitto) -> None:
    gateway = Gateway(mosquitto, encoding=Encoding.JSON)
    will = encode({"state": "OFFLINE", "epoch": 7, "session": 0, "reason": "connection_lost"}, Encoding.JSON)
    with Watcher(mosquitto.port) as watcher:
        async with connected(gateway, watcher) as uplink:
            watcher.publish("bms/v1/gw-1/state", will, retain=True)
            await watcher.until(lambda: watcher.states()[-2:] == ["OFFLINE", "ONLINE"])
            assert uplink.status()["refused_by_broker"]["late_will"] == 1
            for _ in range(50):
                watcher.publish("bms/v1/gw-1/state", will, retain=True)
            await watcher.until(lambda: watcher.states()[-1] == "ONLINE")
            assert watcher.states().count("ONLINE") <= 4, "whatever comes, it is answered once a second"
    with Watcher(mosquitto.port) as late:
        await late.until(lambda: late.states() == ["OFFLINE"])
        assert late.on("/state")[0]["reason"] == "stopping", "our own goodbye is no late Will"


# --- what the broker does not take ------------------------------------------------------------------------------------


class Guarded:
    """A broker whose rules forbid what matches none of `allowed`."""

    def __init__(self, folder: Path, *allowed: str) -> None:
        self.rules = folder / "acl"
        self.allow(*allowed)
        self.broker = Mosquitto(folder / "m", config=f"allow_anonymous true\nacl_file {self.rules}")

    def allow(self, *allowed: str) -> None:
        self.rules.write_text("".join(f"topic readwrite bms/v1/gw-1/{topic}\n" for topic in allowed))


async def test_events_the_broker_forbids_wait_and_come_in_order_once_it_takes_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = Guarded(tmp_path, "state", "components/#", "requests/#", "replies/#", "events/module-01/#")
    mosquitto = guarded.broker.start()
    try:
        gateway = Gateway(mosquitto, encoding=Encoding.JSON)
        gateway.clock = RunningClock()
        with Watcher(mosquitto.port) as watcher:
            async with connected(gateway, watcher) as uplink:
                gateway.store.emit("request_queued", "module-01")
                gateway.store.emit("request_queued", "module-02")
                gateway.store.emit("request_queued", "module-01")
                await until(lambda: uplink.status()["refused"] == ["events"])
                await asyncio.sleep(0.5)
                assert uplink.status()["state"] == "refused"
                assert uplink._outbox.acknowledged == 1, "none behind it is taken for told"
                attempts = mosquitto.log_text().count("Denied PUBLISH")
                assert 2 <= attempts <= 30, "it is tried again, and not at full speed"
                ask = {"id": "refused-1", "expires_at": "2026-09-21T14:20:00.000Z"}
                watcher.publish("bms/v1/gw-1/requests/tech-anna/get_presence", encode(ask, Encoding.JSON))
                await watcher.until(lambda: watcher.on("/replies/tech-anna/refused-1"))
                assert uplink.status()["reconnects"] == 0
                guarded.allow("#")
                mosquitto.reload()
                await watcher.until(lambda: seqs(watcher)[-2:] == [2, 3])
                await until(lambda: uplink.status()["state"] == "connected" and uplink.status()["outbox"] == 0)
    finally:
        mosquitto.stop()
    assert len([record for record in caplog.records if "takes no events" in record.getMessage()]) == 1


async def test_states_the_broker_forbids_are_told_once_it_takes_them(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, "state", "requests/#", "replies/#", "events/#")
    mosquitto = guarded.broker.start()
    try:
        gateway = Gateway(mosquitto)
        gateway.clock = RunningClock()
        with Watcher(mosquitto.port) as watcher:
            async with gateway.running() as uplink:
                await until(lambda: uplink.status()["refused"] == ["presence", "queue"])
                gateway.store.emit("request_queued", "module-02")
                await watcher.until(lambda: seqs(watcher) == [1])
                guarded.allow("#")
                mosquitto.reload()
                await watcher.until(lambda: len(watcher.on("/presence")) >= 2 and len(watcher.on("/queue")) >= 2)
                await until(lambda: uplink.status()["state"] == "connected")
    finally:
        mosquitto.stop()


SIZES = [
    pytest.param("5", "max_packet_size 6000", id="announced"),
    pytest.param("5", "message_size_limit 6000", id="answered by a code that does not belong there"),
    pytest.param("3.1.1", "max_packet_size 6000", id="ended in silence"),
]


@pytest.mark.parametrize(("protocol", "limit"), SIZES)
async def test_an_event_too_large_for_the_broker_does_not_keep_the_others_back_for_ever(
    tmp_path: Path, protocol: str, limit: str
) -> None:
    mosquitto = Mosquitto(tmp_path / "m", config=f"allow_anonymous true\n{limit}").start()
    try:
        gateway = Gateway(mosquitto, protocol)
        with Watcher(mosquitto.port) as watcher:
            async with connected(gateway, watcher) as uplink:
                gateway.store.emit("request_queued", "module-01")
                gateway.store.emit("request_queued", "module-01", title="x" * 8000)
                gateway.store.emit("request_queued", "module-01")
                await watcher.until(lambda: 3 in seqs(watcher))
                await until(lambda: uplink.status()["outbox"] == 0)
                assert uplink.status()["refused_by_broker"]["event the broker can never take"] == 1
        assert list(dict.fromkeys(seqs(watcher))) == [1, 3]
    finally:
        mosquitto.stop()


# --- no way there -----------------------------------------------------------------------------------------------------


async def test_a_broker_that_accepts_and_never_answers_is_named(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "_CONNECT_WITHIN_S", 0.1)
    proxy.deaf = True
    async with behind(proxy).running() as uplink:
        await until(lambda: losses(uplink).get("no_answer"))
        proxy.deaf = False
        monkeypatch.setattr(link_module, "_CONNECT_WITHIN_S", 10)
        await until(lambda: uplink.status()["connected"])


@pytest.mark.parametrize(
    ("garbage", "cause"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no_answer"),  # it begins like a packet that never ends
        (b"\x20\x7f" + b"\xff" * 200, "protocol_error"),
        (b"\xff" * 64, "protocol_error"),
    ],
)
async def test_something_that_speaks_no_mqtt_is_named(proxy: Proxy, garbage: bytes, cause: str) -> None:
    proxy.garbage = garbage
    async with behind(proxy, keepalive_s=1).running() as uplink:
        await until(lambda: losses(uplink).get(cause))
        proxy.garbage = b""
        await until(lambda: uplink.status()["connected"])


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_broker_that_does_not_let_us_in_is_named_and_asked_ever_less(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, protocol: str
) -> None:
    mosquitto = Mosquitto(tmp_path / "m", config="allow_anonymous false").start()
    try:
        gateway = Gateway(mosquitto, protocol)
        async with gateway.running() as uplink:
            await until(lambda: losses(uplink).get("not_authorized", 0) >= 4)
        assert len([record for record in caplog.records if "no connection" in record.getMessage()]) == 1
    finally:
        mosquitto.stop()


async def test_nothing_grows_with_the_length_of_an_outage(mosquitto: Mosquitto, proxy: Proxy) -> None:
    gateway = behind(proxy)
    with Watcher(mosquitto.port) as watcher:
        async with connected(gateway, watcher) as uplink:
            proxy.blackhole(DOWN)
            for n in range(20_000):
                gateway.store.emit("request_queued", f"module-0{n % 2 + 1}")
                uplink.touch("module-01")
                if n % 100 == 0:
                    await asyncio.sleep(0)
            link = uplink._link
            assert link is not None
            assert link.window.under_way() <= 64
            assert sum(len(each["packet"]) for each in link._paho._out_packet) < 64 * 1024
            assert len(uplink._outbox._under_way) <= 64
            assert len(uplink._touched) <= 2
