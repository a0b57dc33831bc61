"""What the domain needs of the world, as protocols: a store, a roster of who is there, a way to the devices.

`bus`, `queue` and `sync` know each other only by these; `daemon.py` plugs them together.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from gateway.event import Event
from gateway.operation import Delivery, Operation, Outcome, QueueType, Status, Verdict
from gateway.presence import Presence
from gateway.settings import Parameters

T = TypeVar("T")


# --- presence -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the bus knows of a component at this moment.

    `ready`: heard by this process often enough to be spoken to (a component restored as ONLINE is not ready before it
    was heard again). `last_valid`, `deadline`: s, monotonic. `vitals`: what its last heartbeat said (pack_state or
    module_state, contactor_state, fault, pair_state, boot_count, parent_pack …), empty where nothing is decoded.
    """

    presence: Presence
    reason: str | None
    ready: bool
    since_ms: int
    last_seen_ms: int | None
    last_valid: float | None
    deadline: float | None
    flapping: bool = False
    evidence: Mapping[str, Any] = field(default_factory=dict)
    vitals: Mapping[str, int] = field(default_factory=dict)


class Roster(Protocol):
    """Who is there, live. Answers from memory; costs nothing."""

    def sighting(self, component_id: str) -> Sighting:
        """Return what is known of a registered component. Raises KeyError for a stranger."""
        ...


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """One thing the monitor noticed, to be stored as one row change and one event.

    `event`: component_online, component_offline, component_missing, component_restarted, component_degraded,
    component_flapping, component_babbling or component_replaced; None where bus_down, in the same transaction, names
    the component. `presence`, `reason` are those after it. `evidence` and `attributes` go into the event. Times are ms
    since the epoch.
    """

    component_id: str
    event: str | None
    at: int
    presence: Presence
    reason: str | None
    since: int
    last_seen: int | None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)


Notice = PresenceChange | Event
"""What a monitor has to tell. What it tells in one call belongs in one transaction."""


@dataclass(frozen=True, slots=True)
class ComponentRow:
    """The live part of a component as the store keeps it."""

    component_id: str
    presence: Presence
    reason: str | None
    since: int
    last_seen: int | None
    expected_return: int | None
    serial: int | None
    evidence: Mapping[str, Any]


# --- devices --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """What the queue must know of a command type. `ttl_s`: default and longest wait; `timeout_s`: to the final answer.

    `survives_boot`: a restart of the device belongs to it (reset) and does not interrupt it.
    """

    name: str
    safety_class: str  # harmless, service, energy, safety, safe_direction
    ttl_s: float
    timeout_s: float = 2.0
    delivery: Delivery = Delivery.AT_LEAST_ONCE
    survives_boot: bool = False


class Commands(Protocol):
    """The command types that may be queued."""

    def spec(self, command_type: str) -> CommandSpec | None:
        """Return what is known of a type, or None."""
        ...

    def validate(self, command_type: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments with their defaults. Raises Refusal INVALID_ARGUMENT that names the field."""
        ...

    def capable(self, command_type: str, component_kind: str) -> bool:
        """Whether components of that kind take the type when their configuration names no capabilities."""
        ...


@dataclass(slots=True)
class Attempt:
    """One try at an operation. The executor sets `sent_at` (s, monotonic) just before the first frame leaves.

    `confirming` must be awaited before the frame that may make a pairing effective: it returns after the commit.
    """

    operation: Operation
    confirming: Callable[[], Awaitable[None]]
    sent_at: float | None = None


class Executor(Protocol):
    """Speaks to the devices."""

    async def identify(self, component_id: str) -> int | None:
        """Ask a component for its serial number. None: no answer after all tries."""
        ...

    async def execute(self, attempt: Attempt) -> Outcome:
        """Carry out one attempt. Never raises for what a device or a bus may do; cancelling it is safe."""
        ...


