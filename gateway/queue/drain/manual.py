"""Drains that somebody asked for: begun, waited for, and their reports kept for a while."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from gateway.clock import Clock
from gateway.errors import Code, Refusal
from gateway.ids import RequestIds
from gateway.ports import DrainReport
from gateway.queue.drain.errand import Errand, manual

LIMIT: Final = 100  # drains under way at once, and reports kept of those that ended
RETRY_AFTER_MS: Final = 1000


@dataclass(slots=True)
class _Asked:
    errand: Errand
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    report: DrainReport | None = None


class ManualDrains:
    """The book of the drains that were asked for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ids = RequestIds()
        self._open: dict[str, _Asked] = {}
        self._ended: OrderedDict[str, _Asked] = OrderedDict()

    def begin(self, component_id: str, max_operations: int, proxies: Iterable[str]) -> tuple[str, Errand]:
        """Return a new drain and its id. Raises Refusal RATE_LIMITED where too many are under way."""
        if len(self._open) >= LIMIT:
            raise Refusal(
                Code.RATE_LIMITED, f"{LIMIT} drains are under way, and no more.", retry_after_ms=RETRY_AFTER_MS
            )
        drain_id = self._ids.new("drain", self._clock.wall_ms())
        errand = manual(drain_id, component_id, max_operations, proxies)
        self._open[drain_id] = _Asked(errand)
        return drain_id, errand

    def errand(self, drain_id: str) -> Errand:
        """Return a drain that is under way. Raises KeyError for any other."""
        return self._open[drain_id].errand

    def end(self, drain_id: str) -> None:
        """Let those know who wait for it."""
        asked = self._open.pop(drain_id)
        asked.report = asked.errand.report(self._clock.monotonic())
        self._ended[drain_id] = asked
        while len(self._ended) > LIMIT:
            self._ended.popitem(last=False)
        asked.ended.set()

    def end_all(self) -> None:
        """The gateway stops: nobody must wait any longer."""
        for drain_id in list(self._open):
            self.end(drain_id)

    async def finished(self, drain_id: str) -> DrainReport:
        """Wait for the end of a drain. Raises Refusal REQUEST_NOT_FOUND where none of that id is known (any more)."""
        asked = self._open.get(drain_id) or self._ended.get(drain_id)
        if asked is None:
            raise Refusal(Code.REQUEST_NOT_FOUND, f"There is no drain {drain_id[:64]!r}.")
        await asked.ended.wait()
        assert asked.report is not None
        return asked.report
