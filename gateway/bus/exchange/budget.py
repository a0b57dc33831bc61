"""How much of a bus its drains may take: a token bucket in bits, of which every frame costs its longest form.

A question is paid for with its answers when it leaves. What nobody could pay before (an emergency, one answer more than
expected) is counted afterwards, and all others wait the longer.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from gateway.bus.frame_length import longest_bits
from gateway.bus.frames import FRAME_LENGTH
from gateway.clock import Clock

FRAME_BITS: Final = longest_bits(FRAME_LENGTH)
ONE_EXCHANGE: Final = 3 * FRAME_BITS  # the dearest question: DISCOVER and its two answers
BURST_S: Final = 0.1  # so much of a second's budget may go at once; all else flows evenly, so that no second has more
DEBT_S: Final = 1.0  # more is forgiven: a flood of unasked answers must not silence the gateway
LOOK_AGAIN_S: Final = (0.001, 1.0)  # while waiting: the parameter may change meanwhile
LOAD_WINDOW_S: Final = 10.0


class BusBudget:
    """The budget of one bus. `bitrate` None: there is none. `max_bus_load`: the part of it that drains may take."""

    def __init__(self, bitrate: int | None, max_bus_load: Callable[[], float], clock: Clock) -> None:
        self._bitrate = bitrate
        self._max_bus_load = max_bus_load
        self._clock = clock
        self._turn = asyncio.Lock()  # who waits longest goes first
        self._left = 0.0  # bits, once it was looked at; the first look fills the bucket
        self._looked_at = self._window_at = float("-inf")
        self._spent = self._spent_before = 0.0
        self.waits = 0

    def take(self, frames: int) -> bool:
        """Pay for frames that are about to leave and their answers, if there is enough and nobody waits."""
        if self._bitrate is None:
            return True
        if self._turn.locked():
            return False
        return self._pay(frames * FRAME_BITS)

    async def wait(self, frames: int) -> None:
        """Pay for frames as soon as there is enough. Whoever calls bounds the wait."""
        self.waits += 1
        bits = frames * FRAME_BITS
        async with self._turn:
            while not self._pay(bits):
                shortest_s, longest_s = LOOK_AGAIN_S
                missing_s = (bits - self._left) / self._flow()
                await asyncio.sleep(min(max(missing_s, shortest_s), longest_s))

    def spend(self, frames: int) -> None:
        """Count frames that waited for nothing."""
        if self._bitrate is not None:
            self._refill()
            self._note(frames * FRAME_BITS)
            self._left = max(self._left, -self._allowed() * DEBT_S)

    def load(self) -> float | None:
        """Return which part of the bit rate was spent lately; None where the bit rate is not known."""
        if self._bitrate is None:
            return None
        self._turn_window()
        share = 1.0 - (self._clock.monotonic() - self._window_at) / LOAD_WINDOW_S
        return (self._spent + share * self._spent_before) / (LOAD_WINDOW_S * self._bitrate)

    def _pay(self, bits: int) -> bool:
        self._refill()
        if self._left < bits:
            return False
        self._note(bits)
        return True

    def _refill(self) -> None:
        now = self._clock.monotonic()
        flowed = (now - self._looked_at) * self._flow()
        self._left = min(self._left + flowed, max(self._allowed() * BURST_S, ONE_EXCHANGE))
        self._looked_at = now

    def _note(self, bits: int) -> None:
        self._turn_window()
        self._left -= bits
        self._spent += bits

    def _turn_window(self) -> None:
        passed = self._clock.monotonic() - self._window_at
        if passed >= LOAD_WINDOW_S:
            self._spent_before = self._spent if passed < 2 * LOAD_WINDOW_S else 0.0
            self._spent, self._window_at = 0.0, self._clock.monotonic()

    def _allowed(self) -> float:
        """Bits a second that drains may take."""
        return (self._bitrate or 0) * self._max_bus_load()

    def _flow(self) -> float:
        """Bits a second that come in, so that a whole burst and what flows in a second are no more than allowed."""
        return self._allowed() * (1.0 - BURST_S)
