"""A plain store, roster and executor for everything that drains: obviously right, in memory, told what to do."""

import asyncio
import copy
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, cast

from gateway.clock import Clock
from gateway.component import Component
from gateway.errors import Code, Refusal
from gateway.event import GATEWAY, Event
from gateway.guards import SafetyClass
from gateway.operation import (
    EVENT_OF,
    Action,
    ConflictPolicy,
    Ending,
    Kind,
    Operation,
    Outcome,
    QueueType,
    Reach,
    RequestType,
    Status,
    Verdict,
    act,
    after_restart,
    copied,
    order_key,
)
from gateway.ports import (
    UNSEEN,
    Attempt,
    CommandSpec,
    ComponentRow,
    ExchangeTimes,
    OutboxFigures,
    Page,
    PresenceChange,
    Reader,
    Sighting,
    Tx,
)
from gateway.presence import Presence, Reason
from gateway.settings import Parameters

T = TypeVar("T")


class MemoryTx:
    """What the store remembers, as a dict and a list. Routed parents are kept, and nobody judges them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.kept: dict[str, Operation] = {}
        self.events: list[Event] = []
        self.serials: dict[str, int] = {}

    # reading

    def operation(self, request_id: str) -> Operation | None:
        return self.kept.get(request_id)

    def operations(
        self,
        *,
        component_id: str | None,
        queue_type: QueueType,
        status: Status | None,
        page_size: int,
        cursor: str | None,
    ) -> Page:
        assert queue_type is QueueType.ALL
        found = [
            each
            for each in sorted(self.kept.values(), key=order_key)
            if each.status is status and component_id in {None, each.target_component}
        ]
        start = int(cursor or 0)
        end = start + page_size
        return Page(found[start:end], str(end) if end < len(found) else None)

    def next_expiry(self) -> int | None:
        return min((each.expires_at for each in self._with(Status.QUEUED)), default=None)

    def next_due(self, carrier: str, now_ms: int, **limits: Any) -> int | None:
        claimable = self._claimable(carrier, now_ms, **limits)
        resuming = [each.not_before for each in claimable if _resumes(each, now_ms) and each.not_before > now_ms]
        return min(resuming or [each.not_before for each in claimable], default=None)

    def front(self, carrier: str, limit: int) -> list[Operation]:
        return sorted((each for each in self._with(Status.QUEUED) if each.carrier == carrier), key=order_key)[:limit]

    def depths(self) -> Mapping[str, int]:
        return Counter(each.target_component for each in self._waiting())

    def oldest_waiting(self) -> Mapping[str, int]:
        youngest_first = sorted(self._waiting(), key=lambda each: -each.created_at)
        return {each.target_component: each.created_at for each in youngest_first}

    def components(self) -> list[ComponentRow]:
        return []

    def exchange_times(self) -> Mapping[str, ExchangeTimes]:
        taken: dict[str, list[int]] = defaultdict(list)
        for each in self._with(Status.COMPLETED):
            taken[each.carrier].append((each.finished_at or 0) - (each.started_at or 0))
        return {carrier: ExchangeTimes(sum(times) / len(times), 0.0) for carrier, times in taken.items()}

    def children(self, parent_id: str) -> list[Operation]:
        return [each for each in self.kept.values() if each.parent_id == parent_id]

    def barriers(self) -> list[Operation]:
        closed = {each.parent_id for each in self._waiting() if each.blocked}
        return [each for each in self._with(Status.QUEUED) if each.barrier and each.request_id in closed]

    # writing

    def enqueue(
        self,
        operation: Operation,
        parameters: Parameters,
        *,
        conflict_policy: ConflictPolicy = ConflictPolicy.QUEUE,
        children: Sequence[Operation] = (),
    ) -> Operation:
        assert conflict_policy is ConflictPolicy.QUEUE
        for each in (operation, *children):
            each.blocked = sum(self.kept[needed].status is not Status.COMPLETED for needed in each.depends_on)
            each.reach = Reach.EMERGENCY if each.emergency else each.reach
            each.blocked += each.parent_id is not None and operation.barrier
            self.kept[each.request_id] = each
            attributes = {"request": each.payload(), "queue_position": self._place(each)}
            wakes = () if each.routed else (each.carrier,)
            subject = each.target_component or GATEWAY
            self.emit(Event("request_queued", subject, each.created_at, attributes, wakes=wakes))
        return operation

    def claim(self, carrier: str, now_ms: int, **limits: Any) -> Operation | None:
        running = self._with(Status.PROCESSING)
        if carrier in {each.carrier for each in running}:
            return None
        busy = {each.target_component for each in running}
        due = [
            each
            for each in self._claimable(carrier, now_ms, **limits)
            if (each.not_before <= now_ms or _resumes(each, now_ms)) and each.target_component not in busy
        ]
        first = min(due, key=order_key, default=None)
        if first is None or first.not_before > now_ms:
            return None
        return self._act(first, Verdict(Action.CLAIM), now_ms)

    def finish(self, operation: Operation, verdict: Verdict, outcome: Outcome, now_ms: int) -> Operation:
        return self._act(self.kept[operation.request_id], verdict, now_ms, outcome)

    def reject(self, request_id: str, outcome: Outcome, now_ms: int) -> Operation:
        return self._act(self.kept[request_id], Verdict(Action.REJECT), now_ms, outcome)

    def cancel(self, request_id: str, reason: str, actor: str, now_ms: int) -> Operation:
        return self._act(self.kept[request_id], Verdict(Action.CANCEL), now_ms)

    def open_barrier(self, parent_id: str, now_ms: int) -> None:
        for each in self.children(parent_id):
            each.blocked -= 1

    def give_up_passing(self, component_id: str, now_ms: int) -> int:
        passing = [e for e in self._waiting() if e.pass_through and e.target_component == component_id]
        gone = Outcome(Ending.NOT_STARTED, code=Code.COMPONENT_OFFLINE)
        for each in passing:
            self._act(each, Verdict(Action.REJECT), now_ms, gone)
        return len(passing)

    def set_end(self, request_id: str, expires_at: int) -> None:
        if self.kept[request_id].finished_at is None:
            self.kept[request_id].expires_at = expires_at

    def expire(self, now_ms: int, limit: int) -> list[Operation]:
        over = sorted((e for e in self._with(Status.QUEUED) if e.expires_at <= now_ms), key=lambda e: e.expires_at)
        return [self._act(each, Verdict(Action.EXPIRE), now_ms) for each in over[:limit]]

    def recover(self, now_ms: int) -> list[Operation]:
        for each in self._with(Status.QUEUED):
            each.waits_for = None
        return [self._act(each, after_restart(each), now_ms) for each in self._with(Status.PROCESSING)]

    def confirming(self, request_id: str) -> None:
        self.kept[request_id].progress = "confirming"

    def returned(self, component_id: str) -> list[str]:
        waited = [each for each in self._with(Status.QUEUED) if each.waits_for == component_id]
        for each in waited:
            each.waits_for = None
        return sorted({each.carrier for each in waited})

    def learn_serial(self, component_id: str, serial: int, now_ms: int) -> None:
        self.serials[component_id] = serial

    def record_presence(self, changes: Sequence[PresenceChange]) -> None:
        for change in changes:
            if change.event is not None:
                self.emit(Event(change.event, change.component_id, change.at))

    def emit(self, event: Event) -> int:
        seq = len(self.events) + 1
        trusted = event.time_trusted and self.clock.trusted()
        self.events.append(replace(event, seq=seq, time_trusted=trusted))
        return seq

    # by which both go

    def _with(self, status: Status) -> list[Operation]:
        return [each for each in self.kept.values() if each.status is status]

    def _waiting(self) -> list[Operation]:
        """What is QUEUED and will be carried out by itself."""
        return [each for each in self._with(Status.QUEUED) if not each.routed]

    def _place(self, operation: Operation) -> int | None:
        if operation.routed:
            return None
        return 1 + self.front(operation.carrier, len(self.kept)).index(operation)

    def _claimable(
        self,
        carrier: str,
        now_ms: int,
        *,
        proxy: bool = False,
        reach: Reach = Reach.SETTLED,
        target: str | None = None,
    ) -> list[Operation]:
        return [
            each
            for each in self._with(Status.QUEUED)
            if each.carrier == carrier
            and each.waits_for is None
            and not each.blocked
            and (each.expires_at > now_ms or not self.clock.trusted())
            and (proxy or each.request_type is not RequestType.PROXY)
            and reach in {Reach.SETTLED, each.reach}
            and target in {None, each.target_component}
        ]

    def _act(self, before: Operation, verdict: Verdict, now_ms: int, outcome: Outcome | None = None) -> Operation:
        now = act(before, verdict, now_ms, outcome=outcome)
        self.kept[now.request_id] = now
        wakes = self._let_dependents_start(now) if now.status is Status.COMPLETED else ()
        self.emit(Event(EVENT_OF[verdict.action], now.target_component, now_ms, now.summary(), wakes=wakes))
        return now

    def _let_dependents_start(self, ended: Operation) -> tuple[str, ...]:
        dependents = [each for each in self._waiting() if ended.request_id in each.depends_on]
        for each in dependents:
            each.blocked -= 1
        return tuple(each.carrier for each in dependents if not each.blocked)


def _resumes(operation: Operation, now_ms: int) -> bool:
    """Whether nothing may come between it and its next try, as that is soon."""
    return operation.resumes and operation.kind is Kind.COMMAND and operation.not_before <= now_ms + 10_000


class MemoryStore:
    """Implements ports.Store. A commit takes `commit_s`; with `full` it has no room."""

    def __init__(self, clock: Clock) -> None:
        self.tx = MemoryTx(clock)
        self.commit_s = 0.0
        self.full = False
        self.writes = self.reads = 0
        self._listeners: list[Callable[[Sequence[Event]], None]] = []

    async def write(self, job: Callable[[Tx], T]) -> T:
        if self.full:
            raise Refusal(Code.STORAGE_FULL)
        self.writes += 1
        before = ({name: copied(each) for name, each in self.tx.kept.items()}, dict(self.tx.serials))
        told_before = len(self.tx.events)
        try:
            value = job(cast("Tx", self.tx))
        except Exception:
            self.tx.kept, self.tx.serials = before
            del self.tx.events[told_before:]
            raise
        told = self.tx.events[told_before:]
        loop = asyncio.get_running_loop()
        loop.call_later(self.commit_s, self._tell, told)
        await asyncio.sleep(self.commit_s)
        return copy.deepcopy(value)

    async def read(self, query: Callable[[Reader], T]) -> T:
        self.reads += 1
        await asyncio.sleep(0)
        return copy.deepcopy(query(cast("Reader", self.tx)))

    async def study(self, query: Callable[[Reader], T]) -> T:
        return await self.read(query)

    def outbox(self) -> OutboxFigures:
        return OutboxFigures(0, 0, 0)  # nobody looks

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        self._listeners.append(listener)

    def _tell(self, events: Sequence[Event]) -> None:
        for listener in self._listeners:
            if events:
                listener(events)


class FakeRoster:
    """Who is there, as it was said last."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, Sighting] = {}

    def sighting(self, component_id: str) -> Sighting:
        return self._seen.get(component_id, UNSEEN)

    def online(
        self,
        component_id: str,
        *,
        deadline_s: float = 3.5,
        flapping: bool = False,
        ready: bool = True,
        vitals: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        now = self._clock.monotonic()
        self._seen[component_id] = Sighting(
            presence=Presence.ONLINE,
            reason=None,
            ready=ready,
            since_ms=self._clock.wall_ms(),
            last_seen_ms=self._clock.wall_ms(),
            last_valid=now,
            deadline=now + deadline_s,
            flapping=flapping,
            vitals=vitals,
        )

    def heartbeat(self, component_id: str, *, deadline_s: float = 3.5) -> None:
        now = self._clock.monotonic()
        self._seen[component_id] = replace(self._seen[component_id], last_valid=now, deadline=now + deadline_s)

    def offline(self, component_id: str, reason: Reason = Reason.HEARTBEAT_TIMEOUT) -> None:
        gone = replace(UNSEEN, presence=Presence.OFFLINE, reason=reason, since_ms=self._clock.wall_ms())
        self._seen[component_id] = gone

    def says(self, component_id: str, **vitals: int) -> None:
        self._seen[component_id] = replace(self._seen[component_id], vitals=vitals)

    def flapping(self, component_id: str, flaps: bool) -> None:
        self._seen[component_id] = replace(self._seen[component_id], flapping=flaps)


DONE = Outcome(Ending.DONE, result={"result_code": 0, "data": 0})


@dataclass(frozen=True, slots=True)
class Act:
    """How the devices treat one attempt: `after_s` it ends as `outcome`, or `raises`. `sends`: a frame leaves first."""

    outcome: Outcome = DONE
    after_s: float = 0.01
    sends: bool = True
    raises: Exception | None = None


@dataclass
class FakeExecutor:
    """Devices that do as they are told. `journal`: (request_id, carrier, begin, end) of each attempt, in s.

    `acts`: what comes of the attempts at a request, in order; then all goes well. `serials`: what components answer
    when asked who they are; a missing one does not answer.
    """

    clock: Clock
    acts: dict[str, list[Act]] = field(default_factory=lambda: defaultdict(list))
    usual: Act = field(default_factory=Act)
    serials: dict[str, int] = field(default_factory=dict)
    identify_s: float = 0.0
    identify_raises: Exception | None = None
    asked: list[tuple[str, float]] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    journal: list[tuple[str, str, float, float]] = field(default_factory=list)

    async def identify(self, component_id: str) -> int | None:
        self.asked.append((component_id, self.clock.monotonic()))
        await asyncio.sleep(self.identify_s)
        if self.identify_raises is not None:
            raise self.identify_raises
        return self.serials.get(component_id)

    async def execute(self, attempt: Attempt) -> Outcome:
        operation, begin = attempt.operation, self.clock.monotonic()
        waiting = self.acts[operation.request_id]
        to_do = waiting.pop(0) if waiting else self.usual
        self.begun.append(operation.request_id)
        if to_do.sends:
            attempt.sent_at = begin
        try:
            await asyncio.sleep(to_do.after_s)
            if to_do.raises is not None:
                raise to_do.raises
            return to_do.outcome
        finally:
            self.journal.append((operation.request_id, operation.carrier, begin, self.clock.monotonic()))


class FakeCommands:
    """The command types the tests use: known ones have a class of their own, all others are of class service."""

    KNOWN: ClassVar = {
        "reset": CommandSpec("reset", SafetyClass.SERVICE, survives_boot=True),
        "wake": CommandSpec("wake", SafetyClass.SERVICE, wakes=True),
        "precharge": CommandSpec("precharge", SafetyClass.SAFETY),
        "clear_fault": CommandSpec("clear_fault", SafetyClass.SAFETY, mends=True),
        "contactor_open": CommandSpec("contactor_open", SafetyClass.SAFE_DIRECTION),
    }

    def spec(self, command_type: str) -> CommandSpec | None:
        return self.KNOWN.get(command_type) or CommandSpec(command_type, SafetyClass.SERVICE)

    def validate(self, command_type: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return dict(arguments)

    def capable(self, command_type: str, component: Component) -> bool:
        return True
