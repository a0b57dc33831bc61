"""When whoever sends an id can have been switched on and off, and which ids may so be one device's. Pure.

A device that begins to speak at S and falls silent at T sends the first frame of a message with period P in
[S, S + P), and its last one in (T - P, T]. So a message that is heard from `first` to `last` says: S lies in
(first - P, first], T in [last, last + P). Ids are of one device only if there are moments that agree with all of them,
its absences included.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

from gateway.bus.learn.trace import SILENCE, Trace

SLACK: Final = 0.25  # of a period: timers are not exact, and a boot takes its time
FEWEST_S: Final = 0.010  # frames of one burst wait for each other

Interval = tuple[float, float]
Absence = tuple[Interval, Interval]
"""When a device can have gone, and when it can have come back."""


@dataclass(frozen=True, slots=True)
class Life:
    """When a device can have come and gone. `patience_s`: an absence that is shorter would not show."""

    came: Interval
    went: Interval
    absences: Sequence[Absence]
    patience_s: float

    @classmethod
    def of(cls, trace: Trace) -> Self:
        """Return what an id tells."""
        play_s = _play_s(trace)
        patience_s = SILENCE * (trace.period_s or 0.0) + play_s
        return cls(
            came=(trace.first - play_s, trace.first),
            went=(trace.last, trace.last + play_s),
            absences=[
                ((since, since + play_s), (to - play_s, to))
                for since, to in trace.silences
                if to - since > patience_s + 2 * play_s  # whoever comes as often shows it too
            ],
            patience_s=patience_s,
        )

    def is_told(self, began: float, until: float) -> bool:
        """Whether it came, went or was away between `began` and `until`; of others nothing can be learned."""
        return self.came[0] > began or self.went[1] < until or bool(self.absences)

    def joined(self, other: "Life") -> "Life | None":
        """Return what two tell together; None: they are of two devices."""
        came, went = _common(self.came, other.came), _common(self.went, other.went)
        if came is None or went is None:
            return None
        if _contradicts(self, other) or _contradicts(other, self):
            return None
        return Life(came, went, list(_absences(self, other)), min(self.patience_s, other.patience_s))


def _play_s(trace: Trace) -> float:
    return max(FEWEST_S, (1 + SLACK) * (trace.period_s or 0.0))


def _common(one: Interval, other: Interval) -> Interval | None:
    low, high = max(one[0], other[0]), min(one[1], other[1])
    return (low, high) if low <= high else None


def _same(absence: Absence, others: Iterable[Absence]) -> Absence | None:
    """Return what an absence and one of others tell together; None: it is none of theirs."""
    for went, came in others:
        both = _common(absence[0], went), _common(absence[1], came)
        if both[0] is not None and both[1] is not None:
            return both[0], both[1]
    return None


def _contradicts(one: Life, other: Life) -> bool:
    """Whether one was away for so long that the other would show it, and does not."""
    return any(
        came[0] - went[1] > other.patience_s and _same((went, came), other.absences) is None
        for went, came in one.absences
    )


def _absences(one: Life, other: Life) -> Iterator[Absence]:
    for absence in one.absences:
        yield _same(absence, other.absences) or absence
    for absence in other.absences:
        if _same(absence, one.absences) is None:
            yield absence


@dataclass(slots=True)
class Household:
    """Ids that may be of one device."""

    life: Life
    traces: list[Trace]


def households(traces: Iterable[Trace]) -> list[Household]:
    """Divide regular ids by when they come and go, the fastest first; slow ones join the nearest they agree with."""
    found: list[Household] = []
    for trace in sorted(traces, key=_play_s):
        life = Life.of(trace)
        fitting = [(each, both) for each in found if (both := each.life.joined(life)) is not None]
        if not fitting:
            found.append(Household(life, [trace]))
            continue
        home, both = min(fitting, key=lambda pair: abs(pair[0].traces[0].first - trace.first))
        home.traces.append(trace)
        home.life = both
    return found
