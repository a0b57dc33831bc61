"""Asks for what readers of events lack.

Replayed events come on their topics, to all readers at once. Readers are served one after the other, and only those
that wait: a slow one asks for more when it has dealt with what it has.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final
from weakref import WeakSet

from gateway.client.errors import NoAnswer
from gateway.client.events import Events
from gateway.client.sequencer import ROOM
from gateway.errors import Code, PeerError, Refusal
from gateway.payloads import Event, Replayed

log = logging.getLogger(__name__)

QUIET_S: Final = 1.0  # nothing came for so long: what was on its way to us has come
QUIET_AT_LATEST_S: Final = 10.0
PAUSE_S: Final = 0.5  # before asking again in vain, doubling
LONGEST_PAUSE_S: Final = 30.0
_FOR_GOOD: Final = frozenset({Code.NOT_AUTHORIZED, Code.BAD_SIGNATURE, Code.UNKNOWN_COMMAND})

Replay = Callable[[int, int], Awaitable[Replayed]]


class Recovery:
    """Keeps the readers of events served. `replay`: asks the gateway. `run` belongs into a TaskGroup."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._readers: WeakSet[Events] = WeakSet()  # whoever lets go of one has none of it kept
        self._wanted = asyncio.Event()
        self._patience_s = 0.0
        self._quiet_at = self._latest = 0.0  # s, of the loop's clock
        self._failures = 0
        self._closed = False

    def open(self) -> None:
        """Something may come."""
        self._closed = False

    def reader(self, since: int | None, room: int = ROOM) -> Events:
        """Return a new reader of what comes after `since`; None: of what comes from now on."""
        events = Events(since, self._wanted.set, room)
        if self._closed:
            events.close()
        self._readers.add(events)
        return events

    def took(self, event: Event) -> None:
        """Hand an event that came to all readers."""
        self._quiet_at = min(asyncio.get_running_loop().time() + self._patience_s, self._latest)
        for reader in tuple(self._readers):
            reader.offer(event)

    def doubt(self, newest_seq: int, *, more_comes: bool) -> None:
        """Something may have passed unheard. `more_comes`: what was kept for us meanwhile is about to come."""
        now = asyncio.get_running_loop().time()
        self._patience_s = QUIET_S if more_comes else 0.0
        self._quiet_at, self._latest = now + self._patience_s, now + QUIET_AT_LATEST_S
        for reader in tuple(self._readers):
            reader.doubt(newest_seq)

    def close(self) -> None:
        """Nothing will come any more, not to those either who ask from now on."""
        self._closed = True
        for reader in tuple(self._readers):
            reader.close()

    async def run(self) -> None:
        """Serve readers until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while await self._serve_all():
                pass

    async def _serve_all(self) -> bool:
        """Ask once for each reader that waits for something. Returns whether there was one."""
        wanting = [reader for reader in self._readers if reader.wanted() is not None]
        for reader in wanting:
            if reader.doubtful:
                await self._quiet()
            span = reader.wanted()  # it may have come meanwhile
            if span is not None:
                await self._serve(reader, *span)
        return bool(wanting)

    async def _quiet(self) -> None:
        loop = asyncio.get_running_loop()
        while (left_s := self._quiet_at - loop.time()) > 0:  # noqa: ASYNC110 - the moment moves with all that comes
            await asyncio.sleep(left_s)

    async def _serve(self, reader: Events, first: int, last: int) -> None:
        pause_s = 0.0
        try:
            told = await self._replay(first, last)
        except NoAnswer as why:
            log.info("%s", why)
            useful = False
        except PeerError as why:  # not what a gateway answers: who waits must wait, and nobody else must end for it
            log.warning("%s", why)
            useful = False
        except Refusal as no:
            useful, pause_s = no.code in _FOR_GOOD, (no.retry_after_ms or 0) / 1000
            if useful:
                log.warning("events %d to %d are not replayed: %s", first, last, no.message)
                reader.refused(first, last)
        else:
            useful = reader.answered(first, last, told)
        self._failures = 0 if useful else self._failures + 1
        if self._failures:
            await asyncio.sleep(max(pause_s, min(PAUSE_S * 2 ** (self._failures - 1), LONGEST_PAUSE_S)))
