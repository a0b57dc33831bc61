"""The corpus hurt at random, by seeds: whatever comes in is read or refused, and what is read can be written again."""

import asyncio
import json
import math
import struct
from random import Random
from typing import Any

import msgpack  # type: ignore[import-untyped] # it ships no types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bus import e2e
from gateway.bus.exchange import COMMANDING, PAIRING
from gateway.bus.frames import load_codecs
from gateway.bus.link.conditions import condition_told_by
from gateway.clock import parse_rfc3339
from gateway.errors import PeerError, Refusal
from gateway.sync.frames import read_frame, write_frame
from gateway.sync.payload import MAX_DEPTH, MAX_KEYS, MAX_VALUES, Encoding, decode, decode_reply, encode
from tests.hostile import READERS, Ear, corpus, frames_of, mutated, read_socket

ROUNDS = {"config": 300, "access": 300, "scenario": 300, "socket": 400, "can": 300, "signed": 500}  # else
MANY = 2000


@pytest.mark.parametrize("edge", READERS)
def test_hurt_input_is_read_or_refused_and_nothing_else(edge: str) -> None:
    rng, read = Random(edge), READERS[edge]
    seeds = [case.data for case in corpus(edge) if len(case.data) < 4096]
    for _ in range(ROUNDS.get(edge, MANY)):
        hurt = mutated(rng, rng.choice(seeds), seeds)
        try:
            read(hurt)
        except Exception as bug:
            raise AssertionError(f"keep this in tests/corpus/{edge}: {hurt!r}") from bug


# --- payloads ---------------------------------------------------------------------------------------------------------


