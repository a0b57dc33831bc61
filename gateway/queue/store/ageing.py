"""Nobody is passed over for ever: after so many in a row that went before a lower class, the oldest goes next."""

from typing import Final

from gateway.operation import Operation, Priority
from gateway.queue.store.depth import Depths
from gateway.queue.store.undo import Undo
from gateway.settings import Parameters

UNTOUCHED: Final = Priority.CRITICAL  # this and what is above it goes first, always


class Ageing:
    """How many operations of a carrier in a row went before a lower class that waited; a next try is none more.

    `limit` operations may, so whatever waits at one time is worked off by its class: no more than that wait. Of those
    below CRITICAL, an operation with k older ones before it begins after at most (k + 1) × (limit + 1).
    """

    def __init__(self, depths: Depths, undo: Undo) -> None:
        self._depths, self._undo = depths, undo
        self._passed: dict[str, int] = {}  # by carrier; 0 is not kept
        self.limit: int = (
            Parameters().max_requests_per_component
        )  # of the last one queued: without more, none is passed

    def holds_up(self, first: Operation) -> bool:
        """Whether the oldest goes next, and not the first in order."""
        over = bool(self._passed) and self._passed.get(first.carrier, 0) >= self.limit
        return over and not first.resumes and first.urgency < UNTOUCHED

    def took(self, operation: Operation, *, as_oldest: bool) -> None:
        """Count one that begins; it waits no longer."""
        if as_oldest or not self._depths.lower_waits(operation):
            if operation.carrier in self._passed:
                self._undo.drop(self._passed, operation.carrier)
        elif operation.sequence is None:
            self._undo.count(self._passed, operation.carrier, 1)
