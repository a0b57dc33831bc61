"""Executor and simulator over the real link and python-can's virtual bus, in real time."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from gateway.bus import commands
from gateway.bus.commands import Catalogue
from gateway.bus.exchange import Exchange
from gateway.bus.exchange.budget import BusBudget
from gateway.bus.exchange.executor import BusExecutor
from gateway.bus.exchange.protocol import Contactor
from gateway.bus.link import Link
from gateway.bus.simulator import commands as device_commands
from gateway.bus.simulator.journal import Journal
from gateway.bus.simulator.plan import Ward
from gateway.bus.simulator.runner import Simulator
from gateway.bus.simulator.scenario import Scenario
from gateway.clock import SystemClock
from gateway.component import Component, Registry
from gateway.ids import RequestIds
from gateway.operation import Delivery, Ending, RequestType, Status, judge
from gateway.ports import Attempt
from gateway.queue.store import SqliteStore
from gateway.settings import BusSection, Parameters
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
    """A gateway and two simulated devices, each with an end of one virtual bus. `bitrate`: None: no budget."""

    def __init__(self, bitrate: int | None = None) -> None:
        channel = f"rig-{uuid4()}"
        self.clock = SystemClock()
        self.journal = Journal(self.clock)
        components = [PACK, Component(**{name: getattr(MODULE, name) for name in Component.__slots__} | {"key": KEY})]
        registry = Registry(components)
        self.gateway, self.devices = self.link(channel), self.link(channel)
        wards = (Ward(MODULE_SERIAL, KEY),)
        plans = (plan_of(components[0], period_s=0.1, wards=wards), plan_of(components[1], period_s=0.1))
        self.simulator = Simulator(scenario=Scenario(plans), wire=self.devices, clock=self.clock, journal=self.journal)
        self.roster = ListeningRoster(self.gateway, registry, self.clock)
        self.budget = BusBudget(bitrate, lambda: 0.2, self.clock)
        self.executor = BusExecutor(
            registry=registry,
            roster=self.roster,
            exchanges={"can0": Exchange(self.gateway, self.clock, budget=self.budget)},
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
async def rig(bitrate: int | None = None) -> AsyncIterator[Rig]:
    it = Rig(bitrate)
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


async def test_a_proxy_is_paired_in_the_place_of_a_module_that_is_away() -> None:
    async with rig() as it:
        it.simulator.do("module-03", "silent")
        proxied = pairing(request_type=RequestType.PROXY, proxy_component="pack-01", bound_serial=MODULE_SERIAL)
        outcome = await it.execute(proxied)
        assert outcome.ending is Ending.DONE, outcome
        assert outcome.result["authenticated"] is True
        assert outcome.result["serial"] == f"0x{MODULE_SERIAL:016X}"
        (deed,) = it.journal.deeds()
        assert (deed.component_id, deed.serial, deed.sequence) == ("pack-01", f"0x{MODULE_SERIAL:016X}", 7)


async def test_an_emergency_pairing_does_not_wait_for_room_on_the_bus() -> None:
    async with rig(bitrate=1_000) as it:  # 200 bit/s: a frame and its answer wait for seconds
        it.budget.spend(100)
        emergency = pairing(request_type=RequestType.EMERGENCY, bound_serial=MODULE_SERIAL)
        outcome = await it.execute(emergency)
        assert outcome.ending is Ending.DONE, outcome
        assert it.budget.waits == 0
        assert [deed.component_id for deed in it.journal.deeds()] == ["module-03", "pack-01"]


async def test_contactors_are_closed_by_arming_and_opened_at_once() -> None:
    async with rig() as it:
        close = command("contactor_close", "pack-01", 1, arms=True, partner_sequence=2, delivery=Delivery.AT_MOST_ONCE)
        assert (await it.execute(close)).ending is Ending.DONE
        assert it.simulator.nodes["pack-01"].condition.contactor == Contactor.CLOSED
        assert (await it.execute(command("emergency_open", "pack-01", 3))).ending is Ending.DONE
        assert it.simulator.nodes["pack-01"].condition.contactor == Contactor.OPEN
        assert [(deed.opcode, deed.sequence) for deed in it.journal.deeds()] == [(0x21, 2), (0x2F, 3)]


NEW_TYPE = """
from gateway.bus.commands.base import Arguments, OpcodeCommand, Word
from gateway.guards import SafetyClass
from gateway.ports import CommandSpec

class Scope(Arguments):
    depth: Word = 3

class SelfCheck(OpcodeCommand[Scope]):
    spec = CommandSpec("self_check", SafetyClass.HARMLESS)
    arguments = Scope
    opcode = 0x56

    def words(self, arguments):
        return arguments.depth, 0
"""


async def test_a_command_type_that_is_one_new_file_is_queued_and_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "self_check.py").write_text(NEW_TYPE)
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    monkeypatch.setitem(device_commands.DURATION_S, 0x56, 0.0)
    monkeypatch.delitem(sys.modules, "gateway.bus.commands.self_check", raising=False)
    async with rig() as it, SqliteStore.open(tmp_path / "queue.db", clock=it.clock) as store:
        catalogue = Catalogue()
        it.executor._commands = catalogue
        now = it.clock.wall_ms()
        arguments = catalogue.validate("self_check", {"depth": 7})
        queued = replace(
            command("self_check", arguments=arguments),
            sequence=None,
            request_id=RequestIds().new("cmd", now),
            created_at=now,
            expires_at=now + 60_000,
        )
        await store.write(lambda tx: tx.enqueue(queued, Parameters()))
        claimed = await store.write(lambda tx: tx.claim("module-03", it.clock.wall_ms()))
        assert claimed is not None
        outcome = await it.execute(claimed)
        verdict = judge(claimed, outcome, sent=True, now_ms=it.clock.wall_ms(), max_retries=3)
        ended = await store.write(lambda tx: tx.finish(claimed, verdict, outcome, it.clock.wall_ms()))
        assert (ended.status, ended.result) == (Status.COMPLETED, {"result_code": 0, "data": 0})
        (deed,) = it.journal.deeds()
        assert (deed.opcode, deed.arg0, deed.sequence) == (0x56, 7, claimed.sequence)
