"""Requests and their answers: one call, one id, at most one effect, whatever becomes of the connection meanwhile.

The same bytes are sent again after every loss of the connection, when the gateway is back, and now and then, until the
call's end. The gateway remembers what it has answered until that very end, so none of them has a second effect.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from ulid import ULID

from gateway.client.connection import Connection
from gateway.client.errors import NoAnswer
from gateway.clock import Clock, rfc3339
from gateway.errors import Code, LinkDown, PeerError, Refusal
from gateway.sync.envelope import LONGEST_LIFE_MS
from gateway.sync.link import Link
from gateway.sync.message import Incoming, Outgoing, PublishRefused
from gateway.sync.payload import CONTENT_TYPE, MAX_BYTES, Encoding, decode_reply, encode
from gateway.sync.signed import seal
from gateway.sync.signing import Signer
from gateway.sync.topics import Topics

IN_FLIGHT: Final = 16  # calls under way; the others wait their turn, within their own time
AGAIN_AFTER_S: Final = 15.0  # a broker may lose what it took, and say nothing
LONGEST_S: Final = LONGEST_LIFE_MS / 1000 - 60  # the two clocks may differ that much


@dataclass(slots=True, eq=False)
class _Pending:
    """A call under way. `stirred`: it is answered, or should be sent again."""

    message: Outgoing
    sent: bool = False
    reply: Mapping[str, Any] | None = None
    stirred: asyncio.Event = field(default_factory=asyncio.Event)


class Calls:
    """Asks for `actor`, over a connection that is somebody else's."""

    def __init__(
        self,
        *,
        connection: Connection,
        topics: Topics,
        actor: str,
        clock: Clock,
        encoding: Encoding = Encoding.MSGPACK,
        signer: Signer | None = None,
    ) -> None:
        self._connection = connection
        self._topics = topics
        self._actor = actor
        self._clock = clock
        self._encoding = encoding
        self._signer = signer
        self._pending: dict[str, _Pending] = {}  # by the topic of the reply
        self._room = asyncio.Semaphore(IN_FLIGHT)

    async def call(self, request: str, fields: Mapping[str, Any], within_s: float) -> dict[str, Any]:
        """Return the result of a request. `within_s`: at most 59 minutes.

        Raises Refusal, NoAnswer, and ValueError for what no gateway would read.
        """
        if not 0 < within_s <= LONGEST_S:
            raise ValueError(f"within_s must be above 0 and at most {LONGEST_S:.0f}, not {within_s:g}")
        call_id = str(ULID())
        pending = _Pending(self._message(request, call_id, fields, within_s))
        topic = self._topics.reply(self._actor, call_id)
        try:
            async with asyncio.timeout(within_s), self._room:
                self._pending[topic] = pending
                reply = await self._ask(pending)
        except TimeoutError as why:
            trouble = self._connection.trouble or f"no answer within {within_s:g} s"
            raise NoAnswer(request, call_id, trouble, may_have_had_effect=pending.sent) from why
        except PeerError as why:
            raise NoAnswer(request, call_id, str(why), may_have_had_effect=pending.sent) from why
        finally:
            self._pending.pop(topic, None)
        return _result(reply)

    def took(self, message: Incoming) -> None:
        """Take in what came on the topic of a reply. Raises PeerError for what is none."""
        pending = self._pending.get(message.topic)
        if pending is not None:
            pending.reply = decode_reply(message.payload, self._encoding)
            pending.stirred.set()

    def again(self) -> None:
        """Send all that is not answered again: the connection is new, or the gateway is."""
        for pending in self._pending.values():
            pending.stirred.set()

    async def _ask(self, pending: _Pending) -> Mapping[str, Any]:
        """Send until it is answered. Raises PublishRefused."""
        again_after_s = AGAIN_AFTER_S
        while pending.reply is None:
            link = await self._connection.link()
            pending.stirred.clear()
            try:
                await self._send(link, pending)
            except LinkDown:
                await self._connection.other_than(link)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(again_after_s):
                    await pending.stirred.wait()
            again_after_s *= 2  # a gateway that is away for long finds a few copies, not hundreds
        return pending.reply

    async def _send(self, link: Link, pending: _Pending) -> None:
        receipt, sent_before = await link.send(pending.message), pending.sent
        pending.sent = True
        try:
            await link.acknowledged(receipt)
        except PublishRefused:
            pending.sent = sent_before
            raise

    def _message(self, request: str, call_id: str, fields: Mapping[str, Any], within_s: float) -> Outgoing:
        topic, now = self._topics.request(self._actor, request), self._clock.wall_ms()
        told = {**fields, "id": call_id, "expires_at": rfc3339(now + round(within_s * 1000))}
        if self._signer is None:
            payload = encode(told, self._encoding)
        else:
            body = encode({**told, "issued_at": rfc3339(now)}, self._encoding)
            payload = seal(self._signer, topic, body, self._encoding)
        if len(payload) > MAX_BYTES:
            raise ValueError(f"{request}: {len(payload)} bytes are more than the {MAX_BYTES} a gateway reads")
        return Outgoing(topic, payload, content_type=CONTENT_TYPE[self._encoding])


def _result(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reply brings. Raises the Refusal that it tells of."""
    if reply.get("ok") is True and isinstance(reply.get("result"), dict):
        result: dict[str, Any] = reply["result"]
        return result
    error = reply.get("error")
    raise _refusal(error if isinstance(error, dict) else {})


def _refusal(error: Mapping[str, Any]) -> Refusal:
    """Return the refusal of an error map, in its own words. A code of a newer gateway is INTERNAL here."""
    told = str(error.get("code"))
    code = Code.__members__.get(told, Code.INTERNAL)
    refusal = Refusal(code, retry_after_ms=error.get("retry_after_ms"), details=error.get("details"))
    refusal.message = str(error.get("message", "The answer is none."))
    refusal.args = (f"{told}: {refusal.message}",)
    return refusal
