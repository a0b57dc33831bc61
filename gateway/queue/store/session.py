"""The write connection within one group: what nobody waits to read is written later, many rows at a time."""

import sqlite3
from itertools import groupby
from operator import itemgetter
from typing import Final

from gateway.queue.store.rows import Row

_Write = tuple[str, Row]
_QUERY: Final = itemgetter(0)


class _Lane:
    """Writes that wait their turn; those of the present job can be told from those before it."""

    def __init__(self, *, in_order: bool) -> None:
        self._in_order = in_order  # else only the writes of one query keep their order among themselves
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
        if not self._in_order:
            writes.sort(key=_QUERY)  # stable: one batch a query
        for query, rows in groupby(writes, _QUERY):
            db.executemany(query, [row for _, row in rows])


class Session:
    """Defers writes, and sets a savepoint only in a job that asks the database.

    Writes to table `operation` wait until that is read, all others until anything else is read, or for the commit.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db: Final = db
        self._operations, self._others = _Lane(in_order=True), _Lane(in_order=False)
        self._saved = False

    def begin(self) -> None:
        """Start a group."""
        self._operations, self._others = _Lane(in_order=True), _Lane(in_order=False)
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make the group durable."""
        self._send_all()
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
        """Undo what the job did."""
        if self._saved:
            self._db.execute("ROLLBACK TO job")
            self._db.execute("RELEASE job")
        self._operations.undo_job()
        self._others.undo_job()

    def change_operation(self, query: str, values: Row) -> None:
        """Write to table `operation`, in time for whoever reads it next."""
        self._operations.waiting.append((query, values))

    def change(self, query: str, values: Row) -> None:
        """Write to another table. Writes of one query keep their order; those of several queries may not."""
        self._others.waiting.append((query, values))

    def read_operations(self, query: str, values: Row) -> sqlite3.Cursor:
        """Ask table `operation` alone."""
        self._save()
        self._operations.send(self._db)
        return self._db.execute(query, values)

    def execute(self, query: str, values: Row = ()) -> sqlite3.Cursor:
        """Ask or change any table, at once."""
        self._save()
        self._send_all()
        return self._db.execute(query, values)

    def _save(self) -> None:
        if not self._saved:
            self._db.execute("SAVEPOINT job")
            self._saved = True

    def _send_all(self) -> None:
        self._operations.send(self._db)
        self._others.send(self._db)
