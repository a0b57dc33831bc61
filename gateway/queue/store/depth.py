"""How many operations wait, kept in memory: an enqueue must not count the table."""

import sqlite3
from typing import Final

from gateway.operation import Operation, order_class
from gateway.queue.store.sql import QUERIES
from gateway.queue.store.undo import Undo

_Class = tuple[bool, bool, int]  # is_proxy, not resumes, -urgency: classes sort as they are worked off
_Place = tuple[int, int, str]  # within a class: rank, created_at, request_id
_NOTHING: Final = (-(1 << 63), 0, "")


class Depths:
    """Counts of QUEUED operations: in all, per target, per class of order.

    Routed parents do not count: their children do.
    """

    def __init__(self, db: sqlite3.Connection, undo: Undo) -> None:
        self._undo = undo
        self._targets: dict[str | None, int] = {}  # None: all of them
        self._classes: dict[str, dict[_Class, int]] = {}
        self._last: dict[tuple[str, _Class], _Place] = {}  # or later: never earlier than any that waits
        self._large: dict[str, int] = {}  # targets that are in alarm, and the depth that was too much
        for target, carrier, *order_of, count, rank, newest in db.execute(QUERIES["queued_by_class"]):
            is_proxy, resumes, urgency = order_of
            order = (bool(is_proxy), not resumes, -urgency)
            self._count(target, carrier, order, count)
            last = self._last.get((carrier, order), _NOTHING)
            self._last[carrier, order] = max(last, (rank, newest, "\uffff"))  # above every id of that time

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

    def lower_waits(self, operation: Operation) -> bool:
        """Whether one of a lower class waits for the same carrier."""
        is_proxy, _, order = order_class(operation)
        return any(each > order and proxied == is_proxy for proxied, _, each in self._classes[operation.carrier])

    def add(self, operation: Operation) -> int | None:
        """One more waits. Returns its place (1 = next), or None where it may come before others of its class."""
        if operation.routed:
            return None
        carrier, order = operation.carrier, order_class(operation)
        self._count(operation.target_component, carrier, order, 1)
        place = (operation.rank, operation.created_at, operation.request_id)
        if place <= self._last.get((carrier, order), _NOTHING):
            return None
        self._last[carrier, order] = place
        return self._last_place(carrier, order)

    def remove(self, operation: Operation) -> None:
        """One waits no more."""
        if operation.routed:
            return
        target = operation.target_component
        self._count(target, operation.carrier, order_class(operation), -1)
        if self._large and 2 * self.of(target) < self._large.get(target, 0):
            self._undo.drop(self._large, target)

    def grew_large(self, target: str, size: int) -> bool:
        """Whether `size` wait for a target from this one on, for the first time since fewer than half of that did."""
        if self.of(target) != size or target in self._large:
            return False
        self._undo.put(self._large, target, size)
        return True

    def place_of_newest(self, operation: Operation) -> int | None:
        """Return the place of an operation that waits; None where others of its class may come after it."""
        carrier, order = operation.carrier, order_class(operation)
        if self._last.get((carrier, order)) != (operation.rank, operation.created_at, operation.request_id):
            return None
        return self._last_place(carrier, order)

    def _last_place(self, carrier: str, order: _Class) -> int:
        return sum([count for each, count in self._classes[carrier].items() if each <= order])

    def _count(self, target: str, carrier: str, order: _Class, delta: int) -> None:
        self._undo.count(self._targets, None, delta)
        self._undo.count(self._targets, target, delta)
        self._undo.count(self._classes.setdefault(carrier, {}), order, delta)
