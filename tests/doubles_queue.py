"""A plain store, roster and executor for everything that drains: obviously right, in memory, told what to do."""

import asyncio
import copy
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from gateway.clock import Clock
from gateway.errors import Code, Refusal
from gateway.event import Event
from gateway.guards import SafetyClass
from gateway.operation import (
    EVENT_OF,
    Action,
    Ending,
    Kind,
    Operation,
    Outcome,
    QueueType,
    RequestType,
    Status,
    Verdict,
    act,
    after_restart,
    order_key,
)
from gateway.ports import Attempt, CommandSpec, Page, PresenceChange, Reader, Sighting, Tx
from gateway.presence import Presence
from gateway.settings import Parameters

T = TypeVar("T")


class MemoryTx:
    """What the store remembers, as a dict and a list."""

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
        resuming = [each.not_before for each in claimable if _resumes(each) and each.not_before > now_ms]
        return min(resuming or [each.not_before for each in claimable], default=None)

    # writing

    def enqueue(self, operation: Operation, parameters: Parameters) -> Operation:
        self.kept[operation.request_id] = operation
        attributes = {"request": operation.payload(), "queue_position": 1}
        self.emit(Event("request_queued", operation.target_component, operation.created_at, attributes))
        return operation

    def claim(self, carrier: str, now_ms: int, **limits: Any) -> Operation | None:
        running = self._with(Status.PROCESSING)
        if carrier in {each.carrier for each in running}:
            return None
        busy = {each.target_component for each in running}
        due = [
            each
            for each in self._claimable(carrier, now_ms, **limits)
            if (each.not_before <= now_ms or _resumes(each)) and each.target_component not in busy
        ]
        first = min(due, key=order_key, default=None)
        if first is None or first.not_before > now_ms:
            return None
        return self._act(first, Verdict(Action.CLAIM), now_ms)

    def finish(self, operation: Operation, verdict: Verdict, outcome: Outcome, now_ms: int) -> Operation:
        return self._act(self.kept[operation.request_id], verdict, now_ms, outcome)

    def reject(self, request_id: str, outcome: Outcome, now_ms: int) -> Operation:
        return self._act(self.kept[request_id], Verdict(Action.REJECT), now_ms, outcome)

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
        self.events.append(replace(event, seq=seq))
        return seq

    # by which both go

    def _with(self, status: Status) -> list[Operation]:
        return [each for each in self.kept.values() if each.status is status]

    def _claimable(
        self,
        carrier: str,
        now_ms: int,
        *,
        proxy: bool = False,
        emergency_only: bool = False,
        target: str | None = None,
    ) -> list[Operation]:
        return [
            each
            for each in self._with(Status.QUEUED)
            if each.carrier == carrier
            and each.waits_for is None
            and (each.expires_at > now_ms or not self.clock.trusted())
            and (proxy or each.request_type is not RequestType.PROXY)
            and (each.emergency or not emergency_only)
            and target in {None, each.target_component}
        ]

    def _act(self, before: Operation, verdict: Verdict, now_ms: int, outcome: Outcome | None = None) -> Operation:
        now = act(before, verdict, now_ms, outcome=outcome)
        self.kept[now.request_id] = now
        self.emit(Event(EVENT_OF[verdict.action], now.target_component, now_ms, now.summary()))
        return now


def _resumes(operation: Operation) -> bool:
    """Whether nothing may come between it and its next try."""
    return operation.resumes and operation.kind is Kind.COMMAND


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
        before = copy.deepcopy((self.tx.kept, self.tx.serials)), len(self.tx.events)
        try:
            value = job(cast("Tx", self.tx))
        except Exception:
            (self.tx.kept, self.tx.serials), kept_events = before
            del self.tx.events[kept_events:]
            raise
        told = self.tx.events[before[1] :]
        loop = asyncio.get_running_loop()
        loop.call_later(self.commit_s, self._tell, told)
        await asyncio.sleep(self.commit_s)
        return copy.deepcopy(value)

    async def read(self, query: Callable[[Reader], T]) -> T:
        self.reads += 1
        await asyncio.sleep(0)
        return copy.deepcopy(query(cast("Reader", self.tx)))

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
        return self._seen.get(component_id, NEVER_HEARD)

    def online(self, component_id: str, *, deadline_s: float = 3.5, flapping: bool = False) -> None:
        now = self._clock.monotonic()
        self._seen[component_id] = Sighting(
            presence=Presence.ONLINE,
            reason=None,
            ready=True,
            since_ms=self._clock.wall_ms(),
            last_seen_ms=self._clock.wall_ms(),
            last_valid=now,
            deadline=now + deadline_s,
            flapping=flapping,
        )

    def heartbeat(self, component_id: str, *, deadline_s: float = 3.5) -> None:
        now = self._clock.monotonic()
        self._seen[component_id] = replace(self._seen[component_id], last_valid=now, deadline=now + deadline_s)

    def offline(self, component_id: str) -> None:
        gone = replace(NEVER_HEARD, presence=Presence.OFFLINE, since_ms=self._clock.wall_ms())
        self._seen[component_id] = gone

    def flapping(self, component_id: str, flaps: bool) -> None:
        self._seen[component_id] = replace(self._seen[component_id], flapping=flaps)


NEVER_HEARD = Sighting(Presence.UNKNOWN, "never_heard", False, 0, None, None, None)


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
    """The command types the tests use."""

    def spec(self, command_type: str) -> CommandSpec | None:
        return CommandSpec(command_type, SafetyClass.SERVICE, survives_boot=command_type == "reset")

    def validate(self, command_type: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return dict(arguments)

    def capable(self, command_type: str, component_kind: str) -> bool:
        return True
