"""A count of what was turned away, and a log that stays short whatever comes in."""

import logging
from collections import Counter
from typing import Final

from gateway.clock import Clock

_DETAIL_MAX: Final = 200  # characters
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
        self._log.warning("%s (%d so far): %s", reason, self.totals[reason], _in_one_line(detail))


def _in_one_line(detail: str) -> str:
    """Return what came from outside so that it cannot pass for a line of the log, nor steer a terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in detail[:_DETAIL_MAX])
