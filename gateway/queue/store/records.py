"""What happens with every change: its event, the audit chain; and presence, calls and parameters as they are stored."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.clock import Clock
from gateway.event import GATEWAY, TOMBSTONE, Event
from gateway.ports import AuditEntry, Call, PresenceChange
from gateway.queue.store.audit import GENESIS, audit_row
from gateway.queue.store.outbox import Outbox, event_bytes
from gateway.queue.store.presence_rows import Absences, expected_after, told
from gateway.queue.store.reader import SqlReader
from gateway.queue.store.rows import decode, encode, event_row
from gateway.queue.store.session import Session
from gateway.queue.store.sql import QUERIES
from gateway.queue.store.undo import Undo

FORGET_CALLS: Final = 64

_INSERT_EVENT, _INSERT_AUDIT = QUERIES["insert_event"], QUERIES["insert_audit"]


class Records(SqlReader):
    """Everything of `ports.Tx` that is about no operation, and what jobs and groups are to the writer.

    `outbox_max_bytes`: what events may take. `upstream`: whether any of them wait for a broker.
    """

    def __init__(
        self, db: sqlite3.Connection, clock: Clock, *, max_pages: int, outbox_max_bytes: int, upstream: bool
    ) -> None:
        super().__init__(db, clock, max_pages=max_pages)
        self._undo = Undo()
        self._last_seq = self.last_seq()  # of the groups before; those of `_events` follow
        self.outbox = Outbox(db, max_bytes=outbox_max_bytes, upstream=upstream, last_seq=self._last_seq)
        self._held: dict[str, Any] = {  # and taken back where a job is undone
            "acknowledged": self.acknowledged_seq(),
            "chain": db.execute(QUERIES["audit_head"]).fetchone() or (0, GENESIS),
        }
        self._calls = 0
        self._events: list[Event] = []
        self._event_bytes = 0
        self._job = (0, 0, 0)
        self._trusted = False  # the clock; looked at once a group
        self._session = Session(db, self._undo)
        self._execute = self._session.read

    # --- what the writer does -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start a group."""
        self._session.begin()
        self._trusted = self._clock.trusted()

    def start_job(self) -> None:
        """Begin what may be undone by itself."""
        self._session.start_job()
        self._job = self._undo.mark(), len(self._events), self._event_bytes

    def end_job(self) -> None:
        """Keep what the job did."""
        self._session.end_job()

    def undo_job(self) -> None:
        """Undo what the job did, here and in the database."""
        self._session.undo_job()
        mark, events, self._event_bytes = self._job
        self._undo.back(mark)
        del self._events[events:]

    def commit(self) -> list[Event]:
        """Make the group durable; returns its events."""
        self._session.send()
        self._bound_outbox()
        self._session.commit()
        self.outbox.settle()
        self._undo.settle()
        events, self._events = self._events, []
        self._event_bytes = 0
        self._last_seq += len(events)
        return events

    def abort(self) -> None:
        """Undo the group."""
        self._undo.back(0)
        self._events.clear()
        self._event_bytes = 0
        self._session.abort()

    # --- what a job does ----------------------------------------------------------------------------------------------

    def emit(self, event: Event) -> int:
        """Store an event that goes with no other change; returns its seq."""
        told = event.attributes
        return self._store(event.type, event.subject, event.at, told, trusted=event.time_trusted, wakes=event.wakes)

    def _store(
        self,
        kind: str,
        subject: str,
        at: int,
        attributes: Mapping[str, Any],
        *,
        trusted: bool = True,
        wakes: tuple[str, ...] = (),
    ) -> int:
        seq = self._newest_seq() + 1
        event = Event(kind, subject, at, attributes, trusted and self._trusted, seq, wakes)
        row = event_row(event)
        self._session.change(_INSERT_EVENT, row)
        self._events.append(event)
        self._event_bytes += event_bytes(row)
        return seq

    def _newest_seq(self) -> int:
        return self._last_seq + len(self._events)

    def _bound_outbox(self) -> None:
        """Keep the events within their bound, those of this group among them; tell of what had to go."""
        acknowledged = self._held["acknowledged"]
        told = self.outbox.make_room(acknowledged, self._newest_seq(), self._event_bytes)
        if told is not None:
            self._store(TOMBSTONE, GATEWAY, self._clock.wall_ms(), told)
        self.outbox.note(self._newest_seq(), len(self._events), self._event_bytes, tells=told is not None)

    def acknowledge(self, seq: int) -> None:
        """Everything up to `seq` has reached the broker: those events may go when room is needed."""
        reached = min(seq, self._newest_seq())
        if reached > self._held["acknowledged"]:
            self._session.change(QUERIES["put_meta"], ("acknowledged_seq", reached))
            self._undo.put(self._held, "acknowledged", reached)

    def record_presence(self, changes: Sequence[PresenceChange]) -> None:
        """Store each change in its component row, with its event. Keeps absences, and so expected_return."""
        for change in changes:
            row = self._execute(QUERIES["component"], (change.component_id,)).fetchone()
            before = Absences() if row is None else Absences(row[8], tuple(decode(row[9])))
            absences = before.after(change)
            expected = expected_after(change, absences, None if row is None else row[5])
            self._session.execute(
                QUERIES["put_component"],
                (
                    change.presence.value,
                    change.reason,
                    change.since,
                    change.last_seen,
                    expected,
                    encode(dict(change.evidence)),
                    absences.since,
                    encode(absences.past),
                    change.component_id,
                ),
            )
            if change.event is not None:
                attributes, trusted = told(change, expected), change.time_trusted
                self._store(change.event, change.component_id, change.at, attributes, trusted=trusted)

    def learn_serial(self, component_id: str, serial: int, now_ms: int) -> None:
        """Store the serial number a component answered with."""
        self._session.execute(QUERIES["learn_serial"], (f"{serial:016X}", now_ms, component_id))

    def audit(self, entry: AuditEntry, now_ms: int) -> None:
        """Append to the audit chain."""
        last, previous = self._held["chain"]
        row = audit_row(previous, last + 1, now_ms, entry)
        self._session.change(_INSERT_AUDIT, row)
        self._undo.put(self._held, "chain", (last + 1, row[-1]))

    def remember(self, call: Call, answer: Mapping[str, Any]) -> None:
        """Keep the answer of a call with the transaction that gave it; forget, now and then, those that are over."""
        values = (call.actor, call.call_id, call.digest, call.until, encode(dict(answer)))
        self._session.change(QUERIES["remember"], values)
        self._calls += 1
        if self._calls % FORGET_CALLS == 0 and self._clock.trusted():
            self._session.change(QUERIES["forget_calls"], (self._clock.wall_ms(),))

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        """Keep parameters set at run time."""
        for name, value in values.items():
            self._session.change(QUERIES["put_parameter"], (name, encode(value)))