# --- store ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, and what came of it. `outcome`: "accepted" or "refused"; `code`: of the refusal."""

    actor: str
    transport: str
    action: str
    subject: str
    outcome: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it was received: remembered until `until` (ms), so that a repeat has one effect."""

    actor: str
    call_id: str
    digest: bytes  # of the content; same id with other content is REPLAYED
    until: int


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The queue of one component. `oldest_request`, `last_processed`: ms since the epoch."""

    component_id: str
    standard_queue_size: int
    priority_queue_size: int
    proxy_queue_size: int
    oldest_request: int | None
    last_processed: int | None


@dataclass(frozen=True, slots=True)
class OfflineOperation:
    """The pending work of one component."""

    component_id: str
    pending_request_ids: tuple[str, ...]
    operation_count: int
    last_seen: int | None
    expected_return: int | None
    offline_reason: str | None
    accepts_proxy: bool


@dataclass(frozen=True, slots=True)
class Load:
    """Figures for get_health, from the store: the last hour. Milliseconds."""

    queue_depth: int
    average_wait_ms: float
    average_processing_ms: float
    failure_rate: float


@dataclass(frozen=True, slots=True)
class Page:
    """One page of operations; `next_cursor` None: the last one."""

    operations: Sequence[Operation]
    next_cursor: str | None


class Reader(Protocol):
    """Reads, each from one consistent state of the database."""

    def operation(self, request_id: str) -> Operation | None:
        """Return an operation by its id."""
        ...

    def queue_position(self, operation: Operation) -> int | None:
        """Return its place among those waiting for its carrier (1 = next); None unless QUEUED."""
        ...

    def operations(
        self,
        *,
        component_id: str | None,
        queue_type: QueueType,
        status: Status | None,
        page_size: int,
        cursor: str | None,
    ) -> Page:
        """List operations in the order of processing. Default status: QUEUED and PROCESSING. Bad cursor: Refusal."""
        ...

    def queue_status(self, component_id: str) -> QueueStatus:
        """Return the queue sizes of a component."""
        ...

    def offline_operation(self, component_id: str, *, accepts_proxy: bool) -> OfflineOperation:
        """Return the pending work of a component."""
        ...

    def component(self, component_id: str) -> ComponentRow | None:
        """Return the stored live part of a component."""
        ...

    def components(self) -> list[ComponentRow]:
        """Return the stored live part of every component ever known."""
        ...

    def next_due(
        self,
        carrier: str,
        now_ms: int,
        *,
        proxy: bool = False,
        emergency_only: bool = False,
        target: str | None = None,
    ) -> int | None:
        """Return when `claim` with these arguments may next take something: the earliest not_before, in ms.

        Counted are QUEUED operations that are not expired and wait for nobody. At or before `now_ms`: one is held up
        because its target is busy. None: there is none, until something changes.
        """
        ...

    def next_expiry(self) -> int | None:
        """Return the earliest expires_at of all QUEUED operations, in ms; None where nothing is queued."""
        ...

    def load(self, now_ms: int) -> Load:
        """Return the figures of get_health."""
        ...

    def events_after(self, seq: int, limit: int) -> list[Event]:
        """Return stored events with a seq above `seq`, in order, at most `limit`."""
        ...

    def last_seq(self) -> int:
        """Return the seq of the newest event; 0 before the first."""
        ...

    def acknowledged_seq(self) -> int:
        """Return the seq up to which the broker has acknowledged everything."""
        ...

    def remembered(self, actor: str, call_id: str, now_ms: int) -> tuple[bytes, dict[str, Any]] | None:
        """Return (digest, answer) of a call still remembered."""
        ...


