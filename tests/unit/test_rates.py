"""How often an actor may ask."""

import pytest

from gateway.api.rates import ACTORS_MAX, EMERGENCIES_PER_MINUTE, Rates


class Asking:
    """Buckets, and a clock that stands still until it is moved."""

    def __init__(self, per_minute: int = 60) -> None:
        self.rates, self.now, self.per_minute = Rates(), 1000.0, per_minute

    def take(self, actor: str = "anna", *, emergency: bool = False) -> int:
        return self.rates.take(actor, self.now, self.per_minute, emergency=emergency).wait_ms

    def taken(self, actor: str = "anna", *, emergency: bool = False, tries: int = 200) -> int:
        return sum(self.take(actor, emergency=emergency) == 0 for _ in range(tries))


@pytest.mark.parametrize("per_minute", [1, 7, 60, 599, 1_000])
def test_a_minutes_worth_may_come_at_once_and_no_more(per_minute: int) -> None:
    asking = Asking(per_minute)
    assert asking.taken(tries=2 * per_minute + 1) == per_minute


def test_a_token_comes_back_with_every_share_of_the_minute() -> None:
    asking = Asking()
    asking.taken()
    asking.now += 0.999
    assert asking.take() == 1
    asking.now += 0.001
    assert asking.take() == 0
    assert asking.take() == 1000


def test_who_has_not_asked_for_long_has_no_more_than_a_minutes_worth() -> None:
    asking = Asking()
    asking.taken()
    asking.now += 3600
    assert asking.taken() == 60


def test_the_wait_that_is_told_is_long_enough() -> None:
    asking = Asking(7)
    asking.taken()
    wait_ms = asking.take()
    assert 0 < wait_ms <= 60_000 / 7 + 1
    asking.now += (wait_ms - 1) / 1000
    assert asking.take() > 0
    asking.now += 0.001
    assert asking.take() == 0


def test_asking_too_often_does_not_put_the_next_token_off() -> None:
    asking = Asking()
    asking.taken(tries=10_000)
    asking.now += 1
    assert asking.take() == 0


def test_the_first_refusal_of_a_streak_is_marked() -> None:
    asking = Asking(1)
    paces = [asking.rates.take("anna", now, 1) for now in (0, 1, 2, 60, 61)]
    assert [pace.first for pace in paces] == [False, True, False, False, True]


def test_actors_do_not_take_from_each_other() -> None:
    asking = Asking()
    asking.taken("anna")
    assert asking.taken("bob") == 60


def test_emergencies_have_a_measure_of_their_own() -> None:
    asking = Asking()
    asking.taken()
    assert asking.taken(emergency=True) == EMERGENCIES_PER_MINUTE == 10
    asking.now += 6
    assert asking.taken(emergency=True) == 1


def test_another_measure_is_in_force_at_once() -> None:
    asking = Asking(10)
    asking.taken()
    asking.per_minute = 1_000_000
    asking.now += 0.001
    assert asking.take() == 0


def test_only_so_many_actors_are_remembered_and_who_asks_stays() -> None:
    asking = Asking()
    asking.taken("anna")
    asking.taken("bob")
    for n in range(ACTORS_MAX - 2):
        asking.take(f"actor-{n}")
    assert asking.take("anna") > 0  # asks, and so is not the one to be forgotten
    asking.take("one-more")
    assert asking.take("anna") > 0
    assert asking.take("bob") == 0
