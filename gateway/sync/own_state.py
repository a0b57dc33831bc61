"""Our own state topic, as the broker has it: our birth put back where a late Will took its place, and rivals noticed.

A Will can arrive long after the connection it belongs to was replaced; retained, it would tell everybody who comes
later that we are OFFLINE. A second gateway with our name, as a copied disk makes one, tells a birth of its own.
"""

import asyncio
import logging
from typing import Final

from gateway.errors import PeerError, Refusal
from gateway.sync.link import Link
from gateway.sync.message import Incoming, PublishRefused
from gateway.sync.payload import decode
from gateway.sync.state import States
from gateway.sync.tally import Tally

log = logging.getLogger(__name__)

AGAIN_AFTER_S: Final = 1.0  # whatever is published there in our name, we answer no faster
LATE_WILL: Final = "late_will"
RIVAL: Final = "rival"


class OwnState:
    """Looks after the state topic. `tally`: how often it was not as we left it; `rival`: seen on this connection."""

    def __init__(self, states: States, tally: Tally) -> None:
        self.rival = False
        self._tally = tally
        self._states = states
        self._born = False  # once in this run: any birth that is retained after that should be ours
        self._stale = asyncio.Event()
        self._leaving = False

    async def watch(self, link: Link, topic: str) -> None:
        """Hear from now on what is published there. Raises LinkLost."""
        self._stale.clear()
        self.rival = False
        try:
            await link.subscribe(topic, self._heard)
        except PeerError as why:  # then nobody looks after it
            log.info("our own state cannot be read back: %s", why)

    def born(self) -> None:
        """Note that the broker has our birth."""
        self._born = True

    def leave(self) -> None:
        """Note that what is told from now on is our goodbye."""
        self._leaving = True

    async def keep(self, link: Link, session: int) -> None:
        """Publish our birth again whenever a Will took its place. Runs until it is cancelled; raises LinkLost."""
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                await link.publish(self._states.online(session))
            except PublishRefused as why:
                log.debug("birth: %s", why)
            await asyncio.sleep(AGAIN_AFTER_S)

    def _heard(self, message: Incoming) -> None:
        try:
            told, _ = decode(message.payload, message.content_type)
        except Refusal:
            return
        state = told.get("state")
        if self._leaving:
            return
        if state == "OFFLINE" and not message.retain:  # retained: from before our birth, which takes its place anyway
            self._tally.count(LATE_WILL, f"it is of epoch {told.get('epoch')}, session {told.get('session')}")
            self._stale.set()
        elif state == "ONLINE" and not self._states.is_ours(told) and (self._born or not message.retain):
            self._tally.count(RIVAL, f"another gateway has our name; it was started at {told.get('started_at')}")
            self.rival = True
