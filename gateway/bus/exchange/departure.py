"""How the frames of one attempt leave: paid for, none once its operation has expired, and noted before the first."""

from collections.abc import Awaitable, Callable

from gateway.bus.exchange.budget import BusBudget
from gateway.bus.exchange.limit import TimeLimit
from gateway.bus.exchange.protocol import ExchangeEnded
from gateway.clock import Clock
from gateway.errors import Code, LinkDown
from gateway.operation import Ending, Outcome
from gateway.ports import Attempt


class Departure:
    """The gate of one attempt to its bus. `attempt` None: a question of the gateway's own, such as the probe."""

    def __init__(self, attempt: Attempt | None, budget: BusBudget, limit: TimeLimit, clock: Clock) -> None:
        self._attempt = attempt
        self._budget = budget
        self._limit = limit
        self._clock = clock

    def has_begun(self) -> bool:
        """Whether a frame may have left that may have an effect."""
        return self._attempt is not None and self._attempt.sent_at is not None

    def is_over(self) -> bool:
        """Whether the operation has expired while it waited for the node, for room on the bus, or for an answer."""
        attempt = self._attempt
        return attempt is not None and attempt.operation.expires_at <= self._clock.wall_ms() and self._clock.trusted()

    async def afford(self, frames: int) -> None:
        """Pay for frames out of the bus's budget, as soon as there is enough; an emergency does not wait for it."""
        if self._attempt is not None and self._attempt.operation.emergency:
            self._budget.spend(frames)
        elif not self._budget.take(frames):
            with self._limit.standing_still():
                await self._budget.wait(frames)

    async def leave(self, send: Callable[[], Awaitable[None]], until: float, *, begins: bool = True) -> None:
        """Send a frame, at the latest `until` (s, monotonic). `begins`: it may have an effect on the device.

        Raises ExchangeEnded where the operation has expired before it began, LinkDown.
        """
        attempt = self._attempt
        if self.is_over() and not self.has_begun():
            raise ExchangeEnded(Outcome(Ending.NOT_STARTED, code=Code.REQUEST_EXPIRED))
        first = attempt is not None and attempt.sent_at is None and begins
        if attempt is not None and first:
            attempt.sent_at = self._clock.monotonic()
        try:
            await send()
        except LinkDown:
            # Refused before its time was over, it has not left. A slow adapter may let it go after that time.
            if attempt is not None and first and self._clock.monotonic() < until:
                attempt.sent_at = None
            raise
