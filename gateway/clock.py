"""Time as an argument: the two clocks the gateway lives by, and the one spelling of a time at every edge."""

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """Both clocks. The daemon gets `SystemClock`; tests turn the hands of their own."""

    def monotonic(self) -> float:
        """Seconds since some start; for deadlines, never stored."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC; for rows and payloads. May jump when the time is set."""
        ...

    def trusted(self) -> bool:
        """Whether wall time is known to be good, so that it may expire work."""
        ...


class SystemClock:
    """The machine's clocks. `floor_ms`: wall time before it is not believed (build date, newest time stored)."""

    def __init__(self, floor_ms: int = 0) -> None:
        self.floor_ms = floor_ms

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """Milliseconds of CLOCK_REALTIME."""
        return time.time_ns() // 1_000_000

    def trusted(self) -> bool:
        """Whether wall time is at or past the floor."""
        return self.wall_ms() >= self.floor_ms


def rfc3339(at_ms: int) -> str:
    """Spell a wall time: 1_700_000_000_123 -> "2023-11-14T22:13:20.123Z"."""
    seconds, ms = divmod(at_ms, 1000)
    return f"{_second(seconds)}.{ms:03d}Z"


@lru_cache(maxsize=1024)  # work comes in bursts, and a burst shares its seconds
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def parse_rfc3339(text: str) -> int:
    """Read a wall time with its offset, as milliseconds since the epoch. Raises ValueError for anything else."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("a time needs its offset from UTC, as in 2026-11-21T20:30:00.000Z")
    whole = at.replace(microsecond=0)
    return int(whole.timestamp()) * 1000 + at.microsecond // 1000
