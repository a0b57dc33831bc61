"""What may be asked of the database: plain SQL, one short method a question."""

import sqlite3
from typing import Any, Final

from gateway.clock import Clock
from gateway.component import ComponentKind
from gateway.errors import Code, Refusal
from gateway.event import Event
from gateway.operation import FINAL, Operation, QueueType, Reach, Status, order_key
from gateway.ports import (
    AuditCheck,
    AuditRow,
    ComponentRow,
    ExchangeTimes,
    Export,
    Figures,
    History,
    Load,
    OfflineOperation,
    Page,
    QueueStatus,
    Registration,
)
from gateway.presence import Presence
from gateway.queue.store import history, metrics
from gateway.queue.store.audit import audit_entries, check_audit
from gateway.queue.store.cursor import Place
from gateway.queue.store.paging import PROCESSING_ORDER, page_of
from gateway.queue.store.rows import Row, component_of, decode, event_of, operation_of
from gateway.queue.store.sql import QUERIES, Execute, used_pages

LOAD_WINDOW_MS: Final = 3_600_000

_OPERATION, _ARCHIVED = QUERIES["operation"], QUERIES["archived"]
_REPEATED, _REPEATED_OLD = QUERIES["repeated"], QUERIES["repeated_old"]
_QUEUED_BEFORE: Final = QUERIES["queued_before"]
_URGENT: Final = "(priority >= 3 OR request_type IS 'EMERGENCY')"
_QUEUE_TYPES: Final = {
    QueueType.STANDARD: f"is_proxy = 0 AND NOT {_URGENT}",
    QueueType.PRIORITY: f"is_proxy = 0 AND {_URGENT}",
    QueueType.PROXY: "is_proxy = 1",
    QueueType.ALL: "TRUE",
}
_WAITING: Final = QUERIES["waiting"]
_PENDING_IDS: Final = QUERIES["pending_ids"].format(source=QUERIES["pending_of"])


