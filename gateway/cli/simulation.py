"""`simulate`: packs and modules that are not there, as a process of their own, on a bus that processes share."""

import asyncio
import random
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.bus.frames import codecs_of
from gateway.bus.link import Link
from gateway.bus.simulator.journal import Journal
from gateway.bus.simulator.runner import Simulator
from gateway.bus.simulator.scenario import Scenario, load_scenario
from gateway.clock import SystemClock
from gateway.errors import ConfigError
from gateway.settings import BusSection, Settings

WITHIN_ONE_PROCESS: Final = frozenset({"virtual"})


def chosen_buses(settings: Settings, scenario: Scenario, bus: str | None) -> list[BusSection]:
    """Return the buses to simulate on: the one named, else all that have nodes. Raises ConfigError."""
    named = {bus} if bus else {node.bus for node in scenario.nodes}
    chosen = [section for section in settings.bus if section.name in named]
    if not chosen:
        raise ConfigError([f"there is no bus {bus}" if bus else "the scenario has no node on a configured bus"])
    problems = [
        f"bus {section.name}: nobody outside this process hears a virtual bus; use: run --simulate"
        for section in chosen
        if section.interface in WITHIN_ONE_PROCESS
    ]
    if problems:
        raise ConfigError(problems)
    return chosen


async def simulate(
    settings: Settings, file: Path, *, bus: str | None, seconds: float | None, journal: Path | None
) -> int:
    """Be the nodes of a scenario until told to stop, or for `seconds`; return how many requests were carried out."""
    clock = SystemClock()
    scenario = load_scenario(file, settings)
    buses = chosen_buses(settings, scenario, bus)
    with Journal(clock, journal) as kept:
        async with asyncio.TaskGroup() as group:
            tasks = []
            for section in buses:
                link = Link(section.name, section, clock, random.Random())  # noqa: S311 - spreads retries
                codecs = codecs_of(section.dbc)
                simulator = Simulator(scenario=scenario, wire=link, clock=clock, journal=kept, codecs=codecs)
                tasks.append(group.create_task(link.run(), name=f"link {section.name}"))
                tasks.append(group.create_task(simulator.run(), name=f"nodes of {section.name}"))
            await _told_to_stop(seconds)
            for task in tasks:
                task.cancel()
        return len(kept.deeds())


async def _told_to_stop(seconds: float | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
