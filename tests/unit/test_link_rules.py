"""The rules a link lives by, each by itself: error frames, filters, waits."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.link import retry_wait_s
from gateway.bus.link.conditions import condition_told_by
from gateway.bus.link.filters import MOST, matches, merge, pack
from gateway.bus.wire import ERROR_FRAME, EXTENDED, Condition, Filter


@pytest.mark.parametrize(
    ("error_class", "status", "condition"),
    [
        (0x040, 0x00, Condition.BUS_OFF),
        (0x100, 0x00, Condition.UP),
        (0x004, 0x10, Condition.ERROR_PASSIVE),  # receiving
        (0x004, 0x20, Condition.ERROR_PASSIVE),  # transmitting
        (0x004, 0x04, Condition.UP),  # back from passive to warning
        (0x004, 0x08, Condition.UP),
        (0x004, 0x40, Condition.UP),  # error active
        (0x004, 0x01, Condition.OVERFLOW),
        (0x004, 0x02, None),  # a full transmit buffer is no news
        (0x004, 0x00, None),
        (0x008, 0x30, None),  # another class: its bytes mean other things
        (0x044, 0x30, Condition.BUS_OFF),
    ],
)
def test_an_error_frame_tells_the_condition_of_the_bus(error_class, status, condition):
    assert condition_told_by(error_class | ERROR_FRAME, bytes([0, status, 0, 0, 0, 0, 0, 0])) is condition


def test_a_controller_frame_without_its_bytes_tells_nothing():
    assert condition_told_by(0x004 | ERROR_FRAME, b"\x00") is None


def test_a_filter_that_another_covers_is_left_out():
    wide, narrow = Filter(0x18FF1000 | EXTENDED, 0x9FFFFF00), Filter(0x18FF1012 | EXTENDED, 0x9FFFFFFF)
    other = Filter(0x700, 0x80000780)
    assert merge([narrow, wide, other, wide]) == [other, wide]


def test_filters_are_packed_for_data_frames_only_and_cannot_be_taken_for_inverted_ones():
    assert pack([Filter(0x123 | ERROR_FRAME, 0x200007FF)]) == bytes.fromhex("23010000 ff070060")
    assert pack([]) == b""


FILTERS = st.lists(st.builds(Filter, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)), max_size=40)


@given(filters=FILTERS, can_id=st.integers(0, 0xFFFF), most=st.integers(1, 8))
def test_merged_filters_are_few_and_let_through_all_that_was_wanted(filters, can_id, most):
    merged = merge(filters, most)
    assert len(merged) <= most
    if matches(can_id, filters):
        assert matches(can_id, merged)


@given(filters=FILTERS, can_id=st.integers(0, 0xFFFF))
def test_with_room_for_all_merged_filters_let_through_nothing_else(filters, can_id):
    assert matches(can_id, merge(filters, MOST)) == matches(can_id, filters)


def test_the_wait_before_a_rebuild_doubles_up_to_its_bound_and_is_jittered():
    rng = random.Random(1)
    assert all(1 <= retry_wait_s(1, rng) <= 2 for _ in range(50))
    assert all(4 <= retry_wait_s(3, rng) <= 8 for _ in range(50))
    waits = {retry_wait_s(1000, rng) for _ in range(50)}
    assert min(waits) >= 15
    assert max(waits) <= 30
    assert len(waits) == 50
