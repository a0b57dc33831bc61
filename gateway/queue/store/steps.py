"""The steps of an operation's life: each with its event, its place in the counts, and what follows from it."""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.clock import Clock
from gateway.errors import Code, Refusal
from gateway.event import GATEWAY
from gateway.operation import (
    EVENT_OF,
    FINAL,
    TRANSITIONS,
    Action,
    Mode,
    Operation,
    Outcome,
    Priority,
    RequestType,
    Status,
    Verdict,
    act,
)
from gateway.ports import AuditEntry
from gateway.queue.store.ageing import Ageing
from gateway.queue.store.depth import Depths
from gateway.queue.store.keeping import Keeping
from gateway.queue.store.rows import Row, moved_row, operation_of, operation_row
from gateway.queue.store.sequence import Counters, Numbers, Processing
from gateway.queue.store.sql import QUERIES
from gateway.queue.store.ties import Ties
from gateway.settings import Parameters

EMERGENCY_RESERVE: Final = 10  # so many more may wait, where what makes a battery safe meets a full queue

_INSERT_OPERATION, _MOVE_OPERATION = QUERIES["insert_operation"], QUERIES["move_operation"]
_OPERATION: Final = QUERIES["operation"]
_ASIDE: Final = frozenset(  # what is done to operations that neither were QUEUED before nor are after
    action for (before, action), after in TRANSITIONS.items() if Status.QUEUED not in {before, after}
)


