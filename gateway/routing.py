"""To whom a command goes: who can take it, who is the least busy, and who is tried after whom."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from gateway.clock import rfc3339
from gateway.errors import Code, Refusal
from gateway.operation import Strategy
from gateway.presence import Presence

USUAL_MS: Final = 100.0  # an exchange, where nobody has had any yet
_WORST_RATE: Final = 0.95  # whoever has failed every time is still worth a twentieth try


@dataclass(frozen=True, slots=True)
class Candidate:
    """A component that a command may go to, and how busy it is.

    Args:
        component_id: which.
        presence: whether it is heard.
        obstacle: why it cannot take the command; None: it can.
        waiting: operations that wait for it.
        in_flight: operations under way with it.
        average_ms: what an exchange with it takes; None: none was seen yet.
        failure_rate: which part of its last exchanges failed.
        expected_return: when it should be back, ms since the epoch; None: it is here, or nobody knows.
    """

    component_id: str
    presence: Presence
    obstacle: Refusal | None = None
    waiting: int = 0
    in_flight: int = 0
    average_ms: float | None = None
    failure_rate: float = 0.0
    expected_return: int | None = None

    @property
    def capable(self) -> bool:
        """Whether it knows the command at all."""
        return self.obstacle is None or self.obstacle.code is not Code.NOT_CAPABLE


@dataclass(frozen=True, slots=True)
class Place:
    """A candidate's place in a plan.

    `score`: ms until the command should be carried out, from when the component is here; the less the better.
    `rank`: 1 is the first; None: it is left out. `reason`: why it stands there, for people.
    """

    candidate: Candidate
    score: float
    rank: int | None
    reason: str


def plan(candidates: Sequence[Candidate], *, by_load: bool) -> list[Place]:
    """Return the candidates in the order in which they are taken, then those that cannot take the command.

    `by_load`: the least busy first, those that are here before those that are away; else as they are given.
    """
    known = [each.average_ms for each in candidates if each.average_ms is not None]
    usual_ms = sum(known) / len(known) if known else USUAL_MS
    scores = {each.component_id: _score(each, usual_ms) for each in candidates}
    able = [each for each in candidates if each.obstacle is None]
    if by_load:
        able.sort(key=lambda each: _order(each, scores[each.component_id]))
    ranked = [Place(each, scores[each.component_id], rank, _reason(each)) for rank, each in enumerate(able, 1)]
    left_out = [
        Place(each, scores[each.component_id], None, f"{each.obstacle.code}: {each.obstacle.message}")
        for each in candidates
        if each.obstacle is not None
    ]
    return ranked + left_out


def _score(candidate: Candidate, usual_ms: float) -> float:
    """Return the ms until one more command is through: all before it, and as many tries as it usually takes."""
    average_ms = usual_ms if candidate.average_ms is None else candidate.average_ms
    tries = 1 / (1 - min(candidate.failure_rate, _WORST_RATE))
    return round((candidate.waiting + candidate.in_flight + 1) * average_ms * tries, 1)


def _order(candidate: Candidate, score: float) -> tuple[bool, float, float, str]:
    away = candidate.presence is not Presence.ONLINE
    expected = candidate.expected_return
    back = (inf if expected is None else expected) if away else 0
    return away, back, score, candidate.component_id


def _reason(candidate: Candidate) -> str:
    """Spell what a place was judged by."""
    told = [str(candidate.presence)]
    if candidate.presence is not Presence.ONLINE and candidate.expected_return is not None:
        told.append(f"expected {rfc3339(candidate.expected_return)}")
    told += [f"{candidate.waiting} waiting", f"{candidate.in_flight} under way"]
    if candidate.average_ms is not None:
        told.append(f"{candidate.average_ms:.0f} ms an exchange, {candidate.failure_rate:.0%} failed")
    return ", ".join(told)


def chosen(places: Iterable[Place], strategy: Strategy, *, named: bool) -> list[str]:
    """Return the components that a plan gives the command to, in order: all of them, or for OPTIMAL the first.

    `named`: the caller named each of them, so that none may be left out. Raises the Refusal of one that cannot take
    the command where it may not be left out, or where all are. No places at all: COMPONENT_NOT_FOUND.
    """
    places = list(places)
    obstacles = [place.candidate.obstacle for place in places if place.candidate.obstacle is not None]
    if strategy is not Strategy.OPTIMAL:
        in_the_way = [no for no in obstacles if named or no.code is not Code.NOT_CAPABLE]
        if in_the_way:
            raise in_the_way[0]
    able = [place.candidate.component_id for place in places if place.rank is not None]
    if not able:
        raise obstacles[0] if obstacles else Refusal(Code.COMPONENT_NOT_FOUND, "No component of yours matches.")
    return able[:1] if strategy is Strategy.OPTIMAL else able


def shares(created_at: int, expires_at: int, count: int) -> list[int]:
    """Return until when each of `count` targets has its turn, where one is tried after the other; ms."""
    return [created_at + (expires_at - created_at) * n // count for n in range(1, count + 1)]
