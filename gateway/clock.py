"""Time as an argument: the two clocks the gateway lives by, and the one spelling of a time at every edge."""

import logging
from datetime import UTC, datetime
from functools import lru_cache
from threading import Lock
from typing import Final, Protocol

from gateway import BUILD_MS
from gateway.hands import Hands, MachineHands, Reading

log = logging.getLogger(__name__)

JUMP_MS: Final = 3_600_000  # further ahead than this is no correction but another time
STEP_MS: Final = 1_000  # back by less than this is a correction, or two threads that looked at nearly the same moment
ASK_EVERY_MS: Final = 5_000  # how often the kernel is asked while wall time is doubted; otherwise never


class Clock(Protocol):
    """Both clocks. The daemon gets `SystemClock`; tests turn the hands of their own."""

    def monotonic(self) -> float:
        """Seconds since some start; for deadlines, never stored."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC; for rows and payloads. May step when the time is set."""
        ...

    def trusted(self) -> bool:
        """Whether wall time is known to be good, so that it may expire work."""
        ...


class SystemClock:
    """The machine's clocks, guarded: wall time that cannot be right is not given out and never trusted.

    Wall time is trusted while it is plausible: no more than an hour ahead of where the boot clock (which counts
    suspends, and which nobody sets) has brought the last time that was trusted, and not behind that time. Otherwise it
    must be vouched for by the kernel, which knows whether NTP keeps it, or by an operator. Until then time goes on from
    the last trusted one by the boot clock, so that deadlines count on.

    `floor_ms`: wall time before it is not plausible to begin with. May be asked from any thread.
    """

    def __init__(self, floor_ms: int = BUILD_MS, hands: Hands | None = None) -> None:
        self._hands = hands or MachineHands()
        self._doubted = False
        self._asked_at = 0  # ms, boot time: when the kernel was asked last
        self._judging = Lock()
        wall, boot = self._hands.look()
        # How long we were off nobody knows: to begin with, any time from the floor on is as good as any other.
        self._seen: Reading = max(wall, floor_ms), boot  # wall time as it was trusted last, and the boot time then

    def resume_from(self, newest_ms: int) -> None:
        """Take up where an earlier run ended: wall time before `newest_ms` is not plausible either."""
        with self._judging:
            wall, boot = self._hands.look()
            if wall < newest_ms:
                self._seen = max(newest_ms, self._seen[0]), boot

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return self._hands.monotonic()

    def wall_ms(self) -> int:
        """Milliseconds since the epoch: wall time where it is trusted, else what it should be by now."""
        now = self._hands.look()
        if self._doubted or not self._plausible(now):
            return self._judge(now)
        self._seen = now
        return now[0]

    def trusted(self) -> bool:
        """Whether wall time is known to be good, so that it may expire work."""
        self.wall_ms()
        return not self._doubted

    def shown_ms(self) -> int:
        """Milliseconds of the machine's wall time, whether or not it is trusted."""
        return self._hands.look()[0]

    def confirm(self) -> None:
        """An operator says that wall time is right as it is."""
        with self._judging:
            self._believe(self._hands.look(), "an operator")

    def _plausible(self, now: Reading) -> bool:
        wall, boot = now
        seen_wall, seen_boot = self._seen
        return -STEP_MS <= wall - seen_wall <= boot - seen_boot + JUMP_MS

    def _judge(self, now: Reading) -> int:
        """Decide about a wall time that is doubted, or should be. Returns the time to go by."""
        with self._judging:
            if self._plausible(now):
                return self._believe(now, "its own course")
            if self._is_vouched_for(now):
                return self._believe(now, "the kernel")
            wall, boot = now
            seen_wall, seen_boot = self._seen
            expected = seen_wall + boot - seen_boot
            if not self._doubted:
                log.warning("the clock shows %s and is not trusted; it should be %s", rfc3339(wall), rfc3339(expected))
            self._doubted = True
            return expected

    def _is_vouched_for(self, now: Reading) -> bool:
        _, boot = now
        if self._doubted and boot - self._asked_at < ASK_EVERY_MS:
            return False
        self._asked_at = boot
        return self._hands.synchronised()

    def _believe(self, now: Reading, voucher: str) -> int:
        if self._doubted:
            log.warning("the clock shows %s and is trusted again, by %s", rfc3339(now[0]), voucher)
        self._seen, self._doubted = now, False
        return now[0]


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
