"""The devices of a scene, on a loop and a thread of their own: a test that waits for a process silences nobody."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Final, Self

from gateway.bus.link import Link
from gateway.bus.simulator.journal import Journal
from gateway.bus.simulator.runner import Simulator
from gateway.bus.simulator.scenario import Scenario
from gateway.bus.simulator.trouble import Override
from gateway.clock import SystemClock
from gateway.settings import BusSection

WITHIN_S: Final = 30.0


class Devices:
    """All that `scenario` has on `buses`, with one journal. Use as a context manager."""

    def __init__(self, scenario: Scenario, buses: Sequence[BusSection], journal: Path) -> None:
        self._scenario, self._buses = scenario, buses
        self._clock = SystemClock()
        self.journal = Journal(self._clock, journal)
        self._simulators: list[Simulator] = []  # one a bus
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="devices")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(WITHIN_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._have(self._over.set)
        self._thread.join(WITHIN_S)
        self.journal.close()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        links = [Link(section.name, section, self._clock, Random(1)) for section in self._buses]
        self._simulators = [
            Simulator(scenario=self._scenario, wire=link, clock=self._clock, journal=self.journal) for link in links
        ]
        self._ready.set()
        with suppress(asyncio.CancelledError):
            async with asyncio.TaskGroup() as tasks:
                runs = [*(link.run() for link in links), *(simulator.run() for simulator in self._simulators)]
                running = [tasks.create_task(each) for each in runs]
                await self._over.wait()
                for task in running:
                    task.cancel()

    def _have(self, step: Callable[[], None]) -> None:
        """Have something done on the loop of the devices, and wait until it is."""

        async def do() -> None:
            step()

        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(do(), self._loop).result(WITHIN_S)

    def do(self, component_id: str, deed: str | Override) -> None:
        """Make a device do something: a word of the simulator's, or an answer to give."""
        simulator = next(each for each in self._simulators if component_id in each.nodes)
        self._have(partial(simulator.do, component_id, deed))

    def switch(self, *, on: bool) -> None:
        """Take every device off its bus, or put them all on it again."""
        for simulator in self._simulators:
            self._have(partial(simulator.switch, on=on))
