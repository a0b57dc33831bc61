"""A pack of somebody else's make on a bus in memory: its database, its described commands, and who answers for it."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import isotp

from gateway.bus.commands import Catalogue
from gateway.bus.dbc import load
from gateway.bus.dbc.decoding import decode
from gateway.bus.described import Described
from gateway.bus.described.compiling import described_of
from gateway.bus.described.speaker import Speaker
from gateway.bus.exchange import Exchange
from gateway.bus.exchange.budget import BusBudget
from gateway.bus.exchange.executor import BusExecutor
from gateway.bus.wire import EXTENDED, EXTENDED_MASK, Filter, Lane, Wire
from gateway.component import Component, ComponentKind, Registry
from gateway.operation import Operation, Outcome
from gateway.ports import Attempt
from gateway.settings import CommandSection, ComponentSection
from tests.doubles_devices import ListeningRoster, LoopClock, MemoryBus, command

DBC = """VERSION ""

NS_ :

BS_:

BU_: BMS

BO_ 512 Order: 8 BMS
 SG_ Verb : 0|8@1+ (1,0) [0|200] "" X
 SG_ Node : 8|8@1+ (1,0) [0|255] "" X
 SG_ Current : 16|16@1- (0.1,0) [-1000|1000] "A" X
 SG_ Ratio : 32|32@1- (1,0) [0|0] "" X

BO_ 513 Done: 8 BMS
 SG_ Verb : 0|8@1+ (1,0) [0|255] "" X
 SG_ Node : 8|8@1+ (1,0) [0|255] "" X
 SG_ Status : 16|8@1+ (1,0) [0|255] "" X
 SG_ Voltage : 24|16@1+ (0.1,0) [0|0] "V" X
 SG_ State : 40|8@1+ (1,0) [0|255] "" X

BO_ 514 Muxed: 8 BMS
 SG_ Page M : 0|8@1+ (1,0) [0|255] "" X
 SG_ Low m0 : 8|8@1+ (1,0) [0|255] "" X
 SG_ High m1 : 8|16@1+ (1,0) [0|65535] "" X

BO_ 516 Long: 64 BMS
 SG_ Far : 0|8@1+ (1,0) [0|255] "" X

SIG_VALTYPE_ 512 Ratio : 1;
VAL_ 512 Verb 7 "limit" 9 "wink" ;
VAL_ 513 Status 0 "fine" 1 "busy" 2 "working" 3 "never" ;
VAL_ 513 State 4 "closed" ;
BA_DEF_ SG_ "GenSigStartValue" INT 0 255;
BA_DEF_DEF_ "GenSigStartValue" 0;
BA_ "GenSigStartValue" SG_ 512 Node 255;
"""
LIMIT: dict[str, Any] = {
    "name": "limit",
    "safety_class": "energy",
    "components": ["front"],
    "arguments": {"current_a": {"type": "number", "min": -100, "max": 100.5, "default": 10}},
    "request": {"message": "Order", "signals": {"Verb": "limit", "Node": "{node}", "Current": "{current_a}"}},
    "response": {
        "message": "Done",
        "match": {"Verb": 7, "Node": "{node}"},
        "ok": {"Status": ["fine"]},
        "pending": {"Status": ["working"]},
        "declined": {"Status": ["busy"]},
        "result": "Voltage",
    },
}
WINK: dict[str, Any] = {
    "name": "wink",
    "safety_class": "harmless",
    "components": ["front", "rear"],
    "request": {"message": "Order", "signals": {"Verb": "wink"}},
}
READ: dict[str, Any] = {
    "name": "read_cells",
    "safety_class": "harmless",
    "components": ["front"],
    "uds": {"request_id": 0x7E4, "response_id": 0x7EC, "service": "read_data", "did": 0x0101},
}
NODES = {"front": 3, "rear": 4}


def uds(**changes: Any) -> dict[str, Any]:
    """Return READ with other keys in `uds`."""
    return {**READ, "uds": {**READ["uds"], **changes}}


def sections() -> list[ComponentSection]:
    heartbeat = {"type": "raw", "id": 0x300}
    return [
        ComponentSection(id=name, kind="PACK", bus="can0", node=node, owner="me", heartbeat=heartbeat)
        for name, node in NODES.items()
    ]


def described(folder: Path, *tables: dict[str, Any]) -> list[Described]:
    """Compile tables against the database above, written to `folder`."""
    file = folder / "other.dbc"
    file.write_text(DBC)
    return described_of([CommandSection.model_validate(each) for each in tables], sections(), {"can0": [file]})


class Peer:
    """Whoever answers on the bus: `reply` makes of each frame the frames that follow, each with its delay in s."""

    def __init__(self, wire: Wire, reply: Callable[[int, bytes], list[tuple[float, int, bytes]]]) -> None:
        self.heard: list[tuple[int, bytes]] = []
        self._wire, self._reply = wire, reply
        self._tasks: set[asyncio.Task[None]] = set()
        wire.listen(Lane.ANSWERS, [Filter(0, 0)], self._receive)

    def _receive(self, frames: Any) -> None:
        for can_id, data, _ in frames:
            self.heard.append((can_id, bytes(data)))
            for delay_s, answer_id, answer in self._reply(can_id, bytes(data)):
                task = asyncio.get_running_loop().create_task(self._send(delay_s, answer_id, answer))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _send(self, delay_s: float, can_id: int, data: bytes) -> None:
        await asyncio.sleep(delay_s)
        await self._wire.send(can_id, data, deadline=float("inf"))


class Ecu:
    """A server of UDS on can-isotp's own stack. `answers`: what it says to each payload, one after the other."""

    def __init__(self, wire: Wire, answers: Callable[[bytes], list[bytes]], *, blocksize: int = 8) -> None:
        self.asked: list[bytes] = []
        self.frames: list[bytes] = []
        self._answers, self._wire = answers, wire
        self._inbox: list[isotp.CanMessage] = []
        self._outbox: list[isotp.CanMessage] = []
        self._stack = isotp.TransportLayerLogic(
            rxfn=lambda _: self._inbox.pop(0) if self._inbox else None,
            txfn=self._outbox.append,
            address=isotp.Address(isotp.AddressingMode.Normal_11bits, txid=0x7EC, rxid=0x7E4),
            params={"tx_padding": 0xAA, "blocksize": blocksize, "wait_func": lambda _: None},
        )
        self._work: set[asyncio.Task[None]] = set()
        wire.listen(Lane.ANSWERS, [Filter(0x7E4, EXTENDED | EXTENDED_MASK)], self._receive)

    def _receive(self, frames: Any) -> None:
        for can_id, data, _ in frames:
            if can_id != 0x7E4:
                continue
            self.frames.append(bytes(data))
            self._inbox.append(isotp.CanMessage(can_id, len(data), bytes(data)))
            task = asyncio.get_running_loop().create_task(self._turn())
            self._work.add(task)
            task.add_done_callback(self._work.discard)

    async def _turn(self) -> None:
        while True:
            self._stack.process()
            while (asked := self._stack.recv()) is not None:
                self.asked.append(bytes(asked))
                for answer in self._answers(bytes(asked)):
                    self._stack.send(answer)
                self._stack.process()
            sent = bool(self._outbox)
            while self._outbox:
                message = self._outbox.pop(0)
                await self._wire.send(message.arbitration_id, bytes(message.data), deadline=float("inf"))
            if not sent:
                return


