"""The telemetry of one bus: keeps the newest of each message that is wanted, and reads it where something may be told.

A frame costs a look-up and, if it is wanted, a note of its data. What they say is looked at ten times a second at most,
only while something waits, and never sooner than it may be told.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from gateway.bus.telemetry.wanted import Wanted
from gateway.bus.wire import EXTENDED, EXTENDED_MASK, Filter, Frame, Lane, Wire
from gateway.clock import Clock
from gateway.telemetry import Reading, Source, Value

if TYPE_CHECKING:
    from gateway.bus.dbc.extraction import Shows

LOOK_EVERY_S: Final = 0.1
_NEVER: Final = float("inf")
_WHOLE_ID: Final = EXTENDED | EXTENDED_MASK


class Telemetry:
    """What the components of one bus say of themselves.

    `wire`: subscribed to here. `clock`: that of the frames' arrival times. `tell` is handed what is to be told, of each
    component together, and must neither block nor await. `sleep_until` waits for a time of the monotonic clock, where
    that is not the machine's.
    """

    def __init__(
        self,
        *,
        wire: Wire,
        wanted: Iterable[Wanted],
        clock: Clock,
        tell: Callable[[Reading], None],
        sleep_until: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._clock, self._tell = clock, tell
        self._sleep_until = sleep_until or self._sleep
        self._by_id: dict[int, list[tuple[Shows | None, Source]]] = defaultdict(list)
        self._by_component: dict[str, list[Source]] = defaultdict(list)
        self._news = asyncio.Event()
        for each in wanted:
            source = Source(each.signals, each.valid)
            self._by_id[each.can_id].append((each.shown, source))
            self._by_component[each.component_id].append(source)
        filters = [Filter(can_id, _WHOLE_ID) for can_id in self._by_id]
        wire.listen(Lane.PRESENCE, filters, self.receive)

    def receive(self, frames: Sequence[Frame]) -> None:
        """Take a batch of frames from the wire."""
        find, heard = self._by_id.get, False
        for can_id, data, at in frames:
            sources = find(can_id)
            if sources is None:
                continue
            heard = True
            for shown, source in sources:
                if shown is None or shown(data):
                    source.hear(data, at)
        if heard:
            self._news.set()

    async def run(self) -> None:
        """Tell what is to be told, for ever."""
        while True:
            self._news.clear()
            due_at = self.look(self._clock.monotonic())
            await self._sleep_until(self._clock.monotonic() + LOOK_EVERY_S)
            await self._news_or(due_at)

    def look(self, now: float) -> float:
        """Tell what is due at `now` (s, monotonic). Returns when something is due even if nothing more is heard."""
        due_at = _NEVER
        for component_id, sources in self._by_component.items():
            values: dict[str, Value] = {}
            newest = -_NEVER
            for source in sources:
                if source.due_at <= now and (told := source.look(now)):
                    values |= told
                    newest = max(newest, source.at)
                due_at = min(due_at, source.due_at)
            if values:
                self._tell(Reading(component_id, self._wall_ms(newest), values))
        return due_at

    def _wall_ms(self, at: float) -> int:
        return self._clock.wall_ms() - round((self._clock.monotonic() - at) * 1000)

    async def _news_or(self, due_at: float) -> None:
        """Wait for frames, or for a time."""
        if due_at == _NEVER:
            await self._news.wait()
            return
        timer = asyncio.ensure_future(self._sleep_until(due_at))
        timer.add_done_callback(lambda done: None if done.cancelled() else self._news.set())
        try:
            await self._news.wait()
        finally:
            timer.cancel()

    async def _sleep(self, until: float) -> None:
        await asyncio.sleep(max(0.0, until - self._clock.monotonic()))
