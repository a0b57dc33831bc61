"""Doubles for what speaks to devices: a loop whose time jumps, a bus in memory, a roster that listens, a scene."""

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from gateway.bus.commands import Catalogue
from gateway.bus.exchange import Exchange
from gateway.bus.exchange.budget import BusBudget
from gateway.bus.exchange.executor import BusExecutor
from gateway.bus.frames import load_codecs
from gateway.bus.simulator.journal import Journal
from gateway.bus.simulator.plan import NodePlan, Ward
from gateway.bus.simulator.runner import Simulator
from gateway.bus.simulator.scenario import Scenario
from gateway.bus.wire import BusEvent, Filter, Lane, Receiver, Wire
from gateway.clock import Clock
from gateway.component import Component, ComponentKind, Registry
from gateway.errors import LinkDown
from gateway.operation import Kind, Operation, Outcome, RequestType
from gateway.ports import Attempt, Sighting
from gateway.presence import Presence

T = TypeVar("T")
WALL_START_MS = 1_790_000_000_000
FAR_MS = 4_000_000_000_000  # no test and no machine of ours lives so long


class _NoWaiting(selectors.DefaultSelector):
    """Where a loop would sleep, its clock is put forward instead."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events:
            if timeout is None:
                raise RuntimeError("nothing will ever happen again: the test hangs")
            self.now += timeout
        return events


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop on which an hour takes no time."""

    def __init__(self) -> None:
        self.hands = _NoWaiting()
        super().__init__(self.hands)

    def time(self) -> float:
        return self.hands.now


class LoopClock:
    """The clock of the running loop."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall_ms(self) -> int:
        return WALL_START_MS + round((self.monotonic() - 1000.0) * 1000)

    def trusted(self) -> bool:
        return True


def play(scene: Coroutine[Any, Any, T]) -> T:
    """Run a scene on a loop of its own, in no time."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(scene)


class MemoryBus:
    """Several wire ends on one bus. Frames reach every end but the sender's, unless they are lost on the way.

    `loses` judges each frame (can_id, data) as it is sent; `loss`, `duplicate`: probabilities; `delay_s`: longest.
    """

    def __init__(
        self, rng: random.Random | None = None, *, loss: float = 0.0, duplicate: float = 0.0, delay_s: float = 0.0
    ) -> None:
        self.rng = rng or random.Random(1)
        self.loss, self.duplicate, self.delay_s = loss, duplicate, delay_s
        self.loses: Callable[[int, bytes], bool] = lambda _id, _data: False
        self.wires: list[MemoryWire] = []
        self.carried: list[tuple[str, int, bytes]] = []

    def end(self, name: str = "can0", owner: str = "") -> "MemoryWire":
        wire = MemoryWire(self, name, owner)
        self.wires.append(wire)
        return wire

    def carry(self, sender: "MemoryWire", can_id: int, data: bytes) -> None:
        self.carried.append((sender.owner, can_id, data))
        if self.loses(can_id, data) or self.rng.random() < self.loss:
            return
        loop = asyncio.get_running_loop()
        for _ in range(2 if self.rng.random() < self.duplicate else 1):
            loop.call_later(self.rng.random() * self.delay_s, self.deliver, sender, can_id, data)

    def deliver(self, sender: "MemoryWire", can_id: int, data: bytes) -> None:
        for wire in self.wires:
            if wire is not sender:
                wire.take(can_id, data)


