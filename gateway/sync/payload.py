"""Payloads: one map with string keys, as MessagePack or JSON.

What comes from outside is measured before it is decoded: size, nesting, keys. A bad one is a Refusal, nothing else.
"""

import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, NoReturn

import msgpack  # type: ignore[import-untyped] # it ships no types

from gateway.errors import Code, PeerError, Refusal

MAX_BYTES: Final = 64 * 1024  # of a request
MAX_REPLY_BYTES: Final = 8 * 1024 * 1024  # a reply may be a page of 200 operations, each with all it may say
MAX_DEPTH: Final = 8
MAX_KEYS: Final = 256  # in all maps together
MAX_VALUES: Final = 4096  # in all: the longest list of ids that fits is shorter; bounds what a scan may cost


class Encoding(StrEnum):
    """How a payload is spelled."""

    MSGPACK = "msgpack"
    JSON = "json"


CONTENT_TYPE: Final[Mapping[Encoding, str]] = {
    Encoding.MSGPACK: "application/msgpack",
    Encoding.JSON: "application/json",
}
_BY_CONTENT_TYPE: Final[Mapping[str, Encoding]] = {
    "application/msgpack": Encoding.MSGPACK,
    "application/x-msgpack": Encoding.MSGPACK,
    "application/vnd.msgpack": Encoding.MSGPACK,
    "application/json": Encoding.JSON,
}
_JSON_STARTS: Final = b"{ \t\r\n"  # no MessagePack map begins with one of these


def encode(payload: Mapping[str, Any], encoding: Encoding) -> bytes:
    """Return `payload` as bytes."""
    if encoding is Encoding.MSGPACK:
        packed: bytes = msgpack.packb(payload)
        return packed
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def decode(data: bytes, content_type: str | None = None) -> tuple[dict[str, Any], Encoding]:
    """Read a payload from outside: its encoding by `content_type`, else by the first byte.

    Raises Refusal INVALID_ARGUMENT for anything but one map with string keys, within the limits.
    """
    if len(data) > MAX_BYTES:
        _refuse(f"The payload has {len(data)} bytes; at most {MAX_BYTES} are read.")
    if not data:
        _refuse("The payload is empty; one map is needed.")
    encoding = _encoding_of(data, content_type)
    try:
        if encoding is Encoding.MSGPACK:
            _scan_msgpack(data)
            value = msgpack.unpackb(data, object_pairs_hook=_map, strict_map_key=False)
        else:
            _scan_json(data)
            value = _read_json(data)
    except (ValueError, IndexError, RecursionError, msgpack.exceptions.UnpackException) as why:
        raise Refusal(Code.INVALID_ARGUMENT, f"The payload is no valid {encoding.name}.") from why
    if not isinstance(value, dict):
        _refuse("The payload must be one map.")
    return value, encoding


def decode_reply(data: bytes, encoding: Encoding) -> dict[str, Any]:
    """Read a reply of a gateway: one map, as long as it needs to be. Raises PeerError for anything else."""
    try:
        value = msgpack.unpackb(data) if encoding is Encoding.MSGPACK else json.loads(data)
    except (ValueError, RecursionError, msgpack.exceptions.UnpackException) as why:
        raise PeerError(f"the reply is no valid {encoding.name}") from why
    if not isinstance(value, dict):
        raise PeerError("the reply is no map")
    return value


def _refuse(message: str) -> NoReturn:
    raise Refusal(Code.INVALID_ARGUMENT, message)


def _encoding_of(data: bytes, content_type: str | None) -> Encoding:
    named = _BY_CONTENT_TYPE.get((content_type or "").partition(";")[0].strip().lower())
    return named or (Encoding.JSON if data[0] in _JSON_STARTS else Encoding.MSGPACK)


