"""What ties operations to each other: made when they are queued, followed when they end.

Most operations are tied to nothing; they cost a look into a dictionary.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gateway.errors import Code
from gateway.operation import Action, ConflictPolicy, Ending, Operation, Outcome, Status, Strategy
from gateway.queue.store.conflicts import superseded
from gateway.queue.store.dependencies import Dependencies, unmet
from gateway.queue.store.family import Changes, Families
from gateway.queue.store.rows import operation_of
from gateway.queue.store.session import Session
from gateway.queue.store.sql import QUERIES
from gateway.queue.store.undo import Undo


class Ties:
    """Dependencies, families and conflicts, in the transaction that changes them."""

    def __init__(self, changes: Changes, db: sqlite3.Connection, session: Session, undo: Undo) -> None:
        self._changes, self._session = changes, session
        self._dependencies = Dependencies(db, session, undo)
        self.families = Families(changes, session, self._dependencies)
        self.start_job()

    def start_job(self) -> None:
        """Begin what may be undone by itself."""
        self._ended: list[Operation] = []  # what follows from their ends is still to be done
        self._at_it = False

    def make(self, operation: Operation, children: Sequence[Operation], policy: ConflictPolicy) -> None:
        """Tie an operation that is about to be stored, and its children, to those that are.

        What holds of a parent holds of each child. Sets what a child takes over and `blocked` in the very records.

        Raises:
            Refusal: REQUEST_NOT_FOUND, DEPENDENCY_FAILED, PRECONDITION_FAILED.
        """
        for child in children:
            child.parent_id = operation.request_id
            child.depends_on, child.conflict_key = operation.depends_on, operation.conflict_key
        members = children or (operation,)
        if operation.conflict_key is not None:
            with self._as_one_wave(operation.created_at):
                for each in members:
                    self._take_place(each, policy)
        waits = unmet(operation.depends_on, self._changes.operation)
        for place, each in enumerate(members):
            held = operation.barrier or (operation.strategy is Strategy.FAILOVER and place > 0)
            self._block(each, [*waits, operation.request_id] if children and held else waits)

    def renew(self, operation: Operation) -> None:
        """Tie a dead letter anew that waits again. Raises Refusal as `make`."""
        if operation.depends_on:
            self._block(operation, unmet(operation.depends_on, self._changes.operation))
            self._dependencies.keep_blocked(operation)

    def follow(self, ended: Operation, now_ms: int) -> None:
        """Do what follows from an end, and from those that it brings: in waves, never nested."""
        tied = ended.parent_id is not None or ended.blocked or self._dependencies.waited_for(ended.request_id)
        if not tied:
            return
        self._ended.append(ended)
        if not self._at_it:
            self._follow_all(now_ms)

    @contextmanager
    def _as_one_wave(self, now_ms: int) -> Iterator[None]:
        """Follow no end before all have come that come here: what follows from one may end another of them."""
        self._at_it = True
        try:
            yield
        finally:
            self._at_it = False
        self._follow_all(now_ms)

    def _follow_all(self, now_ms: int) -> None:
        self._at_it = True
        while self._ended:
            wave, self._ended = self._ended, []
            self._follow(wave, now_ms)
        self._at_it = False

    def _follow(self, wave: Sequence[Operation], now_ms: int) -> None:
        families: dict[str, list[Operation]] = {}
        for ended in wave:
            self._dependencies.drop(ended)
            if ended.parent_id is not None:
                families.setdefault(ended.parent_id, []).append(ended)
        for ended in wave:
            self._tell_dependents(ended, now_ms)
        for parent_id, children in families.items():
            self.families.ended(parent_id, children, now_ms)

    def _tell_dependents(self, ended: Operation, now_ms: int) -> None:
        dependents = [each for each in self._dependencies.of(ended.request_id) if each.status is Status.QUEUED]
        if ended.status is Status.COMPLETED:
            met = [self._dependencies.meet(each, ended.request_id) for each in dependents]
            self._changes.wake(each.carrier for each in met if not each.blocked)
            return
        failed = Outcome(
            Ending.NOT_STARTED, code=Code.DEPENDENCY_FAILED, message=f"{ended.request_id} is {ended.status}."
        )
        for each in dependents:
            self._changes.end(each, Action.ORPHAN, now_ms, outcome=failed)

    def _take_place(self, operation: Operation, policy: ConflictPolicy) -> None:
        values = (operation.target_component, operation.conflict_key)
        rows = self._session.read_operations(QUERIES["rivals"], values).fetchall()
        reason = f"superseded by {operation.request_id}"
        for rival in superseded(operation, [operation_of(row) for row in rows], policy):
            self._changes.end(rival, Action.SUPERSEDE, operation.created_at, reason=reason)

    def _block(self, operation: Operation, waits: Sequence[str]) -> None:
        operation.blocked = len(waits)
        self._dependencies.add(operation.request_id, waits)