class Tx(Reader, Protocol):
    """The writer's view inside one transaction: what it reads includes what it wrote. Raising undoes this job alone."""

    def enqueue(self, operation: Operation, parameters: Parameters) -> Operation:
        """Store a QUEUED operation and its request_queued event (with queue_position).

        Same creator, idempotency_key and content as an earlier one: returns that one and stores nothing.
        Raises Refusal QUEUE_FULL (depth per component and in all), IDEMPOTENCY_CONFLICT.
        """
        ...

    def claim(
        self,
        carrier: str,
        now_ms: int,
        *,
        proxy: bool = False,
        emergency_only: bool = False,
        target: str | None = None,
    ) -> Operation | None:
        """Take the next due operation of a carrier: QUEUED -> PROCESSING, with its sequence numbers and event.

        Due: not expired, not_before reached, waiting for nobody. A command that resumes lets nothing pass before it is
        due. `proxy`: PROXY requests too (after all else);
        `target`: only operations for that target.
        """
        ...

    def finish(self, operation: Operation, verdict: Verdict, outcome: Outcome, now_ms: int) -> Operation:
        """Apply a verdict to a PROCESSING operation, with its event. Returns it as it is now."""
        ...

    def confirming(self, request_id: str) -> None:
        """Note that a pairing may have taken effect from here on."""
        ...

    def cancel(self, request_id: str, reason: str, actor: str, now_ms: int) -> Operation:
        """QUEUED -> CANCELLED, with its event. Raises Refusal REQUEST_NOT_FOUND, INVALID_STATE_TRANSITION."""
        ...

    def reject(self, request_id: str, outcome: Outcome, now_ms: int) -> Operation:
        """QUEUED -> FAILED for an operation that can never run, with its event."""
        ...

    def expire(self, now_ms: int, limit: int) -> list[Operation]:
        """QUEUED -> EXPIRED for all that are past expires_at, oldest first, at most `limit`."""
        ...

    def recover(self, now_ms: int) -> list[Operation]:
        """After a start: apply `after_restart` to whatever is PROCESSING, and forget every waits_for."""
        ...

    def returned(self, component_id: str) -> list[str]:
        """A component is back: operations that waited for it are due again. Returns their carriers."""
        ...

    def record_presence(self, changes: Sequence[PresenceChange]) -> None:
        """Store each change in its component row, with its event. Keeps absences, and so expected_return."""
        ...

    def learn_serial(self, component_id: str, serial: int, now_ms: int) -> None:
        """Store the serial number a component answered with."""
        ...

    def emit(self, event: Event) -> int:
        """Store an event that goes with no other change; returns its seq."""
        ...

    def audit(self, entry: AuditEntry, now_ms: int) -> None:
        """Append to the audit chain."""
        ...

    def remember(self, call: Call, answer: Mapping[str, Any]) -> None:
        """Keep the answer of a call with the transaction that gave it."""
        ...

    def acknowledge(self, seq: int) -> None:
        """Everything up to `seq` has reached the broker: those events may go when room is needed."""
        ...

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that were set at run time."""
        ...

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        """Keep parameters set at run time."""
        ...


class Store(Protocol):
    """The durable memory: one writer, group commit."""

    async def write(self, job: Callable[[Tx], T]) -> T:
        """Run `job` in the writer, in a savepoint of the next group; return its value after the commit.

        What `job` raises is raised here and undoes that job alone. Raises Refusal STORAGE_FULL where the disk or the
        quota is full. Cancelling the caller does not undo a job that has been handed over.
        """
        ...

    async def read(self, query: Callable[[Reader], T]) -> T:
        """Run `query` on a read-only connection, in a thread; sees every commit that was answered before."""
        ...

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        """Call `listener` on the loop after every commit that stored events, with them, in order of seq."""
        ...


# --- what the API asks of the running daemon -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DrainReport:
    """What a drain did."""

    component_id: str
    requests_processed: int
    successful: int
    failed: int
    processing_time_ms: int


class Drains(Protocol):
    """Works queues off."""

    def begin(self, component_id: str, *, max_operations: int, process_proxy_queue: bool) -> str:
        """Start a manual drain; returns its drain_id. Raises Refusal BUSY-class where too many run already."""
        ...

    async def finished(self, drain_id: str) -> DrainReport:
        """Wait for a drain begun before; ends with the drain."""
        ...

    @property
    def active(self) -> int:
        """How many operations are PROCESSING."""
        ...

    def counters(self) -> dict[str, int]:
        """How many attempts ended in which action since the start."""
        ...


class Health(Protocol):
    """What is well and what is not, for get_health."""

    def buses(self) -> list[dict[str, Any]]:
        """One map a bus: {name, interface, state, frames, …}."""
        ...

    def upstream(self) -> dict[str, Any]:
        """Return {connected, outbox, since, last_error?}; {"configured": False} where there is no [sync]."""
        ...
