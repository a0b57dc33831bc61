"""How many operations wait, kept in memory: an enqueue must not count the table."""

from collections import defaultdict
from typing import Final

from gateway.operation import Operation, RequestType

OrderClass = tuple[str, bool, int]  # carrier, is_proxy, priority
_Change = tuple[str, OrderClass, int]


class Depths:
    """Counts of QUEUED operations, per target and per class of order, that can be taken back to a mark."""

    def __init__(self) -> None:
        self.total = 0
        self._by_target: Final[defaultdict[str, int]] = defaultdict(int)
        self._by_carrier: Final[defaultdict[str, dict[OrderClass, int]]] = defaultdict(dict)
        self._newest: Final[dict[OrderClass, tuple[int, str]]] = {}  # never too old, perhaps too new after an undo
        self._changes: list[_Change] = []

    def load(self, target: str, order: OrderClass, count: int, newest: int) -> None:
        """Take over what the database holds of one target in one class; `newest`: its latest created_at."""
        self._apply(target, order, count)
        self._newest[order] = max(self._newest.get(order, (0, "")), (newest, "\uffff"))

    def of(self, target: str) -> int:
        """Return how many wait for a target."""
        return self._by_target.get(target, 0)

    def add(self, operation: Operation) -> None:
        """One more waits."""
        order = self._note(operation, 1)
        age = (operation.created_at, operation.request_id)
        if age > self._newest.get(order, (0, "")):
            self._newest[order] = age

    def remove(self, operation: Operation) -> None:
        """One waits no more."""
        self._note(operation, -1)

    def place_of_newest(self, operation: Operation) -> int | None:
        """Return the place of an operation just added (1 = next); None where one added before may be younger."""
        order = _order(operation)
        if self._newest[order] != (operation.created_at, operation.request_id):
            return None
        _, proxy, priority = order
        # Proxy requests come last; within either kind the higher priority comes first.
        return sum(
            count
            for (_, is_proxy, rank), count in self._by_carrier[operation.carrier].items()
            if (is_proxy, -rank) <= (proxy, -priority)
        )

    def mark(self) -> int:
        """Return a mark to come back to."""
        return len(self._changes)

    def undo(self, mark: int) -> None:
        """Take back what was counted since `mark`."""
        while len(self._changes) > mark:
            target, order, delta = self._changes.pop()
            self._apply(target, order, -delta)

    def settle(self) -> None:
        """What was counted is committed: forget how to take it back."""
        self._changes.clear()

    def _note(self, operation: Operation, delta: int) -> OrderClass:
        order = _order(operation)
        self._changes.append((operation.target_component, order, delta))
        self._apply(operation.target_component, order, delta)
        return order

    def _apply(self, target: str, order: OrderClass, delta: int) -> None:
        self.total += delta
        self._by_target[target] += delta
        if not self._by_target[target]:
            del self._by_target[target]
        classes = self._by_carrier[order[0]]
        classes[order] = classes.get(order, 0) + delta
        if not classes[order]:
            del classes[order]
        if not classes:
            del self._by_carrier[order[0]]


def _order(operation: Operation) -> OrderClass:
    return operation.carrier, operation.request_type is RequestType.PROXY, int(operation.priority)
