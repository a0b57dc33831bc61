"""The API on a real store with the real command types, and a short way to ask; all around it are doubles.

What it takes, answers and tells is held against its models and the schemas in docs/.
"""

import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from gateway.access import Actor, Role
from gateway.api import Api, Desk, Tuning
from gateway.bus.commands import Catalogue
from gateway.component import Component, ComponentKind, QueueMode, Registry
from gateway.event import Event
from gateway.operation import Mode, Operation
from gateway.payloads import CONTRACTS
from gateway.ports import Call, ComponentLoad, DrainReport, ExchangeTimes
from gateway.presence import Presence
from gateway.queue.store import SqliteStore
from gateway.settings import Parameters
from tests.doubles import FakeClock
from tests.doubles_queue import FakeRoster
from tests.told import check_event, check_reply, check_request

ANNA = Actor("tech-anna", Role.TECHNICIAN, frozenset({"module-03"}), "mqtt")
OWNER = Actor("fleet-north", Role.TECHNICIAN, transport="mqtt")
OLGA = Actor("olga", Role.OPERATOR, transport="mqtt")
CLOUD = Actor("cloud", Role.BACKEND, transport="mqtt")
VIEWER = Actor("screen", Role.VIEWER, transport="mqtt")
ROOT = Actor("root", Role.ADMIN, transport="socket")
PAIR = {"initiator_component": "pack-01", "target_component": "module-03"}
READ = {"command_type": "read_parameter", "target_component": "module-03", "arguments": {"id": 7}}

REGISTRY = (
    Component("pack-01", ComponentKind.PACK, "can0", 0x12, owner="fleet-north"),
    Component(
        "module-03",
        ComponentKind.MODULE,
        "can0",
        0xA3,
        parent="pack-01",
        owner="fleet-north",
        serial=0xA3,
        proxies=frozenset({"pack-01", "far-01"}),
    ),
    Component("module-04", ComponentKind.MODULE, "can0", 0xA4, owner="fleet-north", proxies=frozenset({"pack-01"})),
    Component("shy-01", ComponentKind.MODULE, "can0", 0xA5, owner="fleet-north", capabilities=frozenset({"wake"})),
    Component("now-01", ComponentKind.MODULE, "can0", 0xA6, owner="fleet-north", queue_mode=QueueMode.PASS_THROUGH),
    Component("far-01", ComponentKind.PACK, "can1", 0x12, owner="fleet-north"),
    Component("can0-module-a7", ComponentKind.MODULE, "can0", 0xA7, configured=False),
)


