"""Events of another time, published again for whoever has missed them."""

from typing import Final

from gateway.errors import Code, LinkDown, Refusal
from gateway.event import Event
from gateway.ports import Store
from gateway.sync.link import Link
from gateway.sync.message import PublishRefused, Unpublishable
from gateway.sync.state import States

BATCH: Final = 32  # events read, sent and acknowledged before the next: what is new finds room in between
RETRY_AFTER_MS: Final = 1000


class Replays:
    """Publishes stored events again, beside the new ones; one range at a time."""

    def __init__(self, store: Store, states: States) -> None:
        self._store = store
        self._states = states
        self._running = False

    async def run(self, link: Link | None, from_seq: int, to_seq: int) -> int:
        """Publish the events that are stored of a range, in order. Returns how many the broker took.

        Raises Refusal PRECONDITION_FAILED where the broker is away, goes away or refuses them, RATE_LIMITED during
        another one.
        """
        if link is None:
            raise Refusal(Code.PRECONDITION_FAILED, "The broker is away.")
        if self._running:
            raise Refusal(Code.RATE_LIMITED, "Other events are being replayed.", retry_after_ms=RETRY_AFTER_MS)
        self._running = True
        try:
            return await self._publish(link, from_seq, to_seq)
        except LinkDown as why:
            raise Refusal(Code.PRECONDITION_FAILED, f"The broker went away meanwhile: {why}.") from why
        except PublishRefused as why:
            raise Refusal(Code.PRECONDITION_FAILED, f"The broker does not take them: {why}.") from why
        finally:
            self._running = False

    async def _publish(self, link: Link, from_seq: int, to_seq: int) -> int:
        taken, done = 0, from_seq - 1
        while events := await self._between(done, to_seq):
            for sent in [await link.send(self._states.event(event)) for event in events]:
                try:
                    await link.acknowledged(sent)
                    taken += 1
                except Unpublishable:  # passed over the first time, too
                    continue
            done = events[-1].seq
        return taken

    async def _between(self, done: int, to_seq: int) -> list[Event]:
        """Return the next events after `done`, none behind `to_seq`."""
        limit = min(BATCH, to_seq - done)
        if limit <= 0:
            return []
        events = await self._store.read(lambda reader: reader.events_after(done, limit))
        return [event for event in events if event.seq <= to_seq]
