"""A store in memory, as far as the way up needs one: events, component rows, queues, what is acknowledged."""

from collections.abc import Callable, Sequence
from typing import Any

from gateway.errors import Code, Refusal
from gateway.event import Event
from gateway.ports import AuditEntry, ComponentRow, OutboxFigures, QueueStatus
from gateway.presence import Presence


class MemoryView:
    """The part of Reader and Tx that the way up uses."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.rows: dict[str, ComponentRow] = {}
        self.queues: dict[str, QueueStatus] = {}
        self.acknowledged = 0
        self.forgotten = 0  # events up to here are gone
        self.audited: list[AuditEntry] = []

    def components(self) -> list[ComponentRow]:
        return list(self.rows.values())

    def component(self, component_id: str) -> ComponentRow | None:
        return self.rows.get(component_id)

    def queue_status(self, component_id: str) -> QueueStatus:
        return self.queues.get(component_id) or QueueStatus(component_id, 0, 0, 0, None, None)

    def events_after(self, seq: int, limit: int) -> list[Event]:
        return [event for event in self.events[max(seq, self.forgotten) :] if event.seq > seq][:limit]

    def last_seq(self) -> int:
        return len(self.events)

    def acknowledged_seq(self) -> int:
        return self.acknowledged

    def acknowledge(self, seq: int) -> None:
        self.acknowledged = seq

    def audit(self, entry: AuditEntry, now_ms: int) -> None:
        self.audited.append(entry)


class MemoryStore:
    """Store over a `MemoryView`. `writes` counts transactions; `full` makes them fail as a full disk does."""

    def __init__(self) -> None:
        self.view: Any = MemoryView()  # a part of Reader and Tx; Any stands for the rest
        self.writes = 0
        self.full = False
        self._listeners: list[Callable[[Sequence[Event]], None]] = []

    async def read(self, query: Callable[[Any], Any]) -> Any:
        return query(self.view)

    study = read

    async def write(self, job: Callable[[Any], Any]) -> Any:
        if self.full:
            raise Refusal(Code.STORAGE_FULL)
        self.writes += 1
        return job(self.view)

    def outbox(self) -> OutboxFigures:
        return OutboxFigures(len(self.view.events) - self.view.acknowledged, 0, 0)

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        self._listeners.append(listener)

    # --- what the test makes happen

    def forget(self, seq: int) -> None:
        self.view.forgotten = seq

    def emit(self, event_type: str, subject: str = "gateway", **attributes: Any) -> Event:
        return self.emit_many(1, event_type, subject, **attributes)[0]

    def emit_many(self, count: int, event_type: str, subject: str = "gateway", **attributes: Any) -> list[Event]:
        first = len(self.view.events) + 1
        made = [
            Event(event_type, subject, at=1_790_000_000_000 + seq, attributes=attributes, seq=seq)
            for seq in range(first, first + count)
        ]
        self.view.events += made
        for listener in self._listeners:
            listener(made)
        return made

    def see(self, component_id: str, presence: Presence, *, last_seen: int | None = None) -> None:
        self.view.rows[component_id] = ComponentRow(
            component_id, presence, None, 1_790_000_000_000, last_seen, None, 0xA3, {}
        )
