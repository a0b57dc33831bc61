"""To whom a command goes."""

import pytest

from gateway.errors import Code, Refusal
from gateway.operation import Strategy
from gateway.presence import Presence
from gateway.routing import USUAL_MS, Candidate, Place, chosen, plan, shares

INCAPABLE = Refusal(Code.NOT_CAPABLE)
AWAY = Refusal(Code.COMPONENT_OFFLINE)


def here(name: str, **figures: float) -> Candidate:
    return Candidate(name, Presence.ONLINE, **figures)  # type: ignore[arg-type]  # each as its field wants it


def gone(name: str, expected_return: int | None = None, **figures: int) -> Candidate:
    return Candidate(name, Presence.OFFLINE, expected_return=expected_return, **figures)  # type: ignore[arg-type]


def order(*candidates: Candidate) -> list[str]:
    return [place.candidate.component_id for place in plan(candidates, by_load=True)]


def scores(*candidates: Candidate) -> list[float]:
    return [place.score for place in plan(candidates, by_load=False)]


# --- the order --------------------------------------------------------------------------------------------------------


def test_who_is_here_comes_before_who_is_away_however_busy() -> None:
    assert order(gone("a"), here("b", waiting=99)) == ["b", "a"]
    unknown = Candidate("a", Presence.UNKNOWN)
    assert order(unknown, here("b", waiting=99)) == ["b", "a"]


def test_who_should_be_back_sooner_comes_first_and_last_of_whom_nobody_knows() -> None:
    assert order(gone("a"), gone("b", 2000), gone("c", 1000, waiting=9)) == ["c", "b", "a"]


@pytest.mark.parametrize("figure", ["waiting", "in_flight", "average_ms", "failure_rate"])
def test_each_figure_puts_a_busier_one_behind(figure: str) -> None:
    usual = {"average_ms": 50.0, "failure_rate": 0.1, "waiting": 1, "in_flight": 0}
    busier = {**usual, figure: usual[figure] + 0.5 if figure == "failure_rate" else usual[figure] + 1}
    assert order(here("a", **busier), here("b", **usual)) == ["b", "a"]


def test_an_old_expectation_of_one_that_is_here_says_nothing() -> None:
    assert order(here("a", expected_return=5000, waiting=0), here("b", waiting=1)) == ["a", "b"]


def test_of_equals_the_name_decides() -> None:
    assert order(here("b"), here("a")) == ["a", "b"]


def test_a_given_order_stays() -> None:
    places = plan([here("b", waiting=9), gone("c"), here("a")], by_load=False)
    assert [(place.candidate.component_id, place.rank) for place in places] == [("b", 1), ("c", 2), ("a", 3)]


# --- the score --------------------------------------------------------------------------------------------------------


def test_the_score_is_the_time_until_one_more_is_through() -> None:
    assert scores(here("a", waiting=3, in_flight=1, average_ms=20.0)) == [100.0]
    assert scores(here("a", average_ms=20.0, failure_rate=0.5)) == [40.0]


def test_who_has_failed_every_time_still_has_a_score() -> None:
    assert scores(here("a", average_ms=20.0, failure_rate=1.0)) == [400.0]


def test_who_has_no_exchanges_behind_it_is_taken_for_an_average_one() -> None:
    assert scores(here("a"), here("b", average_ms=10.0), here("c", average_ms=30.0)) == [20.0, 10.0, 30.0]
    assert scores(here("a"), here("b")) == [USUAL_MS, USUAL_MS]


# --- the reason -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (here("a", waiting=2, in_flight=1), "ONLINE, 2 waiting, 1 under way"),
        (
            here("a", average_ms=19.6, failure_rate=0.25),
            "ONLINE, 0 waiting, 0 under way, 20 ms an exchange, 25% failed",
        ),
        (gone("a"), "OFFLINE, 0 waiting, 0 under way"),
        (gone("a", 1_790_000_000_000), "OFFLINE, expected 2026-09-21T14:13:20.000Z, 0 waiting, 0 under way"),
        (here("a", expected_return=1), "ONLINE, 0 waiting, 0 under way"),
    ],
)
def test_a_place_says_what_it_was_judged_by(candidate: Candidate, reason: str) -> None:
    (place,) = plan([candidate], by_load=True)
    assert place.reason == reason


def test_who_cannot_is_left_out_at_the_end_and_says_why() -> None:
    first, last = plan([Candidate("a", Presence.ONLINE, AWAY), here("b")], by_load=True)
    assert (first.candidate.component_id, first.rank) == ("b", 1)
    assert (last.candidate.component_id, last.rank) == ("a", None)
    assert last.reason == f"COMPONENT_OFFLINE: {AWAY.message}"


@pytest.mark.parametrize(("obstacle", "capable"), [(None, True), (AWAY, True), (INCAPABLE, False)])
def test_only_not_being_capable_is_not_being_capable(obstacle: Refusal | None, capable: bool) -> None:
    assert Candidate("a", Presence.ONLINE, obstacle).capable is capable


# --- the choice -------------------------------------------------------------------------------------------------------


def places(*candidates: Candidate) -> list[Place]:
    return plan(candidates, by_load=False)


def no(name: str, obstacle: Refusal) -> Candidate:
    return Candidate(name, Presence.ONLINE, obstacle)


@pytest.mark.parametrize("strategy", [Strategy.DIRECT, Strategy.BROADCAST, Strategy.FAILOVER])
def test_all_get_it_and_optimal_one(strategy: Strategy) -> None:
    assert chosen(places(here("a"), here("b")), strategy, named=True) == ["a", "b"]
    assert chosen(places(here("a"), here("b")), Strategy.OPTIMAL, named=True) == ["a"]


@pytest.mark.parametrize("strategy", [Strategy.DIRECT, Strategy.BROADCAST, Strategy.FAILOVER])
@pytest.mark.parametrize("obstacle", [INCAPABLE, AWAY])
def test_none_that_is_named_is_left_out(strategy: Strategy, obstacle: Refusal) -> None:
    with pytest.raises(Refusal) as why:
        chosen(places(here("a"), no("b", obstacle)), strategy, named=True)
    assert why.value is obstacle


@pytest.mark.parametrize("strategy", [Strategy.BROADCAST, Strategy.FAILOVER])
def test_of_those_selected_only_the_incapable_are_left_out(strategy: Strategy) -> None:
    assert chosen(places(here("a"), no("b", INCAPABLE)), strategy, named=False) == ["a"]
    with pytest.raises(Refusal) as why:
        chosen(places(here("a"), no("b", INCAPABLE), no("c", AWAY)), strategy, named=False)
    assert why.value is AWAY


@pytest.mark.parametrize("named", [True, False])
def test_the_best_is_one_that_can(named: bool) -> None:
    assert chosen(places(no("a", AWAY), no("b", INCAPABLE), here("c")), Strategy.OPTIMAL, named=named) == ["c"]
    with pytest.raises(Refusal) as why:
        chosen(places(no("a", AWAY), no("b", INCAPABLE)), Strategy.OPTIMAL, named=named)
    assert why.value is AWAY


@pytest.mark.parametrize("strategy", list(Strategy))
def test_nobody_at_all_is_a_component_not_found(strategy: Strategy) -> None:
    with pytest.raises(Refusal) as why:
        chosen([], strategy, named=False)
    assert why.value.code is Code.COMPONENT_NOT_FOUND


# --- one after the other ----------------------------------------------------------------------------------------------


def test_the_time_is_shared_out_to_the_last_millisecond() -> None:
    assert shares(1000, 1100, 3) == [1033, 1066, 1100]
    assert shares(1000, 1100, 1) == [1100]
