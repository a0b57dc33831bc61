"""Waiting: for a bell or a time, and for room on a full disk."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, TypeVar

from gateway.errors import Code, Refusal
from gateway.ports import Store, Tx

log = logging.getLogger(__name__)

T = TypeVar("T")
ROOM_LOOK_S: Final = 5.0  # between two tries to write to a full disk


class Alarm:
    """Lets one task sleep until it is rung for, or some time has passed."""

    def __init__(self) -> None:
        self._bell = asyncio.Event()

    def ring(self) -> None:
        """Wake the sleeper; one that is awake will not fall asleep the next time."""
        self._bell.set()

    async def wait(self, delay_s: float | None) -> None:
        """Sleep until the bell rings, at most `delay_s`; None: as long as it takes."""
        try:
            async with asyncio.timeout(delay_s):
                await self._bell.wait()
        except TimeoutError:
            pass
        self._bell.clear()


async def write(store: Store, job: Callable[[Tx], T]) -> T:
    """Write what must not be forgotten: where the disk is full, try again until there is room.

    Raises whatever else the store or `job` raises.
    """
    full = False
    while True:
        try:
            return await store.write(job)
        except Refusal as no:
            if no.code is not Code.STORAGE_FULL:
                raise
            if not full:
                log.warning("what must not be forgotten waits for room: %s", no)
            full = True
        await asyncio.sleep(ROOM_LOOK_S)
