"""A count of what was turned away, and a log that stays short whatever comes in."""

import logging
from collections import Counter
from typing import Final

from gateway.clock import Clock

_QUIET_S: Final = 60.0  # one line a reason and minute


class Tally:
    """Counts by reason (a closed set, so bounded) and logs each reason at most once a minute."""

    def __init__(self, log: logging.Logger, clock: Clock) -> None:
        self.totals: Counter[str] = Counter()
        self._log = log
        self._clock = clock
        self._quiet_until: dict[str, float] = {}

    def count(self, reason: str, detail: str) -> None:
        """Count one `reason`; `detail` goes to the log if it has been quiet about this reason."""
        self.totals[reason] += 1
        now = self._clock.monotonic()
        if now < self._quiet_until.get(reason, now):
            return
        self._quiet_until[reason] = now + _QUIET_S
        self._log.warning("%s (%d so far): %.200s", reason, self.totals[reason], detail)