class DescribedScene:
    """A gateway whose configuration describes commands, on a bus with whoever a test puts there."""

    def __init__(self, types: list[Described], bitrate: int | None = None) -> None:
        self.bus = MemoryBus(random.Random(1))
        self.clock = LoopClock()
        self.device = self.bus.end(owner="device")
        self.gateway = self.bus.end(owner="gateway")
        components = [
            Component(name, ComponentKind.PACK, "can0", node, foreign=True, probe=False) for name, node in NODES.items()
        ]
        registry = Registry([*components, Component("ours", ComponentKind.PACK, "can0", 0x12)])
        self.budget = BusBudget(bitrate, lambda: 0.2, self.clock)
        ids = {way.response_id for each in types for way in each.ways.values() if way.response_id is not None}
        self.catalogue = Catalogue(types)
        self.attempt: Attempt | None = None
        self.executor = BusExecutor(
            registry=registry,
            roster=ListeningRoster(self.gateway, registry, self.clock),
            exchanges={"can0": Exchange(self.gateway, self.clock, budget=self.budget)},
            speakers={"can0": Speaker(self.gateway, self.clock, self.budget, ids)},
            commands=self.catalogue,
            clock=self.clock,
            rng=random.Random(5),
        )

    def ordered(self, command_type: str, target: str = "front", **fields: Any) -> Operation:
        arguments = self.catalogue.validate(command_type, fields.pop("arguments", {}))
        return command(command_type, target, arguments=arguments, **fields)

    async def execute(self, operation: Operation) -> Outcome:
        async def confirming() -> None:
            return

        self.attempt = Attempt(operation, confirming)
        return await self.executor.execute(self.attempt)

    async def order(self, command_type: str, target: str = "front", **fields: Any) -> Outcome:
        return await self.execute(self.ordered(command_type, target, **fields))

    def said(self) -> list[tuple[int, bytes]]:
        """Return what the gateway has put on the bus."""
        return [(can_id, data) for owner, can_id, data in self.bus.carried if owner == "gateway"]


@asynccontextmanager
async def described_scene(
    folder: Path, *tables: dict[str, Any], bitrate: int | None = None
) -> AsyncIterator[DescribedScene]:
    yield DescribedScene(described(folder, *tables), bitrate)


def raw(file: Path, message: str, data: bytes) -> dict[str, Any]:
    """Return the raw values of a frame."""
    return dict(decode(load(file).by_name[message], data, raw=True))
