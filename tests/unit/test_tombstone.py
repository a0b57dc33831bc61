"""What a tombstone tells: exactly what went, as long as that is not too much to say."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.queue.store.tombstone import MAX_RANGES, Range, coarsened, merged, tombstone

RANGES = st.lists(st.tuples(st.integers(1, 400), st.integers(0, 20)).map(lambda each: (each[0], each[0] + each[1])))


def covered(ranges: list[Range]) -> set[int]:
    return {seq for first, last in ranges for seq in range(first, last + 1)}


@given(RANGES)
def test_merged_ranges_cover_the_same_in_order_and_do_not_touch(ranges: list[Range]) -> None:
    found = merged(ranges)
    assert covered(found) == covered(ranges)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found))


@given(RANGES, st.integers(1, 8))
def test_too_many_ranges_become_fewer_that_cover_no_less(ranges: list[Range], most: int) -> None:
    exact = merged(ranges)
    found = coarsened(exact, most)
    assert len(found) == min(most, len(exact))
    assert covered(found) >= covered(exact)
    assert merged(found) == found
    if exact:
        assert (found[0][0], found[-1][1]) == (exact[0][0], exact[-1][1])


def test_the_smallest_gaps_are_closed_first() -> None:
    assert coarsened([(1, 1), (10, 10), (12, 12), (15, 15)], 2) == [(1, 1), (10, 15)]


def test_a_tombstone_tells_how_many_of_each_type_went_and_where() -> None:
    assert tombstone({"bus_up": [4, 9], "bus_down": [5]}, None) == {
        "count": 3,
        "types": {"bus_down": 1, "bus_up": 2},
        "ranges": [[4, 5], [9, 9]],
    }


def test_one_that_takes_the_place_of_another_tells_of_it_and_of_all_that_it_told() -> None:
    before = tombstone({"bus_up": [4, 5]}, None)
    assert tombstone({"bus_up": [6], "position_notice": [8]}, (9, before)) == {
        "count": 5,
        "types": {"bus_up": 3, "events_dropped": 1, "position_notice": 1},
        "ranges": [[4, 6], [8, 9]],
    }


@pytest.mark.parametrize("before", [None, (100_000, tombstone({"bus_up": range(1, 2000, 2)}, None))])
def test_a_tombstone_never_grows_large(before: tuple[int, dict[str, object]] | None) -> None:
    told = tombstone({"bus_down": range(2001, 9000, 3)}, before)
    assert len(told["ranges"]) == MAX_RANGES
