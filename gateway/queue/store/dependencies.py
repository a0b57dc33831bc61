"""What must be COMPLETED before an operation may run, kept for as long as it holds that operation back."""

import sqlite3
from collections.abc import Callable, Iterable
from typing import Final

from gateway.errors import Code, Refusal
from gateway.operation import FINAL, Operation, Status
from gateway.queue.store.rows import operation_of
from gateway.queue.store.session import Session
from gateway.queue.store.sql import QUERIES
from gateway.queue.store.undo import Undo

_ADD: Final = QUERIES["add_dependency"]
_BLOCK: Final = QUERIES["block_operation"]


def unmet(depends_on: Iterable[str], find: Callable[[str], Operation | None]) -> list[str]:
    """Return those of `depends_on` that have not ended yet.

    Raises:
        Refusal: REQUEST_NOT_FOUND; DEPENDENCY_FAILED where one ended otherwise than COMPLETED.
    """
    waiting = []
    for request_id in dict.fromkeys(depends_on):
        details = {"field": "depends_on", "request_id": request_id}
        found = find(request_id)
        if found is None:
            raise Refusal(Code.REQUEST_NOT_FOUND, f"depends_on: there is no request {request_id}.", details=details)
        if found.status not in FINAL:
            waiting.append(request_id)
        elif found.status is not Status.COMPLETED:
            raise Refusal(Code.DEPENDENCY_FAILED, f"depends_on: {request_id} is {found.status}.", details=details)
    return waiting


class Dependencies:
    """The table `dependency`, and who is waited for: most operations are by nobody, and their ends ask no query.

    An operation's `blocked` is the number of its rows.
    """

    def __init__(self, db: sqlite3.Connection, session: Session, undo: Undo) -> None:
        self._session, self._undo = session, undo
        self._waited_for: dict[str, int] = dict(db.execute(QUERIES["depended_on"]).fetchall())

    def waited_for(self, request_id: str) -> bool:
        """Whether any operation waits for this one."""
        return request_id in self._waited_for

    def add(self, request_id: str, depends_on: Iterable[str]) -> None:
        """Note what an operation waits for; its `blocked` is the caller's to store."""
        for each in depends_on:
            self._session.change(_ADD, (request_id, each))
            self._undo.count(self._waited_for, each, 1)

    def of(self, request_id: str) -> list[Operation]:
        """Return the operations that wait for one, the oldest first; not those it holds back as their parent."""
        if not self.waited_for(request_id):
            return []
        return self._read("dependents", request_id)

    def held_by(self, parent_id: str) -> list[Operation]:
        """Return the children that their family holds back, in the order of the targets."""
        if not self.waited_for(parent_id):
            return []
        return self._read("held_children", parent_id)

    def meet(self, operation: Operation, depends_on: str) -> Operation:
        """One thing that an operation waited for has come about. Returns it as it is now."""
        self._session.execute(QUERIES["drop_dependency"], (operation.request_id, depends_on))
        self._undo.count(self._waited_for, depends_on, -1)
        operation.blocked -= 1
        self.keep_blocked(operation)
        return operation

    def drop(self, operation: Operation) -> None:
        """An operation that has ended waits for nothing any more."""
        if not operation.blocked:
            return
        rows = self._session.execute(QUERIES["drop_dependencies"], (operation.request_id,)).fetchall()
        for (depends_on,) in rows:
            self._undo.count(self._waited_for, depends_on, -1)
        operation.blocked = 0
        self.keep_blocked(operation)

    def keep_blocked(self, operation: Operation) -> None:
        """Store how many things an operation waits for."""
        values = (operation.blocked, operation.request_id)
        self._session.change_operation(_BLOCK, values, queue=operation.carrier)

    def _read(self, query: str, request_id: str) -> list[Operation]:
        return [operation_of(row) for row in self._session.read(QUERIES[query], (request_id,)).fetchall()]
