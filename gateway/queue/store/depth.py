"""How many operations wait, kept in memory: an enqueue must not count the table."""

import sqlite3
from typing import Final

from gateway.operation import Operation, order_class
from gateway.queue.store.sql import QUERIES
from gateway.queue.store.undo import Undo

_Class = tuple[bool, bool, int]  # is_proxy, not resumes, -priority: classes sort as they are worked off
_NOTHING: Final = (0, "")


class Depths:
    """Counts of QUEUED operations: in all, per target, per class of order; and of those that hold a number."""

    def __init__(self, db: sqlite3.Connection, undo: Undo) -> None:
        self._undo = undo
        self._targets: dict[str | None, int] = {}  # None: all of them
        self._classes: dict[str, dict[_Class, int]] = {}
        self._numbered: dict[str, int] = {}
        self._newest: dict[tuple[str, _Class], tuple[int, str]] = {}  # or later: never earlier than any that waits
        for target, carrier, *order_of, count, numbered, newest in db.execute(QUERIES["queued_by_class"]):
            is_proxy, resumes, priority = order_of
            order = (bool(is_proxy), not resumes, -priority)
            self._count(target, carrier, order, count, numbered)
            last = self._newest.get((carrier, order), _NOTHING)
            self._newest[carrier, order] = max(last, (newest, "\uffff"))  # above every id of that time

    @property
    def total(self) -> int:
        """How many wait in all."""
        return self._targets.get(None, 0)

    def of(self, target: str) -> int:
        """Return how many wait for a target."""
        return self._targets.get(target, 0)

    def proxies(self, carrier: str) -> bool:
        """Whether a PROXY request waits for `carrier`."""
        return any(is_proxy for is_proxy, _, _ in self._classes.get(carrier, ()))

    def numbers_held(self, carrier: str) -> bool:
        """Whether an operation that waits for `carrier` holds a sequence number."""
        return carrier in self._numbered

    def add(self, operation: Operation) -> int | None:
        """One more waits. Returns its place (1 = next), or None where an earlier one may be younger."""
        carrier, order = operation.carrier, order_class(operation)
        self._count(operation.target_component, carrier, order, 1, operation.sequence is not None)
        age = (operation.created_at, operation.request_id)
        if age <= self._newest.get((carrier, order), _NOTHING):
            return None
        self._newest[carrier, order] = age
        return self._last_place(carrier, order)

    def remove(self, operation: Operation) -> None:
        """One waits no more."""
        numbered = operation.sequence is not None
        self._count(operation.target_component, operation.carrier, order_class(operation), -1, -numbered)

    def place_of_newest(self, operation: Operation) -> int | None:
        """Return the place of an operation that waits; None where an earlier one may be younger."""
        carrier, order = operation.carrier, order_class(operation)
        if self._newest.get((carrier, order)) != (operation.created_at, operation.request_id):
            return None
        return self._last_place(carrier, order)

    def _last_place(self, carrier: str, order: _Class) -> int:
        return sum([count for each, count in self._classes[carrier].items() if each <= order])

    def _count(self, target: str, carrier: str, order: _Class, delta: int, numbered: int) -> None:
        self._undo.count(self._targets, None, delta)
        self._undo.count(self._targets, target, delta)
        self._undo.count(self._classes.setdefault(carrier, {}), order, delta)
        if numbered:
            self._undo.count(self._numbered, carrier, numbered)
