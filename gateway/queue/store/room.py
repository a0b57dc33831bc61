"""How full the database is: room for new work, and the alarm before there is none."""

import sqlite3
from typing import Any, Final

from gateway.queue.store.sql import used_pages
from gateway.queue.store.undo import Undo

RESERVE_PART, RESERVE_MAX_PAGES = 16, 1024  # kept from new work, so that what is stored can still come to its end
PAGES_PER_CHANGE: Final = (
    4  # more than a row of ours takes with its indexes; the few that are larger, the reserve bears
)
ALARM_AT: Final = 0.90  # of the bound
ALARM_OVER_AT: Final = 0.85  # a fill that swings around one value alarms once


class Room:
    """The part of its bound that a database has in use, looked at only when it may have changed much."""

    def __init__(self, db: sqlite3.Connection, undo: Undo, *, max_pages: int) -> None:
        self._db, self._undo, self._max_pages = db, undo, max_pages
        self._work_pages = max_pages - min(max_pages // RESERVE_PART, RESERVE_MAX_PAGES)
        self._held: dict[str, Any] = {"alarmed": False}
        self._look_again = 0  # when the database has made so many changes
        self.for_work = True

    def look(self) -> dict[str, Any] | None:
        """Look where it may have changed much. Returns what an alert is to tell, once each time that it fills up."""
        if self._db.total_changes < self._look_again:  # there is room for sure, and a look takes as long as a job
            return None
        used = used_pages(self._db)
        room = self._work_pages - used
        self.for_work = room > 0
        self._look_again = self._db.total_changes + room // PAGES_PER_CHANGE
        return self._alarm(used)

    def doubt(self) -> None:
        """A group was undone: look again at the next."""
        self._look_again = 0

    def _alarm(self, used: int) -> dict[str, Any] | None:
        alarmed = used >= (ALARM_OVER_AT if self._held["alarmed"] else ALARM_AT) * self._max_pages
        if alarmed == self._held["alarmed"]:
            return None
        self._undo.put(self._held, "alarmed", alarmed)
        if not alarmed:
            return None
        page_size = self._db.execute("PRAGMA page_size").fetchone()[0]
        return {"alert": "STORAGE", "used_bytes": used * page_size, "max_bytes": self._max_pages * page_size}
