"""Described commands over the real link and python-can's virtual bus, in real time; once against a recorded ECU."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from gateway.bus.commands import Catalogue
from gateway.bus.described import Described
from gateway.bus.described.speaker import Speaker
from gateway.bus.exchange import Exchange
from gateway.bus.exchange.budget import BusBudget
from gateway.bus.exchange.executor import BusExecutor
from gateway.bus.link import Link
from gateway.bus.logs import Recording
from gateway.bus.wire import Condition
from gateway.clock import SystemClock
from gateway.component import Component, ComponentKind, Registry
from gateway.operation import Ending, Outcome
from gateway.ports import Attempt
from gateway.settings import BusSection
from tests.described_scene import LIMIT, WINK, Ecu, Peer, described, uds
from tests.doubles_devices import ListeningRoster, command
from tests.integration.link_bench import until
from tests.shared_data import shared


class Rig:
    """A gateway and a device of others, each with an end of one virtual bus."""

    def __init__(self, types: Sequence[Described]) -> None:
        self.clock, channel = SystemClock(), f"described-{uuid4()}"
        self.gateway, self.device = self.link(channel), self.link(channel)
        self.catalogue = Catalogue(types)
        registry = Registry([Component("front", ComponentKind.PACK, "can0", 3, foreign=True)])
        budget = BusBudget(500_000, lambda: 0.2, self.clock)
        ids = {way.response_id for each in types for way in each.ways.values() if way.response_id is not None}
        self.executor = BusExecutor(
            registry=registry,
            roster=ListeningRoster(self.gateway, registry, self.clock),
            exchanges={"can0": Exchange(self.gateway, self.clock, budget=budget)},
            speakers={"can0": Speaker(self.gateway, self.clock, budget, ids)},
            commands=self.catalogue,
            clock=self.clock,
            rng=random.Random(1),
        )

    def link(self, channel: str) -> Link:
        section = BusSection(name="can0", interface="virtual", channel=channel)
        return Link("can0", section, self.clock, random.Random(1))

    async def order(self, command_type: str, **arguments: Any) -> Outcome:
        async def confirming() -> None:
            return

        checked = self.catalogue.validate(command_type, arguments)
        return await self.executor.execute(Attempt(command(command_type, "front", arguments=checked), confirming))


@asynccontextmanager
async def rig(types: Sequence[Described]) -> AsyncIterator[Rig]:
    it, up = Rig(types), list[Condition]()
    for link in (it.gateway, it.device):
        link.watch(lambda event: up.append(event.condition))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.run()) for each in (it.gateway, it.device)]
        await until(lambda: up.count(Condition.UP) == 2)
        yield it
        for task in tasks:
            task.cancel()


async def test_a_limit_is_set_by_messages_and_the_answer_told(tmp_path: Path) -> None:
    async with rig(described(tmp_path, LIMIT, WINK)) as it:
        peer = Peer(it.device, lambda _, data: [(0.01, 513, data[:2] + b"\x00\x02\x0f")] if data[0] == 7 else [])
        assert await it.order("limit", current_a=12.5) == Outcome(Ending.DONE, {"result_code": 0, "data": 384.2})
        assert (await it.order("wink")).result == {"result_code": 0, "data": 0, "answered": False}
        await until(lambda: len(peer.heard) == 2)
        assert [data[:4].hex() for _, data in peer.heard] == ["07037d00", "09ff0000"]


async def test_a_hundred_bytes_go_and_come_over_iso_tp(tmp_path: Path) -> None:
    types = described(tmp_path, uds(service="routine", did=None, routine=0x0203, control="start", data=["5A" * 100]))
    async with rig(types) as it:
        ecu = Ecu(it.device, lambda asked: [b"\x7f\x31\x78", b"\x71" + asked[1:]])
        outcome = await it.order("read_cells")
        assert outcome.result == {"result_code": 0, "data": 0, "data_hex": "5A" * 100}
        assert ecu.asked == [b"\x31\x01\x02\x03" + b"\x5a" * 100]


async def test_a_real_pack_switches_its_main_relay_as_it_was_recorded(tmp_path: Path) -> None:
    recorded: dict[bytes, tuple[float, int, bytes]] = {}
    asked: tuple[bytes, float] | None = None
    for can_id, data, at in Recording(shared("log/kona-bms-diag_Main_Relay__+__On.asc")):
        if can_id == 0x7E4:
            asked = data, at
        elif can_id == 0x7EC and asked is not None:
            recorded[asked[0]] = (at - asked[1], can_id, data)
    assert len(recorded) == 2

    relay = {"service": "io_control", "did": 0xF038, "padding": 0}
    on = {**uds(**relay, control="adjust"), "name": "relay_on", "safety_class": "service"}
    release = {**on, **uds(**relay, control="return"), "name": "relay_release"}
    async with rig(described(tmp_path, on, release)) as it:
        peer = Peer(it.device, lambda _, data: [recorded[data]] if data in recorded else [])
        for name in ("relay_on", "relay_release"):
            outcome = await it.order(name)
            assert outcome == Outcome(Ending.DONE, {"result_code": 0, "data": 0, "data_hex": ""})
        assert [data for _, data in peer.heard] == list(recorded)  # bit by bit what the maker's own tool sent
