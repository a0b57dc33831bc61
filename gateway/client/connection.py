"""A connection to the broker that comes back by itself."""

import asyncio
import logging
import random
from collections.abc import Iterator
from typing import Final, Protocol

from gateway.client.bell import Bell
from gateway.errors import LinkDown, PeerError
from gateway.sync.backoff import Backoff
from gateway.sync.broker import Broker
from gateway.sync.cancellation import heed_cancellation
from gateway.sync.link import Link, connect
from gateway.sync.message import Incoming

log = logging.getLogger(__name__)

STEADY_S: Final = 10.0  # a connection that held so long starts the waits anew


class Listener(Protocol):
    """Who hears what comes in. Nothing here waits: a message is dealt with when `took` returns."""

    def connected(self, *, session_present: bool) -> None:
        """A connection stands; what was subscribed to before comes from now on."""
        ...

    def lost(self) -> None:
        """The connection is gone."""
        ...

    def took(self, message: Incoming) -> None:
        """A message came in."""
        ...


class Connection:
    """Stays connected, and subscribed to what is wanted. `reconnect_s`: shortest and longest wait in between."""

    def __init__(self, broker: Broker, rng: random.Random, reconnect_s: tuple[float, float]) -> None:
        self._broker = broker
        self._filters: list[str] = []
        self._backoff = Backoff(rng, *reconnect_s)
        self._link: Link | None = None  # stands, and all filters are subscribed to
        self._moved = Bell()
        self._wanted = Bell()
        self._trouble = f"no connection to {broker.name} so far"
        self._refused: dict[str, str] = {}

    @property
    def trouble(self) -> str:
        """What is wrong, for people; empty: nothing."""
        return "; ".join(filter(None, (self._trouble, *self._refused.values())))

    def want(self, topic_filter: str) -> None:
        """Subscribe to one more, now and on every later connection."""
        if topic_filter not in self._filters:
            self._filters.append(topic_filter)
            self._link = None
            self._wanted.ring()

    async def link(self) -> Link:
        """Wait until the connection stands, with all that is to be subscribed to. For as long as the caller lets it."""
        while self._link is None:
            await self._moved.heard()
        return self._link

    async def other_than(self, link: Link) -> None:
        """Wait until a connection that failed has been given up."""
        while self._link is link:
            await self._moved.heard()

    async def run(self, listener: Listener) -> None:
        """Stay connected until cancelled; `listener` hears what comes in."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._hold(listener)
            except* LinkDown as group:
                self._note(str(next(_leaves(group))))
            heed_cancellation()
            if loop.time() - began > STEADY_S:
                self._backoff.reset()
            await asyncio.sleep(self._backoff.next())

    async def _hold(self, listener: Listener) -> None:
        """Hold one connection for as long as it lasts. Raises LinkDown, plain or in a group."""
        async with connect(self._broker) as link:
            listener.connected(session_present=link.session_present)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(link.watch(), name="watch the connection")
                    tasks.create_task(_take(link, listener), name="take what comes in")
                    await self._stay_subscribed(link)
            finally:
                self._link = None
                self._moved.ring()
                listener.lost()

    async def _stay_subscribed(self, link: Link) -> None:
        """Subscribe to what is wanted, in order, and to what is wanted later."""
        done = 0
        while True:
            while done < len(self._filters):
                await self._subscribe(link, self._filters[done])
                done += 1
            self._link, self._trouble = link, ""
            self._moved.ring()
            await self._wanted.heard()

    async def _subscribe(self, link: Link, topic_filter: str) -> None:
        try:
            await link.subscribe(topic_filter)
            self._refused.pop(topic_filter, None)
        except PeerError as why:  # the rest is still worth having
            if topic_filter not in self._refused:
                log.warning("%s", why)
            self._refused[topic_filter] = str(why)

    def _note(self, why: str) -> None:
        if why != self._trouble:  # a broker that stays away is one line, not one a minute
            log.warning("no connection: %s", why)
        self._trouble = why


async def _take(link: Link, listener: Listener) -> None:
    while True:
        message = await link.receive()
        listener.took(message)
        link.acknowledge(message)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each
