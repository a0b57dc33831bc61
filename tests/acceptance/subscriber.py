"""A backend as a stranger would write it: plain paho and msgpack, by docs/mqtt-protocol.md, nothing of the gateway's.

It has a session that outlives its connections, drops what it has seen, asks for what it has missed, and sends a
request again, byte for byte, until there is an answer.
"""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Lock
from types import TracebackType
from typing import Any, Final, Self

import msgpack  # type: ignore[import-untyped] # it ships no types
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.acceptance.rebuilt import Payload, Rebuilt

SESSION_EXPIRY_S: Final = 3600
KEEPALIVE_S: Final = 3  # a connection that is only half there is found out after twice that
ENDS_IN: Final = timedelta(minutes=50)  # of a request: an hour at most
PATIENCE_S: Final = (3.0, 12.0)  # with an answer: at first, and at most
GAP_PATIENCE_S: Final = 1.5  # what was on its way when a connection broke comes by itself
LOOK_EVERY_S: Final = 0.2
REPLAYED_AT_ONCE: Final = 10_000
BACKEND: Final = "erp"


@dataclass
class Asked:
    """One request, as it was sent and as it was answered."""

    actor: str
    request: str
    fields: Payload
    payload: bytes
    sent_at: float
    patience_s: float = PATIENCE_S[0]
    sent: int = 1
    answers: list[Payload] = field(default_factory=list)

    @property
    def answer(self) -> Payload | None:
        return self.answers[0] if self.answers else None

    @property
    def ok(self) -> bool:
        return bool(self.answers and self.answers[0]["ok"])


class Subscriber:
    """Reads all a gateway tells, by the broker at `port`, and asks in the name of several actors."""

    def __init__(self, port: int, gateway: str) -> None:
        self.rebuilt = Rebuilt()
        self.asked: dict[str, Asked] = {}  # by id
        self.connections = 0
        self.sessions_lost = 0
        self.unreadable: list[tuple[str, bytes | bytearray]] = []
        self._root = f"bms/v1/{gateway}"
        self._numbers = count()
        self._lock = Lock()  # paho calls from a thread of its own
        self._replay: str | None = None  # id of the one under way
        self._missed_since: tuple[int, float] | None = None  # the first seq missing, and since when
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="truth", protocol=MQTTProtocolVersion.MQTTv5, manual_ack=False
        )
        self._client.on_connect = self._connected
        self._client.on_message = self._received
        self._client.reconnect_delay_set(1, 1)
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = SESSION_EXPIRY_S
        self._client.connect_async("127.0.0.1", port, KEEPALIVE_S, clean_start=False, properties=session)

    def __enter__(self) -> Self:
        self._client.loop_start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def is_connected(self) -> bool:
        return self._client.is_connected()

    # --- hearing ----------------------------------------------------------------------------------------------------

    def _connected(self, client: paho.Client, _userdata: Any, flags: Any, _reason: Any, _properties: Any) -> None:
        self.sessions_lost += bool(self.connections and not flags.session_present)
        self.connections += 1
        client.subscribe([(f"{self._root}/{topic}", 1) for topic in ("state", "components/#", "events/#", "replies/#")])

    def _received(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        below = message.topic.removeprefix(f"{self._root}/")
        try:
            payload = msgpack.unpackb(message.payload) if message.payload else {}
        except ValueError:
            self.unreadable.append((message.topic, message.payload))
            return
        with self._lock:
            if below.startswith("replies/"):
                self._answered(below, payload)
            else:
                self.rebuilt.take(below, payload)

    def _answered(self, below: str, payload: Payload) -> None:
        asked = self.asked[payload["id"]]
        assert below == f"replies/{asked.actor}/{payload['id']}"
        if payload["ok"] or payload["error"]["code"] != "RATE_LIMITED":  # that one is forgotten: it may come again
            asked.answers.append(payload)

    # --- asking -----------------------------------------------------------------------------------------------------

    def ask(self, actor: str, request: str, **fields: Any) -> str:
        """Ask once; `run` sees to the rest. Returns the id."""
        call_id = f"{actor}-{next(self._numbers):06}"
        end = datetime.now(UTC) + ENDS_IN
        if request.startswith("queue_"):
            fields["source_ref"] = call_id
        body = {"id": call_id, "expires_at": end.isoformat(timespec="milliseconds").replace("+00:00", "Z"), **fields}
        asked = Asked(actor, request, fields, msgpack.packb(body), time.monotonic())
        with self._lock:
            self.asked[call_id] = asked
        self._send(asked)
        return call_id

    def _send(self, asked: Asked) -> None:
        self._client.publish(f"{self._root}/requests/{asked.actor}/{asked.request}", asked.payload, qos=1)

    async def run(self) -> None:
        """Ask again for what was not answered, and for what was missed, for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = time.monotonic()
            for asked in self.unanswered():
                if now - asked.sent_at > asked.patience_s:
                    asked.sent_at, asked.sent = now, asked.sent + 1
                    asked.patience_s = min(asked.patience_s * 2, PATIENCE_S[1])
                    self._send(asked)
            self._look_for_gaps(now)

    def unanswered(self) -> list[Asked]:
        with self._lock:
            return [asked for asked in self.asked.values() if not asked.answers]

    def missing(self) -> list[tuple[int, int]]:
        """Return the ranges of seq that have not come."""
        with self._lock:
            return list(self.rebuilt.missing())

    def _look_for_gaps(self, now: float) -> None:
        if self._replay is not None and not self.asked[self._replay].answers:
            return
        gaps = self.missing()
        if not gaps:
            self._missed_since = None
            return
        first, last = gaps[0][0], gaps[-1][1]
        if self._missed_since is None or self._missed_since[0] != first:
            self._missed_since = first, now
        elif now - self._missed_since[1] > GAP_PATIENCE_S:
            last = min(last, first + REPLAYED_AT_ONCE - 1)
            self._replay = self.ask(BACKEND, "replay", from_seq=first, to_seq=last)
            self._missed_since = None
