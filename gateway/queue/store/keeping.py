"""Keeping house: registered components, the archive and its exports, and the bound of the database."""

import sqlite3
from collections.abc import Container

from gateway.clock import Clock
from gateway.event import GATEWAY, Event
from gateway.ports import Export, Registration
from gateway.queue.months import Month, month_after, month_of, start_of
from gateway.queue.store.records import Records
from gateway.queue.store.room import Room
from gateway.queue.store.sql import QUERIES


class Keeping(Records):
    """What outlives operations. `max_pages`: how large the database may grow."""

    def __init__(
        self, db: sqlite3.Connection, clock: Clock, *, max_pages: int, outbox_max_bytes: int, upstream: bool
    ) -> None:
        super().__init__(db, clock, max_pages=max_pages, outbox_max_bytes=outbox_max_bytes, upstream=upstream)
        names = [row[1] for row in db.execute("PRAGMA table_info(operation)")]
        columns = ", ".join(name for name in names if name != "id")
        self._archive = QUERIES["archive"].format(columns=columns)
        self._room = Room(db, self._undo, max_pages=max_pages)

    def begin(self) -> None:
        """Start a group."""
        super().begin()
        alert = self._room.look()
        if alert is not None:
            self.emit(Event("queue_alert", GATEWAY, self._clock.wall_ms(), alert))

    def abort(self) -> None:
        """Undo the group."""
        self._room.doubt()
        super().abort()

    def register(self, registration: Registration) -> None:
        """Keep a component that is in no configuration."""
        values = (
            registration.component_id,
            str(registration.kind),
            registration.bus,
            registration.node,
            registration.owner,
            registration.parent,
        )
        self._session.execute(QUERIES["register"], values)

    def archive(self, ended_before: int, limit: int) -> int:
        """Move operations that ended before (ms) to the archive, at most `limit`. Returns how many went.

        Those stay that are owed a settlement, and families of which not all have ended.
        """
        last = self._value(QUERIES["last_archived"])
        self._session.execute(self._archive, (last, ended_before, limit))
        return self._session.execute(QUERIES["forget_archived"], (last,)).rowcount

    def begin_export(self, ended_before: int, limit: int, taken: Container[str]) -> Export | None:
        """Return the export that was begun and not finished; else begin one; None where nothing is to be exported.

        It is for the oldest month that was over before (ms) and has archived operations in no export: the first of
        them, at most `limit`. `taken`: names it must not have.
        """
        begun = self._execute(QUERIES["begun_export"], ()).fetchone()
        if begun is not None:
            return Export(*begun)
        oldest = self._value(QUERIES["oldest_archived"])
        if oldest is None:
            return None
        month = month_of(oldest)
        while start_of(month_after(month)) <= ended_before:
            first, last = self._row(QUERIES["unexported"], (month, limit))
            if first is not None:
                export = Export(self._free_name(month, taken), month, first, last)
                self._session.execute(QUERIES["begin_export"], (export.file, month, first, last))
                return export
            month = month_after(month)
        return None

    def _free_name(self, month: Month, taken: Container[str]) -> str:
        number, file = 1, f"operations-{month}.jsonl.gz"
        while file in taken or self._value(QUERIES["is_export"], (file,)):
            number += 1
            file = f"operations-{month}-{number}.jsonl.gz"
        return file

    def exported(self, file: str, sha256: str) -> None:
        """Note that an export that was begun is finished, and what its file must hash to."""
        self._session.execute(QUERIES["exported"], (sha256, file))

    def drop_exported(self, file: str, limit: int) -> int:
        """Delete archived operations that a finished export holds, at most `limit`. Returns how many."""
        return self._session.execute(QUERIES["drop_exported"], (file, limit)).rowcount
