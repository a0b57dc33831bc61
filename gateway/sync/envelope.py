"""What every request brings beside its fields: an id of the caller's own, and an end."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gateway.access import Actor
from gateway.clock import Clock, parse_rfc3339
from gateway.errors import Code, Refusal
from gateway.ids import CALL_ID_PATTERN
from gateway.ports import Call

LONGEST_LIFE_MS: Final = 3_600_000
LIFE_WITHOUT_CLOCK_MS: Final = 60_000
MEMORY_WITHOUT_CLOCK_MS: Final = 365 * 86_400_000  # a clock that has stood still may be that far behind
EXPIRY_STEP_MS: Final = 1000  # brokers count a message's life in whole seconds
_CALL_ID: Final = re.compile(CALL_ID_PATTERN)


class Requests(Protocol):
    """Answers requests: `gateway.api.Api`."""

    async def call(
        self, actor: Actor, request: str, fields: Mapping[str, Any], call: Call | None = None
    ) -> dict[str, Any]:
        """Return {"ok": True, "result": {...}} or {"ok": False, "error": {...}}; any effect is committed."""
        ...


@dataclass(frozen=True, slots=True)
class Life:
    """How long a request may begin (`due`) and is remembered (`until`): ms since the epoch.

    It is remembered for as long as it could come again, even where its message has a shorter life than it has.
    """

    due: int
    until: int

    def shortened(self, now: int, expiry_s: int | None) -> "Life":
        """Return this, due no later than what is left of a message's own life."""
        return self if expiry_s is None else Life(min(self.due, now + expiry_s * 1000), self.until)


def take_id(fields: dict[str, Any]) -> str | None:
    """Take the caller's id out of `fields`; None where there is none that can be used."""
    call_id = fields.pop("id", None)
    return call_id if isinstance(call_id, str) and _CALL_ID.fullmatch(call_id) else None


def take_time(fields: dict[str, Any], name: str) -> int | None:
    """Take a time out of `fields`, ms since the epoch; None: it is not there. Raises Refusal INVALID_ARGUMENT."""
    said = fields.pop(name, None)
    if said is None:
        return None
    try:
        return parse_rfc3339(said)
    except (ValueError, OverflowError, TypeError):
        raise wrong_time(name, "is no RFC 3339 time.") from None


def take_life(fields: dict[str, Any], clock: Clock, expiry_s: int | None = None) -> Life | None:
    """Take `expires_at` out of `fields` and return how long the request lives; None: nothing says it.

    `expiry_s`: what is left of the message's own life (MQTT 5); the earlier end counts. Without trusted time
    `expires_at` is not judged and the request lives a minute. Raises Refusal INVALID_ARGUMENT, REQUEST_EXPIRED.
    """
    now, named = clock.wall_ms(), take_time(fields, "expires_at")
    if named is not None and clock.trusted():
        life = Life(named, min(named, now + LONGEST_LIFE_MS)).shortened(now, expiry_s)
    elif named is not None:
        life = Life(now + LIFE_WITHOUT_CLOCK_MS, _until_without_clock(now, named)).shortened(now, expiry_s)
    elif expiry_s is not None:
        life = Life(now + expiry_s * 1000, now + expiry_s * 1000 + EXPIRY_STEP_MS)
    else:
        return None
    if life.due > now + LONGEST_LIFE_MS:
        raise wrong_time("expires_at", "is more than one hour away.")
    if life.due <= now:
        raise Refusal(Code.REQUEST_EXPIRED)
    return life


def wrong_time(field: str, why: str) -> Refusal:
    """Return the refusal of a time."""
    return Refusal(Code.INVALID_ARGUMENT, f"{field} {why}", details={"field": field})


def digest(request: str, fields: Mapping[str, Any]) -> bytes:
    """Return what tells one request's content from another's, however it is spelled and whenever it ends."""
    content = json.dumps([request, fields], sort_keys=True, separators=(",", ":"), default=repr)
    return hashlib.sha256(content.encode()).digest()


def refused(no: Refusal) -> dict[str, Any]:
    """Return the answer that says no."""
    return {"ok": False, "error": no.payload()}


def _until_without_clock(now: int, named: int) -> int:
    """Return how long to remember a request whose end we cannot judge: it may well come again once we can."""
    return max(now + LONGEST_LIFE_MS, min(named, now + MEMORY_WITHOUT_CLOCK_MS))