def _map(pairs: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """Make a map of its pairs: string keys, each once, so that no two readers see different values."""
    made: dict[str, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str):
            _refuse("Every key must be a string.")
        if key in made:
            _refuse(f'The key "{key[:64]}" is there twice.')
        made[key] = value
    return made


class _Measure:
    """Nesting, keys and values so far; refuses at the limit."""

    __slots__ = ("_keys", "_values")

    def __init__(self) -> None:
        self._keys = 0
        self._values = 0

    def depth(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            _refuse(f"The payload is nested more than {MAX_DEPTH} deep.")

    def keys(self, count: int) -> None:
        self._keys += count
        if self._keys > MAX_KEYS:
            _refuse(f"The payload has more than {MAX_KEYS} keys.")

    def values(self, count: int) -> None:
        self._values += count
        if self._values > MAX_VALUES:
            _refuse(f"The payload has more than {MAX_VALUES} values.")


# --- MessagePack ----------------------------------------------------------------------------------------------------

_FIXED: Final[Mapping[int, int]] = {  # head -> bytes that follow it
    **dict.fromkeys((*range(0x80), *range(0xE0, 0x100), 0xC0, 0xC2, 0xC3), 0),  # small integers, nil, false, true
    **dict(zip((*range(0xCC, 0xD4), 0xCA, 0xCB), (1, 2, 4, 8, 1, 2, 4, 8, 4, 8), strict=True)),  # numbers
    **{0xA0 + length: length for length in range(32)},  # short strings
}
_SIZED: Final[Mapping[int, int]] = {0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC4: 1, 0xC5: 2, 0xC6: 4}  # head -> width of its length
_FLOATS: Final[Mapping[int, str]] = {0xCA: ">f", 0xCB: ">d"}
_WIDE_CONTAINERS: Final[Mapping[int, tuple[int, bool]]] = {  # head -> (width of its count, is a map)
    0xDC: (2, False),
    0xDD: (4, False),
    0xDE: (2, True),
    0xDF: (4, True),
}


def _scan_msgpack(data: bytes) -> None:
    """Walk over the heads of all values without making any. Raises Refusal, or IndexError where data ends early."""
    measure = _Measure()
    at, left = 0, [1]  # left: values still to come, one entry a level
    while left:
        if not left[-1]:
            left.pop()
            continue
        left[-1] -= 1
        head = data[at]
        at += 1
        if head in _FIXED:
            _refuse_infinite(head, data, at)
            at += _FIXED[head]
        elif head in _SIZED:
            width = _SIZED[head]
            at += width + int.from_bytes(data[at : at + width], "big")
        else:
            count, is_map, at = _container(head, data, at)
            measure.keys(count if is_map else 0)
            measure.values(count)
            left.append(count * 2 if is_map else count)
            measure.depth(len(left) - 1)
    if at != len(data):
        _refuse("The payload must be one map and nothing after it.")


def _refuse_infinite(head: int, data: bytes, at: int) -> None:
    layout = _FLOATS.get(head)
    if layout is None:
        return
    if at + _FIXED[head] > len(data):
        raise IndexError(at)
    if not math.isfinite(struct.unpack_from(layout, data, at)[0]):
        _refuse("NaN and infinity are no numbers here.")


def _container(head: int, data: bytes, at: int) -> tuple[int, bool, int]:
    """Return (count, is a map, where its first value begins)."""
    if 0x80 <= head <= 0x9F:  # noqa: PLR2004 - fixmap and fixarray
        return head & 0x0F, head < 0x90, at  # noqa: PLR2004 - fixmap ends here
    wide = _WIDE_CONTAINERS.get(head)
    if wide is None:
        _refuse("Extension types are not read.")
    width, is_map = wide
    return int.from_bytes(data[at : at + width], "big"), is_map, at + width


# --- JSON -----------------------------------------------------------------------------------------------------------

# A whole string (an unfinished one to the end), or one mark. Possessive, so that no input makes it look twice.
_JSON_MARKS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[{}\[\]:,]', re.DOTALL)
_INTEGER_DIGITS: Final = 20  # of the largest unsigned 64-bit integer


def _scan_json(data: bytes) -> None:
    """Count nesting, keys and values from the marks outside strings. Raises Refusal at a limit."""
    measure, depth = _Measure(), 0
    for found in _JSON_MARKS.finditer(data):
        mark = found.group()
        if mark in {b"{", b"["}:
            depth += 1
            measure.depth(depth)
        elif mark in {b"}", b"]"}:
            depth -= 1
        elif mark == b":":
            measure.keys(1)
        elif mark == b",":
            measure.values(1)


def _read_json(data: bytes) -> Any:
    value = json.loads(
        data.decode(), object_pairs_hook=_map, parse_int=_integer, parse_float=_number, parse_constant=_no_constant
    )
    if b"\\u" in data:  # half a surrogate pair: a text that cannot be written again
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _integer(text: str) -> int:
    value = int(text) if len(text) <= _INTEGER_DIGITS else None
    if value is None or not -(1 << 63) <= value < 1 << 64:
        _refuse("An integer does not fit in 64 bits.")
    return value


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _refuse("A number is too large.")
    return value


def _no_constant(text: str) -> NoReturn:
    _refuse(f"{text} is no number here.")
