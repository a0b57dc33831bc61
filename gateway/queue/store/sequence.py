"""What is known of each component without asking: its numbers, its last work, and the operation it is in the middle of.

All of it is undone with the job that changed it.
"""

import sqlite3
from collections.abc import Container, Iterable, Iterator
from typing import Final

from gateway.errors import Code, Refusal
from gateway.operation import Kind, Operation
from gateway.queue.store.rows import Row, operation_of
from gateway.queue.store.sql import QUERIES
from gateway.queue.store.undo import Undo

NUMBERS: Final = 256  # a CmdSeq or TxnId is one byte
CMD_SEQ: Final = 0
TXN_ID: Final = 1
LAST_PROCESSED: Final = 2
_NONE: Final = (0, 0, None)

_Counters = tuple[int | None, ...]  # of one component, by the three above
_Number = tuple[int, str, int]  # counter, component, number


class Counters:
    """The last CmdSeq and the last TxnId given to each component, and when work of its ended last (ms).

    They count on across restarts: whoever changes one stores `row`.
    """

    def __init__(self, db: sqlite3.Connection, undo: Undo) -> None:
        self._undo = undo
        self._rows: dict[str, _Counters] = {row[0]: row[1:] for row in db.execute(QUERIES["counters"])}

    def row(self, component_id: str) -> Row:
        """Return the values of `put_counters`."""
        return (component_id, *self._rows.get(component_id, _NONE))

    def next(self, counter: int, component_id: str, held: Container[int]) -> int:
        """Count on, past the numbers that are `held`; where all are, the next is as good as any."""
        first = ((self._rows.get(component_id, _NONE)[counter] or 0) + 1) % NUMBERS
        number = first
        if number in held:
            order = ((first + step) % NUMBERS for step in range(1, NUMBERS))
            number = next((each for each in order if each not in held), first)
        self._set(counter, component_id, number)
        return number

    def processed(self, component_id: str, now_ms: int) -> None:
        """Note when work of a component's ended last."""
        self._set(LAST_PROCESSED, component_id, now_ms)

    def _set(self, counter: int, component_id: str, value: int) -> None:
        row = self._rows.get(component_id, _NONE)
        self._undo.put(self._rows, component_id, (*row[:counter], value, *row[counter + 1 :]))


class Numbers:
    """The numbers that operations hold with their components until they end: by these a device knows a repeat.

    A new exchange must take others. One at a time goes on with a component, so a command's matter once it waits again;
    a pairing speaks to two, and holds its own from the start.
    """

    def __init__(self, db: sqlite3.Connection, undo: Undo) -> None:
        self._undo = undo
        self._holders: dict[str, tuple[_Number, ...]] = {}  # by request_id
        self._held: dict[tuple[int, str], dict[int, int]] = {}  # by counter and component: how many hold which
        for row in db.execute(QUERIES["numbered"]).fetchall():
            self.hold(operation_of(row))

    def held(self, counter: int, component_id: str) -> Container[int]:
        """Return the numbers of a component that are held."""
        return self._held.get((counter, component_id), ())

    def hold(self, operation: Operation) -> None:
        """An operation keeps its numbers, if it does not already."""
        if operation.request_id not in self._holders:
            numbers = tuple(_numbers(operation))
            self._undo.put(self._holders, operation.request_id, numbers)
            self._count(numbers, 1)

    def release(self, operation: Operation) -> None:
        """It has ended, and others may have them."""
        numbers = self._holders.get(operation.request_id)
        if numbers is not None:
            self._undo.drop(self._holders, operation.request_id)
            self._count(numbers, -1)

    def _count(self, numbers: Iterable[_Number], delta: int) -> None:
        for counter, component_id, number in numbers:
            self._undo.count(self._held.setdefault((counter, component_id), {}), number, delta)


def _numbers(operation: Operation) -> Iterator[_Number]:
    counter = CMD_SEQ if operation.kind is Kind.COMMAND else TXN_ID
    if operation.sequence is not None:
        yield counter, operation.carrier, operation.sequence
    if (
        operation.partner_sequence is not None
    ):  # with the other side of a pairing; of a command that is armed first, too
        yield counter, operation.initiator_component or operation.carrier, operation.partner_sequence


class Processing:
    """The operations that are PROCESSING, by their carrier and by their target."""

    def __init__(self, db: sqlite3.Connection, undo: Undo) -> None:
        self._undo = undo
        self._by_target: dict[str, str] = {}
        self._by_carrier: dict[str, str] = {}
        for row in db.execute(QUERIES["processing"]).fetchall():
            self.add(operation_of(row))

    def carries(self, carrier: str) -> bool:
        """Whether somebody speaks to `carrier` now."""
        return carrier in self._by_carrier

    def is_about(self, target: str) -> bool:
        """Whether an operation for `target` is under way."""
        return target in self._by_target

    def holds(self, operation: Operation) -> bool:
        """Whether that very operation is under way."""
        return self._by_target.get(operation.target_component) == operation.request_id

    def add(self, operation: Operation) -> None:
        """One begins. Raises Refusal ALREADY_PROCESSING for a component that something is under way with or for."""
        if operation.carrier in self._by_carrier or operation.target_component in self._by_target:
            raise Refusal(Code.ALREADY_PROCESSING, f"Something is under way for {operation.target_component}.")
        self._undo.put(self._by_target, operation.target_component, operation.request_id)
        self._undo.put(self._by_carrier, operation.carrier, operation.request_id)

    def remove(self, operation: Operation) -> None:
        """One has ended, or waits again."""
        self._undo.drop(self._by_target, operation.target_component)
        self._undo.drop(self._by_carrier, operation.carrier)
