"""Routed commands: what its children's steps make of a parent, and what it makes of them.

Nobody carries a parent. It begins with the first of its children, is decided by their ends, and passes away by them:
it never expires by itself, so it makes no difference in which order they do.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from gateway.aggregation import Tally, child_of_result, decide, ending
from gateway.event import GATEWAY, Event
from gateway.operation import FINAL, Action, Operation, Outcome, Status, Strategy, Verdict, act
from gateway.queue.store.dependencies import Dependencies
from gateway.queue.store.rows import operation_of
from gateway.queue.store.session import Session
from gateway.queue.store.sql import QUERIES

_BEFORE_THEIR_TIME: Final = FINAL - {Status.COMPLETED, Status.EXPIRED}


class Changes(Protocol):
    """What a transaction does for those who carry one operation's step on to others."""

    def operation(self, request_id: str) -> Operation | None:
        """Return an operation by its id."""
        ...

    def children(self, parent_id: str) -> list[Operation]:
        """Return the children of a routed operation, in the order of its targets."""
        ...

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
        ...

    def move(self, operation: Operation, action: Action, now_ms: int) -> Operation:
        """Store a step of the lifecycle with its event, and what follows from it."""
        ...

    def keep(self, operation: Operation) -> None:
        """Store an operation that has changed without taking a step."""
        ...

    def emit(self, event: Event) -> int:
        """Store an event."""
        ...

    def wake(self, carriers: Iterable[str]) -> None:
        """Say with the newest event whose work it may have made due."""
        ...


class Families:
    """Everything that happens between the parent and the children of one routed command."""

    def __init__(self, changes: Changes, session: Session, dependencies: Dependencies) -> None:
        self._changes, self._session, self._dependencies = changes, session, dependencies

    def began(self, child: Operation, now_ms: int) -> None:
        """A child was claimed: the first one begins its parent, which others' ends may have decided already."""
        parent = self._parent(child)
        if parent is None or parent.status is not Status.QUEUED:
            return
        begun = self._changes.move(act(parent, Verdict(Action.CLAIM), now_ms), Action.CLAIM, now_ms)
        self._decide(begun, self._tally(begun), now_ms)

    def came_back(self, child: Operation, now_ms: int) -> Operation:
        """A child waits again, but not for long where its parent is being cancelled. Returns it as it is then."""
        parent = self._parent(child)
        if parent is not None and parent.status is Status.PROCESSING and parent.cancellation_reason is not None:
            return self._changes.end(child, Action.CANCEL, now_ms, reason=parent.cancellation_reason)
        return child

    def ended(self, parent_id: str, children: Sequence[Operation], now_ms: int) -> None:
        """Children of one parent have ended: tell how far it has come, then decide it or let the others go on."""
        parent = self._changes.operation(parent_id)
        if parent is None:
            return
        tally = self._tally(parent)
        self._tell_progress(parent, children, tally, now_ms)
        if parent.status in FINAL:
            return
        if self._decide(parent, tally, now_ms) is None:
            self._go_on(parent, children, now_ms)
        elif parent.strategy is Strategy.FAILOVER:
            self._cancel_waiting(parent, f"not needed: {children[-1].request_id} succeeded", now_ms)

    def cancel(self, parent: Operation, reason: str, actor: str, now_ms: int) -> Operation:
        """Cancel a parent and what waits of it. One that has begun is decided when its running children end.

        Raises Refusal INVALID_STATE_TRANSITION where it has ended.
        """
        if parent.status is Status.PROCESSING:
            parent.cancellation_reason = reason
            self._changes.keep(parent)
        else:
            parent = self._changes.end(parent, Action.CANCEL, now_ms, reason=reason, more={"actor": actor})
        self._cancel_waiting(parent, reason, now_ms, {"actor": actor})
        return parent

    def take_up(self, now_ms: int) -> None:
        """After a start: decide the parents that no child will, for those that are left have all ended."""
        for row in self._session.read_operations(QUERIES["families_left"], ()).fetchall():
            parent = operation_of(row)
            self._decide(parent, self._tally(parent), now_ms)

    def open_barrier(self, parent_id: str) -> None:
        """Let the children start that wait for each other."""
        parent = self._changes.operation(parent_id)
        if parent is not None and parent.barrier:
            for child in self._dependencies.held_by(parent_id):
                self._dependencies.meet(child, parent_id)

    def _parent(self, child: Operation) -> Operation | None:
        assert child.parent_id is not None
        return self._changes.operation(child.parent_id)

    def _tally(self, parent: Operation) -> Tally:
        counts = self._session.read_operations(QUERIES["children_by_status"], (parent.request_id,))
        return Tally.of({Status(status): count for status, count in counts})

    def _tell_progress(self, parent: Operation, children: Sequence[Operation], tally: Tally, now_ms: int) -> None:
        """Tell of each end as if it were the only news: those that follow it do not count yet."""
        later = Counter(child.status is Status.COMPLETED for child in children)
        for child in children:
            later[child.status is Status.COMPLETED] -= 1
            told = Tally(tally.total, tally.succeeded - later[True], tally.failed - later[False])
            attributes = {
                "request_id": parent.request_id,
                "child": child_of_result(child),
                "succeeded": told.succeeded,
                "failed": told.failed,
                "pending": told.pending,
            }
            self._changes.emit(Event("request_progress", GATEWAY, now_ms, attributes))

    def _decide(self, parent: Operation, tally: Tally, now_ms: int) -> bool | None:
        succeeded = decide(parent, tally)
        if succeeded is None:
            return None
        children = self._changes.children(parent.request_id)
        action, outcome = ending(parent, children, succeeded=succeeded)
        reason = children[-1].cancellation_reason if action is Action.CANCEL else parent.cancellation_reason
        if parent.status is Status.QUEUED:
            self._changes.end(parent, action, now_ms, outcome=outcome, reason=reason)
        else:
            told = None if succeeded else reason
            ended = act(parent, Verdict(action), now_ms, outcome=outcome, cancellation_reason=told)
            self._changes.move(ended, action, now_ms)
        return succeeded

    def _go_on(self, parent: Operation, ended: Sequence[Operation], now_ms: int) -> None:
        """The turn goes to the next target; or, behind a barrier that now can never open, to none."""
        if parent.strategy is Strategy.FAILOVER:
            self._release_first(parent)
        elif parent.barrier and parent.status is Status.QUEUED:
            # Those that expire do so at one moment, if not in one transaction: each is to end as EXPIRED.
            broken = next((child for child in ended if child.status in _BEFORE_THEIR_TIME), None)
            if broken is not None:
                reason = f"cannot start together: {broken.request_id} is {broken.status}"
                self._cancel_waiting(parent, reason, now_ms)

    def _release_first(self, parent: Operation) -> None:
        row = self._session.read_operations(QUERIES["first_child"], (parent.request_id,)).fetchone()
        first = operation_of(row)
        held = self._dependencies.held_by(parent.request_id)
        if any(child.request_id == first.request_id for child in held):
            released = self._dependencies.meet(first, parent.request_id)
            if not released.blocked:
                self._changes.wake([released.carrier])

    def _cancel_waiting(
        self, parent: Operation, reason: str, now_ms: int, more: Mapping[str, Any] | None = None
    ) -> None:
        for child in self._changes.children(parent.request_id):
            if child.status is Status.QUEUED:
                self._changes.end(child, Action.CANCEL, now_ms, reason=reason, more=more)
