"""The writer's view of operations: every step of the lifecycle with its event, undone together or not at all."""

import sqlite3
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from gateway.clock import Clock
from gateway.errors import Code, Refusal
from gateway.operation import (
    EVENT_OF,
    TRANSITIONS,
    Action,
    Kind,
    Operation,
    Outcome,
    RequestType,
    Status,
    Verdict,
    act,
    after_restart,
    apply,
)
from gateway.queue.store.depth import Depths
from gateway.queue.store.records import Records
from gateway.queue.store.rows import moved_row, operation_of, operation_row
from gateway.queue.store.sequence import CMD_SEQ, TXN_ID, Counters, Processing
from gateway.queue.store.sql import QUERIES, used_pages
from gateway.settings import Parameters

RESERVE_PART, RESERVE_MAX_PAGES = 16, 1024  # kept from new work, so that what is stored can still come to its end
PAGES_PER_CHANGE: Final = (
    4  # more than a row of ours takes with its indexes; the few that are larger, the reserve bears
)

_INSERT_OPERATION, _MOVE_OPERATION = QUERIES["insert_operation"], QUERIES["move_operation"]
_PUT_COUNTERS, _PROGRESS = QUERIES["put_counters"], QUERIES["progress"]
_PICK: Final = QUERIES["pick"].format(index="INDEXED BY operation_due", which="TRUE")
_PICK_EMERGENCY: Final = QUERIES["pick"].format(
    index="INDEXED BY operation_emergency", which="request_type = 'EMERGENCY'"
)
_CLAIM: Final = Verdict(Action.CLAIM)
_ASIDE: Final = frozenset(  # what is done to operations that neither were QUEUED before nor are after
    action for (before, action), after in TRANSITIONS.items() if Status.QUEUED not in {before, after}
)


