"""The way up: what the store knows, to the broker, again and again until it has arrived.

On every connection: subscribe to requests, birth, presence and queue of every component, then the events that were not
acknowledged, in order. Live, a commit wakes us; when nothing happens, nothing is published.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from gateway.clock import Clock
from gateway.errors import LinkDown, PeerError
from gateway.event import TOMBSTONE, Event
from gateway.ports import Store
from gateway.sync.backoff import Backoff
from gateway.sync.broker import Broker
from gateway.sync.cancellation import heed_cancellation
from gateway.sync.condition import Condition
from gateway.sync.forbidden import Forbidden, kind_of
from gateway.sync.link import Link, connect
from gateway.sync.loss import Cause, LinkLost
from gateway.sync.message import Outgoing, PublishRefused, Unpublishable
from gateway.sync.outbox import Outbox
from gateway.sync.own_state import OwnState
from gateway.sync.replay import Replays
from gateway.sync.requests import RequestServer
from gateway.sync.state import Dirty, Snapshot, States
from gateway.sync.tally import Tally
from gateway.sync.telemetry import Telemetry
from gateway.sync.topics import Topics

log = logging.getLogger(__name__)

GOODBYE_S: Final = 1.0  # for the last events, and again for the goodbye itself
_NO_PROGRESS: Final = frozenset({Cause.TAKEN_OVER, Cause.PUBLISH_REFUSED})  # coming back soon would only do it again


class Uplink:
    """Keeps the backend informed. `reconnect_s`: shortest and longest wait before a new connection.

    `telemetry`: None: it is off.
    """

    def __init__(
        self,
        *,
        broker: Broker,
        topics: Topics,
        states: States,
        store: Store,
        requests: RequestServer,
        clock: Clock,
        rng: random.Random,
        reconnect_s: tuple[float, float] = (1.0, 60.0),
        telemetry: Telemetry | None = None,
    ) -> None:
        self._broker = broker
        self._topics = topics
        self._states = states
        self._store = store
        self._requests = requests
        self._telemetry = telemetry
        self._backoff = Backoff(rng, *reconnect_s)
        self._condition = Condition(broker.name, clock)
        self._forbidden = Forbidden(clock, rng, reconnect_s)
        self._tally = Tally(log, clock)
        self._own = OwnState(states, self._tally)
        self._outbox = Outbox(store, states, self._forbidden, self._tally)
        self._replays = Replays(store, states)
        self._news = asyncio.Event()
        self._touched: set[str] = set()  # components there are or have been, so it is bounded
        self._as_of = 0  # the retained topics reflect at least this seq
        self._state_due = False  # some of them were refused
        self._session = 0  # grows with every attempt: the Will of one that failed half-way must not pass for ours
        self._had_session = False  # with the broker, so that it may lose it
        self._link: Link | None = None
        self._dropped = 0

    async def run(self) -> None:
        """Stay connected, for ever. Cancelling it says goodbye within three seconds."""
        self._store.subscribe(self._heard)
        await self._outbox.recall()
        self._had_session = self._outbox.acknowledged > 0
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._requests.run(), name="answer requests over MQTT")
            tasks.create_task(self._outbox.run(), name="note what the broker has")
            tasks.create_task(self._stay_connected(), name="stay connected to the broker")

    def touch(self, component_id: str) -> None:
        """Tell of a component anew on its retained topics: something has changed of which no event tells.

        One that has left the registry has them cleared.
        """
        self._touched.add(component_id)
        self._news.set()

    async def replay(self, from_seq: int, to_seq: int) -> int:
        """Publish stored events again, on their topics. Returns how many there were.

        What the broker has not acknowledged yet comes by itself, in its order, and is not among them. Raises Refusal
        PRECONDITION_FAILED where the broker is away or refuses them, RATE_LIMITED during another replay.
        """
        return await self._replays.run(self._link, from_seq, min(to_seq, self._outbox.acknowledged))

    def sent_seq(self) -> int:
        """Return the seq up to which the broker has everything."""
        return self._outbox.acknowledged

    def status(self) -> dict[str, Any]:
        """Return what get_health tells of the way up."""
        link, waiting = self._link, self._store.outbox()
        return {
            "configured": True,
            "state": self._state(link),
            **self._condition.told(),
            "outbox": waiting.events,
            "outbox_bytes": waiting.bytes,
            "events_dropped": waiting.dropped,
            "under_way": link.window.under_way() if link else 0,
            "oldest_under_way_ms": round(link.window.waited_s() * 1000) if link else 0,
            "refused": self._forbidden.kinds(),
            "refused_by_broker": dict(self._tally.totals),
            "turned_away": dict(self._requests.tally.totals),
            "dropped": self._dropped + (link.dropped if link else 0),
        }

    def _state(self, link: Link | None) -> str:
        if link is None:
            return "away"
        if self._forbidden.kinds():
            return "refused"
        return "slow" if link.window.slow() else "connected"

    # --- the connection ---------------------------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        while True:
            had = self._outbox.acknowledged
            try:
                await self._hold()
            except* LinkDown as group:
                self._note_loss(_loss_in(group), had)
            heed_cancellation()
            await asyncio.sleep(self._backoff.next())

    async def _hold(self) -> None:
        """Hold one connection for as long as it lasts. Raises LinkDown, plain or in a group."""
        self._session += 1
        will = self._states.offline(self._session, "connection_lost")
        async with connect(self._broker, will, old_news=self._topics.state) as link:
            self._note_connection(link)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(link.watch(), name="watch the connection")
                    tasks.create_task(self._requests.receive(link), name="take requests")
                    tasks.create_task(self._own.keep(link, self._session), name="keep our birth in its place")
                    if self._telemetry is not None:
                        tasks.create_task(self._telemetry.keep(link), name="tell telemetry")
                    await self._tell(link)  # in the body: only so does the group undo its own cancellation of us
            except asyncio.CancelledError:
                await self._say_goodbye(link)
                raise

    def _note_connection(self, link: Link) -> None:
        lasting = self._broker.session_expiry_s > 0
        self._condition.up(session_lost=lasting and self._had_session and not link.session_present)
        self._had_session = lasting
        self._link = link

    def _note_loss(self, why: LinkLost, had: int) -> None:
        """Take note of a loss. Whatever did some good may be tried again soon."""
        if self._link is not None and self._own.rival and why.cause is Cause.CLOSED:
            why = LinkLost(Cause.TAKEN_OVER, f"{why}; another gateway has our name and our client id", why.topic)
        if why.cause is Cause.PUBLISH_REFUSED and why.topic is not None:
            self._forbidden.refused(kind_of(why.topic), str(why))
        self._outbox.lost(why)
        if self._condition.steady() or (self._outbox.acknowledged > had and why.cause not in _NO_PROGRESS):
            self._backoff.reset()
        self._condition.down(why)
        if self._link is not None:
            self._dropped += self._link.dropped
            self._link = None

    async def _say_goodbye(self, link: Link) -> None:
        """Send what is left, then OFFLINE in place of the Will; each only if it is quick."""
        self._own.leave()
        offline = self._states.offline(self._session, "stopping")
        farewells: tuple[Callable[[], Awaitable[None]], ...] = (
            partial(self._send_events, link),
            partial(link.publish, offline),
        )
        for farewell in farewells:
            try:
                async with asyncio.timeout(GOODBYE_S):
                    await farewell()
            except (TimeoutError, LinkDown, PublishRefused) as why:
                log.info("goodbye cut short: %s", why or "no answer")
        self._link = None
        self._condition.stop()
        await self._outbox.write()

    # --- telling ----------------------------------------------------------------------------------------------------

    async def _tell(self, link: Link) -> None:
        try:
            await link.subscribe(self._topics.requests)
        except PeerError as why:  # without requests the rest is still worth telling
            self._tally.count("subscription", str(why))
        await self._own.watch(link, self._topics.state)
        await self._tell_all(link)
        while True:
            self._news.clear()
            await self._send_events(link)
            await self._tell_stale(link, Dirty())
            if self._state_due and not any(map(self._forbidden.waits, ("state", "presence", "queue"))):
                await self._tell_all(link)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._forbidden.wait_s()):
                    await self._news.wait()

    async def _tell_all(self, link: Link) -> None:
        """Publish the birth, then presence and queue of every component."""
        self._state_due = False
        snapshot = await self._store.read(self._states.everything)
        self._as_of = snapshot.as_of_seq
        await self._publish(link, [self._states.online(self._session)])
        self._own.born()
        await self._publish(link, self._states.components(snapshot))

    async def _send_events(self, link: Link) -> None:
        """Send all events that are not on their way, in order; after each batch the topics they made stale."""
        while events := await self._outbox.send_batch(link):
            self._state_due |= any(event.type == TOMBSTONE for event in events)  # no event tells what they made stale
            await self._tell_stale(link, Dirty().after(event for event in events if event.seq > self._as_of))
        await self._outbox.settle(link)

    async def _tell_stale(self, link: Link, dirty: Dirty) -> None:
        """Publish anew what is stale, and what was touched: each once, as it is now."""
        if self._touched:
            touched, self._touched = self._touched, set()
            dirty = Dirty(dirty.presence | touched, dirty.queue | touched)
        if dirty:
            await self._publish(link, self._states.components(await self._look(dirty)))

    async def _look(self, dirty: Dirty) -> Snapshot:
        return await self._store.read(lambda reader: self._states.some(reader, dirty))

    async def _publish(self, link: Link, messages: Iterable[Outgoing]) -> None:
        """Publish states, and wait until they have arrived. What is refused is told anew after a wait."""
        sent = []
        for message in messages:
            kind = kind_of(message.topic)
            if self._forbidden.waits(kind):
                self._state_due = True
            else:
                sent.append((kind, len(message.payload), await link.send(message)))
        for kind, size, done in sent:
            try:
                await link.acknowledged(done)
                self._forbidden.taken(kind)
                self._outbox.has_room_for(size)
            except Unpublishable as why:
                self._tally.count(f"{kind} the broker can never take", str(why))
            except PublishRefused as why:
                self._tally.count(kind, str(why))
                self._forbidden.refused(kind, str(why))
                self._state_due = True

    def _heard(self, events: Sequence[Event]) -> None:
        self._outbox.heard(events[-1].seq)
        self._news.set()


def _loss_in(group: BaseExceptionGroup[LinkDown]) -> LinkLost:
    """Return one of the losses; they tell of the same connection."""
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return inner if isinstance(inner, LinkLost) else LinkLost(Cause.CLOSED, str(inner))
