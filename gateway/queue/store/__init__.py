"""The durable memory: opened once, written by one thread in groups, read by another."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, Self, TypeVar

from gateway.clock import Clock
from gateway.event import Event
from gateway.operation import Mode
from gateway.ports import Reader, Tx
from gateway.queue.store.damage import finish_interrupted, is_damage, is_sound, salvage
from gateway.queue.store.reader import SqlReader
from gateway.queue.store.sql import QUERIES, connect, limit_size, migrate
from gateway.queue.store.transaction import Transaction
from gateway.queue.store.writer import MAX_WAITING, Writer

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_BYTES: Final = 1 << 30
BYTES_PER_EVENT: Final = 512  # about what one takes; turns a bound in bytes into one in events
KEEP_EVENTS: Final = (256 << 20) // BYTES_PER_EVENT
MAX_READING: Final = 64  # reads; callers beyond them await their turn


class SqliteStore:
    """Implements `ports.Store`; see `open`.

    `epoch` grew by one when this was opened. `last_event_at`: ms since the epoch, the newest trusted time stored then.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        reading_db: sqlite3.Connection,
        transaction: Transaction,
        clock: Clock,
        waiting: int,
    ) -> None:
        self.epoch = _next_epoch(db)
        self.last_event_at = int(db.execute(QUERIES["last_event_at"]).fetchone()[0])
        self._listeners: list[Callable[[Sequence[Event]], None]] = []
        self._writer = Writer(transaction, db, clock=clock, on_events=self._tell, max_waiting=waiting)
        self._reading_db, self._reader = reading_db, SqlReader(reading_db, clock)
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._turn = asyncio.Semaphore(MAX_READING)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: Path,
        *,
        clock: Clock,
        mode: Mode = Mode.PRIORITY,
        max_bytes: int = MAX_BYTES,
        keep_events: int = KEEP_EVENTS,
        upstream: bool = True,
        max_waiting: int = MAX_WAITING,
    ) -> AsyncIterator[Self]:
        """Open the database at `path`: make, migrate or mend it as needed. On leaving, finish what waits and close.

        Args:
            path: The file; its folder must exist.
            clock: Says when, and whether that may be believed.
            mode: In which order operations are worked off; those that wait already are put into it, too.
            max_bytes: The file grows no further. New work is refused a little before, so that old work can end.
            keep_events: Events kept for replay; older ones go once acknowledged.
            upstream: False where nobody will ever acknowledge: older events go at once.
            max_waiting: Changes that may wait for the writer; callers beyond them await room.

        Raises:
            ConfigError: The database is newer than this program.
            sqlite3.Error: It cannot be opened at all.
        """
        async with AsyncExitStack() as opened:
            db = await asyncio.to_thread(open_database, path, clock)
            opened.callback(db.close)
            reading_db = connect(path, read_only=True)
            opened.callback(reading_db.close)
            max_pages = limit_size(db, max_bytes)
            transaction = Transaction(
                db, clock, max_pages=max_pages, keep_events=keep_events, upstream=upstream, mode=mode
            )
            store = cls(db, reading_db, transaction, clock, max_waiting)
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
        async with self._turn:
            return await asyncio.get_running_loop().run_in_executor(self._reading, self._read, query)

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        """Call `listener` on the loop after every commit that stored events, with them, in order of seq."""
        self._listeners.append(listener)

    def writer_alive(self) -> bool:
        """Whether the writer makes progress; for the watchdog."""
        return self._writer.alive()

    async def close(self) -> None:
        """Finish what waits and end both threads; whoever writes or reads afterwards has a bug."""
        await self._writer.close()
        await asyncio.to_thread(self._reading.shutdown)

    def _read(self, query: Callable[[Reader], T]) -> T:
        self._reading_db.execute("BEGIN")
        try:
            return query(self._reader)
        finally:
            self._reading_db.execute("ROLLBACK")

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
