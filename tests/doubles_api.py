"""The requests over a store that only takes down what it is told, and answers what the test says."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from gateway.access import Actor
from gateway.api import Api, Desk, Tuning
from gateway.component import Component, Registry
from gateway.errors import Code, Refusal
from gateway.event import Event
from gateway.guards import SafetyClass
from gateway.operation import Kind, Operation, Priority, Settlement
from gateway.ports import (
    AuditCheck,
    AuditEntry,
    AuditRow,
    Call,
    CommandSpec,
    ComponentRow,
    Figures,
    History,
    OutboxFigures,
    Page,
    Reader,
    Registration,
    Tx,
)
from gateway.settings import Parameters
from tests.api_scene import REGISTRY, Drains, Health, Timekeeper, Upstream, Watches
from tests.doubles import FakeClock
from tests.doubles_queue import FakeRoster

T = TypeVar("T")
ID = "cmd_01HZZZZZZZZZZZZZZZZZZZZZZZ"
OTHER_ID = "cmd_01HZZZZZZZZZZZZZZZZZZZZZZY"
HOUR_MS = 3_600_000


def command(request_id: str = ID, **fields: Any) -> Operation:
    told = {"target_component": "module-03", "creator": "tech-anna", "command_type": "identify", **fields}
    now = FakeClock().wall_ms()
    return Operation(request_id, Kind.COMMAND, created_at=now, **{"expires_at": now + HOUR_MS, **told})


class Ledger:
    """The part of Reader and Tx that these requests use. `asked`: what was to be done or looked up, in order.

    `refuses`: what every change is answered with, if anything.
    """

    def __init__(self) -> None:
        self.kept: dict[str, Operation] = {}
        self.asked: list[tuple[Any, ...]] = []
        self.audited: list[AuditEntry] = []
        self.events: list[Event] = []
        self.registered: list[Registration] = []
        self.rows: list[AuditRow] = []
        self.figures: list[Figures] = []
        self.page = Page((), None)
        self.check = AuditCheck(0, 0, None, bytes(32))
        self.refuses: Code | None = None

    def operation(self, request_id: str) -> Operation | None:
        return self.kept.get(request_id)

    def queue_position(self, operation: Operation) -> int | None:
        return 3

    def component(self, component_id: str) -> ComponentRow | None:
        return None

    def registrations(self) -> list[Registration]:
        return self.registered

    def dead_letters(self, *, component_id: str | None, page_size: int, cursor: str | None) -> Page:
        self.asked.append(("dead_letters", component_id, page_size, cursor))
        return self.page

    def proxy_queue(self, proxy_component: str, *, page_size: int, cursor: str | None) -> Page:
        self.asked.append(("proxy_queue", proxy_component, page_size, cursor))
        return self.page

    def history(self, wanted: History, *, page_size: int, cursor: str | None) -> Page:
        self.asked.append(("history", wanted, page_size, cursor))
        return self.page

    def metrics(self, from_ms: int, to_ms: int, by: str | None) -> list[Figures]:
        self.asked.append(("metrics", from_ms, to_ms, by))
        return self.figures

    def audit_entries(self, from_seq: int, limit: int) -> list[AuditRow]:
        return [row for row in self.rows if row.seq >= from_seq][:limit]

    def check_audit(self) -> AuditCheck:
        return self.check

    def events_after(self, seq: int, limit: int) -> list[Event]:
        return [event for event in self.events if event.seq > seq][:limit]

    def gone(self, from_seq: int, to_seq: int) -> int:
        return sum(seq not in {event.seq for event in self.events} for seq in range(from_seq, to_seq + 1))

    def last_seq(self) -> int:
        return self.events[-1].seq if self.events else 0

    def remembered(self, actor: str, call_id: str, now_ms: int) -> None:
        return None

    # changes

    def cancel(self, request_id: str, reason: str, actor: str, now_ms: int) -> Operation:
        return self._done("cancel", request_id, reason, actor)

    def requeue(self, request_id: str, expires_at: int, parameters: Parameters, actor: str, now_ms: int) -> Operation:
        return self._done("requeue", request_id, expires_at - now_ms, actor)

    def discard(self, request_id: str, reason: str, actor: str, now_ms: int) -> Operation:
        return self._done("discard", request_id, reason, actor)

    def set_priority(self, request_id: str, priority: Priority, actor: str, now_ms: int) -> Operation:
        return self._done("set_priority", request_id, priority, actor)

    def reorder(self, component_id: str, request_ids: Sequence[str], actor: str, now_ms: int) -> list[Operation]:
        self._do("reorder", component_id, list(request_ids), actor)
        return [self.kept[each] for each in request_ids]

    def settle(self, request_id: str, outcome: Settlement, settlement_ref: str, actor: str, now_ms: int) -> Operation:
        return self._done("settle", request_id, outcome, settlement_ref, actor)

    def register(self, registration: Registration) -> None:
        self._do("register", registration)
        self.registered.append(registration)

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        self._do("set_parameters", dict(values))

    def emit(self, event: Event) -> int:
        self.events.append(event)
        return len(self.events)

    def audit(self, entry: AuditEntry, now_ms: int) -> None:
        self.audited.append(entry)

    def remember(self, call: Call, answer: Mapping[str, Any]) -> None:
        raise AssertionError("nobody asked for it")

    def _do(self, *asked: Any) -> None:
        if self.refuses is not None:
            raise Refusal(self.refuses)
        self.asked.append(asked)

    def _done(self, what: str, request_id: str, *told: Any) -> Operation:
        self._do(what, request_id, *told)
        return self.kept[request_id]


class LedgerStore:
    """A store over a ledger. `studied`: how often it was asked for what may take long. `full`: it cannot write."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.studied = 0
        self.full = False

    async def write(self, job: Callable[[Tx], T]) -> T:
        if self.full:
            raise Refusal(Code.STORAGE_FULL)
        return job(cast("Tx", self._ledger))

    async def read(self, query: Callable[[Reader], T]) -> T:
        return query(cast("Reader", self._ledger))

    async def study(self, query: Callable[[Reader], T]) -> T:
        self.studied += 1
        return await self.read(query)

    def outbox(self) -> OutboxFigures:
        return OutboxFigures(0, 0, 0)  # nobody looks

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        raise AssertionError("nobody listens here")


