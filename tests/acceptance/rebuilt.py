"""What somebody who only reads the topics makes of a gateway, by docs/mqtt-protocol.md; imports nothing of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Payload = dict[str, Any]


@dataclass
class Rebuilt:
    """Take every message in the order of its arrival; `gaps`, `again`, `stale`: how often that was noticed."""

    state: Payload = field(default_factory=dict)
    presences: dict[str, Payload] = field(default_factory=dict)
    queues: dict[str, Payload] = field(default_factory=dict)
    events: dict[int, Payload] = field(default_factory=dict)  # by seq, as each came first
    contradictions: list[tuple[Payload, Payload]] = field(default_factory=list)  # one seq, two contents
    misplaced: list[tuple[str, Payload]] = field(default_factory=list)  # events on a topic that is not theirs
    gaps: int = 0
    again: int = 0
    stale: int = 0
    _highest: int = 0  # seq of the newest event that came
    _told_of: int = 0  # and of the newest that any state reflects

    def take(self, below: str, payload: Payload) -> None:
        """Take one message. `below`: its topic below the gateway's root; `payload`: {} for a topic that was cleared."""
        match below.split("/"):
            case ["state"]:
                self._take_state(payload)
            case ["components", component_id, "presence"]:
                self._take_retained(self.presences, component_id, payload)
            case ["components", component_id, "queue"]:
                self._take_retained(self.queues, component_id, payload)
            case ["events", subject, kind]:
                if (subject, kind) != (payload["subject"], payload["type"]):
                    self.misplaced.append((below, payload))
                self._take_event(payload)

    def _take_state(self, payload: Payload) -> None:
        """A Will, or a birth that a broker kept from before its power cut, may be about a connection long replaced."""
        if _connection(payload) < _connection(self.state):
            self.stale += 1
        else:
            self.state = payload

    def _take_retained(self, known: dict[str, Payload], component_id: str, payload: Payload) -> None:
        if not payload:
            known.pop(component_id, None)
            return
        if payload["as_of_seq"] < known.get(component_id, payload)["as_of_seq"]:
            self.stale += 1
            return
        known[component_id] = payload
        self._told_of = max(self._told_of, payload["as_of_seq"])

    def _take_event(self, event: Payload) -> None:
        seq = event["seq"]
        first = self.events.setdefault(seq, event)
        if first is not event:
            self.again += 1
            if _content(first) != _content(event):
                self.contradictions.append((first, event))
            return
        self.gaps += seq > self._highest + 1
        self._highest = max(self._highest, seq)

    @property
    def newest(self) -> int:
        """Return the seq of the newest event that is known to exist."""
        return max(self._highest, self._told_of)

    def missing(self) -> Iterator[tuple[int, int]]:
        """Yield the ranges of seq that have not come, though something later has, or tells of them."""
        expected = 1
        for seq in (*sorted(self.events), self.newest + 1):
            if seq > expected:
                yield expected, seq - 1
            expected = seq + 1

    def presence(self) -> dict[str, str]:
        """Return who is ONLINE, OFFLINE or UNKNOWN; with the gateway away nobody knows."""
        online = self.state.get("state") == "ONLINE"
        return {name: each["presence"] if online else "UNKNOWN" for name, each in self.presences.items()}


def _connection(state: Payload) -> tuple[int, int]:
    return state.get("epoch", 0), state.get("session", 0)


def _content(event: Payload) -> Payload:
    """Return what an event says of what happened. `epoch` is that of the gateway that sends it."""
    return {key: value for key, value in event.items() if key != "epoch"}
