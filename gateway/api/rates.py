"""How often an actor may ask: so many requests a minute, and for emergencies a measure of their own."""

from typing import Final, NamedTuple

EMERGENCIES_PER_MINUTE: Final = 10
ACTORS_MAX: Final = 1024  # beyond them whoever has not asked for longest is forgotten, and starts afresh
_MINUTE_US: Final = 60_000_000


class Pace(NamedTuple):
    """Whether a request comes too soon. `wait_ms`: until the next may come, 0: this one may. `first`: of its streak."""

    wait_ms: int
    first: bool


class Rates:
    """One token bucket for each actor and measure; it holds one minute's worth.

    A bucket is kept as the time at which it will be full again: a token puts that time off by its share of a minute,
    and there is none left where it would come to lie more than a minute ahead.
    """

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, bool], tuple[int, bool]] = {}  # (full at, µs; refused last); oldest first

    def take(self, actor: str, now: float, per_minute: int, *, emergency: bool = False) -> Pace:
        """Take a token. `now`: s, monotonic."""
        limit = EMERGENCIES_PER_MINUTE if emergency else per_minute
        now_us, share_us = round(now * 1_000_000), _MINUTE_US // limit
        full_at, refused_before = self._buckets.pop((actor, emergency), (now_us, False))
        full_at = max(full_at, now_us)
        short_us = full_at + share_us - now_us - _MINUTE_US
        refused = short_us > 0
        self._buckets[actor, emergency] = (full_at if refused else full_at + share_us), refused
        if len(self._buckets) > ACTORS_MAX:
            del self._buckets[next(iter(self._buckets))]
        return Pace(max(0, -(-short_us // 1000)), first=refused and not refused_before)