class Transaction(Records):
    """Implements `ports.Tx` on the write connection. `max_pages`: how large the database may grow."""

    def __init__(
        self, db: sqlite3.Connection, clock: Clock, *, max_pages: int, keep_events: int, upstream: bool
    ) -> None:
        super().__init__(db, clock, keep_events=keep_events, upstream=upstream)
        self._work_pages = max_pages - min(max_pages // RESERVE_PART, RESERVE_MAX_PAGES)
        self._has_room = True
        self._look_again = 0  # at the room, when the database has made so many changes
        self._depths = Depths(db, self._undo)
        self._counters = Counters(db, self._undo)
        self._processing = Processing(db, self._undo)
        self._undo.settle()  # what was loaded is not to be undone

    def begin(self) -> None:
        """Start a group."""
        super().begin()
        if self._db.total_changes >= self._look_again:  # else there is room for sure, and a look takes as long as a job
            room = self._work_pages - used_pages(self._db)
            self._has_room = room > 0
            self._look_again = self._db.total_changes + room // PAGES_PER_CHANGE

    def enqueue(self, operation: Operation, parameters: Parameters) -> Operation:
        """Store a QUEUED operation with its event, or return the one that this repeats."""
        if operation.idempotency_key is not None:
            earlier = self._repeated(operation)
            if earlier is not None:
                return earlier
        self._check_room(operation, parameters)
        self._session.change_operation(_INSERT_OPERATION, operation_row(operation), queue=operation.carrier)
        place = self._depths.add(operation) or super().queue_position(operation)
        attributes = {"request": operation.payload(), "queue_position": place}
        self._store("request_queued", operation.target_component, operation.created_at, attributes)
        return operation

    def queue_position(self, operation: Operation) -> int | None:
        """Return its place among those waiting for its carrier (1 = next); None unless QUEUED."""
        newest = self._depths.place_of_newest(operation) if operation.status is Status.QUEUED else None
        return newest or super().queue_position(operation)

    def _repeated(self, operation: Operation) -> Operation | None:
        key = (operation.creator, operation.idempotency_key)
        row = self._execute(QUERIES["repeated"], key).fetchone()
        if row is None:
            return None
        if row[13] != operation.content_digest():
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
        proxy = proxy and self._depths.proxies(carrier)
        if self._processing.carries(carrier) or (not proxy and self._processing.is_about(carrier)):
            return None
        query = _PICK_EMERGENCY if emergency_only else _PICK
        values = (carrier, proxy, now_ms, self._expired_by(now_ms), target)
        # Only targets other than the carrier need a look at what is PROCESSING, too.
        read = self._session.read_operations if proxy else partial(self._session.read_queue, carrier)
        row = read(query, values).fetchone()
        if row is None:
            return None
        operation = operation_of(row)
        if operation.not_before > now_ms:  # it resumes, soon; nothing may come between
            return None
        self._depths.remove(operation)
        apply(operation, _CLAIM, now_ms)
        if operation.sequence is None:
            self._number(operation)
        self._processing.add(operation)
        return self._move(operation, Action.CLAIM, now_ms)

    def _number(self, operation: Operation) -> None:
        """Give the numbers that stay with an operation for all of its tries."""
        carrier = operation.carrier
        if operation.kind is Kind.COMMAND:
            held = self._numbers("held_commands", carrier) if self._depths.numbers_held(carrier) else frozenset()
            operation.sequence = self._next(CMD_SEQ, carrier, held)
            return
        operation.sequence = self._next(TXN_ID, carrier, self._numbers("held_transactions", carrier))
        partner = operation.initiator_component
        if operation.request_type is not RequestType.PROXY and partner is not None:
            operation.partner_sequence = self._next(TXN_ID, partner, self._numbers("held_transactions", partner))

    def _numbers(self, query: str, component_id: str) -> frozenset[int]:
        return frozenset(number for (number,) in self._session.read_operations(QUERIES[query], (component_id,)))

    def _next(self, counter: int, component_id: str, held: frozenset[int]) -> int:
        number = self._counters.next(counter, component_id, held)
        self._keep_counters(component_id)
        return number

    def _keep_counters(self, component_id: str) -> None:
        self._session.change_latest(_PUT_COUNTERS, component_id, self._counters.row(component_id))

    def finish(self, operation: Operation, verdict: Verdict, outcome: Outcome, now_ms: int) -> Operation:
        """Apply a verdict to a PROCESSING operation, with its event. Returns it as it is now."""
        return self._finish(operation, verdict, outcome, now_ms)

    def _finish(self, operation: Operation, verdict: Verdict, outcome: Outcome | None, now_ms: int) -> Operation:
        finished = act(operation, verdict, now_ms, outcome=outcome)
        if not self._processing.holds(operation):
            raise self._not_in(operation.request_id, Status.PROCESSING)
        if operation.kind is Kind.PAIRING:  # `confirming` may have been noted since the caller got it
            finished.progress = self._session.read_operations(_PROGRESS, (operation.request_id,)).fetchone()[0]
        self._processing.remove(operation)
        if finished.status is Status.QUEUED:
            self._depths.add(finished)
        else:
            self._counters.processed(finished.target_component, now_ms)
            self._keep_counters(finished.target_component)
        return self._move(finished, verdict.action, now_ms)

    def confirming(self, request_id: str) -> None:
        """Note that a pairing may have taken effect from here on."""
        if self._session.execute(QUERIES["confirming"], (request_id,)).rowcount != 1:
            raise self._not_in(request_id, Status.PROCESSING)

    def cancel(self, request_id: str, reason: str, actor: str, now_ms: int) -> Operation:
        """QUEUED -> CANCELLED, with its event. Raises Refusal REQUEST_NOT_FOUND, INVALID_STATE_TRANSITION."""
        operation = self._known(request_id)
        cancelled = act(operation, Verdict(Action.CANCEL), now_ms, cancellation_reason=reason)
        self._depths.remove(operation)
        return self._move(cancelled, Action.CANCEL, now_ms, {"actor": actor})

    def reject(self, request_id: str, outcome: Outcome, now_ms: int) -> Operation:
        """QUEUED -> FAILED for an operation that can never run, with its event."""
        operation = self._known(request_id)
        rejected = act(operation, Verdict(Action.REJECT), now_ms, outcome=outcome)
        self._depths.remove(operation)
        return self._move(rejected, Action.REJECT, now_ms)

    def expire(self, now_ms: int, limit: int) -> list[Operation]:
        """QUEUED -> EXPIRED for all that are past expires_at, oldest first, at most `limit`; on trusted time alone."""
        if not self._clock.trusted():
            return []
        expired = []
        for row in self._execute(QUERIES["expired"], (now_ms, limit)).fetchall():
            operation = operation_of(row)
            self._depths.remove(operation)
            changed = act(operation, Verdict(Action.EXPIRE), now_ms)
            expired.append(self._move(changed, Action.EXPIRE, now_ms))
        return expired

    def recover(self, now_ms: int) -> list[Operation]:
        """After a start: apply `after_restart` to whatever is PROCESSING, and forget every waits_for."""
        self._session.execute(QUERIES["forget_waits"], ())
        found = [operation_of(row) for row in self._execute(QUERIES["processing"], ()).fetchall()]
        return [self._finish(operation, after_restart(operation), None, now_ms) for operation in found]

    def returned(self, component_id: str) -> list[str]:
        """A component is back: operations that waited for it are due again. Returns their carriers."""
        carriers = self._session.execute(QUERIES["returned"], (component_id,)).fetchall()
        return sorted({carrier for (carrier,) in carriers})

    def _known(self, request_id: str) -> Operation:
        operation = self.operation(request_id)
        if operation is None:
            raise Refusal(Code.REQUEST_NOT_FOUND, f"There is no request {request_id}.")
        return operation

    def _not_in(self, request_id: str, status: Status) -> Refusal:
        found = self._known(request_id).status
        return Refusal(Code.INVALID_STATE_TRANSITION, f"{request_id} is {found}, no longer {status}.")

    def _move(
        self, operation: Operation, action: Action, now_ms: int, more: Mapping[str, Any] | None = None
    ) -> Operation:
        """Store a step of the lifecycle with its event."""
        queue = None if action in _ASIDE else operation.carrier
        self._session.change_operation(_MOVE_OPERATION, moved_row(operation), queue=queue)
        self._tell(operation, action, now_ms, more)
        return operation

    def _tell(self, operation: Operation, action: Action, now_ms: int, more: Mapping[str, Any] | None = None) -> None:
        attributes = operation.summary()
        if action is Action.RETRY or action is Action.RELEASE:
            attributes["counted"] = action is Action.RETRY
        if more:
            attributes.update(more)
        self._store(EVENT_OF[action], operation.target_component, now_ms, attributes)
