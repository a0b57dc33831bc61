"""What counts and what sums up in frames: found where it is, and not where chance or habit only looks like it."""

import random

import pytest

from gateway.bus.foreign.fields import Field
from gateway.bus.foreign.protection import PROFILES
from gateway.bus.learn.patterns import Counter, candidates, checksum, counters

BYTE_1 = Field(8, 8, little=True)
LOW_NIBBLE_1 = Field(8, 4, little=True)
UPPER_NIBBLE_6 = Field(52, 4, little=True)


def frames(counter: Field, modulo: int, count: int = 100, step: int = 1) -> list[bytes]:
    rng = random.Random(7)
    return [
        (rng.getrandbits(64) & ~((1 << counter.length) - 1 << counter.at) | n * step % modulo << counter.at).to_bytes(
            8, "little"
        )
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("field", "modulo"), [(LOW_NIBBLE_1, 16), (LOW_NIBBLE_1, 15), (UPPER_NIBBLE_6, 16), (BYTE_1, 256), (BYTE_1, 100)]
)
def test_a_counter_is_found_with_the_value_after_which_it_begins_anew(field: Field, modulo: int) -> None:
    assert counters(frames(field, modulo, 300), candidates(8)) == [Counter(field, modulo - 1)]


def test_a_byte_that_had_no_time_to_begin_anew_counts_all_the_same() -> None:
    assert counters(frames(BYTE_1, 256), candidates(8)) == [Counter(BYTE_1, 255)]


def test_a_few_lost_frames_hide_no_counter() -> None:
    payloads = frames(LOW_NIBBLE_1, 15)
    del payloads[40], payloads[70]
    assert counters(payloads, candidates(8)) == [Counter(LOW_NIBBLE_1, 14)]


def test_what_rises_by_two_or_is_too_short_or_stands_still_is_no_counter() -> None:
    assert counters(frames(LOW_NIBBLE_1, 16, step=2), candidates(8)) == []
    assert counters(frames(LOW_NIBBLE_1, 16, count=20), candidates(8)) == []
    assert counters([bytes(8)] * 100, candidates(8)) == []


def test_a_single_bit_that_toggles_is_no_counter() -> None:
    payloads = [bytes([n % 2]) for n in range(100)]
    assert counters(payloads, [Field(0, 1, little=True)]) == []


def protected(name: str, place: range, ids: tuple[int, ...], count: int = 128, bits: int = 64) -> list[bytes]:
    """Return frames with a counter in the low half of byte 1 and a checksum; `bits` of them vary besides."""
    rng, profile, made = random.Random(3), PROFILES[name], []
    modulo = (profile.counter_max or 15) % 16 + 1
    for n in range(count):
        data = bytearray((rng.getrandbits(bits) << 64 - bits).to_bytes(8, "little"))
        data[1] = data[1] & 0xF0 | n % modulo
        computed = profile.computed(bytes(data), place, n % modulo, ids)
        data[place.start : place.stop] = computed.to_bytes(len(place), "little")
        made.append(bytes(data))
    return made


COUNTS_TO_15 = Counter(LOW_NIBBLE_1, 15)
IDS_OF_2 = tuple(range(0x30, 0x40))


@pytest.mark.parametrize(
    ("name", "place", "ids"),
    [
        ("E2E_P01", range(1), (0x1012,)),
        ("E2E_P02", range(1), IDS_OF_2),
        ("E2E_P05", range(2), (0xBEEF,)),
        ("E2E_P05", range(6, 8), (0x12,)),
        ("XOR8", range(7, 8), (0x5A,)),
        ("SUM8", range(7, 8), (0x11,)),
        ("SUM8", range(1), (0,)),
    ],
)
def test_a_checksum_is_found_with_an_id_that_explains_every_frame(
    name: str, place: range, ids: tuple[int, ...]
) -> None:
    if name == "E2E_P05" and place.start == 0:
        payloads = [data for data in protected(name, place, ids) if data]
        counter = None
    else:
        payloads, counter = protected(name, place, ids), COUNTS_TO_15
    found = checksum(payloads, counter)
    assert found is not None
    assert (found.profile, found.place) == (name, place)
    told = found.data_id if isinstance(found.data_id, tuple) else (found.data_id,)
    more = protected(name, place, ids, count=500)[200:]
    for data in more:
        computed = PROFILES[name].computed(data, place, data[1] & 0xF, told)
        assert computed.to_bytes(len(place), "little") == data[place.start : place.stop]


def test_random_frames_have_no_checksum() -> None:
    assert checksum(frames(LOW_NIBBLE_1, 16), COUNTS_TO_15) is None


def test_one_damaged_frame_is_enough_to_say_nothing() -> None:
    payloads = protected("E2E_P01", range(1), (0x1012,))
    payloads[50] = bytes([payloads[50][0] ^ 1]) + payloads[50][1:]
    assert checksum(payloads, COUNTS_TO_15) is None


def test_a_copy_of_another_byte_is_no_checksum() -> None:
    assert checksum([bytes([n, 0, 0, n]) for n in range(100)], None) is None


def test_frames_that_differ_too_little_prove_nothing() -> None:
    few = protected("E2E_P01", range(1), (0x1012,), count=7)
    assert checksum(few, COUNTS_TO_15) is None
    only_counting = protected("E2E_P02", range(1), IDS_OF_2, bits=1)  # any 16 ids would explain these
    assert checksum([bytes([data[0], data[1] & 0xF, 0, 0]) for data in only_counting], COUNTS_TO_15) is None


def test_the_second_profile_needs_its_counter() -> None:
    payloads = protected("E2E_P02", range(1), IDS_OF_2)
    assert checksum(payloads, None) is None
    assert checksum([data for data in payloads if data[1] & 0xF != 4], COUNTS_TO_15) is None