class SqlReader:
    """Answers from one connection. Whoever owns the connection gives it a consistent state.

    `max_pages`: how large the database may grow.
    """

    def __init__(self, db: sqlite3.Connection, clock: Clock, *, max_pages: int) -> None:
        self._db, self._clock, self._max_pages = db, clock, max_pages
        self._execute: Execute = db.execute

    def operation(self, request_id: str) -> Operation | None:
        """Return an operation by its id, live or archived."""
        row = self._execute(_OPERATION, (request_id,)).fetchone() or self._execute(_ARCHIVED, (request_id,)).fetchone()
        return None if row is None else operation_of(row)

    def repeated(self, creator: str, idempotency_key: str, content: bytes) -> Operation | None:
        """Return the operation, live or archived, that a request with this key repeats. Refusal: with other content."""
        key = (creator, idempotency_key)
        row = self._execute(_REPEATED, key).fetchone() or self._execute(_REPEATED_OLD, key).fetchone()
        if row is None:
            return None
        if row[13] != content:
            raise Refusal(Code.IDEMPOTENCY_CONFLICT, f"{row[1]} has this idempotency key and other content.")
        return operation_of(row)

    def children(self, parent_id: str) -> list[Operation]:
        """Return the children of a routed operation, in the order of its targets."""
        return [operation_of(row) for row in self._execute(QUERIES["children"], (parent_id,))]

    def barriers(self) -> list[Operation]:
        """Return the QUEUED parents whose children wait for each other."""
        waiting = [operation_of(row) for row in self._execute(QUERIES["families_waiting"], ())]
        return [parent for parent in waiting if parent.barrier]

    def queue_position(self, operation: Operation) -> int | None:
        """Return its place among those waiting for its carrier (1 = next); None unless QUEUED, and for a parent."""
        if operation.status is not Status.QUEUED or operation.routed:
            return None
        is_proxy, starts, negative_urgency, *within = order_key(operation)
        key = (operation.carrier, is_proxy, not starts, -negative_urgency, *within)
        return int(self._value(_QUEUED_BEFORE, key)) + 1

    def operations(
        self,
        *,
        component_id: str | None,
        queue_type: QueueType,
        status: Status | None,
        page_size: int,
        cursor: str | None,
    ) -> Page:
        """List operations in the order of processing, those of a target where one is given.

        `status` None: QUEUED and PROCESSING. Raises Refusal INVALID_ARGUMENT for a bad `page_size` or `cursor`.
        """
        source = ("ended" if status in FINAL else "pending") + ("" if component_id is None else "_of")
        query = QUERIES["page"].format(source=QUERIES[source], queue_type=_QUEUE_TYPES[queue_type])

        def rows(after: Place, limit: int) -> list[Row]:
            return self._execute(query, (component_id, status, *after, limit)).fetchall()

        asked = ["operations", component_id, queue_type, status]
        return page_of(PROCESSING_ORDER, asked, rows, page_size=page_size, cursor=cursor)

    def queue_status(self, component_id: str) -> QueueStatus:
        """Return the queue sizes of a component: what is QUEUED for it as a target."""
        return QueueStatus(component_id, *self._row(QUERIES["queue_sizes"], (component_id,)))

    def offline_operation(self, component_id: str, *, accepts_proxy: bool) -> OfflineOperation:
        """Return the pending work of a component: what is QUEUED or PROCESSING for it, in order."""
        ids = tuple(request_id for (request_id,) in self._execute(_PENDING_IDS, (component_id,)))
        known = self.component(component_id)
        return OfflineOperation(
            component_id=component_id,
            pending_request_ids=ids,
            operation_count=len(ids),
            last_seen=None if known is None else known.last_seen,
            expected_return=None if known is None else known.expected_return,
            offline_reason=None if known is None or known.presence is not Presence.OFFLINE else known.reason,
            accepts_proxy=accepts_proxy,
        )

    def next_due(
        self,
        carrier: str,
        now_ms: int,
        *,
        proxy: bool = False,
        reach: Reach = Reach.SETTLED,
        target: str | None = None,
    ) -> int | None:
        """Return when `claim` with these arguments may next take something: the earliest not_before, in ms."""
        values = (carrier, proxy, self._expired_by(now_ms), target, int(reach), now_ms)
        found: int | None = self._value(QUERIES["next_due"], values)
        return found

    def next_expiry(self) -> int | None:
        """Return the earliest expires_at of all QUEUED operations, in ms; None where nothing is queued."""
        found: int | None = self._value(QUERIES["next_expiry"])
        return found

    def depths(self) -> dict[str, int]:
        """Return how many operations are QUEUED, by target; those with none are left out."""
        return {target: waiting for target, waiting, _ in self._execute(_WAITING, ())}

    def oldest_waiting(self) -> dict[str, int]:
        """Return when the oldest QUEUED operation of each target was created, ms; those with none are left out."""
        return {target: oldest for target, _, oldest in self._execute(_WAITING, ())}

    def front(self, carrier: str, limit: int) -> list[Operation]:
        """Return the first operations that wait for a carrier, in the order of processing."""
        return [operation_of(row) for row in self._execute(QUERIES["front"], (carrier, limit))]

    def component(self, component_id: str) -> ComponentRow | None:
        """Return the stored live part of a component."""
        row = self._execute(QUERIES["component"], (component_id,)).fetchone()
        return None if row is None else component_of(row)

    def components(self) -> list[ComponentRow]:
        """Return the stored live part of every component ever known."""
        return [component_of(row) for row in self._execute(QUERIES["components"], ())]

    def load(self, now_ms: int) -> Load:
        """Return the figures of get_health: depth now, the rest over the last hour."""
        depth, wait, processing, failed = self._row(QUERIES["load"], (now_ms - LOAD_WINDOW_MS,))
        return Load(depth, wait or 0.0, processing or 0.0, failed or 0.0)

    def fullness(self) -> float:
        """Return which part of the database's size bound is in use, 0.0 to 1.0."""
        return used_pages(self._db) / self._max_pages

    def registrations(self) -> list[Registration]:
        """Return the components that are known without being configured."""
        rows = self._execute(QUERIES["registrations"], ())
        return [Registration(component_id, ComponentKind(kind), *rest) for component_id, kind, *rest in rows]

    # --- looking back -------------------------------------------------------------------------------------------------

    def history(self, wanted: History, *, page_size: int, cursor: str | None) -> Page:
        """List operations, live and archived, the newest first. Raises as `operations`."""
        return history.history(self._execute, wanted, page_size=page_size, cursor=cursor)

    def dead_letters(self, *, component_id: str | None, page_size: int, cursor: str | None) -> Page:
        """List FAILED and ABANDONED operations that nobody has discarded, the latest end first. Raises as `operations`.

        Archived ones are over: nobody can requeue them.
        """
        return history.dead_letters(self._execute, component_id, page_size=page_size, cursor=cursor)

    def proxy_queue(self, proxy_component: str, *, page_size: int, cursor: str | None) -> Page:
        """List the PROXY requests that wait for a proxy or run with it, in the order of processing."""
        return history.proxy_queue(self._execute, proxy_component, page_size=page_size, cursor=cursor)

    def metrics(self, from_ms: int, to_ms: int, by: str | None) -> list[Figures]:
        """Return the figures of all that ended within [from_ms, to_ms), then those of each group, by their keys."""
        return metrics.metrics(self._execute, from_ms, to_ms, by)

    def exchange_times(self) -> dict[str, ExchangeTimes]:
        """Return what the last exchanges of each carrier took, for those that had any in the live table."""
        return metrics.exchange_times(self._execute)

    def audit_entries(self, from_seq: int, limit: int) -> list[AuditRow]:
        """Return rows of the audit chain from `from_seq` on."""
        return audit_entries(self._execute, from_seq, limit)

    def check_audit(self) -> AuditCheck:
        """Look at the whole audit chain."""
        return check_audit(self._execute)

    def bundle(self, export: Export) -> list[Operation]:
        """Return the archived operations that belong into an export."""
        values = (export.month, export.first_seq, export.last_seq)
        return [operation_of(row) for row in self._execute(QUERIES["bundle"], values)]

    def exports_before(self, month: str) -> list[Export]:
        """Return the finished exports of months before `month` whose operations are still in the archive, too."""
        return [Export(*row) for row in self._execute(QUERIES["exports_with_rows"], (month,))]

    def events_after(self, seq: int, limit: int) -> list[Event]:
        """Return stored events with a seq above `seq`, in order, at most `limit`."""
        return [event_of(row) for row in self._execute(QUERIES["events_after"], (seq, limit))]

    def gone(self, from_seq: int, to_seq: int) -> int:
        """Return how many events of a range were, and are stored no longer."""
        last = min(to_seq, self.last_seq())
        return max(0, last - from_seq + 1 - int(self._value(QUERIES["stored_between"], (from_seq, last))))

    def last_seq(self) -> int:
        """Return the seq of the newest event; 0 before the first."""
        return int(self._value(QUERIES["last_seq"]))

    def acknowledged_seq(self) -> int:
        """Return the seq up to which the broker has acknowledged everything."""
        row = self._execute(QUERIES["meta"], ("acknowledged_seq",)).fetchone()
        return 0 if row is None else int(row[0])

    def remembered(self, actor: str, call_id: str, now_ms: int) -> tuple[bytes, dict[str, Any]] | None:
        """Return (digest, answer) of a call still remembered."""
        row = self._execute(QUERIES["remembered"], (actor, call_id, now_ms)).fetchone()
        return None if row is None else (row[0], decode(row[1]))

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that were set at run time."""
        return {name: decode(value) for name, value in self._execute(QUERIES["parameters"], ())}

    def _expired_by(self, now_ms: int) -> int:
        """Return the latest expires_at that is over: nothing expires while the clock is not to be believed."""
        return now_ms if self._clock.trusted() else -1

    def _row(self, query: str, values: Row = ()) -> Row:
        """Return the one row of a query that always has one."""
        row: Row = self._execute(query, values).fetchone()
        return row

    def _value(self, query: str, values: Row = ()) -> Any:
        return self._row(query, values)[0]
