"""The write connection within one group: what nobody waits to read is written later, many rows at a time."""

import sqlite3
from itertools import groupby
from operator import itemgetter
from typing import Final

from gateway.queue.store.rows import Row
from gateway.queue.store.undo import Undo

_Write = tuple[str, Row]
_QUERY: Final = itemgetter(0)


class _Lane:
    """Writes that wait their turn; those of the present job can be told from those before it."""

    def __init__(self) -> None:
        self.waiting: list[_Write] = []
        self._earlier = 0  # how many of them are of earlier jobs
        self._sent_earlier: list[_Write] = []  # in the present job's savepoint: undone with it, so to be sent again

    def start_job(self) -> None:
        self._earlier = len(self.waiting)
        self._sent_earlier = []

    def undo_job(self) -> None:
        self.waiting = self._sent_earlier + self.waiting[: self._earlier]

    def send(self, db: sqlite3.Connection) -> None:
        writes, self.waiting = self.waiting, []
        self._sent_earlier += writes[: self._earlier]
        self._earlier = 0
        writes.sort(key=_QUERY)  # stable: one batch a query; the INSERT of a row comes before its UPDATE
        for query, rows in groupby(writes, _QUERY):
            db.executemany(query, [row for _, row in rows])


class Session:
    """Defers writes, and sets a savepoint only in a job that brings the database to do something before the commit.

    Writes to table `operation` wait until what they change there is read, all others until anything but that table is
    read, or for the commit.
    """

    def __init__(self, db: sqlite3.Connection, undo: Undo) -> None:
        self._db: Final = db
        self._undo: Final = undo
        self._saved = False
        self._clear()

    def _clear(self) -> None:
        self._operations, self._others = _Lane(), _Lane()
        self._latest: dict[tuple[str, str], Row] = {}  # by query and key
        self._queues: set[str] = set()  # carriers whose queue has changed in this group

    def begin(self) -> None:
        """Start a group."""
        self._clear()
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make the group durable."""
        self.send()
        self._db.execute("COMMIT")

    def abort(self) -> None:
        """Undo the group."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def start_job(self) -> None:
        """Begin what may be undone by itself."""
        self._saved = False
        self._operations.start_job()
        self._others.start_job()

    def end_job(self) -> None:
        """Keep what the job did."""
        if self._saved:
            self._db.execute("RELEASE job")

    def undo_job(self) -> None:
        """Undo what the job did. What was kept by `change_latest` comes back with the rest of the `Undo`."""
        if self._saved:
            self._db.execute("ROLLBACK TO job")
            self._db.execute("RELEASE job")
        self._operations.undo_job()
        self._others.undo_job()

    def change_operation(self, query: str, values: Row, *, queue: str | None = None) -> None:
        """Insert or update in table `operation`, in time for whoever reads it next.

        `queue`: the carrier to whose QUEUED operations one is added or from whose one is taken, or which changes.
        """
        self._operations.waiting.append((query, values))
        if queue is not None:
            self._queues.add(queue)

    def change(self, query: str, values: Row) -> None:
        """Write to another table. Writes of one query keep their order; those of several queries may not."""
        self._others.waiting.append((query, values))

    def change_latest(self, query: str, key: str, values: Row) -> None:
        """Write to another table a row that replaces what was written under `key` before: the last one alone goes."""
        self._undo.put(self._latest, (query, key), values)

    def read_queue(self, carrier: str, query: str, values: Row) -> sqlite3.Cursor:
        """Ask about the QUEUED operations of one carrier: what others do may wait on."""
        if carrier in self._queues:
            self._show_operations()
        return self._db.execute(query, values)

    def read_operations(self, query: str, values: Row) -> sqlite3.Cursor:
        """Ask table `operation` alone."""
        self._show_operations()
        return self._db.execute(query, values)

    def read(self, query: str, values: Row = ()) -> sqlite3.Cursor:
        """Ask any table."""
        self._show_all()
        return self._db.execute(query, values)

    def execute(self, query: str, values: Row = ()) -> sqlite3.Cursor:
        """Change any table at once."""
        self._save()
        self.send()
        return self._db.execute(query, values)

    def _save(self) -> None:
        if not self._saved:
            self._db.execute("SAVEPOINT job")
            self._saved = True

    def _show_operations(self) -> None:
        if self._operations.waiting:
            self._save()
            self._operations.send(self._db)

    def _show_all(self) -> None:
        if self._operations.waiting or self._others.waiting or self._latest:
            self._save()
            self.send()

    def send(self) -> None:
        """Hand the database whatever waits. Between jobs it takes no savepoint."""
        for key in list(self._latest):
            self._others.waiting.append((key[0], self._latest[key]))
            self._undo.drop(self._latest, key)
        self._operations.send(self._db)
        self._others.send(self._db)
