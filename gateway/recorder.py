"""From what the monitors notice to what the store keeps: what belongs together in one transaction, nobody waits."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from gateway.component import ComponentKind
from gateway.errors import MisuseError
from gateway.event import Event
from gateway.ports import Notice, Registration, Store, Tx
from gateway.queue.drain.patience import write

log = logging.getLogger(__name__)

LIMIT: Final = 4096  # batches; presence changes are damped, so this many mean that the store has stopped for long


class Recorder:
    """Takes what monitors notice and writes it, in order. `noticed` is told of each event before it is stored."""

    def __init__(self, store: Store, noticed: Callable[[Event], None]) -> None:
        self._store = store
        self._noticed = noticed
        self._waiting: deque[Sequence[Notice]] = deque(maxlen=LIMIT)
        self._wake = asyncio.Event()

    def take(self, notices: Sequence[Notice]) -> None:
        """Take notices that belong in one transaction. Never blocks. Raises MisuseError where the store fell behind."""
        if len(self._waiting) == LIMIT:
            raise MisuseError("presence changes are not being written")
        for notice in notices:
            if isinstance(notice, Event):
                self._noticed(notice)
        self._waiting.append(notices)
        self._wake.set()

    async def run(self) -> None:
        """Write what was taken, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()  # all that has come meanwhile goes into one transaction, and so into one sync
            notices = [notice for batch in self._waiting for notice in batch]
            self._waiting.clear()
            await write(self._store, _recording(notices))  # a full disk must not end the watch over batteries


def _recording(notices: Sequence[Notice]) -> Callable[[Tx], None]:
    def job(tx: Tx) -> None:
        for notice in notices:
            if isinstance(notice, Event):
                tx.emit(notice)
                _register(tx, notice)
            else:
                tx.record_presence((notice,))

    return job


def _register(tx: Tx, event: Event) -> None:
    """Keep a component that was discovered: after a restart it is no news."""
    if event.type == "component_discovered":
        told = event.attributes
        tx.register(Registration(event.subject, ComponentKind(told["kind"]), told["bus"], told["node"]))
