"""The durable memory: what may be read, what one transaction may change, and how both are asked for."""

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from gateway.event import Event
from gateway.operation import (
    ConflictPolicy,
    Operation,
    Outcome,
    Priority,
    QueueType,
    Reach,
    Settlement,
    Status,
    Verdict,
)
from gateway.ports.presence import ComponentRow, PresenceChange
from gateway.ports.records import (
    AuditCheck,
    AuditEntry,
    AuditRow,
    Call,
    ExchangeTimes,
    Export,
    Figures,
    History,
    Load,
    OfflineOperation,
    OutboxFigures,
    Page,
    QueueStatus,
    Registration,
)
from gateway.settings import Parameters

T = TypeVar("T")


class Reader(Protocol):
    """Reads, each from one consistent state of the database."""

    def operation(self, request_id: str) -> Operation | None:
        """Return an operation by its id."""
        ...

    def repeated(self, creator: str, idempotency_key: str, content: bytes) -> Operation | None:
        """Return the operation, live or archived, that a request with this key and content repeats.

        `content`: as `Operation.content_digest`. Raises Refusal IDEMPOTENCY_CONFLICT where it had other content.
        """
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
        reach: Reach = Reach.SETTLED,
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

    def children(self, parent_id: str) -> list[Operation]:
        """Return the children of a routed operation, in the order of its targets."""
        ...

    def dead_letters(self, *, component_id: str | None, page_size: int, cursor: str | None) -> Page:
        """List FAILED and ABANDONED operations that nobody has discarded, the latest end first."""
        ...

    def proxy_queue(self, proxy_component: str, *, page_size: int, cursor: str | None) -> Page:
        """List the PROXY requests that wait for a proxy or run with it, in the order of processing."""
        ...

    def history(self, wanted: History, *, page_size: int, cursor: str | None) -> Page:
        """List operations, live and archived, the newest first."""
        ...

    def metrics(self, from_ms: int, to_ms: int, by: str | None) -> list[Figures]:
        """Return the figures of all that ended within [from_ms, to_ms), then those of each group.

        `by`: "status", "type" (the command type, or the request type of a pairing), or None. Parents do not count.
        """
        ...

    def audit_entries(self, from_seq: int, limit: int) -> list[AuditRow]:
        """Return rows of the audit chain from `from_seq` on."""
        ...

    def check_audit(self) -> AuditCheck:
        """Look at the whole audit chain."""
        ...

    def depths(self) -> Mapping[str, int]:
        """Return how many operations are QUEUED, by target; those with none are left out."""
        ...

    def oldest_waiting(self) -> Mapping[str, int]:
        """Return when the oldest QUEUED operation of each target was created, ms; those with none are left out."""
        ...

    def front(self, carrier: str, limit: int) -> list[Operation]:
        """Return the first operations that wait for a carrier, in the order of processing."""
        ...

    def exchange_times(self) -> Mapping[str, ExchangeTimes]:
        """Return what the last exchanges of each carrier took, for those that had any in the live table."""
        ...

    def barriers(self) -> list[Operation]:
        """Return the QUEUED parents whose children wait for each other."""
        ...

    def bundle(self, export: Export) -> list[Operation]:
        """Return the archived operations that belong into an export."""
        ...

    def exports_before(self, month: str) -> list[Export]:
        """Return the finished exports of months before `month` whose operations are still in the archive, too."""
        ...

    def registrations(self) -> list[Registration]:
        """Return the components that are known without being configured."""
        ...

    def fullness(self) -> float:
        """Return which part of the database's size bound is in use, 0.0 to 1.0."""
        ...

    def events_after(self, seq: int, limit: int) -> list[Event]:
        """Return stored events with a seq above `seq`, in order, at most `limit`."""
        ...

    def gone(self, from_seq: int, to_seq: int) -> int:
        """Return how many events of a range were, and are stored no longer."""
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

    def enqueue(
        self,
        operation: Operation,
        parameters: Parameters,
        *,
        conflict_policy: ConflictPolicy = ConflictPolicy.QUEUE,
        children: Sequence[Operation] = (),
    ) -> Operation:
        """Store a QUEUED operation and its request_queued event (with queue_position).

        Same creator, idempotency_key and content as an earlier one: returns that one and stores nothing.
        `children`: of a routed operation, in the order of its targets; all or none are stored. With its barrier, or
        strategy FAILOVER, they wait for each other.

        Raises:
            Refusal: QUEUE_FULL (depth per component and in all), IDEMPOTENCY_CONFLICT, STORAGE_FULL, REQUEST_NOT_FOUND
                (a dependency), DEPENDENCY_FAILED (one that ended otherwise than COMPLETED), PRECONDITION_FAILED
                (another one has the conflict_key, and the policy is REJECT).
        """
        ...

    def claim(
        self,
        carrier: str,
        now_ms: int,
        *,
        proxy: bool = False,
        reach: Reach = Reach.SETTLED,
        target: str | None = None,
    ) -> Operation | None:
        """Take the next due operation of a carrier: QUEUED -> PROCESSING, with its sequence numbers and event.

        Due: not expired, not_before reached, waiting for nobody, not blocked. A command that resumes lets nothing pass
        before it is due. `proxy`: PROXY requests too (after all else); `reach`: only those of that reach, SETTLED: any;
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

    def requeue(self, request_id: str, expires_at: int, parameters: Parameters, actor: str, now_ms: int) -> Operation:
        """FAILED or ABANDONED -> QUEUED, with its event. Raises Refusal as `enqueue` does, and for a parent."""
        ...

    def discard(self, request_id: str, reason: str, actor: str, now_ms: int) -> Operation:
        """Take a FAILED or ABANDONED operation off the list of dead letters, with its event."""
        ...

    def set_priority(self, request_id: str, priority: Priority, actor: str, now_ms: int) -> Operation:
        """Change the priority of a QUEUED operation (of a parent: of its QUEUED children, too), with its event."""
        ...

    def reorder(self, component_id: str, request_ids: Sequence[str], actor: str, now_ms: int) -> list[Operation]:
        """Put QUEUED operations of a component first, in this order, within their priorities, with one event.

        Raises Refusal REQUEST_NOT_FOUND, INVALID_STATE_TRANSITION, INVALID_ARGUMENT (of another component).
        """
        ...

    def settle(self, request_id: str, outcome: Settlement, settlement_ref: str, actor: str, now_ms: int) -> Operation:
        """Note that a hold was captured or released, with its event; the same again changes nothing."""
        ...

    def open_barrier(self, parent_id: str, now_ms: int) -> None:
        """All targets of a parent are online: its children may start."""
        ...

    def give_up_passing(self, component_id: str, now_ms: int) -> int:
        """QUEUED -> FAILED (COMPONENT_OFFLINE) for what was to pass through to a component that went away."""
        ...

    def register(self, registration: Registration) -> None:
        """Keep a component that is in no configuration."""
        ...

    def archive(self, ended_before: int, limit: int) -> int:
        """Move operations that ended before (ms) to the archive, at most `limit`. Returns how many went."""
        ...

    def begin_export(self, ended_before: int, limit: int, taken: Container[str]) -> Export | None:
        """Return the export that was begun and not finished; else begin one; None where nothing is to be exported.

        It is for the oldest month that was over before (ms) and has archived operations in no export: the first of
        them, at most `limit`. `taken`: names it must not have.
        """
        ...

    def exported(self, file: str, sha256: str) -> None:
        """Note that an export that was begun is finished, and what its file must hash to."""
        ...

    def drop_exported(self, file: str, limit: int) -> int:
        """Delete archived operations that a finished export holds, at most `limit`. Returns how many."""
        ...

    def reject(self, request_id: str, outcome: Outcome, now_ms: int) -> Operation:
        """QUEUED -> FAILED for an operation that can never run, with its event."""
        ...

    def set_end(self, request_id: str, expires_at: int) -> None:
        """Let an operation that has not ended expire at another time; one that has stays as it is."""
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
        """Everything up to `seq` has reached the broker: those events go first when room is needed."""
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

    async def study(self, query: Callable[[Reader], T]) -> T:
        """As `read`, for what may take long: it keeps no other reader waiting, only other studies."""
        ...

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        """Call `listener` on the loop after every commit that stored events, with them, in order of seq."""
        ...

    def outbox(self) -> OutboxFigures:
        """What waits for the broker, as of the last commit; asks nobody."""
        ...
