"""What the retained topics say: birth and Will of the gateway, presence and queue of every component."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway import __version__
from gateway.clock import rfc3339
from gateway.component import Component, Registry
from gateway.event import Event
from gateway.ports import ComponentRow, QueueStatus, Reader
from gateway.presence import Presence
from gateway.sync.message import Outgoing
from gateway.sync.payload import CONTENT_TYPE, Encoding, encode
from gateway.sync.topics import Topics
from gateway.views import queue_view, serial_text, time_or_none

_CHANGES_PRESENCE: Final = "component_"  # events whose type begins so
_TAKES_ALONG: Final = "bus_down"  # one event for all that were ONLINE
_CHANGES_QUEUE: Final = ("request_", "queue_")


@dataclass(frozen=True, slots=True)
class Birth:
    """What a start of the daemon tells. `epoch` grows at every start; `started_at`: ms since the Unix epoch."""

    epoch: int
    started_at: int
    config_hash: str
    buses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dirty:
    """Topics to publish anew."""

    presence: frozenset[str] = frozenset()
    queue: frozenset[str] = frozenset()

    def after(self, events: Iterable[Event]) -> "Dirty":
        """Return these and those that `events` have made stale."""
        presence, queue = set(self.presence), set(self.queue)
        for event in events:
            if event.type.startswith(_CHANGES_PRESENCE):
                presence.add(event.subject)
            elif event.type == _TAKES_ALONG:
                presence.update(event.attributes.get("components", ()))
            elif event.type.startswith(_CHANGES_QUEUE):
                queue.add(event.subject)
        return Dirty(frozenset(presence), frozenset(queue))

    def __bool__(self) -> bool:
        return bool(self.presence or self.queue)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one read of the store found: rows and queues by component, and the newest event they reflect."""

    as_of_seq: int
    rows: Mapping[str, ComponentRow]
    queues: Mapping[str, QueueStatus]
    left: tuple[str, ...] = ()  # in the store, and no longer in the registry


class States:
    """Makes the messages of the retained topics."""

    def __init__(self, topics: Topics, birth: Birth, registry: Registry, encoding: Encoding) -> None:
        self._topics = topics
        self._birth = birth
        self._registry = registry
        self._encoding = encoding

    def everything(self, reader: Reader) -> Snapshot:
        """Read all there is to tell."""
        known = {row.component_id: row for row in reader.components()}
        ids = [component.component_id for component in self._registry]
        rows = {**{component_id: self._never_heard(component_id) for component_id in ids}, **known}
        queues = {component_id: reader.queue_status(component_id) for component_id in ids}
        left = tuple(component_id for component_id in rows if component_id not in self._registry)
        return Snapshot(reader.last_seq(), rows, queues, left)

    def _never_heard(self, component_id: str) -> ComponentRow:
        since = self._birth.started_at
        return ComponentRow(component_id, Presence.UNKNOWN, "never_heard", since, None, None, None, {})

    def some(self, reader: Reader, dirty: Dirty) -> Snapshot:
        """Read what `dirty` names."""
        found = {component_id: reader.component(component_id) for component_id in dirty.presence}
        rows = {name: row or self._never_heard(name) for name, row in found.items() if row or name in self._registry}
        queues = {name: reader.queue_status(name) for name in dirty.queue if name in self._registry}
        left = tuple(name for name in rows if name not in self._registry)
        return Snapshot(reader.last_seq(), rows, queues, left)

    def online(self, session: int) -> Outgoing:
        """Return the birth. `session`: counts the connections of this epoch."""
        birth = self._birth
        return self._state(
            state="ONLINE",
            epoch=birth.epoch,
            session=session,
            version=__version__,
            started_at=rfc3339(birth.started_at),
            config_hash=birth.config_hash,
            components=sorted(component.component_id for component in self._registry),
            buses=list(birth.buses),
        )

    def is_ours(self, told: Mapping[str, Any]) -> bool:
        """Whether a birth is of this run."""
        birth = self._birth
        return (told.get("epoch"), told.get("started_at")) == (birth.epoch, rfc3339(birth.started_at))

    def offline(self, session: int, reason: str) -> Outgoing:
        """Return the Will (reason "connection_lost") or the goodbye ("stopping")."""
        return self._state(state="OFFLINE", epoch=self._birth.epoch, session=session, reason=reason)

    def event(self, event: Event) -> Outgoing:
        """Return the message of one event."""
        topic = self._topics.event(event.subject, event.type)
        return self._message(topic, event.payload(self._birth.epoch), retain=False)

    def components(self, snapshot: Snapshot) -> Iterator[Outgoing]:
        """Yield presence and queue of the components of `snapshot`, and what clears those that left."""
        for component_id in snapshot.rows.keys() | snapshot.queues.keys():
            component = self._registry.get(component_id)
            if component is None:
                continue
            if component_id in snapshot.rows:
                yield self._presence(component, snapshot)
            if component_id in snapshot.queues:
                yield self._queue(component_id, snapshot)
        for component_id in snapshot.left:
            yield Outgoing(self._topics.presence(component_id), b"", retain=True)
            yield Outgoing(self._topics.queue(component_id), b"", retain=True)

    def _presence(self, component: Component, snapshot: Snapshot) -> Outgoing:
        row = snapshot.rows[component.component_id]
        payload = {
            "component_id": component.component_id,
            "presence": str(row.presence),
            "since": rfc3339(row.since),
            "last_seen": time_or_none(row.last_seen),
            "reason": row.reason,
            "evidence": dict(row.evidence),
            "expected_return": time_or_none(row.expected_return),
            "kind": str(component.kind),
            "parent": component.parent,
            "serial": serial_text(row.serial if row.serial is not None else component.serial),
        }
        return self._stamped(self._topics.presence(component.component_id), payload, snapshot)

    def _queue(self, component_id: str, snapshot: Snapshot) -> Outgoing:
        return self._stamped(self._topics.queue(component_id), queue_view(snapshot.queues[component_id]), snapshot)

    def _state(self, **payload: Any) -> Outgoing:
        return self._message(self._topics.state, payload, retain=True)

    def _stamped(self, topic: str, payload: Mapping[str, Any], snapshot: Snapshot) -> Outgoing:
        stamp = {"epoch": self._birth.epoch, "as_of_seq": snapshot.as_of_seq}
        return self._message(topic, {**payload, **stamp}, retain=True)

    def _message(self, topic: str, payload: Mapping[str, Any], *, retain: bool) -> Outgoing:
        return Outgoing(
            topic, encode(payload, self._encoding), retain=retain, content_type=CONTENT_TYPE[self._encoding]
        )