class MemoryWire:
    """One end of a MemoryBus: a `Wire`.

    `down_after`: so many frames can still be sent, then LinkDown; `full`: and only once their time is over.
    """

    def __init__(self, bus: MemoryBus, name: str, owner: str) -> None:
        self.bus, self.name, self.owner = bus, name, owner
        self.listeners: list[tuple[Lane, Sequence[Filter], Receiver]] = []
        self.down_after: int | None = None
        self.full = False
        self.received = 0

    def listen(self, lane: Lane, filters: Sequence[Filter], receiver: Receiver) -> None:
        self.listeners.append((lane, filters, receiver))

    def relisten(self, lane: Lane, before: Sequence[Filter], filters: Sequence[Filter]) -> None:
        raise NotImplementedError

    def watch(self, watcher: Callable[[BusEvent], None]) -> None:
        raise NotImplementedError

    async def send(self, can_id: int, data: bytes, *, deadline: float) -> None:
        await asyncio.sleep(0)
        if self.down_after is not None:
            if self.down_after == 0:
                await asyncio.sleep(deadline - self.bus_time() if self.full else 0)
                raise LinkDown(f"{self.name} is down")
            self.down_after -= 1
        self.bus.carry(self, can_id, data)

    @staticmethod
    def bus_time() -> float:
        return asyncio.get_running_loop().time()

    def take(self, can_id: int, data: bytes) -> None:
        self.received += 1
        at = self.bus_time()
        for _, filters, receiver in self.listeners:
            if any(can_id & wanted.mask == wanted.can_id & wanted.mask for wanted in filters):
                receiver([(can_id, data, at)])

    def read_now(self) -> None:
        return

    def frames_received(self) -> int:
        return self.received


_NAMES = {
    "PackState": "pack_state",
    "ModuleState": "module_state",
    "ContactorState": "contactor_state",
    "PairState": "pair_state",
    "BootCount": "boot_count",
    "ParentPack": "parent_pack",
    "FaultLevel": "fault",
    "FaultActive": "fault",
}


class ListeningRoster:
    """A roster that believes every valid heartbeat, and for which silence of 3.5 s is absence."""

    def __init__(self, wire: Wire, components: Registry, clock: Clock) -> None:
        self._components, self._clock = components, clock
        self._heard: dict[int, tuple[float, Mapping[str, int]]] = {}
        codecs = load_codecs()
        for name in ("HB_PACK", "HB_MODULE"):
            codec = codecs[name]

            def receive(frames, codec=codec):
                for can_id, data, at in frames:
                    node = codec.node_of(can_id)
                    if codec.is_valid(node, data):
                        values = codec.decode(data)
                        self._heard[node] = at, {told: values[name] for name, told in _NAMES.items() if name in values}

            wire.listen(Lane.PRESENCE, [codec.filter], receive)

    def sighting(self, component_id: str) -> Sighting:
        component = self._components.get(component_id)
        if component is None:
            raise KeyError(component_id)
        at, vitals = self._heard.get(component.address, (None, {}))
        ready = at is not None and self._clock.monotonic() < at + 3.5
        presence = Presence.ONLINE if ready else Presence.OFFLINE
        deadline = None if at is None else at + 3.5
        return Sighting(presence, None, ready, 0, None, at, deadline, vitals=vitals)


PACK = Component("pack-01", ComponentKind.PACK, "can0", 0x12, serial=0x0012_0000_AAAA_0001)
MODULE = Component("module-03", ComponentKind.MODULE, "can0", 0xA3, parent="pack-01", proxies=frozenset({"pack-01"}))
MODULE_SERIAL = 0x00A3_0000_1234_5678
KEY = bytes(range(16))


def plan_of(component: Component, **changes: Any) -> NodePlan:
    wards = (Ward(MODULE_SERIAL, MODULE.key),) if component.component_id == PACK.component_id else ()
    known: dict[str, Any] = {
        "component_id": component.component_id,
        "bus": component.bus,
        "address": component.node,
        "kind": component.kind,
        "serial": component.serial or MODULE_SERIAL,
        "key": component.key,
        "wards": wards,
    }
    return NodePlan(**{**known, **changes})


def pairing(**changes: Any) -> Operation:
    """A claimed pairing of module-03 with pack-01: TxnId 7 with the module, 9 with the pack."""
    known: dict[str, Any] = {
        "request_id": "req_1",
        "kind": Kind.PAIRING,
        "target_component": "module-03",
        "initiator_component": "pack-01",
        "request_type": RequestType.STANDARD,
        "creator": "anna",
        "created_at": 0,
        "expires_at": FAR_MS,
        "sequence": 7,
        "partner_sequence": 9,
    }
    return Operation(**{**known, **changes})


