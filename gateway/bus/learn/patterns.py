"""What in the frames of an id counts, and what sums the rest up: told only where it cannot be chance. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from gateway.bus.foreign.fields import Field
from gateway.bus.foreign.protection import PROFILES, Profile

FEWEST_STEPS: Final = 24
NEARLY_ALL: Final = 0.95  # of the steps; some frames are lost
FEWEST_PROOFS: Final = (
    8  # ways in which frames differ; at least four independent ones, each right by chance once in 256
)
FEWEST_OTHERS: Final = 2  # bytes that change beside the checksum: a copy of one byte is no checksum
_NIBBLE: Final = 4
_BYTE: Final = 8


@dataclass(frozen=True, slots=True)
class Counter:
    """A number that goes up by one with every frame. `top`: after which it begins anew."""

    field: Field
    top: int


@dataclass(frozen=True, slots=True)
class Checksum:
    """A sum over the frame. `data_id`: one that explains it; for E2E_P02 one for each counter."""

    profile: str
    place: range
    data_id: int | tuple[int, ...]


def candidates(length: int) -> Iterator[Field]:
    """Yield where counters usually stand: in a byte, in its lower or its upper half."""
    for byte in range(length):
        yield Field(_BYTE * byte, _BYTE, little=True)
    for nibble in range(2 * length):
        yield Field(_NIBBLE * nibble, _NIBBLE, little=True)


def counters(payloads: Sequence[bytes], fields: Iterable[Field]) -> list[Counter]:
    """Return what counts in frames of one length, one after the other; no part of what counts as a whole."""
    found: list[Counter] = []
    for field in fields:
        if field.length == 1 or any(_within(field, wider.field) for wider in found):
            continue
        top = _top([field.read(data) for data in payloads if len(data) >= field.end], (1 << field.length) - 1)
        if top is not None:
            found.append(Counter(field, top))
    return found


def _within(field: Field, other: Field) -> bool:
    return other.little == field.little and other.at <= field.at and field.at + field.length <= other.at + other.length


def _top(values: Sequence[int], most: int) -> int | None:
    """Return after which value a counter begins anew; None: it is none."""
    steps = list(pairwise(values))
    if len(steps) < FEWEST_STEPS:
        return None
    rises = sum(after == before + 1 for before, after in steps)
    falls = [before for before, after in steps if after <= 1 and before > after]
    tops = {before for before in falls if before == max(values)}
    wraps = sum(before in tops for before in falls)
    if rises + wraps < NEARLY_ALL * len(steps) or rises < FEWEST_STEPS // 2:
        return None
    if not tops:  # it never began anew: a whole byte may have no time to
        return most if most >= len(values) else None
    return max(values)


def checksum(payloads: Sequence[bytes], counter: Counter | None) -> Checksum | None:
    """Return what sums the frames up. The last place that fits counts: there a checksum is put more often."""
    frames = list(dict.fromkeys(payloads))
    length = len(frames[0])
    varying = [byte for byte in range(length) if len({data[byte] for data in frames}) > 1]
    for name, profile in PROFILES.items():
        for start in reversed(range(length - profile.width + 1)):
            place = range(start, start + profile.width)
            if any(byte in varying for byte in place) and len(set(varying) - set(place)) >= FEWEST_OTHERS:
                data_id = _data_id(name, profile, place, frames, counter)
                if data_id is not None:
                    return Checksum(name, place, data_id)
    return None


def _data_id(
    name: str, profile: Profile, place: range, frames: Sequence[bytes], counter: Counter | None
) -> int | tuple[int, ...] | None:
    """Return the data id under which all frames are right; None: there is none, or too little to be sure."""
    if name != "E2E_P02":
        return _solved(profile, place, frames, 0) if len(_differences(frames)) >= FEWEST_PROOFS else None
    if counter is None or counter.top != profile.counter_max:
        return None
    by_value = [[data for data in frames if counter.field.read(data) == value] for value in range(counter.top + 1)]
    if not all(by_value) or len(set().union(*map(_differences, by_value))) < FEWEST_PROOFS:
        return None
    ids = [_solved(profile, place, alike, value) for value, alike in enumerate(by_value)]
    found = tuple(each for each in ids if each is not None)
    return found if len(found) == len(ids) else None


def _differences(frames: Sequence[bytes]) -> set[int]:
    first, *others = (int.from_bytes(data, "little") for data in frames)
    return {first ^ other for other in others}


def _solved(profile: Profile, place: range, frames: Sequence[bytes], counter: int) -> int | None:
    """Return a data id under which all frames are right. Only a frame's sum depends on it, and always alike."""

    def stored(data: bytes) -> int:
        return int.from_bytes(data[place.start : place.stop], "little")

    def residue(data: bytes) -> int:
        computed = profile.computed(data, place, counter, _NONE)
        return stored(data) - computed & 0xFF if profile is _ADDED else stored(data) ^ computed

    first = frames[0]
    wanted = residue(first)
    if any(residue(data) != wanted for data in frames):
        return None
    ids = range(1 << _BYTE * profile.width)
    return next((each for each in ids if profile.computed(first, place, counter, (each,)) == stored(first)), None)


_NONE: Final = (0,)
_ADDED: Final = PROFILES["SUM8"]
