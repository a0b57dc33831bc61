"""One reader of events: what it waits for, and what becomes of what it lacks. No IO but waiting."""

from collections.abc import AsyncIterator, Callable
from typing import Final, Self

from gateway.client.bell import Bell
from gateway.client.gap import Gap, GapReason
from gateway.client.sequencer import ROOM, Sequencer
from gateway.payloads import Event, Replayed
from gateway.requests.looking import REPLAY_MAX

FIRST_SPAN: Final = 1_000  # events asked for at a time; doubled while all of them come: brokers drop what is too much
TRIES: Final = 4  # how often something is asked for that is there and does not come


class Events(AsyncIterator[Event | Gap]):
    """Events in the order of seq, each once, and where some will not come, a `Gap`.

    Iterate from one task at a time. Make as many as you need, and let go of those you no longer do.
    """

    def __init__(self, after: int | None, wake: Callable[[], None], room: int = ROOM) -> None:
        self.tries = 0  # how often it was asked in vain for what comes next
        self._sequencer = Sequencer(after, room)
        self._wake = wake
        self._news = Bell()
        self._renumbered: Gap | None = None
        self._waiting = False
        self._doubtful = True
        self._closed = False
        self._span = FIRST_SPAN

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event | Gap:
        """Return what comes next. Ends when the client is closed."""
        while (item := self._take()) is None:
            if self._closed:
                raise StopAsyncIteration
            self._waiting = True
            self._wake()
            try:
                await self._news.heard()
            finally:
                self._waiting = False
        return item

    @property
    def doubtful(self) -> bool:
        """Whether it may lack something of which it has not heard, and nothing of which it has."""
        return self._doubtful and self._sequencer.missing(1) is None

    def offer(self, event: Event) -> None:
        """Take in an event that came."""
        self._sequencer.offer(event)
        self._news.ring()

    def doubt(self, newest_seq: int) -> None:
        """Something may have passed unheard. `newest_seq`: of an event there was before that; 0: none is known."""
        if newest_seq:
            self._sequencer.begin_after(newest_seq)
        self._doubtful, self.tries = True, 0
        self._wake()

    def close(self) -> None:
        """Nothing will come any more."""
        self._closed = True
        self._news.ring()

    def wanted(self) -> tuple[int, int] | None:
        """Return the range (first, last) to ask for; None: nobody waits, or what comes next will come by itself."""
        first = self._sequencer.next_seq
        if not self._waiting or first is None:
            return None
        missing = self._sequencer.missing(self._span)
        if missing is None and self._doubtful:
            return first, first + self._span - 1
        return missing

    def answered(self, first: int, last: int, told: Replayed) -> bool:
        """Take note of a replay of `first` to `last`, after all that came of it. Returns whether it was of use."""
        self._doubtful = False
        if told.last_seq < first - 1:
            self._renumbered = self._sequencer.renumber(told.sent_seq)
        else:
            self._learn(first, last, told)
        self._news.ring()
        if not self._held_up_at(first):
            self.tries = 0
            return True
        self.tries += first <= told.sent_seq  # what was not sent yet comes by itself
        if self.tries < TRIES:
            return False
        self._give_up(first, last, GapReason.UNDELIVERED)
        return True

    def refused(self, first: int, last: int) -> None:
        """Take note that nothing will be replayed for us."""
        self._doubtful = False
        self._give_up(first, last, GapReason.REFUSED)

    def _learn(self, first: int, last: int, told: Replayed) -> None:
        self._sequencer.heard_of(told.sent_seq)
        stored_from = told.last_seq + 1 if told.stored_from is None else told.stored_from
        self._sequencer.explain(first, stored_from - 1, GapReason.GONE)
        asked_to = min(last, told.sent_seq)
        complete = self._sequencer.lacking(first, asked_to) == told.gone
        if complete:
            self._sequencer.explain(first, asked_to, GapReason.GONE)
        self._span = min(self._span * 2, REPLAY_MAX) if complete else FIRST_SPAN

    def _take(self) -> Event | Gap | None:
        renumbered, self._renumbered = self._renumbered, None
        return renumbered or self._sequencer.take()

    def _held_up_at(self, seq: int) -> bool:
        missing = self._sequencer.missing(1)
        return missing is not None and missing[0] == seq

    def _give_up(self, first: int, last: int, reason: GapReason) -> None:
        missing = self._sequencer.missing(REPLAY_MAX)
        if missing is not None:
            self._sequencer.explain(first, min(last, missing[1]), reason)
        self.tries = 0
        self._news.ring()
