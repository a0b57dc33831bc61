import json
import time
from typing import Any

import msgpack  # type: ignore[import-untyped] # it ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Code, PeerError, Refusal
from gateway.sync.payload import MAX_BYTES, MAX_KEYS, MAX_VALUES, Encoding, decode, decode_reply, encode

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=40)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
MAPS = st.dictionaries(st.text(max_size=8), VALUES, max_size=6)


def depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def keys(value: object) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(keys, value.values()))
    return sum(map(keys, value)) if isinstance(value, list) else 0


def refusal(data: bytes, content_type: str | None = None) -> str:
    with pytest.raises(Refusal) as caught:
        decode(data, content_type)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


@given(MAPS, st.sampled_from(Encoding))
def test_what_is_written_reads_the_same_within_the_limits_and_is_refused_beyond(
    payload: dict[str, Any], encoding: Encoding
) -> None:
    data = encode(payload, encoding)
    if depth(payload) > 8 or keys(payload) > MAX_KEYS:
        refusal(data)
    else:
        assert decode(data) == (payload, encoding)
    assert decode_reply(data, encoding) == payload


@given(st.binary(max_size=300))
def test_no_bytes_whatever_raise_anything_but_a_refusal(data: bytes) -> None:
    for content_type in (None, "application/json", "application/msgpack"):
        try:
            payload, _ = decode(data, content_type)
        except Refusal:
            continue
        assert isinstance(payload, dict)


@given(MAPS, st.data())
def test_no_damage_to_a_payload_raises_anything_but_a_refusal(payload: dict[str, Any], data: st.DataObject) -> None:
    for encoding in Encoding:
        whole = bytearray(encode(payload, encoding))
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
        for damaged in (bytes(whole), bytes(whole[:at])):
            try:
                decode(damaged)
            except Refusal:
                continue


def test_the_content_type_decides_and_else_the_first_byte() -> None:
    data = msgpack.packb({"a": 1})
    assert decode(data)[1] is Encoding.MSGPACK
    assert decode(b' \n{"a": 1}')[1] is Encoding.JSON
    assert decode(data, "application/x-msgpack")[1] is Encoding.MSGPACK
    assert decode(b'{"a": 1}', "Application/JSON; charset=utf-8")[1] is Encoding.JSON
    assert decode(b'{"a": 1}', "text/plain")[1] is Encoding.JSON
    assert "JSON" in refusal(data, "application/json")


@pytest.mark.parametrize("encoding", Encoding)
def test_size_nesting_keys_and_values_end_at_their_limits(encoding: Encoding) -> None:
    nested: dict[str, Any] = {"a": 1}
    for _ in range(7):
        nested = {"a": nested}
    assert decode(encode(nested, encoding))[0] == nested
    assert "deep" in refusal(encode({"a": nested}, encoding))
    assert "deep" in refusal(encode({"a": [[[[[[[[1]]]]]]]]}, encoding))

    many = {f"k{n}": n for n in range(MAX_KEYS)}
    assert decode(encode(many, encoding))[0] == many
    assert "keys" in refusal(encode({**many, "more": 1}, encoding))
    assert "keys" in refusal(encode({"a": many}, encoding)), "keys count in all maps together"

    assert decode(encode({"a": [0] * (MAX_VALUES - 2)}, encoding))
    assert "values" in refusal(encode({"a": [0] * (MAX_VALUES + 2)}, encoding))

    frame = len(encode({"a": "x" * 40_000}, encoding)) - 40_000
    fitting = encode({"a": "x" * (MAX_BYTES - frame)}, encoding)
    assert len(fitting) == MAX_BYTES
    assert decode(fitting)
    assert str(MAX_BYTES) in refusal(fitting + b" ")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"[1]", "one map"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": 18446744073709551616}', "64 bits"),
        (b'{"a": -9223372036854775809}', "64 bits"),
        (b'{"a": ' + b"9" * 5000 + b"}", "64 bits"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": "\\ud800"}', "no valid JSON"),
        (b'{"a": "\xff"}', "no valid JSON"),
        (b'{"a": 1', "no valid JSON"),
        (b'{"a": 1} {"b": 2}', "no valid JSON"),
        (msgpack.packb([1]), "one map"),
        (msgpack.packb(7), "one map"),
        (msgpack.packb({1: 2}), "string"),
        (msgpack.packb({b"a": 2}), "string"),
        (msgpack.packb({"a": {1: 2}}), "string"),
        (msgpack.packb({"a": float("nan")}), "NaN"),
        (msgpack.packb({"a": float("-inf")}, use_single_float=True), "NaN"),
        (msgpack.packb({"a": msgpack.ExtType(5, b"x")}), "Extension"),
        (msgpack.packb({"a": msgpack.Timestamp(1)}), "Extension"),
        (msgpack.packb({"a": 1}) + b"\x01", "nothing after"),
        (msgpack.packb({"a": 1})[:-1], "no valid MSGPACK"),
        (b"\x81\xa1a\xcb\x00", "no valid MSGPACK"),
        (b"\x81\xa1a\xa2\xff\xff", "no valid MSGPACK"),
        (b"\x82\xa1a\x01\xa1a\x02", "twice"),
        (b"\xdf\xff\xff\xff\xff", "keys"),
        (b"\xdd\xff\xff\xff\xff", "values"),
        (b"\xc1", "Extension"),
    ],
)
def test_a_bad_payload_is_refused_with_a_sentence_that_helps(data: bytes, why: str) -> None:
    assert why in refusal(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": "' + b'\\"' * 32_000,
        b'{"a": ' + b"[" * 65_000,
        b'{"a": ' + b"[]," * 21_000,
        b'{"a": ' + b'"",' * 21_000,
        b"{" + b'"' * 65_000,
        b"\x81\xa1a\xdd\x00\x00\xff\x00" + b"\x00" * 65_000,
        b"\x81\xa1a" + b"\x91" * 65_000,
        b"\x81\xa1a\xdc\x0f\xff" + b"\x90" * 65_000,
    ],
)
def test_hostile_payloads_cost_little(data: bytes) -> None:
    began = time.process_time()
    refusal(data)
    assert time.process_time() - began < 1.0  # quadratic behaviour would take minutes


def test_json_is_utf8_without_frills_and_holds_no_nan() -> None:
    assert encode({"a": "Zelle 3 – größer"}, Encoding.JSON) == '{"a":"Zelle 3 – größer"}'.encode()
    assert json.loads(encode({"a": [1, None]}, Encoding.JSON)) == {"a": [1, None]}
    with pytest.raises(ValueError):
        encode({"a": float("nan")}, Encoding.JSON)


@pytest.mark.parametrize(
    ("data", "encoding"), [(b"[1]", Encoding.JSON), (b"{", Encoding.JSON), (b"\xc1", Encoding.MSGPACK)]
)
def test_a_reply_that_is_none_is_the_peers_fault(data: bytes, encoding: Encoding) -> None:
    with pytest.raises(PeerError):
        decode_reply(data, encoding)
