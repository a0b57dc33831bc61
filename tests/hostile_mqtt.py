"""MQTT 5 as bytes, for what no decent client library would send."""

import socket
import struct
from typing import Self

CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION, USER_PROPERTY = b"\x03", b"\x08", b"\x09", b"\x26"
PAYLOAD_FORMAT, EXPIRY = b"\x01", b"\x02"


def text(value: bytes | str) -> bytes:
    """Spell a string or binary value: its length, then itself."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(raw)) + raw


def packet(head: int, body: bytes) -> bytes:
    return bytes((head,)) + varint(len(body)) + body


def varint(value: int) -> bytes:
    spelt = bytearray()
    while value > 0x7F:
        spelt.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*spelt, value))


def publish(
    topic: bytes | str, payload: bytes, *, properties: bytes = b"", qos: int = 0, mid: int = 1, retain: bool = False
) -> bytes:
    numbered = struct.pack(">H", mid) if qos else b""
    return packet(0x30 | qos << 1 | retain, text(topic) + numbered + varint(len(properties)) + properties + payload)


class Intruder:
    """A connection that says what it is told to, byte for byte. Use as a context manager."""

    def __init__(self, port: int, client_id: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.say(packet(0x10, text("MQTT") + b"\x05\x02" + struct.pack(">H", 0) + b"\x00" + text(client_id)))
        self._socket.recv(1024)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def say(self, raw: bytes) -> None:
        self._socket.sendall(raw)

    def tell(self, topic: bytes | str, payload: bytes, *, properties: bytes = b"", retain: bool = False) -> bool:
        """Publish with QoS 1. Returns whether the broker took it: it hangs up on what breaks the protocol."""
        self.say(publish(topic, payload, properties=properties, qos=1, retain=retain))
        try:
            return self._socket.recv(1024)[:1] == b"\x40"
        except ConnectionResetError:
            return False

    def subscribe(self, topic_filter: str) -> None:
        self.say(packet(0x82, b"\x00\x01\x00" + text(topic_filter) + b"\x00"))

    def until(self, wanted: bytes) -> None:
        """Read, and throw away, until `wanted` came in, with whatever stood before it."""
        seen = b""
        while wanted not in seen:
            heard = self._socket.recv(1 << 20)
            if not heard:
                raise ConnectionResetError("the broker hung up")
            seen = seen[-len(wanted) :] + heard
