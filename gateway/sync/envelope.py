"""What every request brings beside its fields: an id of the caller's own, and an end."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol

from gateway.access import Actor
from gateway.clock import Clock, parse_rfc3339
from gateway.errors import Code, Refusal
from gateway.ids import CALL_ID_PATTERN
from gateway.ports import Call

LONGEST_LIFE_MS: Final = 3_600_000
LIFE_WITHOUT_CLOCK_MS: Final = 60_000
_CALL_ID: Final = re.compile(CALL_ID_PATTERN)


class Requests(Protocol):
    """Answers requests: `gateway.api.Api`."""

    async def call(
        self, actor: Actor, request: str, fields: Mapping[str, Any], call: Call | None = None
    ) -> dict[str, Any]:
        """Return {"ok": True, "result": {...}} or {"ok": False, "error": {...}}; any effect is committed."""
        ...


def take_id(fields: dict[str, Any]) -> str | None:
    """Take the caller's id out of `fields`; None where there is none that can be used."""
    call_id = fields.pop("id", None)
    return call_id if isinstance(call_id, str) and _CALL_ID.fullmatch(call_id) else None


def take_end(fields: dict[str, Any], clock: Clock, expiry_s: int | None = None) -> int | None:
    """Take `expires_at` out of `fields` and return the request's end, ms since the epoch; None: it names none.

    `expiry_s`: what is left of the message's own life (MQTT 5); the earlier end counts. Without trusted time
    `expires_at` is not judged and the request lives a minute. Raises Refusal INVALID_ARGUMENT, REQUEST_EXPIRED.
    """
    now = clock.wall_ms()
    named = fields.pop("expires_at", None)
    ends = [] if expiry_s is None else [now + expiry_s * 1000]
    if named is not None:
        at = _time(named)
        ends.append(at if clock.trusted() else now + LIFE_WITHOUT_CLOCK_MS)
    if not ends:
        return None
    end = min(ends)
    if end > now + LONGEST_LIFE_MS:
        raise Refusal(Code.INVALID_ARGUMENT, "expires_at is more than one hour away.", details={"field": "expires_at"})
    if end <= now:
        raise Refusal(Code.REQUEST_EXPIRED)
    return end


def digest(request: str, payload: bytes) -> bytes:
    """Return what tells one request's content from another's."""
    return hashlib.sha256(request.encode() + b"\0" + payload).digest()


def refused(no: Refusal) -> dict[str, Any]:
    """Return the answer that says no."""
    return {"ok": False, "error": no.payload()}


def _time(text: object) -> int:
    try:
        return parse_rfc3339(text) if isinstance(text, str) else int("")
    except (ValueError, OverflowError):
        raise Refusal(
            Code.INVALID_ARGUMENT, "expires_at is no RFC 3339 time.", details={"field": "expires_at"}
        ) from None
