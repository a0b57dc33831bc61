"""The durable memory: opened once, written by one thread in groups, read by another, studied by a third."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, Self, TypeVar

from gateway.clock import Clock
from gateway.event import Event
from gateway.operation import Mode
from gateway.ports import OutboxFigures, Reader, Tx
from gateway.queue.store.damage import finish_interrupted, is_damage, is_sound, salvage
from gateway.queue.store.reading import Reading
from gateway.queue.store.sql import QUERIES, connect, limit_size, migrate
from gateway.queue.store.transaction import Transaction
from gateway.queue.store.writer import MAX_WAITING, Writer

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_BYTES: Final = 1 << 30
OUTBOX_MAX_BYTES: Final = 256 << 20
OUTBOX_PART: Final = 2  # of the database, at most one half: what waits to be done needs room, too


class SqliteStore:
    """Implements `ports.Store`; see `open`.

    `epoch` grew by one when this was opened. `last_event_at`: ms since the epoch, the newest trusted time stored then.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        transaction: Transaction,
        clock: Clock,
        *,
        reading: Reading,
        studying: Reading,
        max_waiting: int,
    ) -> None:
        self.epoch = _next_epoch(db)
        self.last_event_at = int(db.execute(QUERIES["last_event_at"]).fetchone()[0])
        self._listeners: list[Callable[[Sequence[Event]], None]] = []
        self._outbox = transaction.outbox
        self._writer = Writer(transaction, db, clock=clock, on_events=self._tell, max_waiting=max_waiting)
        self._reading, self._studying = reading, studying

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: Path,
        *,
        clock: Clock,
        mode: Mode = Mode.PRIORITY,
        max_bytes: int = MAX_BYTES,
        outbox_max_bytes: int = OUTBOX_MAX_BYTES,
        upstream: bool = True,
        max_waiting: int = MAX_WAITING,
    ) -> AsyncIterator[Self]:
        """Open the database at `path`: make, migrate or mend it as needed. On leaving, finish what waits and close.

        Args:
            path: The file; its folder must exist.
            clock: Says when, and whether that may be believed.
            mode: In which order operations are worked off; those that wait already are put into it, too.
            max_bytes: The file grows no further. New work is refused a little before, so that old work can end.
            outbox_max_bytes: What events may take, those that wait for the broker and those kept for replay; and no
                more than half of `max_bytes`. What must not be lost stays above it.
            upstream: False where nobody will ever acknowledge: none waits, and the oldest go first.
            max_waiting: Changes that may wait for the writer; callers beyond them await room.

        Raises:
            ConfigError: The database is newer than this program.
            sqlite3.Error: It cannot be opened at all.
        """
        async with AsyncExitStack() as opened:
            db = await asyncio.to_thread(open_database, path, clock)
            opened.callback(db.close)
            max_pages = limit_size(db, max_bytes)
            reading = Reading(path, clock, max_pages=max_pages, name="store-reader")
            opened.push_async_callback(reading.close)
            studying = Reading(path, clock, max_pages=max_pages, name="store-student")
            opened.push_async_callback(studying.close)
            outbox = min(outbox_max_bytes, max_bytes // OUTBOX_PART)
            transaction = Transaction(
                db, clock, max_pages=max_pages, outbox_max_bytes=outbox, upstream=upstream, mode=mode
            )
            store = cls(db, transaction, clock, reading=reading, studying=studying, max_waiting=max_waiting)
            db.execute("PRAGMA shrink_memory")  # the whole file has gone through its cache
            opened.push_async_callback(store.close)
            yield store

    async def write(self, job: Callable[[Tx], T]) -> T:
        """Run `job` in the writer, in a savepoint of the next group; return its value after the commit.

        What `job` raises is raised here and undoes that job alone. Raises Refusal STORAGE_FULL where the disk or the
        quota is full, INTERNAL where the database fails otherwise. Cancelling the caller does not undo a job.
        """
        return await self._writer.write(job)

    async def read(self, query: Callable[[Reader], T]) -> T:
        """Run `query` on a read-only connection, in a thread; sees every commit that was answered before."""
        return await self._reading.ask(query)

    async def study(self, query: Callable[[Reader], T]) -> T:
        """As `read`, for what may take long: it keeps no other reader waiting, only other studies."""
        return await self._studying.ask(query)

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        """Call `listener` on the loop after every commit that stored events, with them, in order of seq."""
        self._listeners.append(listener)

    def outbox(self) -> OutboxFigures:
        """What waits for the broker, as of the last commit; asks nobody."""
        return self._outbox.figures

    def writer_alive(self) -> bool:
        """Whether the writer makes progress; for the watchdog."""
        return self._writer.alive()

    async def close(self) -> None:
        """Finish what waits; whoever writes afterwards has a bug."""
        await self._writer.close()

    def _tell(self, events: Sequence[Event]) -> None:
        for listener in self._listeners:
            try:
                listener(events)
            except Exception:  # one listener's fault must not cost the others their events
                log.exception("a listener failed on events %d to %d", events[0].seq, events[-1].seq)


def open_database(path: Path, clock: Clock) -> sqlite3.Connection:
    """Return a sound database of the newest schema; what was damaged is set aside, salvaged and told of."""
    finish_interrupted(path)
    db = _open_sound(path)
    if db is None:
        salvage(path, clock.wall_ms(), time_trusted=clock.trusted())
        db = connect(path)
    return db


def _open_sound(path: Path) -> sqlite3.Connection | None:
    """Open and migrate; None where the file is damaged."""
    db = None
    try:
        db = connect(path)
        if is_sound(db):
            migrate(db, str(path))
            db, sound = None, db
            return sound
    except sqlite3.Error as why:
        if not is_damage(why):
            raise
    finally:
        if db is not None:
            db.close()
    return None


def _next_epoch(db: sqlite3.Connection) -> int:
    return int(db.execute(QUERIES["next_epoch"]).fetchall()[0][0])
