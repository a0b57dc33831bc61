"""The events on their way to the broker: sent in order, settled in order, and what has arrived noted in the store."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.errors import Refusal
from gateway.event import Event
from gateway.ports import Store
from gateway.sync.forbidden import EVENTS, Forbidden
from gateway.sync.link import Link
from gateway.sync.loss import LinkLost
from gateway.sync.message import PublishRefused, Unpublishable
from gateway.sync.outsize import MAY_BE_TOO_LARGE, SMALL_BYTES
from gateway.sync.state import States
from gateway.sync.tally import Tally

BATCH: Final = 256  # events read at a time: bounds the memory of any backlog
ACKNOWLEDGE_EVERY: Final = 200  # events, or
ACKNOWLEDGE_QUIET_S: Final = 1.0  # after the last: one write for many
SUSPECT_AFTER: Final = 2  # connections lost in silence with the same event first: from now on it goes alone
GIVEN_UP_AFTER: Final = 5  # and it alone is larger than all that ever arrived: it will not go

REFUSED: Final = "event"
TOO_LARGE: Final = "event the broker can never take"
NOT_STORED: Final = "acknowledgement not stored"


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """One event on its way; `size` of its payload in bytes."""

    seq: int
    size: int
    done: asyncio.Future[None]


class Outbox:
    """What is sent and what has arrived. `acknowledged`: everything up to this seq has, or never will."""

    def __init__(self, store: Store, states: States, forbidden: Forbidden, tally: Tally) -> None:
        self.acknowledged = 0
        self._store = store
        self._states = states
        self._forbidden = forbidden
        self._tally = tally
        self._moved = asyncio.Event()  # `acknowledged` has grown
        self._newest = 0  # event there is
        self._written = 0  # the store knows that everything up to here has arrived
        self._under_way: deque[_UnderWay] = deque()
        self._largest = 0  # bytes of the largest message that ever arrived
        self._suspect = (0, 0)  # the event with which connections ended, and how many in a row

    async def recall(self) -> None:
        """Take up what the store knows."""
        known = await self._store.read(lambda reader: (reader.acknowledged_seq(), reader.last_seq()))
        self.acknowledged = self._written = known[0]
        self.heard(known[1])

    def heard(self, seq: int) -> None:
        """There are events up to `seq`."""
        self._newest = max(self._newest, seq)

    # --- sending ----------------------------------------------------------------------------------------------------

    async def send_batch(self, link: Link) -> Sequence[Event]:
        """Send the next events, as far as the window lets us; return them. None: all are on their way, or must wait."""
        if self._forbidden.waits(EVENTS):
            return ()
        if self._forbidden.doubtful(EVENTS) or self._suspect[1] >= SUSPECT_AFTER:
            return await self._send_one(link)
        sent = self._under_way[-1].seq if self._under_way else self.acknowledged
        events = await self._after(sent, BATCH)
        for event in events:
            await self._send(link, event)
            while len(self._under_way) > 1 and self._under_way[0].done.done():
                await self._settle_oldest(link)
                if self._forbidden.waits(EVENTS):
                    return ()
        return events

    async def _send_one(self, link: Link) -> Sequence[Event]:
        """Send one event and wait for it: it alone shows whether the broker takes it."""
        await self.settle(link)
        events = await self._after(self.acknowledged, 1)
        for event in events:
            await self._send(link, event)
            await self._settle_oldest(link)
        return () if self._forbidden.waits(EVENTS) else events

    async def _send(self, link: Link, event: Event) -> None:
        message = self._states.event(event)
        self._under_way.append(_UnderWay(event.seq, len(message.payload), await link.send(message)))

    async def settle(self, link: Link) -> None:
        """Wait until all that is under way has arrived."""
        while self._under_way:
            await self._settle_oldest(link)

    async def _settle_oldest(self, link: Link) -> None:
        """Wait for the oldest event under way: what has arrived is a prefix, always."""
        oldest = self._under_way[0]
        try:
            await link.acknowledged(oldest.done)
        except Unpublishable as why:
            self._under_way.popleft()
            self._pass_over(oldest.seq, why)
        except PublishRefused as why:  # it stays in the store, and so do all behind it: order is worth more than haste
            self._under_way.clear()
            self._forbidden.refused(EVENTS, str(why))
            self._tally.count(REFUSED, str(why))
        else:
            self._under_way.popleft()
            self._took(oldest)

    def has_room_for(self, size: int) -> None:
        """Note that the broker took something else of `size` bytes: an event no larger ends no connection."""
        self._largest = max(self._largest, size)

    def _took(self, sent: _UnderWay) -> None:
        self._forbidden.taken(EVENTS)
        self.has_room_for(sent.size)
        self._suspect = (0, 0)
        self._arrived(sent.seq)

    def _pass_over(self, seq: int, why: Exception) -> None:
        self._tally.count(TOO_LARGE, f"seq {seq}: {why}")
        self._suspect = (0, 0)
        self._arrived(seq)

    def _arrived(self, seq: int) -> None:
        self.acknowledged = seq
        self._moved.set()

    async def _after(self, seq: int, limit: int) -> Sequence[Event]:
        if seq >= self._newest:
            return ()
        return await self._store.read(lambda reader: reader.events_after(seq, limit))

    def lost(self, why: LinkLost) -> None:
        """The connection is gone: what was under way is sent again, unless it is what ends every connection."""
        while self._under_way and _is_well(self._under_way[0].done):
            self._took(self._under_way.popleft())
        first = self._under_way[0] if self._under_way else None
        self._under_way.clear()
        if first is None or why.cause not in MAY_BE_TOO_LARGE:
            return
        times = self._suspect[1] + 1 if self._suspect[0] == first.seq else 1
        self._suspect = first.seq, times
        if times >= GIVEN_UP_AFTER and first.size >= SMALL_BYTES and first.size > self._largest > 0:
            self._pass_over(first.seq, why)

    # --- what the broker has ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write how far the broker has got: after many events or a quiet moment, one transaction for all."""
        while True:
            await self._moved.wait()
            while self.acknowledged - self._written < ACKNOWLEDGE_EVERY:
                self._moved.clear()
                try:
                    async with asyncio.timeout(ACKNOWLEDGE_QUIET_S):
                        await self._moved.wait()
                except TimeoutError:
                    break
            await self.write()

    async def write(self) -> None:
        """Write how far the broker has got, now."""
        seq = self.acknowledged
        self._moved.clear()
        if seq == self._written:
            return
        try:
            await self._store.write(lambda tx: tx.acknowledge(seq))
        except Refusal as why:  # storage full: nothing is lost, the same events may be sent twice
            self._tally.count(NOT_STORED, str(why))
            return
        self._written = seq


def _is_well(done: asyncio.Future[None]) -> bool:
    return done.done() and not done.cancelled() and done.exception() is None