class ClassedCommands:
    """Command types that are named after their classes, and identify."""

    def spec(self, command_type: str) -> CommandSpec | None:
        if command_type == "identify":
            return CommandSpec("identify", SafetyClass.HARMLESS)
        return CommandSpec(command_type, SafetyClass(command_type)) if command_type in set(SafetyClass) else None

    def validate(self, command_type: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return dict(arguments)

    def capable(self, command_type: str, component: Component) -> bool:
        return command_type != "service"


class DeskScene:
    """The requests, with everything around them in hand. All components are online."""

    def __init__(self) -> None:
        self.clock, self.ledger = FakeClock(), Ledger()
        self.store = LedgerStore(self.ledger)
        self.registry, self.roster = Registry(REGISTRY), FakeRoster(self.clock)
        self.watches, self.upstream, self.health = Watches(), Upstream(), Health()
        self.tuning = Tuning(Parameters(requests_per_minute=1_000_000), {})
        for component in REGISTRY:
            self.roster.online(component.component_id)
        self.desk = Desk(
            store=self.store,
            registry=self.registry,
            roster=self.roster,
            watches=self.watches,
            commands=ClassedCommands(),
            drains=Drains(),
            health=self.health,
            upstream=self.upstream,
            timekeeper=Timekeeper(self.clock),
            tuning=self.tuning,
            clock=self.clock,
        )
        self.api = Api(self.desk)

    def keep(self, *operations: Operation) -> None:
        self.ledger.kept |= {operation.request_id: operation for operation in operations}

    async def ok(self, actor: Actor, request: str, **fields: Any) -> dict[str, Any]:
        answer = await self.api.call(actor, request, fields)
        assert answer["ok"], answer
        result: dict[str, Any] = answer["result"]
        return result

    async def no(self, actor: Actor, request: str, **fields: Any) -> tuple[str, str | None]:
        """Return the code of a refusal, and the field it names."""
        answer = await self.api.call(actor, request, fields)
        assert not answer["ok"], answer
        error: dict[str, Any] = answer["error"]
        return error["code"], error.get("details", {}).get("field")

    def last_audit(self) -> tuple[str, str, str, str, str | None]:
        entry = self.ledger.audited[-1]
        return entry.actor, entry.action, entry.subject, entry.outcome, entry.code
