"""The one event that stands for those the outbox has dropped: how many of each type, and where they lay."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any, Final

from gateway.event import TOMBSTONE

MAX_RANGES: Final = 256  # bounds its size, and what it takes to write it anew with every batch that goes

Range = tuple[int, int]  # of seq: the first and the last


def merged(ranges: Iterable[Range]) -> list[Range]:
    """Return disjoint ranges in order, what touches made one."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return found


def coarsened(ranges: Sequence[Range], most: int = MAX_RANGES) -> list[Range]:
    """Return at most so many ranges in place of these: those closest to each other are made one."""
    too_many = len(ranges) - most
    if too_many <= 0:
        return list(ranges)
    gaps = [(after[0] - before[1], number) for number, (before, after) in enumerate(pairwise(ranges))]
    closed = set(map(itemgetter(1), sorted(gaps)[:too_many]))
    found = [ranges[0]]
    for number, (first, last) in enumerate(ranges[1:]):
        if number in closed:
            found[-1] = found[-1][0], last
        else:
            found.append((first, last))
    return found


def tombstone(dropped: Mapping[str, Sequence[int]], before: tuple[int, Mapping[str, Any]] | None) -> dict[str, Any]:
    """Return the attributes of a tombstone: of what goes now, and of all that another told of, whose place it takes.

    `dropped`: seqs by type. `before`: seq and attributes of the other, which goes, too.
    """
    types = Counter({event_type: len(seqs) for event_type, seqs in dropped.items()})
    ranges = [(seq, seq) for seqs in dropped.values() for seq in seqs]
    if before is not None:
        seq, told = before
        types.update(told["types"])
        types[TOMBSTONE] += 1
        ranges += [(first, last) for first, last in told["ranges"]]
        ranges.append((seq, seq))
    where = coarsened(merged(ranges))
    return {"count": types.total(), "types": dict(sorted(types.items())), "ranges": [list(each) for each in where]}
