"""Where a page of a list ended: opaque to the caller, checked like everything that comes from outside."""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

from gateway.errors import Code, Refusal

Place = tuple[Any, ...]  # of a row in the order of its list: booleans, integers, texts
MAX_CURSOR: Final = 512  # characters
MAX_INTEGER: Final = (1 << 63) - 1  # the largest one of the database
_MARK_BYTES: Final = 8


def write_cursor(asked: Sequence[Any], place: Place) -> str:
    """Return the cursor of the page after `place`. `asked`: the list and its filters, for which alone it is good."""
    text = json.dumps([_mark(asked), place], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str, asked: Sequence[Any], start: Place) -> Place:
    """Return the place where the page before ended. `start`: a place of the same kind.

    Raises Refusal INVALID_ARGUMENT for a cursor that we did not write for this.
    """
    if len(cursor) > MAX_CURSOR:
        raise _refusal()
    try:
        told = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as why:
        raise _refusal() from why
    match told:
        case [str(mark), [*place]] if mark == _mark(asked) and _is_like(place, start):
            return tuple(place)
    raise _refusal()


def _mark(asked: Sequence[Any]) -> str:
    """Tell lists and filters apart, in few characters whatever was asked for."""
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[: 2 * _MARK_BYTES]


def _is_like(place: Sequence[Any], start: Place) -> bool:
    return len(place) == len(start) and all(map(_fits, place, start))


def _fits(part: Any, example: Any) -> bool:
    """Whether a part of a place is of the right type and one that the database takes."""
    if type(part) is not type(example):
        return False
    return part.isascii() if isinstance(part, str) else abs(part) <= MAX_INTEGER


def _refusal() -> Refusal:
    return Refusal(Code.INVALID_ARGUMENT, "cursor: none that this list has given for these filters.")
