"""One connection: what may go wrong on it, each told as what it is."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from gateway.errors import LinkDown, PeerError
from gateway.sync import inbox
from gateway.sync import link as module
from gateway.sync.broker import Broker
from gateway.sync.link import connect
from gateway.sync.loss import Cause, LinkLost
from gateway.sync.message import Outgoing, PublishRefused, Unpublishable
from tests.integration.broker import Mosquitto, free_port
from tests.integration.watcher import Watcher
from tests.listening import stop_listening


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path / "mosquitto").start()
    yield broker
    broker.stop()


def to(port: int, **more) -> Broker:
    return Broker(**{"host": "127.0.0.1", "port": port, "tls": False, "client_id": "link-test", **more})


@asynccontextmanager
async def listening(behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]):
    server = await asyncio.start_server(behave, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        await stop_listening(server)


async def test_a_peer_that_hangs_up_instead_of_answering_is_noticed_at_once() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.close()

    async with listening(hang_up) as port, asyncio.timeout(5):
        with pytest.raises(LinkDown, match="without a word"):
            async with connect(to(port)):
                pass


async def test_a_peer_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CONNECT_WITHIN_S", 0.1)
    gone = asyncio.Event()

    async def stare(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(100):
            pass
        gone.set()
        writer.close()

    async with listening(stare) as port:
        with pytest.raises(LinkDown, match="timed out"):
            async with connect(to(port)):
                pass
        await asyncio.wait_for(gone.wait(), 5)  # no socket is left behind


async def test_connecting_may_be_cancelled_and_leaves_nothing_behind() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def stare(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(100):
            asked.set()
        gone.set()
        writer.close()

    async def open_and_close(port: int) -> None:
        async with connect(to(port)):
            pass

    async with listening(stare) as port:
        task = asyncio.create_task(open_and_close(port))
        await asyncio.wait_for(asked.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 5)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_login_that_is_refused_says_so(tmp_path: Path, protocol: str) -> None:
    mosquitto = Mosquitto(tmp_path / "m", config="allow_anonymous false").start()
    try:
        with pytest.raises(LinkDown, match="does not let us in"):
            async with connect(to(mosquitto.port, protocol=protocol)):
                pass
    finally:
        mosquitto.stop()


@pytest.mark.parametrize(
    "broker",
    [
        to(free_port()),
        to(1883, host="no host"),
        to(1883, password_file=Path("none")),
        to(8883, tls=True, ca_file=Path("none")),
    ],
)
async def test_what_keeps_us_from_connecting_is_weather(broker: Broker) -> None:
    with pytest.raises(LinkDown):
        async with connect(broker):
            pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho does not close it
async def test_a_broker_without_tls_is_not_spoken_to_over_mqtts(mosquitto: Mosquitto) -> None:
    with pytest.raises(LinkDown):
        async with connect(to(mosquitto.port, tls=True)):
            pass
    await asyncio.get_running_loop().shutdown_default_executor()  # its thread still holds what it raised
    gc.collect()


async def test_messages_come_with_what_mqtt_5_adds_and_again_unless_acknowledged(mosquitto: Mosquitto) -> None:
    lasting = to(mosquitto.port, session_expiry_s=60)
    with Watcher(mosquitto.port) as other:
        async with connect(lasting) as link:
            await link.subscribe("in/#")
            assert not link.session_present
            other.publish("in/1", b"one")
            other.publish("in/2", b"two")
            first, second = await link.receive(), await link.receive()
            link.acknowledge(second)
        async with connect(lasting) as link:
            assert link.session_present
            again = await link.receive()
            assert (again.topic, again.payload) == (first.topic, first.payload) == ("in/1", b"one")


async def test_what_nobody_takes_is_turned_away_beyond_a_bound_and_counted(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "ROOM", 3)
    with Watcher(mosquitto.port) as other:
        async with connect(to(mosquitto.port)) as link:
            await link.subscribe("in/#")
            for n in range(5):
                other.publish(f"in/{n}", b"x", qos=0)
            other.publish("in/5", b"y")
            await other.until(lambda: link.dropped == 2)
            came = [await link.receive() for _ in range(4)]
    assert [message.topic for message in came] == ["in/0", "in/1", "in/2", "in/5"], "QoS 1 has room of its own"


async def test_what_found_no_room_and_must_not_be_lost_comes_again_by_the_next_connection(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "ROOM_ACKNOWLEDGED", 3)
    lasting, topics = to(mosquitto.port, session_expiry_s=60), []
    with Watcher(mosquitto.port) as other:
        async with connect(lasting) as link:
            await link.subscribe("in/#")
            for n in range(5):
                other.publish(f"in/{n}", b"x")
            await other.until(lambda: link.dropped == 2)
            for _ in range(3):
                topics.append((message := await link.receive()).topic)
                link.acknowledge(message)
            await other.until(lambda: mosquitto.log_text().count("Received PUBACK from link-test") == 3)
            taking = asyncio.create_task(link.receive())
            with pytest.raises(LinkLost) as lost:
                await link.watch()
            taking.cancel()
        assert lost.value.cause is Cause.RECEIVE_MAXIMUM
        async with connect(lasting) as link:
            topics += [(await link.receive()).topic for _ in range(2)]
    assert topics == [f"in/{n}" for n in range(5)]


@pytest.mark.parametrize("granted", [[ReasonCode(PacketTypes.SUBACK, "Not authorized")], (128,)])
async def test_a_subscription_the_broker_refuses_is_the_peers_no(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch, granted: Any
) -> None:
    async def refuse(*_: Any, **__: Any) -> Any:
        return granted

    async with connect(to(mosquitto.port)) as link:
        await link.subscribe("allowed/#")
        monkeypatch.setattr(link._client, "subscribe", refuse)
        with pytest.raises(PeerError, match="refuses the subscription"):
            await link.subscribe("forbidden/#")


async def test_who_is_told_to_stop_while_a_subscription_is_answered_stops(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`asyncio.wait_for` of Python 3.11 returns what comes in that moment: a gateway went on, and never ended."""

    async def answer_in_that_moment(*_: Any, **__: Any) -> Any:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(10)
        return (1,)

    async with connect(to(mosquitto.port)) as link:
        monkeypatch.setattr(link._client, "subscribe", answer_in_that_moment)
        subscribing = asyncio.create_task(link.subscribe("in/#"))
        await asyncio.sleep(0)
        subscribing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await subscribing