def command(command_type: str, target: str = "module-03", sequence: int = 42, **changes: Any) -> Operation:
    """A claimed command under CmdSeq 42."""
    known: dict[str, Any] = {
        "request_id": "cmd_1",
        "kind": Kind.COMMAND,
        "target_component": target,
        "command_type": command_type,
        "creator": "anna",
        "created_at": 0,
        "expires_at": FAR_MS,
        "sequence": sequence,
    }
    return Operation(**{**known, **changes})


class Scene:
    """One pack and one module, simulated, on a bus in memory, and a gateway that speaks to them."""

    def __init__(
        self,
        bus: MemoryBus,
        components: Sequence[Component],
        plans: Sequence[NodePlan],
        bitrate: int | None = None,
        max_bus_load: float = 0.2,
    ) -> None:
        self.bus = bus
        self.bitrate, self.max_bus_load = bitrate, max_bus_load
        self.clock = LoopClock()
        self.journal = Journal(self.clock)
        self.registry = Registry(components)
        self.simulator = Simulator(
            scenario=Scenario(tuple(plans)), wire=bus.end(owner="devices"), clock=self.clock, journal=self.journal
        )
        self.catalogue = Catalogue()
        self.confirmings = 0
        self.gateway: MemoryWire
        self.start_gateway()

    def start_gateway(self) -> None:
        """Start a gateway that remembers nothing, in the place of the one before."""
        self.bus.wires = [wire for wire in self.bus.wires if wire.owner != "gateway"]
        self.gateway = self.bus.end(owner="gateway")
        self.budget = BusBudget(self.bitrate, lambda: self.max_bus_load, self.clock)
        self.exchange = Exchange(self.gateway, self.clock, budget=self.budget)
        self.roster = ListeningRoster(self.gateway, self.registry, self.clock)
        self.executor = BusExecutor(
            registry=self.registry,
            roster=self.roster,
            exchanges={"can0": self.exchange},
            commands=self.catalogue,
            clock=self.clock,
            rng=random.Random(5),
        )

    def attempt(self, operation: Operation) -> Attempt:
        async def confirming() -> None:
            self.confirmings += 1
            await asyncio.sleep(0.003)

        return Attempt(operation, confirming)

    async def execute(self, operation: Operation) -> Outcome:
        return await self.executor.execute(self.attempt(operation))

    def spoken(self, owner: str | None = None) -> list[tuple[str, dict[str, int]]]:
        """Return the exchange frames on the bus so far, as (message, values)."""
        told = []
        for sender, can_id, data in self.bus.carried:
            for name in ("PAIR_REQ", "PAIR_RSP", "CMD_REQ", "CMD_RSP"):
                codec = load_codecs()[name]
                if can_id & codec.filter.mask == codec.can_id and owner in {None, sender}:
                    told.append((name, codec.decode(data)))
        return told


@asynccontextmanager
async def scene(
    bus: MemoryBus | None = None,
    *,
    key: bytes | None = None,
    pack_key: bytes | None = None,
    settle_s: float = 2.0,
    bitrate: int | None = None,
    max_bus_load: float = 0.2,
    **module: Any,
):
    """Set the scene, let heartbeats run for `settle_s`, and clear it away. `module`: changes to the module's plan."""
    pack = Component(**{**_fields(PACK), "key": pack_key})
    configured = Component(**{**_fields(MODULE), "key": key})
    plans = [plan_of(pack, wards=(Ward(MODULE_SERIAL, key),)), plan_of(configured, **module)]
    it = Scene(bus or MemoryBus(), [pack, configured], plans, bitrate, max_bus_load)
    devices = asyncio.create_task(it.simulator.run())
    try:
        await asyncio.sleep(settle_s)
        it.bus.carried.clear()
        yield it
    finally:
        devices.cancel()
        await asyncio.gather(devices, return_exceptions=True)


def _fields(component: Component) -> dict[str, Any]:
    return {name: getattr(component, name) for name in Component.__slots__}
