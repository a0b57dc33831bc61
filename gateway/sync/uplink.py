"""The way up: what the store knows, to the broker, again and again until it has arrived.

On every connection: subscribe to requests, birth, presence and queue of every component, then the events that were not
acknowledged, in order. Live, a commit wakes us; when nothing happens, nothing is published.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

from gateway.clock import Clock, rfc3339
from gateway.errors import LinkDown, PeerError, Refusal
from gateway.event import Event
from gateway.ports import Store
from gateway.sync.backoff import Backoff
from gateway.sync.broker import Broker
from gateway.sync.link import Link, connect
from gateway.sync.message import Outgoing, PublishRefused
from gateway.sync.replay import Replays
from gateway.sync.requests import RequestServer
from gateway.sync.state import Dirty, Snapshot, States
from gateway.sync.tally import Tally
from gateway.sync.topics import Topics

log = logging.getLogger(__name__)

BATCH: Final = 256  # events read at a time: bounds the memory of any backlog
ACKNOWLEDGE_EVERY: Final = 200  # events, or
ACKNOWLEDGE_QUIET_S: Final = 1.0  # after the last: one write for many
GOODBYE_S: Final = 1.0  # for the last events, and again for the goodbye itself
STEADY_S: Final = 60.0  # a connection that held so long starts the waits anew


class Uplink:
    """Keeps the backend informed. `reconnect_s`: shortest and longest wait before a new connection."""

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
    ) -> None:
        self._broker = broker
        self._topics = topics
        self._states = states
        self._store = store
        self._requests = requests
        self._replays = Replays(store, states)
        self._clock = clock
        self._backoff = Backoff(rng, *reconnect_s)
        self._tally = Tally(log, clock)
        self._committed = asyncio.Event()  # there are events to send
        self._moved = asyncio.Event()  # `_acknowledged` has grown
        self._touched: set[str] = set()  # components there are or have been, so it is bounded
        self._newest = 0  # seq of the newest event stored
        self._acknowledged = 0  # everything up to here has reached the broker
        self._written = 0  # and everything up to here is known to have, in the store
        self._under_way: deque[tuple[int, asyncio.Future[None]]] = deque()  # events of this connection, by seq
        self._told = 0  # the retained topics reflect at least this seq
        self._session = 0  # counts connections
        self._link: Link | None = None
        self._since = clock.wall_ms()
        self._dropped = 0
        self._last_error: str | None = None

    async def run(self) -> None:
        """Stay connected, for ever. Cancelling it says goodbye within two seconds."""
        self._store.subscribe(self._heard)
        self._acknowledged, newest = await self._store.read(lambda r: (r.acknowledged_seq(), r.last_seq()))
        self._written = self._acknowledged
        self._newest = max(self._newest, newest)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._requests.run(), name="answer requests over MQTT")
            tasks.create_task(self._write_acknowledged(), name="note what the broker has")
            tasks.create_task(self._stay_connected(), name="stay connected to the broker")

    def touch(self, component_id: str) -> None:
        """Tell of a component anew on its retained topics: something has changed of which no event tells.

        One that has left the registry has them cleared.
        """
        self._touched.add(component_id)
        self._committed.set()

    async def replay(self, from_seq: int, to_seq: int) -> int:
        """Publish stored events again, on their topics. Returns how many there were.

        What the broker has not acknowledged yet comes by itself, in its order, and is not among them. Raises Refusal
        PRECONDITION_FAILED where the broker is away, RATE_LIMITED during another replay.
        """
        return await self._replays.run(self._link, from_seq, min(to_seq, self._acknowledged))

    def status(self) -> dict[str, Any]:
        """Return what get_health tells of the way up."""
        link = self._link
        told: dict[str, Any] = {
            "configured": True,
            "connected": link is not None,
            "broker": self._broker.name,
            "outbox": self._newest - self._acknowledged,
            "since": rfc3339(self._since),
            "reconnects": max(self._session - 1, 0),
            "turned_away": dict(self._requests.tally.totals),
            "refused_by_broker": dict(self._tally.totals),
            "dropped": self._dropped + (link.dropped if link else 0),
        }
        if self._last_error is not None:
            told["last_error"] = self._last_error
        return told

    # --- the connection ---------------------------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        while True:
            began, had = self._clock.monotonic(), self._acknowledged
            try:
                await self._hold()
            except* LinkDown as group:
                self._note_loss(group)
            _heed_cancellation()
            if self._acknowledged > had or self._clock.monotonic() - began > STEADY_S:
                self._backoff.reset()
            await asyncio.sleep(self._backoff.next())

    async def _hold(self) -> None:
        """Hold one connection for as long as it lasts. Raises LinkDown, plain or in a group."""
        session = self._session + 1
        async with connect(self._broker, self._states.offline(session, "connection_lost")) as link:
            self._session = session
            self._under_way.clear()
            self._note_connection(link)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(link.watch(), name="watch the connection")
                    tasks.create_task(self._requests.receive(link), name="take requests")
                    await self._tell(link)  # in the body: only so does the group undo its own cancellation of us
            except asyncio.CancelledError:
                await self._say_goodbye(link)
                raise

    def _note_connection(self, link: Link) -> None:
        self._link, self._since, self._last_error = link, self._clock.wall_ms(), None
        log.info("connected to %s, session %d", self._broker.name, self._session)

    def _note_loss(self, group: BaseExceptionGroup[LinkDown]) -> None:
        why = str(_first(group))
        if self._link is not None:
            self._dropped += self._link.dropped
            self._link, self._since = None, self._clock.wall_ms()
        if why != self._last_error:  # a broker that stays away is one line, not one a minute
            log.warning("no connection: %s", why)
        self._last_error = why

    async def _say_goodbye(self, link: Link) -> None:
        """Send what is left, then OFFLINE in place of the Will; each only if it is quick."""
        offline = self._states.offline(self._session, "stopping")
        for farewell in (partial(self._send_events, link), partial(link.publish, offline)):
            try:
                async with asyncio.timeout(GOODBYE_S):
                    await farewell()
            except (TimeoutError, LinkDown, PublishRefused) as why:
                log.info("goodbye cut short: %s", why or "no answer")
        self._link = None
        await self._write()

    # --- telling ----------------------------------------------------------------------------------------------------

    async def _tell(self, link: Link) -> None:
        try:
            await link.subscribe(self._topics.requests)
        except PeerError as why:  # without requests the rest is still worth telling
            self._refused_by_broker("subscription", why)
        snapshot = await self._store.read(self._states.everything)
        self._told = snapshot.as_of_seq
        await self._publish(link, [self._states.online(self._session)])
        await self._publish(link, self._states.components(snapshot))
        while True:
            self._committed.clear()
            await self._send_events(link)
            touched, self._touched = frozenset(self._touched), set()
            if touched:
                await self._publish(link, self._states.components(await self._look(Dirty(touched, touched))))
            await self._committed.wait()

    async def _send_events(self, link: Link) -> None:
        """Send all events that are not on their way, in order; after each batch the topics they made stale."""
        sent = self._under_way[-1][0] if self._under_way else self._acknowledged
        while events := await self._after(sent):
            for event in events:
                self._under_way.append((event.seq, await link.send(self._states.event(event))))
                sent = event.seq
                while len(self._under_way) > 1 and self._under_way[0][1].done():
                    await self._settle(link)
            dirty = Dirty().after(event for event in events if event.seq > self._told)
            if dirty:
                await self._publish(link, self._states.components(await self._look(dirty)))
        while self._under_way:
            await self._settle(link)

    async def _settle(self, link: Link) -> None:
        """Wait for the oldest event on its way: what is acknowledged is a prefix, always."""
        seq, sent = self._under_way[0]
        try:
            await link.acknowledged(sent)
        except PublishRefused as why:  # repeating it would be refused again; it stays in the store
            self._refused_by_broker("event", why)
        self._under_way.popleft()
        self._acknowledged = seq
        self._moved.set()

    async def _after(self, seq: int) -> Sequence[Event]:
        return await self._store.read(lambda reader: reader.events_after(seq, BATCH))

    async def _look(self, dirty: Dirty) -> Snapshot:
        return await self._store.read(lambda reader: self._states.some(reader, dirty))

    async def _publish(self, link: Link, messages: Iterable[Outgoing]) -> None:
        for sent in [await link.send(message) for message in messages]:
            try:
                await link.acknowledged(sent)
            except PublishRefused as why:
                self._refused_by_broker("state", why)

    def _refused_by_broker(self, what: str, why: PeerError) -> None:
        self._tally.count(what, str(why))
        self._last_error = str(why)

    def _heard(self, events: Sequence[Event]) -> None:
        self._newest = max(self._newest, events[-1].seq)
        self._committed.set()

    # --- what the broker has ----------------------------------------------------------------------------------------

    async def _write_acknowledged(self) -> None:
        """Write how far the broker has got: after many events or a quiet moment, one transaction for all."""
        while True:
            await self._moved.wait()
            while self._acknowledged - self._written < ACKNOWLEDGE_EVERY:
                self._moved.clear()
                try:
                    async with asyncio.timeout(ACKNOWLEDGE_QUIET_S):
                        await self._moved.wait()
                except TimeoutError:
                    break
            await self._write()

    async def _write(self) -> None:
        seq = self._acknowledged
        self._moved.clear()
        if seq == self._written:
            return
        try:
            await self._store.write(lambda tx: tx.acknowledge(seq))
        except Refusal as why:  # storage full: nothing is lost, the same events may be sent twice
            self._tally.count("acknowledgement not stored", str(why))
            return
        self._written = seq


def _heed_cancellation() -> None:
    """Stop where we were told to in the very moment the connection was lost: a TaskGroup reports the loss alone."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _first(group: BaseExceptionGroup[LinkDown]) -> BaseException:
    """Return one of the losses; they tell of the same connection."""
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return inner
