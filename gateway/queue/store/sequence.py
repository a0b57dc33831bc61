"""Which numbers exchanges get, and which operations are in the middle of one; kept in memory, undone with their job."""

import sqlite3
from collections.abc import Set as AbstractSet
from typing import Final

from gateway.operation import Operation
from gateway.queue.store.rows import operation_of
from gateway.queue.store.sql import QUERIES
from gateway.queue.store.undo import Undo

NUMBERS: Final = 256  # a CmdSeq or TxnId is one byte
CMD_SEQ: Final = "cmd_seq"
TXN_ID: Final = "txn_id"


class Sequences:
    """The last CmdSeq and the last TxnId given to each component. They count on across restarts."""

    def __init__(self, db: sqlite3.Connection, undo: Undo) -> None:
        self._undo = undo
        self._last: dict[tuple[str, str], int] = {}
        for component_id, cmd_seq, txn_id in db.execute(QUERIES["sequences"]):
            self._last[CMD_SEQ, component_id] = cmd_seq
            self._last[TXN_ID, component_id] = txn_id

    def next(self, counter: str, component_id: str, held: AbstractSet[int]) -> int:
        """Count on, past the numbers that pending operations hold; where all are held, the next is as good as any."""
        first = (self._last.get((counter, component_id), 0) + 1) % NUMBERS
        order = ((first + step) % NUMBERS for step in range(NUMBERS))
        number = next((each for each in order if each not in held), first)
        self._undo.put(self._last, (counter, component_id), number)
        return number


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
        """One begins."""
        self._undo.put(self._by_target, operation.target_component, operation.request_id)
        self._undo.put(self._by_carrier, operation.carrier, operation.request_id)

    def remove(self, operation: Operation) -> None:
        """One has ended, or waits again."""
        self._undo.drop(self._by_target, operation.target_component)
        self._undo.drop(self._by_carrier, operation.carrier)
