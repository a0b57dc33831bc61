"""Waiting for what a heartbeat will say."""

import asyncio
from collections.abc import Callable
from typing import Final

from gateway.clock import Clock
from gateway.ports import Sighting

POLL_S: Final = 0.05  # heartbeats come every 200 ms at the soonest


async def until_told(
    sighting: Callable[[], Sighting], told: Callable[[Sighting], bool], limit_s: float, clock: Clock
) -> bool:
    """Look at a component until its heartbeats tell what is waited for. False: not within `limit_s`."""
    until = clock.monotonic() + limit_s
    while not told(sighting()):
        if clock.monotonic() >= until:
            return False
        await asyncio.sleep(POLL_S)
    return True
