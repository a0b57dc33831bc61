"""The bound of the event table, in bytes: what has reached the broker goes first, then what matters least.

All of it happens at the end of a group, in its transaction. What is known of the table is written down now and then, as
of an event; a start counts only those after it.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.importance import CLASSES, Importance
from gateway.ports import OutboxFigures
from gateway.queue.store.rows import Row, decode
from gateway.queue.store.sql import QUERIES
from gateway.queue.store.tombstone import tombstone

OVERHEAD_BYTES: Final = 64  # beside its texts: numbers, headers, and what is left over of its page
SLACK_PART: Final = 20  # so much of the bound is freed at once: a commit should not pay for each event that goes,
MOST_ROWS: Final = 10_000  # looking at so many events at most: nor should one caller wait for all of them
NOTE_EVERY: Final = 1024  # events: what a start may have to count

_BYTES: Final = f"(length(type) + length(subject) + length(CAST(attributes AS BLOB)) + {OVERHEAD_BYTES})"
_COUNT, _WEIGH = QUERIES["count_events"].format(bytes=_BYTES), QUERIES["weigh_events"].format(bytes=_BYTES)
_OLDEST: Final = QUERIES["oldest_events"].format(bytes=_BYTES)
_TYPES: Final[Mapping[Importance, str]] = {
    importance: ", ".join(f"'{event_type}'" for event_type in types.split())
    for importance, types in sorted(CLASSES.items())
    if importance is not Importance.LASTING
}
_OF_CLASS: Final[Mapping[Importance, str]] = {
    key: QUERIES["events_of_class"].format(bytes=_BYTES, types=each) for key, each in _TYPES.items()
}
_DROP_CLASS: Final[Mapping[Importance, str]] = {
    key: QUERIES["drop_class"].format(types=each) for key, each in _TYPES.items()
}


def event_bytes(row: Row) -> int:
    """Return what a row of table `event` takes, as `_BYTES` does. Types and subjects are ASCII."""
    told: str = row[5]
    return len(row[1]) + len(row[2]) + (len(told) if told.isascii() else len(told.encode())) + OVERHEAD_BYTES


@dataclass(slots=True)
class _State:
    """What is known of the table after a group."""

    counted_seq: int = 0  # as of this event
    stored_bytes: int = 0
    waiting_events: int = 0  # not acknowledged
    waiting_bytes: int = 0
    dropped_events: int = 0  # ever
    tombstone_seq: int = 0  # the newest
    # Not written down:
    acknowledged: int = 0
    noted_seq: int = 0  # the `counted_seq` that is written down
    full_at: int = 0  # bytes; above the bound where nothing was left that may go
    passed: Mapping[Importance, int] = field(default_factory=lambda: dict.fromkeys(_TYPES, 0))  # up to here none waits


_NAMES: Final = tuple("counted_seq stored_bytes waiting_events waiting_bytes dropped_events tombstone_seq".split())


class Outbox:
    """Keeps the event table within `max_bytes`. `upstream`: whether anybody will ever acknowledge anything."""

    def __init__(self, db: sqlite3.Connection, *, max_bytes: int, upstream: bool, last_seq: int) -> None:
        self._db, self._max_bytes, self._upstream = db, max_bytes, upstream
        noted = dict(db.execute(QUERIES["all_meta"]).fetchall())
        state = _State(**{name: noted.get(name, 0) for name in _NAMES}, full_at=max_bytes)
        state.acknowledged, state.noted_seq = noted.get("acknowledged_seq", 0), state.counted_seq
        stored, events, size = db.execute(_COUNT, (state.counted_seq, state.acknowledged)).fetchone()
        state.stored_bytes += stored
        state.waiting_events += events
        state.waiting_bytes += size
        state.counted_seq = last_seq
        self._state = self._next = state  # after the last group, and after this one
        self._changed = False  # otherwise than by what came in

    @property
    def figures(self) -> OutboxFigures:
        """What waits for the broker after the last group, and how many events were dropped ever."""
        state = self._state
        return OutboxFigures(state.waiting_events, state.waiting_bytes, state.dropped_events)

    def make_room(self, acknowledged: int, newest_seq: int, size: int) -> dict[str, Any] | None:
        """Drop what must go for this group; returns what a tombstone is to tell, where any of it was still waiting.

        `acknowledged`, `newest_seq`: after this group. `size`: the bytes of its events, which are in the table.
        """
        self._next, self._changed = replace(self._state), False
        if acknowledged > self._next.acknowledged:
            self._acknowledge(acknowledged)
        bytes_now = self._next.stored_bytes + size
        if bytes_now <= self._next.full_at:
            return None
        self._changed = True
        wanted = bytes_now - self._max_bytes + self._slack
        freed, looked = self._drop_oldest(acknowledged if self._upstream else newest_seq - 1, wanted)
        return self._drop_least(wanted - freed, MOST_ROWS - looked, size) if self._upstream else None

    def note(self, newest_seq: int, events: int, size: int, *, tells: bool) -> None:
        """Count what the group has brought, and write down what is known where a start would have too much to count.

        `tells`: whether the newest event is a tombstone.
        """
        state = self._next
        state.stored_bytes += size
        state.waiting_events += events
        state.waiting_bytes += size
        state.counted_seq = newest_seq
        if tells:
            state.tombstone_seq = newest_seq
        if self._changed or newest_seq - state.noted_seq >= NOTE_EVERY:
            self._db.executemany(QUERIES["put_meta"], [(name, getattr(state, name)) for name in _NAMES])
            state.noted_seq = newest_seq

    def settle(self) -> None:
        """The group is durable."""
        self._state = self._next

    @property
    def _slack(self) -> int:
        return self._max_bytes // SLACK_PART

    def _acknowledge(self, seq: int) -> None:
        state, self._changed = self._next, True
        events, size = self._db.execute(_WEIGH, (state.acknowledged, seq)).fetchone()
        state.waiting_events -= events
        state.waiting_bytes -= size
        state.acknowledged, state.full_at = seq, self._max_bytes

    def _drop_oldest(self, last: int, wanted: int) -> tuple[int, int]:
        """Drop events up to `last`, which nobody waits for, the oldest first. Returns bytes freed, events looked at."""
        freed = looked = dropped = 0
        waiting = self._next.acknowledged
        for seq, size in self._db.execute(_OLDEST, (last, MOST_ROWS)):
            freed, looked, dropped = freed + size, looked + 1, seq
            if seq > waiting:  # without an upstream
                self._next.waiting_events -= 1
                self._next.waiting_bytes -= size
            if freed >= wanted:
                break
        if dropped:
            self._db.execute(QUERIES["drop_events"], (0, dropped))
        self._next.stored_bytes -= freed
        return freed, looked

    def _drop_least(self, wanted: int, budget: int, size: int) -> dict[str, Any] | None:
        """Drop events that wait, class by class. `budget`: how many may be looked at."""
        state, dropped = self._next, defaultdict[str, list[int]](list)
        for importance in _TYPES:
            while wanted > 0 and budget > 0:
                looked, freed = self._drop_of(importance, wanted, budget, dropped)
                if not looked:
                    break
                wanted, budget = wanted - freed, budget - looked
        if wanted > 0 and budget > 0:  # nothing is left that may go
            state.full_at = max(self._max_bytes, state.stored_bytes + size) + self._slack
        return tombstone(dropped, self._take_back()) if dropped else None

    def _drop_of(
        self, importance: Importance, wanted: int, budget: int, dropped: dict[str, list[int]]
    ) -> tuple[int, int]:
        """Drop the oldest of one class; adds them to `dropped`. Returns events looked at and bytes freed."""
        state = self._next
        after, freed = state.passed[importance], 0
        looked, last = self._db.execute(QUERIES["window_of_events"], (after, budget)).fetchone()
        if not looked:
            return 0, 0
        for seq, event_type, size in self._db.execute(_OF_CLASS[importance], (after, last)):
            dropped[event_type].append(seq)
            freed += size
            state.waiting_events -= 1
            state.dropped_events += 1
            if freed >= wanted:
                last = seq
                break
        self._db.execute(_DROP_CLASS[importance], (after, last))
        state.stored_bytes -= freed
        state.waiting_bytes -= freed
        state.passed = {**state.passed, importance: last}
        return looked, freed

    def _take_back(self) -> tuple[int, dict[str, Any]] | None:
        """Drop the tombstone that still waits, if one does: one that covers it takes its place."""
        state = self._next
        seq = state.tombstone_seq
        told = self._db.execute(QUERIES["told_by"], (seq,)).fetchone()
        if told is None:  # it has reached the broker, and went before anything that waits; or it was damaged
            return None
        _, size = self._db.execute(_WEIGH, (seq - 1, seq)).fetchone()
        self._db.execute(QUERIES["drop_events"], (seq, seq))
        state.stored_bytes -= size
        state.waiting_events -= 1
        state.waiting_bytes -= size
        state.dropped_events += 1
        return seq, decode(told[0])
