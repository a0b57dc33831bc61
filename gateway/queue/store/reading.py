"""Reading beside the writer: a connection that only reads, in a thread of its own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from gateway.clock import Clock
from gateway.ports import Reader
from gateway.queue.store.reader import SqlReader
from gateway.queue.store.sql import connect

T = TypeVar("T")

MAX_READING: Final = 64  # reads; callers beyond them await their turn
LOOK_EVERY: Final = 100_000  # steps of the database between two looks whether anybody still waits: some milliseconds


class Reading:
    """Answers one question after the other, each from one consistent state of the database at `path`."""

    def __init__(self, path: Path, clock: Clock, *, max_pages: int, name: str) -> None:
        self._db = connect(path, read_only=True)
        self._reader = SqlReader(self._db, clock, max_pages=max_pages)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._turn = asyncio.Semaphore(MAX_READING)
        self._closing = False
        self._db.set_progress_handler(lambda: self._closing, LOOK_EVERY)

    async def ask(self, query: Callable[[Reader], T]) -> T:
        """Run `query`; it sees every commit that was answered before."""
        async with self._turn:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, query)

    async def close(self) -> None:
        """Break off what is being asked, for whose answer nobody waits any more, and end the thread."""
        self._closing = True
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        self._db.close()

    def _ask(self, query: Callable[[Reader], T]) -> T:
        self._db.execute("BEGIN")
        try:
            return query(self._reader)
        finally:
            self._db.execute("ROLLBACK")
