"""The time an exchange has: it runs while the devices are asked, and stands still while we wait for our turn."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from gateway.bus.exchange.protocol import ExchangeEnded, unanswered
from gateway.clock import Clock


class TimeLimit:
    """A limit on one exchange. `deadline`: s, monotonic; it moves away while `standing_still`."""

    def __init__(self, clock: Clock, seconds: float = float("inf")) -> None:
        self.deadline = clock.monotonic() + seconds
        self._clock = clock
        self._timeout: asyncio.Timeout | None = None

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Wait for a node or for room on the bus: that is no doing of the devices."""
        began = self._clock.monotonic()
        if self._timeout is not None:
            self._timeout.reschedule(None)
        try:
            yield
        finally:
            now = self._clock.monotonic()
            self.deadline += now - began
            if self._timeout is not None:
                self._timeout.reschedule(asyncio.get_running_loop().time() + self.deadline - now)

    @asynccontextmanager
    async def enforced(self, what: str) -> AsyncIterator[None]:
        """Cut off what takes longer. Raises ExchangeEnded then: `what` got no answer in time."""
        try:
            async with asyncio.timeout(self.deadline - self._clock.monotonic()) as self._timeout:
                yield
        except TimeoutError as why:
            if self._timeout is None or not self._timeout.expired():
                raise
            raise ExchangeEnded(unanswered(what)) from why
        finally:
            self._timeout = None