async def test_the_brokers_receive_maximum_is_heeded(tmp_path: Path) -> None:
    mosquitto = Mosquitto(tmp_path / "m", config="allow_anonymous true\nmax_inflight_messages 2").start()
    try:
        async with connect(to(mosquitto.port)) as link:
            mosquitto.freeze()
            sent = [await link.send(Outgoing("out", b"x")) for _ in range(2)]
            third = asyncio.create_task(link.send(Outgoing("out", b"x")))
            await asyncio.sleep(0.05)
            assert not third.done()
            mosquitto.thaw()
            for future in (*sent, await third):
                await link.acknowledged(future)
    finally:
        mosquitto.stop()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (0x87, PublishRefused),
        (0x97, PublishRefused),
        (0x90, Unpublishable),
        (0x83, LinkDown),
        (0xEE, LinkDown),  # of no version of MQTT so far
        (0x10, None),
        (0x00, None),
    ],
)
async def test_a_reason_code_tells_whether_repeating_helps(
    mosquitto: Mosquitto, code: int, error: type[Exception] | None
) -> None:
    async with connect(to(mosquitto.port)) as link:
        mosquitto.freeze()
        sent = await link.send(Outgoing("out", b"x"))
        (mid,) = link.window._sent
        link._published(mid, code)
        mosquitto.thaw()
        if error is None:
            await link.acknowledged(sent)
        else:
            with pytest.raises(error):
                await link.acknowledged(sent)


async def test_a_broker_that_refuses_a_publish_for_no_reason_of_its_own_is_left_so_that_nothing_waits_for_ever(
    mosquitto: Mosquitto,
) -> None:
    """The request whose answer it was comes again by the next connection; by this one it never would."""
    async with connect(to(mosquitto.port)) as link:
        mosquitto.freeze()
        sent = await link.send(Outgoing("out", b"x"))
        (mid,) = link.window._sent
        link._published(mid, 0x80)
        mosquitto.thaw()
        async with asyncio.timeout(10):
            with pytest.raises(LinkLost) as lost:
                await link.watch()
        with pytest.raises(LinkDown):
            await link.acknowledged(sent)
    assert lost.value.cause is Cause.REFUSED


async def test_what_was_under_way_at_the_end_is_told_so(mosquitto: Mosquitto) -> None:
    async with connect(to(mosquitto.port)) as link:
        mosquitto.freeze()
        sent = await link.send(Outgoing("out", b"x"))
    mosquitto.thaw()
    with pytest.raises(LinkDown, match="closed"):
        await link.acknowledged(sent)
    with pytest.raises(LinkDown):
        await link.publish(Outgoing("out", b"x"))
