"""The checksums that heartbeats of others carry: AUTOSAR E2E profiles 1, 2 and 5, and the two plain ones.

Every profile is a function from (frame, place of the checksum, counter, data ids) to what the checksum must be. Source
of the profiles: AUTOSAR "E2E Protocol Specification" (FO).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Final

from gateway.bus import e2e
from gateway.bus.foreign.fields import Field


def _table(polynomial: int, width: int) -> tuple[int, ...]:
    top, mask = 1 << width - 1, (1 << width) - 1
    rows = []
    for value in range(256):
        crc = value << width - 8
        for _ in range(8):
            crc = (crc << 1) ^ polynomial if crc & top else crc << 1
        rows.append(crc & mask)
    return tuple(rows)


_CRC8_2F: Final = _table(0x2F, 8)
_CRC16: Final = _table(0x1021, 16)

Computed = Callable[[bytes, range, int, Sequence[int]], int]
"""(frame, bytes of the checksum, counter, data ids: one, or one for each of 16 counters) -> the checksum."""


def _others(data: bytes, place: range) -> bytes:
    return data[: place.start] + data[place.stop :]


def _profile_1(data: bytes, place: range, _: int, ids: Sequence[int]) -> int:
    """CRC-8 of 0x1D over the low and the high byte of the data id, then the frame."""
    crc = e2e.seed(ids[0])
    for byte in _others(data, place):
        crc = e2e.TABLE[crc ^ byte]
    return crc


def _profile_2(data: bytes, place: range, counter: int, ids: Sequence[int]) -> int:
    """CRC-8 of 0x2F from and inverted by 0xFF, over the frame, then the data id of this counter: one byte."""
    crc = 0xFF
    for byte in (*_others(data, place), ids[counter % len(ids)] & 0xFF):
        crc = _CRC8_2F[crc ^ byte]
    return crc ^ 0xFF


def _profile_5(data: bytes, place: range, _: int, ids: Sequence[int]) -> int:
    """CRC-16 of 0x1021 from 0xFFFF over the frame, then the low and the high byte of the data id."""
    crc = 0xFFFF
    for byte in (*_others(data, place), ids[0] & 0xFF, ids[0] >> 8):
        crc = crc << 8 & 0xFFFF ^ _CRC16[crc >> 8 ^ byte]
    return crc


def _xor8(data: bytes, place: range, _: int, ids: Sequence[int]) -> int:
    """All other bytes, and the data id, by exclusive or."""
    return reduce(xor, _others(data, place), ids[0] & 0xFF ^ ids[0] >> 8)


def _sum8(data: bytes, place: range, _: int, ids: Sequence[int]) -> int:
    """All other bytes, and the data id, added up."""
    return sum(_others(data, place), (ids[0] & 0xFF) + (ids[0] >> 8)) & 0xFF


@dataclass(frozen=True, slots=True)
class Profile:
    """How a checksum is made. `width`: its bytes. `counter_max`: the greatest counter where nobody says otherwise."""

    computed: Computed
    width: int
    counter_max: int | None = None


PROFILES: Final[Mapping[str, Profile]] = {
    "E2E_P01": Profile(_profile_1, 1, 14),
    "E2E_P02": Profile(_profile_2, 1, 15),
    "E2E_P05": Profile(_profile_5, 2, 255),
    "XOR8": Profile(_xor8, 1),
    "SUM8": Profile(_sum8, 1),
}


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum in a frame. `place`: the bytes it fills; `length`: those it is made over, its own included."""

    profile: Profile
    field: Field
    place: range
    ids: Sequence[int]
    length: int


class Protection:
    """What a message protects itself with, one of both at least.

    Attributes:
        shortest: how many bytes a frame must have.
        judge: returns the counter of a frame, 0 where it has none; None where the frame is damaged.
    """

    __slots__ = ("counter", "judge", "shortest")

    def __init__(self, counter: Field | None = None, checksum: Checksum | None = None) -> None:
        self.counter = counter
        self.shortest = max(counter.end if counter else 0, checksum.length if checksum else 0)
        self.judge = _judge(self.shortest, counter, checksum)


def _judge(shortest: int, counter: Field | None, checksum: Checksum | None) -> Callable[[bytes], int | None]:
    read = (lambda _: 0) if counter is None else counter.reader()
    if checksum is None:
        return lambda data: read(data) if len(data) >= shortest else None
    computed, told = checksum.profile.computed, checksum.field.reader()
    place, ids, length = checksum.place, checksum.ids, checksum.length

    def judge(data: bytes) -> int | None:
        if len(data) < shortest:
            return None
        message = data[:length]  # what a CAN FD frame is filled up with is no part of it
        count = read(message) if counter is not None else 0
        return count if computed(message, place, count, ids) == told(message) else None

    return judge
