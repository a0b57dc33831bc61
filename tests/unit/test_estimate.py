"""When an operation that waits will have its turn."""

from typing import Any

from gateway.estimate import estimated_processing

NOW = 1_700_000_000_000


def estimate(**known: Any) -> int | None:
    usual = {
        "now_ms": NOW,
        "position": 1,
        "average_ms": 40.0,
        "not_before": 0,
        "online": True,
        "settle_ms": 500,
        "expected_return": None,
    }
    return estimated_processing(**(usual | known))


def test_the_next_one_of_a_component_that_is_here_begins_now() -> None:
    assert estimate() == NOW


def test_each_one_ahead_takes_as_long_as_exchanges_do_on_average() -> None:
    assert estimate(position=4, average_ms=40.5) == NOW + 122  # 3 × 40.5 = 121.5


def test_nobody_can_tell_how_long_those_ahead_take_before_any_exchange_was_measured() -> None:
    assert estimate(position=2, average_ms=None) is None


def test_the_next_one_needs_no_average() -> None:
    assert estimate(position=1, average_ms=None) == NOW


def test_a_retry_does_not_begin_before_its_pause_is_over() -> None:
    assert estimate(not_before=NOW + 60_000) == NOW + 60_000


def test_a_pause_shorter_than_the_work_ahead_changes_nothing() -> None:
    assert estimate(position=3, not_before=NOW + 79) == NOW + 80


def test_a_component_that_is_away_has_to_come_back_and_settle_first() -> None:
    assert estimate(online=False, expected_return=NOW + 10_000, position=2) == NOW + 10_540


def test_one_that_should_be_back_already_may_come_at_any_moment() -> None:
    assert estimate(online=False, expected_return=NOW - 10_000) == NOW + 500


def test_nobody_can_tell_when_an_absent_component_without_a_habit_comes_back() -> None:
    assert estimate(online=False) is None


def test_a_return_means_nothing_for_a_component_that_is_here() -> None:
    assert estimate(expected_return=NOW + 10_000) == NOW
