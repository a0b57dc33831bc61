"""Group commit: whatever waits when a commit starts goes into the next one, each job undone alone where it raises."""

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic_core import PydanticSerializationError

from gateway.clock import Clock
from gateway.errors import Code, MisuseError, Refusal
from gateway.event import Event
from gateway.ports import Tx
from gateway.queue.store.transaction import Transaction

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_WAITING: Final = 1_000  # jobs; callers beyond them await room
_UNSTORABLE: Final = (sqlite3.Error, PydanticSerializationError)
STALLED_AFTER_S: Final = 30.0  # no commit of a sound disk takes that long


@dataclass(slots=True)
class Job:
    """One caller's change: what to run, and what came of it."""

    run: Callable[[Tx], Any]
    future: "asyncio.Future[Any]"
    value: Any = None
    error: Exception | None = None

    def tell(self) -> None:
        """Hand the result to the caller, if one still waits."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.value)
        else:
            self.future.set_exception(self.error)


def commit(transaction: Transaction, db: sqlite3.Connection, jobs: Sequence[Job]) -> list[Event]:
    """Run `jobs` in one transaction, each undone alone where it raises; returns the events that are durable now.

    Where the database fails, nothing of the group is stored and every job in it gets a Refusal. Where it only cannot
    take what one of them wrote, each runs once more in a transaction of its own: one job's fault stays its own.
    """
    try:
        transaction.begin()
        for job in jobs:
            _run(transaction, db, job)
        return transaction.commit()
    except Exception as why:
        _abort(transaction)
        if len(jobs) > 1 and not _is_weather(why):
            return [event for job in jobs for event in commit(transaction, db, [job])]
        log.exception("a group of %d changes was undone", len(jobs))
        for job in jobs:
            job.error = job.error or refusal(why)
        return []


def _run(transaction: Transaction, db: sqlite3.Connection, job: Job) -> None:
    job.error = None
    transaction.start_job()
    try:
        job.value = job.run(transaction)
    except Exception as why:
        if not db.in_transaction:  # SQLite undid more than this job: disk full, or an IO error
            raise
        transaction.undo_job()
        job.error = refusal(why) if isinstance(why, _UNSTORABLE) else why
    else:
        transaction.end_job()


def _abort(transaction: Transaction) -> None:
    try:
        transaction.abort()
    except sqlite3.Error:
        log.exception("the database could not undo a group")


def _is_weather(why: Exception) -> bool:
    """Whether the database failed, rather than refused a value: disk full, IO error, damage, lock."""
    refused = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError)
    return isinstance(why, sqlite3.Error) and not isinstance(why, refused)


def refusal(why: Exception) -> Refusal:
    """Say to a caller why nothing was stored."""
    full = getattr(why, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    told = Refusal(Code.STORAGE_FULL if full else Code.INTERNAL, f"It could not be stored: {why}.")
    told.__cause__ = why
    return told


class Writer:
    """One thread that owns the write connection. Every method belongs to the loop; only `_work` runs in the thread."""

    def __init__(
        self,
        transaction: Transaction,
        db: sqlite3.Connection,
        *,
        clock: Clock,
        on_events: Callable[[Sequence[Event]], None],
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._transaction, self._db, self._clock, self._on_events = transaction, db, clock, on_events
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(max_waiting)
        self._waiting: list[Job] = []
        self._handed: queue.SimpleQueue[list[Job] | None] = queue.SimpleQueue()
        self._started: float | None = None  # s, monotonic: when the group in the writer's hands was handed over
        self._woken = False
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    async def write(self, job: Callable[[Tx], T]) -> T:
        """Run `job` in the next group; return its value once that is durable."""
        await self._room.acquire()
        if self._closing:
            self._room.release()
            raise MisuseError("the store is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append(Job(job, future))
        self._idle.clear()
        if not self._woken and self._started is None:
            # Not at once: the other callers of this round of the loop share the commit, and the thread wakes up once.
            self._woken = True
            self._loop.call_soon(self._hand_over)
        return await future

    def alive(self) -> bool:
        """Whether the writer makes progress: nothing to do, or at it for no longer than a disk may take."""
        busy_s = 0.0 if self._started is None else self._clock.monotonic() - self._started
        return self._thread.is_alive() and busy_s < STALLED_AFTER_S

    async def close(self) -> None:
        """Finish what waits, then end the thread."""
        self._closing = True
        await self._idle.wait()
        self._handed.put(None)
        await asyncio.to_thread(self._thread.join)

    def _hand_over(self) -> None:
        self._woken = False
        if not self._waiting:
            self._idle.set()
            return
        jobs, self._waiting = self._waiting, []
        self._started = self._clock.monotonic()
        self._handed.put(jobs)

    def _work(self) -> None:
        while (jobs := self._handed.get()) is not None:
            events = commit(self._transaction, self._db, jobs)
            try:
                self._loop.call_soon_threadsafe(self._settle, jobs, events)
            except RuntimeError:  # the loop was torn down without closing the store: what is committed is safe
                return

    def _settle(self, jobs: list[Job], events: list[Event]) -> None:
        self._started = None
        for job in jobs:
            job.tell()
            self._room.release()
        if events:
            self._on_events(events)
        self._hand_over()
