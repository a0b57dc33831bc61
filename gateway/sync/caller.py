"""Small clients for the command line: one request, one reply, over the control socket or over MQTT."""

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

from ulid import ULID

from gateway.clock import rfc3339
from gateway.errors import GatewayError, LinkDown, PeerError, Refusal
from gateway.sync.broker import Broker
from gateway.sync.envelope import LONGEST_LIFE_MS
from gateway.sync.frames import read_frame, write_frame
from gateway.sync.link import Link, connect
from gateway.sync.message import Incoming, Outgoing
from gateway.sync.payload import CONTENT_TYPE, MAX_REPLY_BYTES, Encoding, decode_reply, encode
from gateway.sync.signed import completed, seal
from gateway.sync.signing import Signer
from gateway.sync.topics import Topics

_CLOCK_SLACK_MS: Final = 60_000  # clocks that differ this much still understand an hour


class NobodyAnswers(GatewayError):  # noqa: N818 - a state of the weather, like LinkDown
    """No gateway at the other end, or none that answered in time."""


class Caller(Protocol):
    """Asks a gateway."""

    async def call(self, request: str, fields: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Return the reply {id, ok, result | error}. Raises NobodyAnswers."""
        ...


class SocketCaller:
    """Asks the gateway on this machine, over the control socket at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def call(self, request: str, fields: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Return the reply {id, ok, result | error}. Raises NobodyAnswers."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._ask({**fields, "request": request, "id": str(ULID())}, timeout_s)
        except TimeoutError as why:
            raise NobodyAnswers(f"{self._path}: no answer within {timeout_s:g} s") from why
        except OSError as why:
            raise NobodyAnswers(f"{self._path}: {why.strerror or why}") from why
        except (Refusal, PeerError) as why:
            raise NobodyAnswers(f"{self._path}: what answers there is no gateway: {why}") from why

    async def _ask(self, payload: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            writer.write(write_frame(payload))
            await writer.drain()
            body = await read_frame(reader, timeout_s, MAX_REPLY_BYTES)
        finally:
            writer.close()
        if body is None:
            raise NobodyAnswers(f"{self._path}: the gateway hung up")
        return decode_reply(body, Encoding.MSGPACK)


class MqttCaller:
    """Asks a gateway through a broker, as `actor`. `broker`: its client id may be empty, then one is made up.

    `signer`: signs whatever is asked.
    """

    def __init__(
        self,
        broker: Broker,
        gateway_id: str,
        actor: str,
        encoding: Encoding = Encoding.MSGPACK,
        signer: Signer | None = None,
    ) -> None:
        self._broker = broker if broker.client_id else replace(broker, client_id=f"{actor}-{secrets.token_hex(4)}")
        self._topics = Topics(gateway_id)
        self._actor = actor
        self._encoding = encoding
        self._signer = signer

    async def call(self, request: str, fields: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Return the reply {id, ok, result | error}. Raises NobodyAnswers."""
        try:
            async with asyncio.timeout(timeout_s), connect(self._broker) as link:
                return await self._ask(link, request, fields, timeout_s)
        except TimeoutError as why:
            raise NobodyAnswers(f"{self._topics.root}: no answer within {timeout_s:g} s") from why
        except (LinkDown, PeerError) as why:
            raise NobodyAnswers(str(why)) from why

    async def _ask(self, link: Link, request: str, fields: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        call_id = str(ULID())
        reply_topic = self._topics.reply(self._actor, call_id)
        topic = self._topics.request(self._actor, request)
        payload = self._payload(topic, {**fields, "id": call_id}, timeout_s)
        await link.subscribe(reply_topic)
        waiting = asyncio.create_task(_reply(link, reply_topic), name="wait for the reply")
        watching = asyncio.create_task(link.watch(), name="watch the connection")
        try:
            await link.publish(Outgoing(topic, payload, content_type=CONTENT_TYPE[self._encoding]))
            done, _ = await asyncio.wait({waiting, watching}, return_when=asyncio.FIRST_COMPLETED)
            if waiting not in done:
                await watching
            message = waiting.result()
        finally:
            await _end(waiting, watching)
        link.acknowledge(message)
        return decode_reply(message.payload, self._encoding)

    def _payload(self, topic: str, fields: Mapping[str, Any], timeout_s: float) -> bytes:
        now_ms = time.time_ns() // 1_000_000
        life_ms = min(round(timeout_s * 1000), LONGEST_LIFE_MS - _CLOCK_SLACK_MS)
        if self._signer is None:
            return encode({**fields, "expires_at": rfc3339(now_ms + life_ms)}, self._encoding)
        body = completed(fields, fields["id"], now_ms, life_ms)
        return seal(self._signer, topic, encode(body, self._encoding), self._encoding)


async def _reply(link: Link, topic: str) -> Incoming:
    while (message := await link.receive()).topic != topic:
        link.acknowledge(message)
    return message


async def _end(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
