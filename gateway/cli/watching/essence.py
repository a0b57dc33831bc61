"""What a message says, in one line: its values by their names, of what is nested only what identifies it."""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from gateway.cli.render import text
from gateway.errors import PeerError
from gateway.sync.payload import Encoding, decode_reply

_JSON_STARTS: Final = b"{ \t\r\n"  # no MessagePack map begins with one of these
_SIGNED: Final = frozenset({"key_id", "signature", "body"})
_RAW: Final = 32  # bytes shown of a payload that cannot be read
_DEEPEST: Final = 16  # levels of nesting; ours has 8
_LISTED: Final = 8  # values shown of a list
_WIDEST: Final = 200  # characters of one value
_IDENTIFYING: Final = ("request_id", "component_id", "kind", "command_type", "status", "code", "message")
_OF_NO_NEWS: Final = frozenset({"type", "subject", "at", "epoch", "time_trusted", "component_id", "evidence"})


def read(payload: bytes) -> Any:
    """Return what a payload holds: a map, None where it is empty, its bytes where it is nothing of ours.

    What was signed is shown without its signature.
    """
    if not payload:
        return None
    try:
        value = decode_reply(payload, Encoding.JSON if payload[0] in _JSON_STARTS else Encoding.MSGPACK)
    except PeerError:
        return payload
    if _is_deep(value):
        return payload
    if value.keys() != _SIGNED:
        return value
    return {"key_id": value["key_id"], "body": _body(value["body"])}


def _is_deep(value: Any) -> bool:
    """Whether a value is nested deeper than anything of ours, and than whoever writes it down can bear."""
    level = [value]
    for _ in range(_DEEPEST):
        nested = (each for each in level if isinstance(each, dict | list))
        level = [inner for each in nested for inner in (each.values() if isinstance(each, dict) else each)]
    return bool(level)


def _body(body: Any) -> Any:
    with suppress(binascii.Error, ValueError):
        raw = base64.b64decode(body, validate=True) if isinstance(body, str) else body
        return read(raw) if isinstance(raw, bytes) else body
    return body


def essence(value: Any) -> str:
    """Spell what `read` returned in one line."""
    if value is None:
        return "(cleared)"
    if isinstance(value, bytes):
        more = "…" if len(value) > _RAW else ""
        return f"{len(value)} bytes that are no map: {value[:_RAW].hex(' ')}{more}"
    return "  ".join(_pairs(value))


def _pairs(payload: Mapping[str, Any]) -> Iterator[str]:
    """Spell the values of a map; those of its attributes, result, error and body as if they were its own."""
    for key, value in payload.items():
        if key in {"attributes", "result", "error", "body"} and isinstance(value, Mapping):
            yield from _pairs(value)
        elif key not in _OF_NO_NEWS and value is not None:
            yield f"{text(key)}={_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "/".join(text(value[key]) for key in _IDENTIFYING if key in value) or f"({len(value)} values)"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        more = f",… ({len(value)})" if len(value) > _LISTED else ""
        return ",".join(map(_value, value[:_LISTED])) + more or "()"
    spelled = value.hex() if isinstance(value, bytes) else text(value)
    return spelled if len(spelled) <= _WIDEST else f"{spelled[:_WIDEST]}…"