class Steps(Keeping):
    """What every change of an operation is made of. `max_pages`: how large the database may grow."""

    def __init__(
        self,
        db: sqlite3.Connection,
        clock: Clock,
        *,
        max_pages: int,
        outbox_max_bytes: int,
        upstream: bool,
        mode: Mode = Mode.PRIORITY,
    ) -> None:
        super().__init__(db, clock, max_pages=max_pages, outbox_max_bytes=outbox_max_bytes, upstream=upstream)
        db.execute(QUERIES["order_anew"], (int(Priority.LOW) if mode is Mode.FIFO else None,))
        self._mode = mode
        self._depths = Depths(db, self._undo)
        self._counters = Counters(db, self._undo)
        self._numbers = Numbers(db, self._undo)
        self._processing = Processing(db, self._undo)
        self._ageing = Ageing(self._depths, self._undo)
        self._ties = Ties(self, db, self._session, self._undo)
        self._undo.settle()  # what was loaded is not to be undone

    def start_job(self) -> None:
        """Begin what may be undone by itself."""
        super().start_job()
        self._ties.start_job()

    def queue_position(self, operation: Operation) -> int | None:
        """Return its place among those waiting for its carrier (1 = next); None unless QUEUED, and for a parent."""
        newest = self._depths.place_of_newest(operation) if operation.status is Status.QUEUED else None
        return newest or super().queue_position(operation)

    def live(self, request_id: str) -> Operation:
        """Return an operation that may still change. Raises Refusal REQUEST_NOT_FOUND."""
        row = self._execute(_OPERATION, (request_id,)).fetchone()
        if row is None:
            raise Refusal(Code.REQUEST_NOT_FOUND, f"{request_id} is no request that can still change.")
        return operation_of(row)

    def change_now(self, query: str, values: Row) -> list[Row]:
        """Change the database at once, after all that was changed before; returns the rows it answers."""
        return self._session.execute(query, values).fetchall()

    def add(self, operation: Operation, parameters: Parameters, more: Mapping[str, Any] | None = None) -> None:
        """Store a new operation, if there is room for it, with its event."""
        self.check_room(operation, parameters)
        self._session.change_operation(_INSERT_OPERATION, operation_row(operation), queue=operation.carrier)
        self.wait(operation, parameters, operation.created_at, more)

    def check_room(self, operation: Operation, parameters: Parameters) -> None:
        """Raise Refusal QUEUE_FULL or STORAGE_FULL where one more may not wait."""
        if not self._room.for_work and not operation.emergency:
            raise Refusal(Code.STORAGE_FULL, "The database has reached its bound.")
        if operation.routed:  # its children take the room
            return
        target, reserve = operation.target_component, EMERGENCY_RESERVE if operation.emergency else 0
        if self._depths.of(target) >= parameters.max_requests_per_component + reserve:
            told = f"{parameters.max_requests_per_component} requests wait for {target}."
            raise Refusal(Code.QUEUE_FULL, told, details={"component_id": target})
        if self._depths.total >= parameters.max_queue_depth + reserve:
            raise Refusal(Code.QUEUE_FULL, f"{parameters.max_queue_depth} requests wait in all.")

    def wait(
        self, operation: Operation, parameters: Parameters, now_ms: int, more: Mapping[str, Any] | None = None
    ) -> None:
        """An operation that is stored as QUEUED waits from now on: count it, tell of it, wake its drain."""
        place = self._depths.add(operation) or self.queue_position(operation)
        attributes = {"request": operation.payload(), "queue_position": place}
        if more:
            attributes.update(more)
        self._ageing.limit = parameters.max_requests_per_component
        if operation.routed:
            self._store("request_queued", GATEWAY, now_ms, attributes)
            return
        target = operation.target_component
        wakes = () if operation.blocked else (operation.carrier,)
        self._store("request_queued", target, now_ms, attributes, wakes=wakes)
        if self._depths.grew_large(target, parameters.alert_queue_size):
            alert = {"component_id": target, "alert": "LARGE", "queue_size": self._depths.of(target)}
            self._store("queue_alert", target, now_ms, alert)

    def end(
        self,
        operation: Operation,
        action: Action,
        now_ms: int,
        *,
        outcome: Outcome | None = None,
        reason: str | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> Operation:
        """End a QUEUED operation before it has begun, with its event. Raises Refusal INVALID_STATE_TRANSITION."""
        ended = act(operation, Verdict(action), now_ms, outcome=outcome, cancellation_reason=reason)
        self._depths.remove(operation)
        # Where it was asked again first, others have waited for it.
        return self.move(ended, action, now_ms, more, wakes=(operation.carrier,) if operation.resumes else ())

    def move(
        self,
        operation: Operation,
        action: Action,
        now_ms: int,
        more: Mapping[str, Any] | None = None,
        *,
        wakes: tuple[str, ...] = (),
    ) -> Operation:
        """Store a step of the lifecycle with its event, and what follows from it."""
        queue = None if action in _ASIDE else operation.carrier
        self._session.change_operation(_MOVE_OPERATION, moved_row(operation), queue=queue)
        attributes = operation.summary()
        if action is Action.RETRY or action is Action.RELEASE:
            attributes["counted"] = action is Action.RETRY
        if more:
            attributes.update(more)
        self._store(EVENT_OF[action], operation.target_component or GATEWAY, now_ms, attributes, wakes=wakes)
        if operation.status in FINAL:
            self._numbers.release(operation)
            if operation.request_type is RequestType.PROXY:  # somebody acted for another: on record, always
                self.audit(_end_of(operation, EVENT_OF[action]), now_ms)
            self._ties.follow(operation, now_ms)
        return operation

    def keep(self, operation: Operation) -> None:
        """Store an operation that has changed without taking a step."""
        self._session.change_operation(_MOVE_OPERATION, moved_row(operation), queue=operation.carrier)

    def wake(self, carriers: Iterable[str]) -> None:
        """Say with the newest event of this job whose work it may have made due, too."""
        newest = self._events[-1]
        self._events[-1] = replace(newest, wakes=tuple(dict.fromkeys((*newest.wakes, *carriers))))


def _end_of(operation: Operation, event_type: str) -> AuditEntry:
    """Return the audit entry of an operation's end, of which the queue itself is the actor."""
    code = None if operation.last_error is None else operation.last_error["code"]
    return AuditEntry(GATEWAY, "queue", event_type, operation.request_id, str(operation.status), code)
