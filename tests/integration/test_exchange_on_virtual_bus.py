"""Executor and simulator over the real link and python-can's virtual bus, in real time."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from gateway.bus.commands import Catalogue
from gateway.bus.exchange import Exchange
from gateway.bus.exchange.executor import BusExecutor
from gateway.bus.link import Link
from gateway.bus.simulator.journal import Journal
from gateway.bus.simulator.runner import Simulator
from gateway.bus.simulator.scenario import Scenario
from gateway.clock import SystemClock
from gateway.component import Component, Registry
from gateway.operation import Ending
from gateway.ports import Attempt
from gateway.settings import BusSection
from tests.doubles_devices import (
    KEY,
    MODULE,
    MODULE_SERIAL,
    PACK,
    ListeningRoster,
    command,
    pairing,
    plan_of,
)


class Rig:
    """A gateway and two simulated devices, each with an end of one virtual bus."""

    def __init__(self) -> None:
        channel = f"rig-{uuid4()}"
        self.clock = SystemClock()
        self.journal = Journal(self.clock)
        components = [PACK, Component(**{name: getattr(MODULE, name) for name in Component.__slots__} | {"key": KEY})]
        registry = Registry(components)
        self.gateway, self.devices = self.link(channel), self.link(channel)
        plans = tuple(plan_of(component, period_s=0.1) for component in components)
        self.simulator = Simulator(scenario=Scenario(plans), wire=self.devices, clock=self.clock, journal=self.journal)
        self.roster = ListeningRoster(self.gateway, registry, self.clock)
        self.executor = BusExecutor(
            registry=registry,
            roster=self.roster,
            exchanges={"can0": Exchange(self.gateway, self.clock)},
            commands=Catalogue(),
            clock=self.clock,
            rng=random.Random(),
        )

    def link(self, channel: str) -> Link:
        section = BusSection(name="can0", interface="virtual", channel=channel)
        return Link("can0", section, self.clock, random.Random())

    async def execute(self, operation: Any) -> Any:
        async def confirming() -> None:
            return

        return await self.executor.execute(Attempt(operation, confirming))

    async def heard(self) -> None:
        async with asyncio.timeout(20):
            while not all(self.roster.sighting(name).ready for name in ("pack-01", "module-03")):
                await asyncio.sleep(0.02)


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    it = Rig()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.run()) for each in (it.gateway, it.devices, it.simulator)]
        await it.heard()
        yield it
        for task in tasks:
            task.cancel()


async def test_the_probe_a_pairing_and_a_command_on_a_virtual_bus() -> None:
    async with rig() as it:
        assert await it.executor.identify("module-03") == MODULE_SERIAL
        outcome = await it.execute(pairing(bound_serial=MODULE_SERIAL))
        assert outcome.ending is Ending.DONE, outcome
        assert outcome.result["authenticated"] is True
        outcome = await it.execute(command("firmware_id"))
        assert outcome.result == {"result_code": 0, "data": 0x01_0203}
        told = [(deed.component_id, deed.kind, deed.sequence) for deed in it.journal.deeds()]
        assert told == [("module-03", "PAIRING", 7), ("pack-01", "PAIRING", 9), ("module-03", "COMMAND", 42)]


async def test_an_operation_cut_off_again_and_again_is_carried_out_once() -> None:
    async with rig() as it:
        rng = random.Random(3)
        for _ in range(12):
            running = asyncio.create_task(it.execute(pairing()))
            await asyncio.sleep(rng.random() * 0.02)
            running.cancel()
            await asyncio.wait([running])
        outcome = await it.execute(pairing())
        assert outcome.ending is Ending.DONE, outcome
        told = [(deed.component_id, deed.sequence) for deed in it.journal.deeds(kind="PAIRING")]
        assert sorted(told) == [("module-03", 7), ("pack-01", 9)]
