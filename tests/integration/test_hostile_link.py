"""What a broker hands on although it should not, and what a broker says that is none."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from gateway.errors import LinkDown
from gateway.sync import link as module
from gateway.sync.broker import Broker
from gateway.sync.link import connect
from tests import hostile_mqtt as raw
from tests.integration.broker import Mosquitto
from tests.listening import stop_listening

BOM = "\ufeff"  # allowed in MQTT, and paho takes it for a breach of the protocol
POISON = {
    "a content type": raw.CONTENT_TYPE + raw.text(BOM),
    "a response topic": raw.RESPONSE_TOPIC + raw.text(f"a{BOM}b"),
    "a user property": raw.USER_PROPERTY + raw.text(BOM) + raw.text(""),
    "a payload format that is none": raw.PAYLOAD_FORMAT + b"\x07",
}


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path / "mosquitto").start()
    yield broker
    broker.stop()


def to(port: int) -> Broker:
    return Broker("127.0.0.1", port, tls=False, client_id="poisoned", session_expiry_s=600)


@pytest.mark.parametrize("what", POISON)
async def test_a_message_that_cannot_be_read_ends_no_connection_and_never_comes_again(
    mosquitto: Mosquitto, what: str
) -> None:
    async with connect(to(mosquitto.port)) as link:
        await link.subscribe("r/#")
    with raw.Intruder(mosquitto.port, "evil") as evil:
        assert evil.tell("r/a/b", b"poison", properties=POISON[what])
        assert evil.tell("r/a/b", b"sound")
    async with connect(to(mosquitto.port)) as link, asyncio.timeout(10):
        sound = await link.receive()
        assert (sound.payload, link.dropped) == (b"sound", 1)
        link.acknowledge(sound)
    async with connect(to(mosquitto.port)) as link, asyncio.timeout(10):
        with raw.Intruder(mosquitto.port, "evil") as evil:
            evil.tell("r/a/b", b"later")
        assert (await link.receive()).payload == b"later"
        assert link.dropped == 0, "the broker still had it"


async def test_whatever_a_broker_answers_is_a_connection_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CONNECT_WITHIN_S", 0.1)
    rng = Random(4)
    heads = (0x20, 0x20, 0x30, 0x32, 0x40, 0x90, 0xE0, 0xD0, 0xFF)

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(raw.packet(0x20, b"\0\0\0") if rng.random() < 0.5 else b"")
        for _ in range(4):
            writer.write(raw.packet(rng.choice(heads), rng.randbytes(rng.randrange(12))))
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        for _ in range(100):
            with pytest.raises(LinkDown):
                async with asyncio.timeout(5), connect(to(port)) as link:
                    await link.watch()
    finally:
        await stop_listening(server)


TAKEN = raw.packet(0x20, b"\0\0\0")
DISCONNECT = b"\xe0\x00"


def talk_until_it_ends(listener: socket.socket, stands: threading.Event, told: threading.Event) -> bytes:
    """Take a connection, say much once it stands, and return what comes then. Raises ConnectionResetError."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(30)
        connection.recv(1024)
        connection.sendall(TAKEN)
        assert stands.wait(30)
        connection.sendall(raw.publish("chatter", b"x" * 1000) * 20)
        told.set()
        heard = b""
        while more := connection.recv(1024):
            heard += more
        return heard


async def test_a_broker_that_talks_until_the_end_hears_our_goodbye_and_no_reset() -> None:
    stands, told = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        broker = pool.submit(talk_until_it_ends, listener, stands, told)
        async with connect(to(listener.getsockname()[1])):
            stands.set()
            assert told.wait(30)  # our loop stands still: what came stays unread
        assert (await asyncio.wrap_future(broker)).endswith(DISCONNECT)
