import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ids import REQUEST_ID_PATTERN, RequestIds, is_name


@pytest.mark.parametrize("name", ["module-03", "gw_0042", "A", "a.b", "x" * 64])
def test_names_that_make_one_topic_level(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "-a", "a/b", "a b", "+", "#", "x" * 65, "modül", "a\n"])
def test_names_that_do_not(name: str) -> None:
    assert not is_name(name)


@given(st.lists(st.integers(min_value=0, max_value=2**47), min_size=2, max_size=30))
def test_ids_sort_in_the_order_they_were_made_even_if_the_clock_steps_back(times: list[int]) -> None:
    ids = RequestIds()
    made = [ids.new("req", now) for now in times]
    assert made == sorted(set(made))
    assert all(re.match(REQUEST_ID_PATTERN, one) for one in made)


def test_the_prefix_tells_the_kind() -> None:
    ids = RequestIds()
    assert ids.new("req", 1)[:4] == "req_"
    assert ids.new("cmd", 1)[:4] == "cmd_"
