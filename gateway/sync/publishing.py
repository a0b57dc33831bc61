"""What we publish, past paho's own bookkeeping: thousands of events go up after an outage.

paho spends more on the properties of a message, on its record and on its acknowledgement than the rest of us on the
event in it, and gives every packet a write of its own. Everything but PUBLISH and PUBACK stays with it.
"""

import asyncio
from collections.abc import Callable, Container
from functools import cache
from typing import Any, Final

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes

from gateway.sync.message import Outgoing

TOGETHER: Final = 16 * 1024  # bytes that leave in one write, about: what one record of TLS holds
READ_AT_ONCE: Final = 64  # packets, before others on our loop have their turn
_MORE: Final = 0x80  # in a length: another byte follows
_PAYLOAD_FORMAT, _CONTENT_TYPE, _CORRELATION = b"\x01", b"\x03", b"\x09"  # properties


class Publishing:
    """Sends through `client`; `acknowledged` gets the message id and the reason code of every acknowledgement."""

    def __init__(self, client: paho.Client, *, v5: bool, acknowledged: Callable[[int, int], None]) -> None:
        self._client = client
        self._v5 = v5
        self._acknowledged = acknowledged
        self._last: object = None  # packet of ours in paho's queue
        self._watch: Any = None  # aiomqtt's ways to be told when the socket has room, and to be told no more
        self._unwatch: Any = None
        self._watched = False
        client._handle_pubackcomp = self._take  # type: ignore[method-assign] # noqa: SLF001 - on this one alone
        client.loop_read = self._read  # type: ignore[method-assign] # as above

    def write_at_once(self) -> None:
        """From now on write without asking first whether the socket has room: it nearly always has."""
        client = self._client
        self._watch, self._unwatch = client.on_socket_register_write, client.on_socket_unregister_write
        loop = asyncio.get_running_loop()

        def write_soon(*_: Any) -> None:
            loop.call_soon(self._write)

        client.on_socket_register_write = write_soon
        client.on_socket_unregister_write = self._written

    def _write(self) -> None:
        client = self._client
        client.loop_write()
        connection = client.socket()
        if connection is not None and client.want_write() and not self._watched:
            self._watched = True
            self._watch(client, None, connection)

    def _written(self, *told: Any) -> None:
        if self._watched:
            self._watched = False
            self._unwatch(*told)

    def send(self, message: Outgoing, under_way: Container[int] = ()) -> int | None:
        """Hand on a message; return its id, none of those `under_way`. None: the connection is gone."""
        client = self._client
        if client.socket() is None:
            return None
        mid = client._mid_generate()  # noqa: SLF001 - subscriptions take theirs from there, too
        while mid in under_way:
            mid = client._mid_generate()  # noqa: SLF001 - as above
        self._queue(packet(message, mid, v5=self._v5), mid)
        return mid

    def _queue(self, packed: bytearray, mid: int) -> None:
        """Put a packet behind those that wait; as one with the last, if that is ours."""
        waiting = self._client._out_packet  # noqa: SLF001 - paho would write each by itself
        last = waiting[-1] if waiting else None
        if last is not None and last is self._last and len(last["packet"]) < TOGETHER:
            last["packet"] += packed
            last["to_process"] += len(packed)
            return
        self._client._packet_queue(packed[0], packed, mid, 1)  # noqa: SLF001 - 1: it keeps no record of the packet
        self._last = waiting[-1]

    def _read(self, max_packets: int = READ_AT_ONCE) -> MQTTErrorCode:
        """Read what is there; paho would read as many packets as it has messages under way, and it has none."""
        client = self._client
        for _ in range(max_packets):
            if client.socket() is None:
                return MQTTErrorCode.MQTT_ERR_NO_CONN
            code = client._packet_read()  # noqa: SLF001 - there is no other way to read one
            if code == MQTTErrorCode.MQTT_ERR_AGAIN:
                break
            if code > 0:
                return client._loop_rc_handle(code)  # noqa: SLF001 - as paho does
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _take(self, cmd: str) -> MQTTErrorCode:  # noqa: ARG002 - PUBCOMP answers QoS 2, which we do not use
        """Take a PUBACK in: message id, then a reason code unless all is well."""
        packed = self._client._in_packet["packet"]  # noqa: SLF001 - it is handed over there
        if len(packed) < 2:  # noqa: PLR2004 - bytes of a message id
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        self._acknowledged(int.from_bytes(packed[:2], "big"), packed[2] if len(packed) > 2 else 0)  # noqa: PLR2004
        return MQTTErrorCode.MQTT_ERR_SUCCESS


def packet(message: Outgoing, mid: int, *, v5: bool) -> bytearray:
    """Return the PUBLISH of a message; `mid` goes along where it has QoS 1."""
    head = _sized(message.topic.encode())
    if message.qos:
        head += mid.to_bytes(2, "big")
    if v5:
        head += _properties(message)
    packed = bytearray((PacketTypes.PUBLISH << 4 | message.qos << 1 | message.retain,))
    packed += _length(len(head) + len(message.payload))
    packed += head
    packed += message.payload
    return packed


def _properties(message: Outgoing) -> bytes:
    fields = _typed(message.content_type)
    if message.correlation is not None:
        fields += _CORRELATION + _sized(message.correlation)
    return _length(len(fields)) + fields


@cache  # as few as there are encodings
def _typed(content_type: str | None) -> bytes:
    if content_type is None:
        return b""
    is_text = content_type == "application/json"
    return _PAYLOAD_FORMAT + bytes((is_text,)) + _CONTENT_TYPE + _sized(content_type.encode())


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _length(size: int) -> bytes:
    """Spell a length: seven bits a byte, the lowest first."""
    spelled = bytearray()
    while size >= _MORE:
        spelled.append(size % _MORE | _MORE)
        size //= _MORE
    spelled.append(size)
    return bytes(spelled)