def measure(value: Any, depth: int = 0) -> tuple[int, int, int]:
    """Return how deep a decoded value is, its keys, and its values."""
    if not isinstance(value, dict | list):
        return depth, 0, 0
    inner = [measure(each, depth + 1) for each in (value.values() if isinstance(value, dict) else value)]
    keys = len(value) if isinstance(value, dict) else 0
    return (
        max([depth + 1, *(each[0] for each in inner)]),
        keys + sum(each[1] for each in inner),
        len(value) + sum(each[2] for each in inner),
    )


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same in type and sign, too."""
    return repr(one) == repr(other)


@pytest.mark.parametrize("encoding", Encoding)
def test_what_is_decoded_is_within_the_limits_and_is_the_same_when_written_and_read_again(encoding: Encoding) -> None:
    rng, read = Random(f"payload {encoding}"), 0
    seeds = [case.data for case in corpus("payload") if case.taken and len(case.data) < 4096]
    for _ in range(MANY):
        try:
            value, _ = decode(mutated(rng, rng.choice(seeds), seeds))
        except Refusal:
            continue
        read += 1
        depth, keys, values = measure(value)
        assert depth <= MAX_DEPTH
        assert keys <= MAX_KEYS
        assert values <= MAX_VALUES
        if encoding is Encoding.MSGPACK or not holds_bytes(value):
            again = decode(encode(value, encoding), None)
            assert same(again[0], value)
    assert read > 100, "too few of the seeds are still read"


def holds_bytes(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(holds_bytes, value.values() if isinstance(value, dict) else value))
    return isinstance(value, bytes)


INTEGERS = st.integers(-(1 << 63), (1 << 64) - 1)
SCALARS = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False) | st.text(max_size=9)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5)
)


@settings(derandomize=True, max_examples=100, deadline=None, database=None)
@given(value=st.dictionaries(st.text(max_size=5), VALUES, max_size=6), by_json=st.booleans())
def test_a_payload_is_read_exactly_if_it_is_finite_and_within_the_limits(value: dict[str, Any], by_json: bool) -> None:
    raw = json.dumps(value).encode() if by_json else msgpack.packb(value)
    depth, keys, values = measure(value)
    fits = depth <= MAX_DEPTH and keys <= MAX_KEYS and values <= MAX_VALUES and is_finite(value)
    try:
        again, _ = decode(raw)
    except Refusal:
        assert not fits
    else:
        assert fits
        assert same(again, value)


def is_finite(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(is_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize("encoding", Encoding)
def test_a_reply_is_a_map_or_a_fault_of_the_peer(encoding: Encoding) -> None:
    rng = Random(f"reply {encoding}")
    seeds = [case.data for case in corpus("payload")]
    for _ in range(MANY):
        raw = mutated(rng, rng.choice(seeds), seeds)
        try:
            assert isinstance(decode_reply(raw, encoding), dict)
        except PeerError:
            continue


@settings(derandomize=True, max_examples=150, deadline=None, database=None)
@given(text=st.text(max_size=40) | st.from_regex(r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z"))
def test_a_time_is_a_number_or_none(text: str) -> None:
    try:
        assert isinstance(parse_rfc3339(text), int)
    except ValueError:
        return


# --- frames of the control socket -------------------------------------------------------------------------------------


def test_frames_come_out_whole_however_they_are_cut() -> None:
    rng = Random(5)
    sent = [{"id": "x" * rng.randrange(300), "n": n} for n in range(200)]
    raw = b"".join(write_frame(each) for each in sent)
    assert read_socket(raw, lambda: rng.choice((1, 2, 3, 4, 5, 100, 4096)))

    async def read_all() -> list[dict[str, Any]]:
        reader, got = asyncio.StreamReader(), []
        reader.feed_data(raw)
        reader.feed_eof()
        while (body := await read_frame(reader, 1.0)) is not None:
            got.append(decode(body)[0])
        return got

    assert asyncio.run(read_all()) == sent


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 65_535, 65_536, 65_537, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_no_room_is_made_for_what_is_only_announced(size: int) -> None:
    reader_sees = struct.pack(">I", size) + b"\x80"
    assert read_socket(reader_sees) is (size == 1)


# --- the bus ----------------------------------------------------------------------------------------------------------

OURS = [codec.can_id for codec in load_codecs().values()]


def any_id(rng: Random) -> int:
    """Return an id: one of ours at any node, a neighbour of it, or anything, with any flags."""
    match rng.randrange(4):
        case 0:
            return rng.choice(OURS) | rng.choice((0x12, 0xA0, 0x33, 0xFA, 0xFB, 0xFF))
        case 1:
            return rng.choice(OURS) ^ 1 << rng.randrange(32)
        case 2:
            return rng.randrange(0x800)
        case _:
            return rng.getrandbits(32)


def any_data(rng: Random, can_id: int) -> bytes:
    data = rng.randbytes(rng.choice((8, 8, 8, 8, 8, 0, 1, 7, 9, 64)))
    if len(data) == 8 and rng.random() < 0.5:  # with a checksum that is right for somebody
        codec = rng.choice(list(load_codecs().values()))
        return bytes((e2e.crc_of(codec.seed(rng.choice((can_id & 0xFF, 0x12, 0xA0))), data),)) + data[1:]
    return data


def test_any_frame_is_judged_and_what_nobody_wants_leaves_nothing_behind() -> None:
    rng, ear = Random(6), Ear()
    with ear.exchange.ask(PAIRING, 0x12, (0, 6), 7), ear.exchange.ask(COMMANDING, 0xA0, (1,), 9):
        for _ in range(30_000):
            can_id = any_id(rng)
            ear.hear((can_id, any_data(rng, can_id)))
            if rng.random() < 0.01:
                ear.monitor.look(ear.clock.now)
    known = ear.monitor.stats()["components"]
    assert known == 2
    assert ear.counted() > 1000
    discovered = [
        each.attributes["component_id"] for each in ear.told if getattr(each, "type", "") == "component_discovered"
    ]
    assert len(discovered) == len(set(discovered)) <= 500
    assert len(ear.exchange._open) == 0


def test_frames_of_the_corpus_come_through_all_together() -> None:
    ear = Ear()
    for case in corpus("can"):
        ear.hear(*frames_of(case.data))
    assert ear.taken
    assert ear.counted() > 10


def test_any_error_frame_tells_a_condition_or_nothing() -> None:
    rng = Random(7)
    for _ in range(5000):
        condition_told_by(rng.getrandbits(32), rng.randbytes(rng.randrange(9)))
