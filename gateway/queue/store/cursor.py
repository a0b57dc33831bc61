"""Where a page of operations ended: opaque to the caller, checked like everything that comes from outside."""

import base64
import binascii
import json
from typing import Any, Final, NamedTuple

from gateway.errors import Code, Refusal
from gateway.operation import Operation, order_key

Filters = tuple[str | None, str, str | None]  # component_id, queue_type, status
_KEY_TYPES: Final = (bool, bool, int, int, int, str)
MAX_CURSOR: Final = 1024  # characters


class Position(NamedTuple):
    """The last place on a page, in the terms of the order of processing."""

    is_proxy: bool
    starts: bool  # it does not resume
    negative_urgency: int
    rank: int
    created_at: int
    request_id: str


def write_cursor(filters: Filters, last: Operation) -> str:
    """Return the cursor of the page after `last`."""
    text = json.dumps([filters, order_key(last)], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str, filters: Filters) -> Position:
    """Return where the page before ended. Raises Refusal INVALID_ARGUMENT for one that we did not write for this."""
    if len(cursor) > MAX_CURSOR:
        raise _refusal()
    try:
        told = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as why:
        raise _refusal() from why
    match told:
        case [list(asked), [*key]] if asked == list(filters) and _is_key(key):
            return Position(*key)
    raise _refusal()


def _is_key(key: list[Any]) -> bool:
    return len(key) == len(_KEY_TYPES) and all(type(part) is kind for part, kind in zip(key, _KEY_TYPES, strict=True))


def _refusal() -> Refusal:
    return Refusal(Code.INVALID_ARGUMENT, "cursor: none that this list has given for these filters.")
