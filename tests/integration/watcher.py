"""A plain paho subscriber in its own thread: what somebody else sees of the gateway."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from paho.mqtt import client as paho
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.sync.payload import Encoding, decode_reply

SESSION_EXPIRY_S = 3600


@dataclass(frozen=True)
class Seen:
    topic: str
    payload: dict[str, Any]
    retain: bool
    properties: Any = field(default=None, compare=False)


class Watcher:
    """Subscribes to `topic_filter` and keeps what comes, in order. Use as a context manager.

    With `clean` false it has a session that outlives its connection, so that what is published before it is back after
    a restart of the broker waits for it.
    """

    def __init__(
        self,
        port: int,
        topic_filter: str = "bms/v1/#",
        *,
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
        client_id: str = "",
        clean: bool = True,
        **login: str,
    ) -> None:
        self.seen: list[Seen] = []
        self.refused: list[Any] = []
        self._news = threading.Condition()
        self._subscribed = threading.Event()
        self._filter = topic_filter
        is_v5 = protocol == MQTTProtocolVersion.MQTTv5
        session = None if is_v5 else clean
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol, clean_session=session
        )
        if login:
            self._client.username_pw_set(login["username"], login["password"])
        self._client.on_connect = lambda client, *_: client.subscribe(self._filter, qos=1)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        lasting = is_v5 and not clean
        properties = _session_expiry() if lasting else None
        clean_start: bool | Literal[3] = False if lasting else MQTT_CLEAN_START_FIRST_ONLY
        self._client.connect("127.0.0.1", port, keepalive=30, clean_start=clean_start, properties=properties)

    def __enter__(self) -> Self:
        self._client.loop_start()
        assert self._subscribed.wait(10), "no subscription"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_subscribe(self, _client: Any, _userdata: Any, _mid: int, codes: Any, _properties: Any) -> None:
        self.refused += [code for code in codes if code.is_failure]
        self._subscribed.set()

    def _on_message(self, _client: Any, _userdata: Any, message: Any) -> None:
        encoding = Encoding.JSON if message.payload[:1] == b"{" else Encoding.MSGPACK
        payload = decode_reply(message.payload, encoding) if message.payload else {}
        properties = getattr(message, "properties", None)
        with self._news:
            self.seen.append(Seen(message.topic, payload, message.retain, properties))

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1, properties: Any = None
    ) -> None:
        self._client.publish(topic, payload, qos, retain, properties).wait_for_publish(10)

    def on(self, part: str) -> list[dict[str, Any]]:
        """Return the payloads seen on topics that contain `part`."""
        with self._news:
            return [each.payload for each in self.seen if part in each.topic]

    def states(self) -> list[str]:
        return [payload["state"] for payload in self.on("/state")]

    async def until(self, holds: Callable[[], Any], within_s: float = 60.0) -> Any:
        """Wait until `holds()` is true; returns its value."""
        deadline = time.monotonic() + within_s
        while not (value := holds()):
            assert time.monotonic() < deadline, f"it never came true; last seen: {self.seen[-5:]}"
            await asyncio.sleep(0.01)
        return value


def _session_expiry() -> Properties:
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = SESSION_EXPIRY_S
    return properties
