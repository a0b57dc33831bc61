"""The harmless question before anything is sent to a device that was away: is it the one we know?"""

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final

from gateway.clock import Clock
from gateway.component import Registry
from gateway.errors import Code
from gateway.event import Event
from gateway.operation import Ending, Outcome, QueueType, Status
from gateway.ports import Executor, Store, Tx
from gateway.queue.drain.patience import write
from gateway.queue.drain.schedule import Standing
from gateway.views import serial_text

log = logging.getLogger(__name__)

PAGE: Final = 200  # operations read at a time


class Probe:
    """Asks components for their serial numbers, and keeps the queue from devices it was not meant for.

    `pinned`: components whose serial number the configuration gives; another device in their place is never spoken to.
    `learned`: told of each component whose serial number is known anew; no event says so.
    """

    def __init__(
        self,
        *,
        store: Store,
        executor: Executor,
        registry: Registry,
        clock: Clock,
        pinned: Collection[str],
        learned: Callable[[str], None],
    ) -> None:
        self._store = store
        self._executor = executor
        self._registry = registry
        self._clock = clock
        self._pinned = frozenset(pinned)
        self._learned = learned
        self._silent: set[str] = set()
        self._strangers: dict[str, int] = {}

    def forget(self, component_id: str) -> None:
        """It was away: if it does not answer now, that is news again."""
        self._silent.discard(component_id)

    def is_stranger(self, component_id: str) -> bool:
        """Whether another device than the one configured answered last."""
        return component_id in self._strangers

    async def ask(self, component_id: str, limit_s: float) -> int | None:
        """Return the serial number a component answers with, within `limit_s`; None: it does not answer."""
        try:
            async with asyncio.timeout(limit_s):
                return await self._executor.identify(component_id)
        except TimeoutError:
            return None
        except Exception:  # a fault in one exchange must not end all drains
            log.exception("asking %s for its serial number failed", component_id)
            return None

    async def no_answer(self, component_id: str) -> None:
        """Tell, once, that a component is heard and does not answer."""
        if component_id not in self._silent:
            self._silent.add(component_id)
            event = self._event("component_unresponsive", component_id)
            await write(self._store, lambda tx: tx.emit(event))

    async def answer(self, component_id: str, serial: int) -> Standing:
        """Compare an answer with what is known, remember it, and return what it makes of the component."""
        self._silent.discard(component_id)
        component = self._registry.get(component_id)
        known = None if component is None else component.serial
        if serial == known:
            self._strangers.pop(component_id, None)
            return Standing.FIT
        pinned = component_id in self._pinned
        if known is not None:
            await self._replaced(component_id, known, serial, learn=not pinned)
            if pinned:
                self._strangers[component_id] = serial
                return Standing.STRANGER
        else:
            now_ms = self._clock.wall_ms()
            await write(self._store, lambda tx: tx.learn_serial(component_id, serial, now_ms))
        self._registry.learn_serial(component_id, serial)
        self._learned(component_id)
        return Standing.FIT

    async def _replaced(self, component_id: str, old: int, new: int, *, learn: bool) -> None:
        news = self._strangers.get(component_id) != new
        event = self._event("component_replaced", component_id, old=serial_text(old), new=serial_text(new))

        def job(tx: Tx) -> None:
            if learn:
                tx.learn_serial(component_id, new, event.at)
            if news:
                tx.emit(event)
            for request_id in _bound(tx, component_id, old):
                found = tx.operation(request_id)
                if found is not None and found.status is Status.QUEUED:  # the end of one may have brought another's
                    tx.reject(request_id, mismatch(old, new), event.at)

        await write(self._store, job)

    def _event(self, kind: str, component_id: str, **attributes: str | None) -> Event:
        return Event(kind, component_id, self._clock.wall_ms(), attributes, self._clock.trusted())


def mismatch(bound: int, found: int) -> Outcome:
    """Return the end of an operation that was meant for the device `bound`, where `found` sits now."""
    message = f"This was queued for the device {serial_text(bound)}; at its address there is now {serial_text(found)}."
    return Outcome(Ending.REFUSED, code=Code.SERIAL_MISMATCH, message=message)


def _bound(tx: Tx, component_id: str, serial: int) -> list[str]:
    """Return the ids of QUEUED operations for a component that were meant for the device `serial`."""
    bound: list[str] = []
    cursor: str | None = None
    while True:
        page = tx.operations(
            component_id=component_id,
            queue_type=QueueType.ALL,
            status=Status.QUEUED,
            page_size=PAGE,
            cursor=cursor,
        )
        bound += [each.request_id for each in page.operations if each.bound_serial == serial]
        cursor = page.next_cursor
        if cursor is None:
            return bound
