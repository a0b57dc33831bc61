import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import SystemClock, parse_rfc3339, rfc3339


def test_a_time_is_spelt_in_utc_with_milliseconds() -> None:
    assert rfc3339(1_700_000_000_123) == "2023-11-14T22:13:20.123Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"


@given(st.integers(min_value=0, max_value=4_102_444_800_000))
def test_what_is_spelt_can_be_read_again(at_ms: int) -> None:
    assert parse_rfc3339(rfc3339(at_ms)) == at_ms


def test_an_offset_is_understood_and_a_missing_one_refused() -> None:
    assert parse_rfc3339("2023-11-14T23:13:20.123+01:00") == 1_700_000_000_123
    with pytest.raises(ValueError, match="offset"):
        parse_rfc3339("2023-11-14T22:13:20")


def test_the_system_clock_is_trusted_from_its_floor_on() -> None:
    now = SystemClock().wall_ms()
    assert SystemClock(floor_ms=now - 1000).trusted()
    assert not SystemClock(floor_ms=now + 3_600_000).trusted()


def test_monotonic_time_never_steps_back() -> None:
    clock = SystemClock()
    first = clock.monotonic()
    assert clock.monotonic() >= first
