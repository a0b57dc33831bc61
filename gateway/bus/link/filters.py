"""Few filters for many: a raw CAN socket takes at most 512 masks, and each costs the kernel time."""

import struct
from collections.abc import Sequence
from typing import Final

from gateway.bus.wire import ERROR_FRAME, Filter

MOST: Final = 512  # CAN_RAW_FILTER_MAX
REMOTE_FRAME: Final = 0x4000_0000  # CAN_RTR_FLAG
_ENTRY: Final = struct.Struct("=II")  # struct can_filter


def matches(can_id: int, filters: Sequence[Filter]) -> bool:
    """Whether a frame is wanted by any of `filters`."""
    return any((can_id ^ wanted.can_id) & wanted.mask == 0 for wanted in filters)


def merge(filters: Sequence[Filter], most: int = MOST) -> list[Filter]:
    """Return at most `most` filters that let through all that `filters` do: those covered by others are left out.

    Where that is not enough, neighbours are joined by masks that are wider than either.
    """
    kept: list[Filter] = []
    for one in sorted({Filter(f.can_id & f.mask, f.mask) for f in filters}, key=lambda f: f.mask.bit_count()):
        if not any(wide.mask & one.mask == wide.mask and one.can_id & wide.mask == wide.can_id for wide in kept):
            kept.append(one)
    kept.sort(key=lambda f: (f.can_id, f.mask))
    while len(kept) > most:
        kept = [_join(*kept[n : n + 2]) for n in range(0, len(kept), 2)]
    return kept


def _join(one: Filter, *others: Filter) -> Filter:
    for other in others:
        mask = one.mask & other.mask & ~(one.can_id ^ other.can_id)
        one = Filter(one.can_id & mask, mask)
    return one


def pack(filters: Sequence[Filter]) -> bytes:
    """Spell merged filters for CAN_RAW_FILTER: data frames only. No filters, no frames."""
    return b"".join(_ENTRY.pack(f.can_id & ~ERROR_FRAME, f.mask | REMOTE_FRAME) for f in merge(filters))
