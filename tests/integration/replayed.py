"""A recording played to a monitor, and what the monitor made of it."""

import asyncio
import random
from collections.abc import Iterable, Mapping

from gateway.bus.foreign.watch import Listening
from gateway.bus.frames import load_codecs
from gateway.bus.link import Link
from gateway.bus.link.replay import ReplayClock, clock_for
from gateway.bus.monitor import Monitor
from gateway.bus.wire import Condition
from gateway.clock import Clock, SystemClock
from gateway.component import Component
from gateway.ports import Notice, PresenceChange
from gateway.settings import BusSection, PresenceSection
from tests.integration.link_bench import until


async def verdicts(
    section: BusSection,
    components: Iterable[tuple[Component, PresenceSection]],
    listenings: Mapping[str, Listening] | None = None,
) -> list[tuple[str, str, float]]:
    """Play to the end; return (component, presence, seconds of the recording) of every change of presence."""
    clock = clock_for(section, SystemClock())
    began_ms = clock.wall_ms()
    return [
        (notice.component_id, str(notice.presence), round((notice.at - began_ms) / 1000, 2))
        for notice in await notices(section, components, listenings, clock)
        if isinstance(notice, PresenceChange) and notice.event in {None, "component_online", "component_offline"}
    ]


async def notices(
    section: BusSection,
    components: Iterable[tuple[Component, PresenceSection]],
    listenings: Mapping[str, Listening] | None = None,
    clock: Clock | None = None,
) -> list[Notice]:
    """Play to the end; return all that a monitor told of it."""
    clock = clock or clock_for(section, SystemClock())
    assert isinstance(clock, ReplayClock)
    link = Link(section.name, section, clock, random.Random(1))
    told: list[Notice] = []
    conditions: list[Condition] = []
    monitor = Monitor(
        wire=link,
        components=components,
        codecs=load_codecs(),
        clock=clock,
        rows={},
        sink=told.extend,
        on_ready=lambda *_: None,
        listenings=listenings,
        suspended=lambda: 0.0,
        sleep_until=clock.sleep_until,
    )
    link.watch(lambda event: conditions.append(event.condition))
    tasks = [asyncio.create_task(monitor.run()), asyncio.create_task(link.run())]
    try:
        async with asyncio.timeout(60):
            await until(lambda: Condition.DOWN in conditions or any(task.done() for task in tasks), within_s=60)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()
    return told
