"""Times and durations in words: how long ago, how soon, how long."""

import re
from typing import Final

from gateway.clock import parse_rfc3339

_SHORT: Final = (  # with the length from which a unit is the right one: there are two of it, as near as the next shows
    (86_400_000, "d", 47.5 * 3_600_000),
    (3_600_000, "h", 119.5 * 60_000),
    (60_000, "min", 119.5 * 1000),
    (1000, "s", 0),
)
_LONG: Final = ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1000, "second"))
_UP_TO: Final = 2  # of a bigger unit, the smaller one still says more: 90 min, 47 h
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_SECOND_MS: Final = 1000


def time_of(told: str) -> int | None:
    """Read a time as the API spells it, in ms since the epoch; None for any other text."""
    if not _TIME.fullmatch(told):
        return None
    try:
        return parse_rfc3339(told)
    except ValueError:  # somebody's title may look like one
        return None


def beside(at_ms: int, now_ms: int) -> str:
    """Say how far a time is from now: "5 min ago", "in 2 h", "now"."""
    away_ms = at_ms - now_ms
    if abs(away_ms) < _SECOND_MS:
        return "now"
    return f"in {short(away_ms)}" if away_ms > 0 else f"{short(-away_ms)} ago"


def short(length_ms: float) -> str:
    """Spell a duration in its biggest unit of which there are two: "45 s", "90 min", "3 d"."""
    size, unit, _ = next(each for each in _SHORT if length_ms >= each[2])
    return f"{round(length_ms / size)} {unit}"


def exact(length_ms: float | None) -> str:
    """Spell a measured duration with three digits that count: "4.2 ms", "1.25 s", "3 min"; none as a dash."""
    if length_ms is None:
        return "–"
    if round(length_ms) < _SECOND_MS:
        return f"{length_ms:.3g} ms"
    return f"{length_ms / _SECOND_MS:.3g} s" if length_ms < _UP_TO * 60_000 else short(length_ms)


def about(at_ms: int, now_ms: int) -> str:
    """Say when something is to be expected: "in about 3 minutes", "at any moment"."""
    away_ms = at_ms - now_ms
    for size, unit in _LONG:
        count = round(away_ms / size)
        if count >= (_UP_TO if size > _LONG[-1][0] else 1):
            return f"in about {count} {unit}" + ("s" if count > 1 else "")
    return "at any moment"
