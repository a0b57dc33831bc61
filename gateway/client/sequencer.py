"""Puts events in the order of seq, each once, and knows what is missing. No IO, no clock.

Like the window of TCP: what lies in it is kept until all before it is there, what lies beyond is left to be asked for
later, so that memory is bounded however slow the reader is and however far ahead the gateway.
"""

from collections.abc import Iterable
from typing import Final

from gateway.client.gap import Gap, GapReason
from gateway.payloads import Event
from gateway.payloads.attributes import EventsDropped

ROOM: Final = 10_000  # events
_EXPLAINED_MAX: Final = 1_000  # gaps known beforehand; what is forgotten is asked for, and explained again


class Sequencer:
    """Hands events out in order. `after`: seq of the last one dealt with; None: begin with the first that comes.

    `room`: how many events may wait to be handed out.
    """

    def __init__(self, after: int | None, room: int = ROOM) -> None:
        self._next = None if after is None else after + 1
        self._newest = after or 0  # events up to here exist
        self._room = room
        self._held: dict[int, Event] = {}
        self._explained: list[Gap] = []

    @property
    def next_seq(self) -> int | None:
        """The seq to be handed out next; None: whichever comes first."""
        return self._next

    def begin_after(self, seq: int) -> None:
        """Begin after `seq` if nothing has come to begin with."""
        if self._next is None:
            self._next = seq + 1
            self.heard_of(seq)

    def offer(self, event: Event) -> None:
        """Take an event in, whatever its place; one that was handed out or is held is let go."""
        if self._next is None:
            self._next = event.seq
        self.heard_of(event.seq)
        if 0 <= event.seq - self._next < self._room:
            self._held.setdefault(event.seq, event)
        if isinstance(event.attributes, EventsDropped):
            self._heed(event.attributes)

    def heard_of(self, seq: int) -> None:
        """Note that events up to `seq` exist."""
        self._newest = max(self._newest, seq)

    def explain(self, from_seq: int, to_seq: int, reason: GapReason) -> None:
        """Note that what has not come of these will not come."""
        if self._next is None or to_seq < self._next:
            return
        self._explained = [gap for gap in self._explained if gap.to_seq >= self._next][-_EXPLAINED_MAX:]
        self._explained.append(Gap(from_seq, to_seq, reason))
        self.heard_of(to_seq)

    def take(self) -> Event | Gap | None:
        """Return what comes next, an event or the lack of some; None: it is not known yet."""
        if self._next is None:
            return None
        event = self._held.pop(self._next, None)
        if event is not None:
            self._next += 1
            return event
        known = self._explaining(self._next)
        if known is None:
            return None
        gap = Gap(self._next, min(known.to_seq, self._first_held() - 1), known.reason)
        self._next = gap.to_seq + 1
        return gap

    def missing(self, most: int) -> tuple[int, int] | None:
        """Return the range (first, last) to ask for, no longer than `most`; None: nothing is in the way.

        It begins where the order is held up: what is missing further on may yet come by itself.
        """
        if self._next is None or self._next > self._newest:
            return None
        if self._next in self._held or self._explaining(self._next) is not None:
            return None  # there is something to take
        return self._next, min(self._newest, self._next + min(most, self._room) - 1, self._first_held() - 1)

    def lacking(self, first: int, last: int) -> int:
        """Return how many of a range were neither handed out nor have come."""
        return sum(seq not in self._held for seq in range(max(first, self._next or 1), last + 1))

    def renumber(self, newest: int) -> Gap:
        """Begin again at 1, as the gateway has done. `newest`: its newest seq. Returns what this is the end of."""
        ended = Gap(self._next or 1, 0, GapReason.RENUMBERED)
        self._next, self._newest = 1, newest
        self._held.clear()
        self._explained.clear()
        return ended

    def _explaining(self, seq: int) -> Gap | None:
        return next((gap for gap in self._explained if gap.from_seq <= seq <= gap.to_seq), None)

    def _first_held(self) -> int:
        return min(self._held, default=self._newest + 1)

    def _heed(self, tombstone: EventsDropped) -> None:
        """Believe a tombstone that is exact; one whose ranges had to be made coarser covers others, too."""
        ranges = [(first, last) for first, last in tombstone.ranges]
        if _length(ranges) == tombstone.count:
            for first, last in ranges:
                self.explain(first, last, GapReason.DROPPED)


def _length(ranges: Iterable[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in ranges)
