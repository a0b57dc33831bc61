"""Many ids by few filters: a socket takes a bounded number, and each costs the kernel time with every frame."""

from collections.abc import Iterable

from gateway.bus.wire import EXTENDED_MASK, Filter


def few(filters: Iterable[Filter], most: int) -> list[Filter]:
    """Return at most `most` filters that let through all that `filters` do.

    Where there are more, the lowest bits of ids count no more, as few as will do: neighbours share a filter, and in
    J1939 it is all addresses of a message.
    """
    wanted = {Filter(each.can_id & each.mask, each.mask) for each in filters}
    bits = 0
    found = wanted
    while len(found) > most and bits < EXTENDED_MASK.bit_length():
        bits += 1
        kept = ~((1 << bits) - 1)
        found = {Filter(each.can_id & kept, each.mask & kept) for each in wanted}
    return sorted(found, key=lambda each: (each.can_id, each.mask))
