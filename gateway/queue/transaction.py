"""The writer's view: every change of the database, each with its event, undone together or not at all."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.clock import Clock
from gateway.errors import Code, Refusal
from gateway.event import Event
from gateway.operation import (
    EVENT_OF,
    FINAL,
    Action,
    Kind,
    Operation,
    Outcome,
    RequestType,
    Status,
    Verdict,
    act,
    after_restart,
)
from gateway.ports import AuditEntry, Call, PresenceChange
from gateway.queue.audit import GENESIS, audit_row
from gateway.queue.depth import Depths
from gateway.queue.presence_rows import Absences, told
from gateway.queue.reader import SqlReader
from gateway.queue.rows import decode, encode, event_row, moved_row, operation_of, operation_row
from gateway.queue.sql import QUERIES, used_pages
from gateway.settings import Parameters

PRUNE_EVENTS: Final = 256  # at a time: a commit should not pay for each event that goes
FORGET_CALLS: Final = 64
RESERVE_PART, RESERVE_MAX_PAGES = 16, 1024  # kept from new work, so that what is stored can still come to its end
SEQUENCES: Final = 256  # a CmdSeq or TxnId is one byte

_INSERT_OPERATION, _MOVE_OPERATION = QUERIES["insert_operation"], QUERIES["move_operation"]
_INSERT_EVENT, _INSERT_AUDIT = QUERIES["insert_event"], QUERIES["insert_audit"]
_BUSY, _PICK, _PICK_EMERGENCY = QUERIES["busy"], QUERIES["pick"], QUERIES["pick_emergency"]
_PROCESSED = QUERIES["processed"]


@dataclass(frozen=True, slots=True)
class Mark:
    """What a transaction keeps in memory, to come back to."""

    seq: int
    acknowledged: int
    audit: tuple[int, bytes]
    depths: int
    events: int


class Transaction(SqlReader):
    """Implements `ports.Tx` on the write connection; the writer begins, undoes and commits.

    `keep_events`: how many events may stay; older ones go once they are acknowledged, or where there is no upstream.
    """

    def __init__(
        self, db: sqlite3.Connection, clock: Clock, *, max_pages: int, keep_events: int, upstream: bool
    ) -> None:
        super().__init__(db, clock)
        self._keep_events, self._upstream = keep_events, upstream
        self._work_pages = max_pages - min(max_pages // RESERVE_PART, RESERVE_MAX_PAGES)
        self._has_room = True
        self._depths = Depths()
        for target, carrier, is_proxy, priority, count, newest in self._execute(QUERIES["queued_by_class"]):
            self._depths.load(target, (carrier, bool(is_proxy), priority), count, newest)
        self._seq, self._first_seq = self.last_seq(), int(self._value(QUERIES["first_seq"]))
        self._acknowledged = self.acknowledged_seq()
        self._audit: tuple[int, bytes] = self._execute(QUERIES["audit_head"]).fetchone() or (0, GENESIS)
        self._calls = 0
        self._events: list[Event] = []
        self._begun = self.mark()

    # --- what the writer does -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start a group."""
        self._begun = self.mark()
        self._execute("BEGIN IMMEDIATE")
        self._has_room = used_pages(self._db) < self._work_pages

    def mark(self) -> Mark:
        """Return a mark to come back to."""
        return Mark(self._seq, self._acknowledged, self._audit, self._depths.mark(), len(self._events))

    def undo(self, mark: Mark) -> None:
        """Forget what happened since `mark`; the database has been taken back there already."""
        self._seq, self._acknowledged, self._audit = mark.seq, mark.acknowledged, mark.audit
        self._depths.undo(mark.depths)
        del self._events[mark.events :]

    def commit(self) -> list[Event]:
        """Make the group durable; returns its events."""
        oldest = self._prune()
        self._execute("COMMIT")
        self._first_seq = oldest
        self._depths.settle()
        events, self._events = self._events, []
        return events

    def abort(self) -> None:
        """Give the group up."""
        if self._db.in_transaction:
            self._execute("ROLLBACK")
        self.undo(self._begun)

    # --- operations ---------------------------------------------------------------------------------------------------

    def enqueue(self, operation: Operation, parameters: Parameters) -> Operation:
        """Store a QUEUED operation with its event, or return the one that this repeats."""
        if operation.idempotency_key is not None:
            earlier = self._repeated(operation)
            if earlier is not None:
                return earlier
        self._check_room(operation, parameters)
        self._execute(_INSERT_OPERATION, operation_row(operation))
        self._depths.add(operation)
        place = self._depths.place_of_newest(operation) or self.queue_position(operation)
        self._note("request_queued", operation, {"request": operation.payload(), "queue_position": place})
        return operation

    def _repeated(self, operation: Operation) -> Operation | None:
        key = (operation.creator, operation.idempotency_key)
        row = self._execute(QUERIES["repeated"], key).fetchone()
        if row is None:
            return None
        if row[28] != operation.content_digest():
            raise Refusal(Code.IDEMPOTENCY_CONFLICT, f"{row[1]} has this idempotency key and other content.")
        return operation_of(row)

    def _check_room(self, operation: Operation, parameters: Parameters) -> None:
        target = operation.target_component
        if self._depths.of(target) >= parameters.max_requests_per_component:
            raise Refusal(Code.QUEUE_FULL, f"{parameters.max_requests_per_component} requests wait for {target}.")
        if self._depths.total >= parameters.max_queue_depth:
            raise Refusal(Code.QUEUE_FULL, f"{parameters.max_queue_depth} requests wait in all.")
        if not self._has_room and not operation.emergency:
            raise Refusal(Code.STORAGE_FULL, "The database has reached its bound.")

    def claim(
        self,
        carrier: str,
        now_ms: int,
        *,
        proxy: bool = False,
        emergency_only: bool = False,
        target: str | None = None,
    ) -> Operation | None:
        """Take the next due operation of a carrier; None where nothing is due or one is PROCESSING."""
        if self._execute(_BUSY, (carrier,)).fetchone() is not None:
            return None
        query = _PICK_EMERGENCY if emergency_only else _PICK
        row = self._execute(query, (carrier, proxy, now_ms, self._expired_by(now_ms), target)).fetchone()
        if row is None:
            return None
        operation = operation_of(row)
        claimed = act(operation, Verdict(Action.CLAIM), now_ms)
        if claimed.sequence is None:
            self._number(claimed)
        return self._move(operation, claimed, Action.CLAIM, now_ms)

    def _number(self, operation: Operation) -> None:
        """Give the numbers that stay with an operation for all of its tries."""
        if operation.kind is Kind.COMMAND:
            operation.sequence = self._next("next_cmd_seq", "held_commands", operation.carrier)
            return
        operation.sequence = self._next("next_txn_id", "held_transactions", operation.carrier)
        if operation.request_type is not RequestType.PROXY and operation.initiator_component is not None:
            operation.partner_sequence = self._next("next_txn_id", "held_transactions", operation.initiator_component)

    def _next(self, counter: str, held: str, component_id: str) -> int:
        """Count on, past the numbers that pending operations hold; where all are held, the next is as good as any."""
        taken = {number for (number,) in self._execute(QUERIES[held], (component_id,))}
        for _ in range(SEQUENCES):
            number = int(self._execute(QUERIES[counter], (component_id,)).fetchall()[0][0])
            if number not in taken:
                break
        return number

    def finish(self, operation: Operation, verdict: Verdict, outcome: Outcome, now_ms: int) -> Operation:
        """Apply a verdict to a PROCESSING operation, with its event. Returns it as it is now."""
        return self._finish(operation, verdict, outcome, now_ms)

    def _finish(self, operation: Operation, verdict: Verdict, outcome: Outcome | None, now_ms: int) -> Operation:
        finished = act(operation, verdict, now_ms, outcome=outcome)
        if finished.status in FINAL:
            self._execute(_PROCESSED, (now_ms, finished.target_component))
        return self._move(operation, finished, verdict.action, now_ms)

    def confirming(self, request_id: str) -> None:
        """Note that a pairing may have taken effect from here on."""
        if self._execute(QUERIES["confirming"], (request_id,)).rowcount != 1:
            raise self._not_in(request_id, Status.PROCESSING)

    def cancel(self, request_id: str, reason: str, actor: str, now_ms: int) -> Operation:
        """QUEUED -> CANCELLED, with its event. Raises Refusal REQUEST_NOT_FOUND, INVALID_STATE_TRANSITION."""
        operation = self._known(request_id)
        cancelled = act(operation, Verdict(Action.CANCEL), now_ms, cancellation_reason=reason)
        return self._move(operation, cancelled, Action.CANCEL, now_ms, {"actor": actor})

    def reject(self, request_id: str, outcome: Outcome, now_ms: int) -> Operation:
        """QUEUED -> FAILED for an operation that can never run, with its event."""
        operation = self._known(request_id)
        rejected = act(operation, Verdict(Action.REJECT), now_ms, outcome=outcome)
        return self._move(operation, rejected, Action.REJECT, now_ms)

    def expire(self, now_ms: int, limit: int) -> list[Operation]:
        """QUEUED -> EXPIRED for all that are past expires_at, oldest first, at most `limit`; on trusted time alone."""
        if not self._clock.trusted():
            return []
        expired = []
        for row in self._execute(QUERIES["expired"], (now_ms, limit)).fetchall():
            operation = operation_of(row)
            changed = act(operation, Verdict(Action.EXPIRE), now_ms)
            expired.append(self._move(operation, changed, Action.EXPIRE, now_ms))
        return expired

    def recover(self, now_ms: int) -> list[Operation]:
        """After a start: apply `after_restart` to whatever is PROCESSING, and forget every waits_for."""
        self._execute(QUERIES["forget_waits"])
        found = [operation_of(row) for row in self._execute(QUERIES["processing"]).fetchall()]
        return [self._finish(operation, after_restart(operation), None, now_ms) for operation in found]

    def returned(self, component_id: str) -> list[str]:
        """A component is back: operations that waited for it are due again. Returns their carriers."""
        return sorted({carrier for (carrier,) in self._execute(QUERIES["returned"], (component_id,)).fetchall()})

    def _known(self, request_id: str) -> Operation:
        operation = self.operation(request_id)
        if operation is None:
            raise Refusal(Code.REQUEST_NOT_FOUND, f"There is no request {request_id}.")
        return operation

    def _not_in(self, request_id: str, status: Status) -> Refusal:
        found = self._known(request_id).status
        return Refusal(Code.INVALID_STATE_TRANSITION, f"{request_id} is {found}, no longer {status}.")

    def _move(
        self, before: Operation, now: Operation, action: Action, now_ms: int, more: Mapping[str, Any] | None = None
    ) -> Operation:
        """Store a step of the lifecycle with its event. Refuses one whose start has passed in the meantime."""
        rows = self._execute(_MOVE_OPERATION, moved_row(now, before.status)).fetchall()
        if not rows:
            raise self._not_in(before.request_id, before.status)
        if before.status is Status.QUEUED:
            self._depths.remove(before)
        elif now.status is Status.QUEUED:
            self._depths.add(now)
        now.progress = rows[0][0]
        attributes = now.summary()
        if action is Action.RETRY or action is Action.RELEASE:
            attributes["counted"] = action is Action.RETRY
        if more:
            attributes.update(more)
        self._store(Event(EVENT_OF[action], now.target_component, now_ms, attributes))
        return now

    # --- events, presence, the rest -----------------------------------------------------------------------------------

    def _note(self, event: str, operation: Operation, attributes: Mapping[str, Any]) -> None:
        self._store(Event(event, operation.target_component, operation.created_at, attributes))

    def emit(self, event: Event) -> int:
        """Store an event that goes with no other change; returns its seq."""
        return self._store(event)

    def _store(self, event: Event) -> int:
        seq = self._seq + 1
        stored = replace(event, seq=seq, time_trusted=event.time_trusted and self._clock.trusted())
        self._execute(_INSERT_EVENT, event_row(stored))
        self._seq = seq
        self._events.append(stored)
        return seq

    def _prune(self) -> int:
        """Drop events that are neither owed to anybody nor within the bound; returns the oldest seq left."""
        surplus = self._seq - self._keep_events
        last = min(surplus, self._acknowledged) if self._upstream else surplus
        if last - self._first_seq < PRUNE_EVENTS:
            return self._first_seq
        self._execute(QUERIES["prune_events"], (last,))
        return last + 1

    def acknowledge(self, seq: int) -> None:
        """Everything up to `seq` has reached the broker: those events may go when room is needed."""
        reached = min(seq, self._seq)
        if reached > self._acknowledged:
            self._execute(QUERIES["put_meta"], ("acknowledged_seq", reached))
            self._acknowledged = reached

    def record_presence(self, changes: Sequence[PresenceChange]) -> None:
        """Store each change in its component row, with its event. Keeps absences, and so expected_return."""
        for change in changes:
            row = self._execute(QUERIES["component"], (change.component_id,)).fetchone()
            before = Absences() if row is None else Absences(row[8], tuple(decode(row[9])))
            absences = before.after(change)
            expected = absences.expected_return
            self._execute(
                QUERIES["put_component"],
                (
                    change.presence.value,
                    change.reason,
                    change.since,
                    change.last_seen,
                    expected,
                    encode(dict(change.evidence)),
                    absences.since,
                    encode(absences.past),
                    change.component_id,
                ),
            )
            self._store(Event(change.event, change.component_id, change.at, told(change, expected)))

    def learn_serial(self, component_id: str, serial: int, now_ms: int) -> None:
        """Store the serial number a component answered with."""
        self._execute(QUERIES["learn_serial"], (f"{serial:016X}", now_ms, component_id))

    def audit(self, entry: AuditEntry, now_ms: int) -> None:
        """Append to the audit chain."""
        seq, previous = self._audit[0] + 1, self._audit[1]
        row = audit_row(previous, seq, now_ms, entry)
        self._execute(_INSERT_AUDIT, row)
        self._audit = seq, row[-1]

    def remember(self, call: Call, answer: Mapping[str, Any]) -> None:
        """Keep the answer of a call with the transaction that gave it; forget, now and then, those that are over."""
        values = (call.actor, call.call_id, call.digest, call.until, encode(dict(answer)))
        self._execute(QUERIES["remember"], values)
        self._calls += 1
        if self._calls % FORGET_CALLS == 0 and self._clock.trusted():
            self._execute(QUERIES["forget_calls"], (self._clock.wall_ms(),))

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        """Keep parameters set at run time."""
        for name, value in values.items():
            self._execute(QUERIES["put_parameter"], (name, encode(value)))
