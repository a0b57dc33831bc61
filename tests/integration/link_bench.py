"""What the tests of the link share: a listener that remembers, and waits that end."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from gateway.bus.link import Link, port_for
from gateway.bus.wire import BusEvent, Condition, Filter, Frame, Lane
from gateway.clock import SystemClock
from gateway.settings import BusSection

EVERYTHING = Filter(0, 0)


class Listener:
    """Remembers what a link told."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.batches: list[int] = []
        self.events: list[BusEvent] = []

    def receive(self, frames: Sequence[Frame]) -> None:
        self.frames += frames
        self.batches.append(len(frames))

    def watch(self, event: BusEvent) -> None:
        self.events.append(event)

    @property
    def conditions(self) -> list[Condition]:
        return [event.condition for event in self.events]

    @property
    def contents(self) -> list[tuple[int, bytes]]:
        return [(can_id, data) for can_id, data, _ in self.frames]


async def until(happened: Callable[[], object], within_s: float = 60) -> None:
    async with asyncio.timeout(within_s):
        while not happened():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def linked(
    settings: BusSection,
    *,
    lane: Lane = Lane.PRESENCE,
    filters: Sequence[Filter] = (EVERYTHING,),
    port=port_for,
    up: bool = True,
) -> AsyncIterator[tuple[Link, Listener]]:
    """A running link with one listener; `up`: wait until it is."""
    listener = Listener()
    link = Link("can0", settings, SystemClock(), random.Random(1), retry_s=(0.01, 0.05), port=port)
    link.listen(lane, filters, listener.receive)
    link.watch(listener.watch)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(link.run())
        try:
            if up:
                await until(lambda: Condition.UP in listener.conditions)
            yield link, listener
        finally:
            running.cancel()