class Drains:
    """Takes drains down and reports what it was told to."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int, bool]] = []
        self.held: set[str] = set()
        self.released: list[tuple[str, bool]] = []
        self.on_release: Callable[[], object] = lambda: None
        self.active = 2
        self.loads: dict[str, ComponentLoad] = defaultdict(lambda: ComponentLoad(0, ExchangeTimes(None, 0.0)))

    def begin(self, component_id: str, *, max_operations: int, process_proxy_queue: bool, held: bool = False) -> str:
        self.begun.append((component_id, max_operations, process_proxy_queue))
        drain_id = f"drain-{len(self.begun)}"
        if held:
            self.held.add(drain_id)
        return drain_id

    def release(self, drain_id: str, *, go: bool) -> None:
        self.held.remove(drain_id)
        self.released.append((drain_id, go))
        self.on_release()

    def counters(self) -> dict[str, int]:
        return {"complete": 3}

    def load(self, component_id: str) -> ComponentLoad:
        return self.loads[component_id]

    async def finished(self, drain_id: str) -> DrainReport:
        return DrainReport(self.begun[int(drain_id.removeprefix("drain-")) - 1][0], 5, 4, 1, 1250)


class Health:
    def __init__(self) -> None:
        self.state = self.heard = "UP"
        self.connected = True

    def buses(self) -> list[dict[str, Any]]:
        return [{"name": "can0", "state": self.state, "heard": self.heard}]

    def upstream(self) -> dict[str, Any]:
        return {"configured": True, "connected": self.connected}

    def control_socket(self) -> dict[str, Any]:
        return {"turned_away": {}}


class Watches:
    """Takes down which components are to be held for what, and which are new."""

    def __init__(self) -> None:
        self.marked: list[tuple[str, Presence, int | None]] = []
        self.added: list[Component] = []

    def mark(self, component_id: str, presence: Presence, expected_return: int | None = None) -> None:
        self.marked.append((component_id, presence, expected_return))

    def add(self, component: Component) -> None:
        self.added.append(component)


class Upstream:
    """Takes down which events are asked for again, and which components are told of anew."""

    def __init__(self) -> None:
        self.replayed: list[tuple[int, int]] = []
        self.touched: list[str] = []
        self.sent = 1_000_000

    def sent_seq(self) -> int:
        return self.sent

    def touch(self, component_id: str) -> None:
        self.touched.append(component_id)

    async def replay(self, from_seq: int, to_seq: int) -> int:
        self.replayed.append((from_seq, to_seq))
        return to_seq - from_seq + 1


class Timekeeper:
    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def shown_ms(self) -> int:
        return self._clock.wall

    def confirm(self) -> None:
        self._clock.is_trusted = True


class ApiScene:
    """The API with everything around it. `call`: as which call the next requests come."""

    def __init__(self, store: SqliteStore, path: Path, clock: FakeClock, *, safety_commands: str) -> None:
        self.clock, self.store, self.path = clock, store, path
        self.call: Call | None = None
        self.registry, self.roster = Registry(REGISTRY), FakeRoster(clock)
        self.drains, self.health, self.upstream, self.watches = Drains(), Health(), Upstream(), Watches()
        self.tuning = Tuning(Parameters(requests_per_minute=1_000_000), {})
        self.events: list[Event] = []
        store.subscribe(self.events.extend)
        desk = Desk(
            store=store,
            registry=self.registry,
            roster=self.roster,
            watches=self.watches,
            commands=Catalogue(),
            drains=self.drains,
            health=self.health,
            upstream=self.upstream,
            timekeeper=Timekeeper(clock),
            tuning=self.tuning,
            clock=clock,
            safety_commands=frozenset(safety_commands.split()),
        )
        self.api = Api(desk)
        for component in REGISTRY:
            self.roster.online(component.component_id)

    async def ask(self, actor: Actor, request: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        answer = await self.api.call(actor, request, fields, self.call)
        if request in CONTRACTS and request != "get_health":  # whose parts are doubles
            check_reply(request, {"id": "0123456789", **answer})
        if answer["ok"]:
            check_request(request, fields)
        return answer

    async def ok(self, actor: Actor, request: str, **fields: Any) -> dict[str, Any]:
        answer = await self.ask(actor, request, fields)
        assert answer["ok"], answer
        result: dict[str, Any] = answer["result"]
        return result

    async def no(self, actor: Actor, request: str, **fields: Any) -> dict[str, Any]:
        answer = await self.ask(actor, request, fields)
        assert not answer["ok"], answer
        error: dict[str, Any] = answer["error"]
        return error

    async def code(self, actor: Actor, request: str, **fields: Any) -> str:
        return str((await self.no(actor, request, **fields))["code"])

    async def kept(self, answer: Mapping[str, Any]) -> Operation:
        """Return the operation of an answer as the store keeps it."""
        request_id = answer["request"]["request_id"]
        operation = await self.store.read(lambda reader: reader.operation(request_id))
        assert operation is not None
        return operation

    def told(self, event_type: str) -> list[Event]:
        return [event for event in self.events if event.type == event_type]

    def audit(self) -> list[tuple[str, str, str, str, str | None]]:
        with closing(sqlite3.connect(self.path)) as db:
            return db.execute("SELECT actor, action, subject, outcome, code FROM audit ORDER BY seq").fetchall()


@asynccontextmanager
async def api_scene(
    folder: Path,
    *,
    clock: FakeClock | None = None,
    mode: Mode = Mode.PRIORITY,
    safety_commands: str = "clear_fault contactor_close",
) -> AsyncIterator[ApiScene]:
    """Open the store in `folder`, new or as it was left, with the API on it."""
    clock = clock or FakeClock()
    path = folder / "gateway.db"
    async with SqliteStore.open(path, clock=clock, mode=mode) as store:
        made = ApiScene(store, path, clock, safety_commands=safety_commands)
        yield made
        for event in made.events:
            check_event(event.payload(epoch=1))
