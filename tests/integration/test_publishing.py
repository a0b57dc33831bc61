"""What we publish past paho's bookkeeping: byte for byte what paho would send, joined, and read back."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes

from gateway.sync.dial import properties_of
from gateway.sync.message import Outgoing
from gateway.sync.publishing import READ_AT_ONCE, TOGETHER, Publishing, packet

V311, V5 = MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5
PLAIN = Outgoing("bms/v1/gw/events/gateway/bus_up", b"payload")


@dataclass
class Scene:
    """A paho client with one end of a connection; the other is ours."""

    client: paho.Client
    broker: socket.socket
    acknowledged: list[tuple[int, int]] = field(default_factory=list)

    def publishing(self) -> Publishing:
        def note(mid: int, code: int) -> None:
            self.acknowledged.append((mid, code))

        return Publishing(self.client, v5=self.client._protocol == V5, acknowledged=note)

    def sent(self) -> bytes:
        """Return what paho writes, and how often it does."""
        self.client.loop_write()
        return self.broker.recv(1 << 20)


@pytest.fixture
def scene() -> Iterator[Callable[[MQTTProtocolVersion], Scene]]:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        ours.setblocking(False)

        def made(protocol: MQTTProtocolVersion = V5) -> Scene:
            client = paho.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
            client.on_socket_register_write = lambda *_: None
            client._sock = ours
            return Scene(client, theirs)

        yield made


Make = Callable[..., Scene]


@pytest.mark.parametrize("protocol", [V311, V5])
@pytest.mark.parametrize(
    "message",
    [
        PLAIN,
        Outgoing("t", b""),
        Outgoing("t", b"x" * 200, retain=True),
        Outgoing("components/Büro/queue", b"x" * 20_000, qos=0),
        Outgoing("t", b"{}", content_type="application/json"),
        Outgoing("t", b"\x80", content_type="application/msgpack"),
        Outgoing("t", b"\x80", content_type="application/msgpack", correlation=b"c" * 300),
        Outgoing("t", b"\x80", correlation=b""),
        Outgoing("t", b"x" * 3_000_000),
    ],
)
def test_a_message_looks_as_paho_would_send_it(scene: Make, protocol: MQTTProtocolVersion, message: Outgoing) -> None:
    client = scene(protocol).client
    v5 = protocol == V5
    properties = properties_of(PacketTypes.PUBLISH, message.content_type, message.correlation) if v5 else None
    info = client.publish(message.topic, message.payload, message.qos, message.retain, properties)
    assert packet(message, info.mid, v5=v5) == client._out_packet[-1]["packet"]


def test_what_is_sent_within_one_moment_leaves_as_one(scene: Make) -> None:
    made = scene()
    publishing = made.publishing()
    mids = [publishing.send(PLAIN) for _ in range(3)]
    assert len(made.client._out_packet) == 1
    assert made.sent() == b"".join(packet(PLAIN, mid or 0, v5=True) for mid in mids)


def test_what_follows_a_packet_of_paho_stays_behind_it(scene: Make) -> None:
    made = scene()
    publishing = made.publishing()
    first = publishing.send(PLAIN)
    made.client._send_pingreq()
    second = publishing.send(PLAIN)
    assert first is not None
    assert second is not None
    assert made.sent() == packet(PLAIN, first, v5=True) + b"\xc0\0" + packet(PLAIN, second, v5=True)


def test_a_packet_that_has_left_in_part_may_grow(scene: Make) -> None:
    made = scene()
    publishing = made.publishing()
    large = replace(PLAIN, payload=b"x" * (TOGETHER - 100))
    first = publishing.send(large)
    made.client._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # type: ignore[union-attr]
    made.client.loop_write()
    assert made.client.want_write(), "the broker reads slowly"
    second = publishing.send(PLAIN)
    expected = packet(large, first or 0, v5=True) + packet(PLAIN, second or 0, v5=True)
    read = b""
    while len(read) < len(expected):
        read += made.sent()
    assert read == expected


def test_no_packet_grows_without_end(scene: Make) -> None:
    made = scene()
    publishing = made.publishing()
    for _ in range(10):
        publishing.send(replace(PLAIN, payload=b"x" * (TOGETHER // 2)))
    assert max(len(each["packet"]) for each in made.client._out_packet) < 2 * TOGETHER


async def test_once_told_so_it_writes_without_a_look_whether_there_is_room(scene: Make) -> None:
    made = scene()
    watched: list[str] = []
    made.client.on_socket_register_write = lambda *_: watched.append("watch")
    made.client.on_socket_unregister_write = lambda *_: watched.append("no more")
    publishing = made.publishing()
    publishing.write_at_once()
    publishing.send(PLAIN)
    await asyncio.sleep(0)
    assert not made.client.want_write()
    assert not watched
    made.client._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # type: ignore[union-attr]
    publishing.send(replace(PLAIN, payload=b"x" * 100_000))
    await asyncio.sleep(0)
    publishing.send(PLAIN)
    await asyncio.sleep(0)
    assert watched == ["watch"], "there is no room"
    while made.client.want_write():
        made.sent()
    assert watched == ["watch", "no more"]
    publishing.send(PLAIN)
    await asyncio.sleep(0)
    assert not made.client.want_write()
    assert len(watched) == 2


async def test_a_connection_that_goes_before_it_is_written_to_harms_nobody(scene: Make) -> None:
    made = scene()
    publishing = made.publishing()
    publishing.write_at_once()
    publishing.send(PLAIN)
    made.client._sock_close()
    await asyncio.sleep(0)
    assert made.client.want_write(), "nobody took it"


def test_an_id_that_is_under_way_is_not_given_again(scene: Make) -> None:
    made = scene()
    publishing = made.publishing()
    first = publishing.send(PLAIN)
    assert first is not None
    made.client._last_mid = first - 1
    assert publishing.send(PLAIN, {first, first + 1}) == first + 2


def test_nothing_is_sent_on_a_connection_that_is_gone(scene: Make) -> None:
    made = scene()
    publishing = made.publishing()
    made.client._sock = None
    assert publishing.send(PLAIN) is None
    assert not made.client.want_write()
    assert made.client.loop_read() == MQTTErrorCode.MQTT_ERR_NO_CONN


def test_acknowledgements_tell_their_id_and_reason(scene: Make) -> None:
    made = scene()
    made.publishing()
    made.broker.send(b"\x40\x02\x01\x02" + b"\x40\x03\x00\x07\x87" + b"\x40\x04\x00\x08\x10\x00")
    assert made.client.loop_read() == MQTTErrorCode.MQTT_ERR_SUCCESS
    assert made.acknowledged == [(0x0102, 0), (7, 0x87), (8, 0x10)]


def test_a_flood_of_packets_does_not_keep_the_loop(scene: Make) -> None:
    made = scene()
    made.publishing()
    made.broker.send(b"\x40\x02\x00\x07" * 2 * READ_AT_ONCE)
    made.client.loop_read()
    assert len(made.acknowledged) == READ_AT_ONCE


def test_an_acknowledgement_of_nothing_ends_the_connection(scene: Make) -> None:
    made = scene()
    made.publishing()
    made.broker.send(b"\x40\x01\x00")
    assert made.client.loop_read() == MQTTErrorCode.MQTT_ERR_PROTOCOL
    assert made.client.socket() is None
    assert not made.acknowledged
