"""How the way to the broker is, and how it was: for get_health, and for a log that says each thing once."""

import logging
from collections import Counter
from typing import Any, Final

from gateway.clock import Clock, rfc3339
from gateway.sync.loss import Cause, LinkLost

log = logging.getLogger(__name__)

STEADY_S: Final = 60.0  # a connection that held so long has got over what was before it


class Condition:
    """Notes connections and losses. `cause`: of the last loss, until a connection has proved steady."""

    def __init__(self, broker: str, clock: Clock) -> None:
        self.connected = False
        self._broker = broker
        self._clock = clock
        self._since_ms = clock.wall_ms()
        self._since = clock.monotonic()
        self._connections = 0
        self._sessions_lost = 0
        self._losses: Counter[Cause] = Counter()
        self._last: LinkLost | None = None
        self._told: set[Cause] = set()  # in the log, since the last steady connection
        self._tell_next = True  # the next connection, too

    def up(self, *, session_lost: bool) -> None:
        """Note a new connection. `session_lost`: the broker has forgotten us, and requests that waited for us."""
        self._moved(connected=True)
        self._connections += 1
        self._sessions_lost += session_lost
        if self._tell_next:
            self._tell_next = False
            forgot = ", which has forgotten our session: requests may be lost" if session_lost else ""
            log.info("connected to %s%s", self._broker, forgot)

    def down(self, why: LinkLost) -> None:
        """Note that a connection was lost, or not made. Each cause is logged once until it is long well again."""
        if self.steady():
            self._told.clear()
        self._losses[why.cause] += 1
        self._last = why
        if self.connected:
            self._moved(connected=False)
        if why.cause not in self._told:
            self._told.add(why.cause)
            self._tell_next = True
            log.warning("no connection (%s): %s", why.cause, why)

    def stop(self) -> None:
        """Note that we have left."""
        self._moved(connected=False)

    def steady(self) -> bool:
        """Whether the present connection has held for long."""
        return self.connected and self._clock.monotonic() - self._since > STEADY_S

    def _moved(self, *, connected: bool) -> None:
        self.connected = connected
        self._since_ms, self._since = self._clock.wall_ms(), self._clock.monotonic()

    def told(self) -> dict[str, Any]:
        """Return the part of get_health that is about connections."""
        told: dict[str, Any] = {
            "connected": self.connected,
            "broker": self._broker,
            "since": rfc3339(self._since_ms),
            "reconnects": max(self._connections - 1, 0),
            "sessions_lost": self._sessions_lost,
            "losses": {str(cause): count for cause, count in self._losses.items()},
        }
        if self._last is not None and not self.steady():
            told |= {"cause": str(self._last.cause), "last_error": str(self._last)}
        return told
