"""Many ids by few filters: everything wanted comes through, and no more is let in than need be."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.foreign.few import few
from gateway.bus.wire import EXTENDED, EXTENDED_MASK, Filter

WHOLE = EXTENDED | EXTENDED_MASK
IDS = st.integers(0, EXTENDED_MASK).flatmap(lambda can_id: st.sampled_from([can_id | EXTENDED, can_id & 0x7FF]))
MASKS = st.sampled_from([WHOLE, WHOLE & ~0xFF, EXTENDED | 0x00FF_FF00, EXTENDED])


@given(st.lists(st.builds(Filter, IDS, MASKS), max_size=60), st.integers(2, 70), IDS)
def test_whatever_was_wanted_comes_through_so_many_filters(wanted, most, other) -> None:
    found = few(wanted, most)
    assert len(found) <= most

    def passes(can_id: int, filters: list[Filter]) -> bool:
        return any(can_id & each.mask == each.can_id & each.mask for each in filters)

    assert all(passes(each.can_id, found) for each in wanted)
    if len({Filter(each.can_id & each.mask, each.mask) for each in wanted}) <= most:
        assert passes(other, found) == passes(other, wanted)


def test_neighbours_share_a_filter_and_strangers_stay_out() -> None:
    wanted = [Filter(EXTENDED | 0x18FF0000 | group << 8 | node, WHOLE) for group in range(8) for node in range(250)]
    found = few(wanted, 256)
    assert found == sorted({Filter(each.can_id & ~0x7, WHOLE & ~0x7) for each in wanted}, key=lambda each: each.can_id)
    assert few(wanted, 8) == [Filter(EXTENDED | 0x18FF0000 | group << 8, WHOLE & ~0xFF) for group in range(8)]
