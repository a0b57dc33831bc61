"""The way of described commands to one bus: one exchange with a component, and under an id, at a time."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from gateway.bus.exchange.budget import BusBudget
from gateway.bus.exchange.departure import Departure
from gateway.bus.exchange.limit import TimeLimit
from gateway.bus.wire import EXTENDED, EXTENDED_MASK, Filter, Frame, Lane, Wire
from gateway.clock import Clock
from gateway.ports import Attempt

INBOX_LIMIT: Final = 64  # frames that nobody has read yet: more than a block of ISO-TP
SEND_WITHIN_S: Final = 0.5  # for room in the transmit queue
_WHOLE_ID: Final = EXTENDED | EXTENDED_MASK


class Line:
    """One attempt's way to one component. `answers`: where the frames of its response id come in."""

    def __init__(
        self, wire: Wire, clock: Clock, *, departure: Departure, budget: BusBudget, limit: TimeLimit, answers: "_Inbox"
    ) -> None:
        self._wire = wire
        self._departure = departure
        self._budget = budget
        self._limit = limit
        self._clock = clock
        self._answers = answers

    async def afford(self, *, answers: int = 1) -> None:
        """Pay for the first frame of a question and its answers, waiting for room on the bus."""
        await self._departure.afford(1 + answers)

    def count(self) -> None:
        """Pay for a frame that follows: a transfer that has begun cannot wait for room, all others wait the longer."""
        self._budget.spend(1)

    async def send(self, can_id: int, data: bytes, *, begins: bool = True) -> None:
        """Put a frame on the bus. `begins`: it may have an effect. Raises ExchangeEnded, LinkDown."""
        until = min(self._clock.monotonic() + SEND_WITHIN_S, self._limit.deadline)
        await self._departure.leave(lambda: self._wire.send(can_id, data, deadline=until), until, begins=begins)

    def forget(self) -> None:
        """Drop what came before the next question: it answers none of ours."""
        while not self._answers.empty():
            self._answers.get_nowait()

    async def hear(self) -> bytes:
        """Return the next frame under the response id. Whoever set the command's limit cuts the waiting off."""
        return await self._answers.get()


_Inbox = asyncio.Queue[bytes]


class Speaker:
    """Speaks to the components of others on one bus. Make it before the wire runs.

    `response_ids`: under which answers may come, in SocketCAN's spelling.
    """

    def __init__(self, wire: Wire, clock: Clock, budget: BusBudget, response_ids: Collection[int] = ()) -> None:
        self._wire = wire
        self._clock = clock
        self._budget = budget
        self._open: dict[int, _Inbox] = {}
        self._locks: dict[str | int, asyncio.Lock] = {}  # at most one a component and an id
        if response_ids:
            wire.listen(Lane.ANSWERS, [Filter(can_id, _WHOLE_ID) for can_id in response_ids], self._receive)

    @asynccontextmanager
    async def line(
        self, component_id: str, request_id: int, response_id: int | None, attempt: Attempt, limit: TimeLimit
    ) -> AsyncIterator[Line]:
        """Have a component and its ids to ourselves."""
        ids = {request_id} if response_id is None else {request_id, response_id}
        ours: list[str | int] = [component_id, *sorted(ids)]  # always in this order, so that nobody waits in a ring
        async with AsyncExitStack() as held:
            with limit.standing_still():
                for key in ours:
                    await held.enter_async_context(self._locks.setdefault(key, asyncio.Lock()))
            answers = _Inbox(INBOX_LIMIT)
            if response_id is not None:
                self._open[response_id] = answers
                held.callback(self._open.pop, response_id)
            departure = Departure(attempt, self._budget, limit, self._clock)
            yield Line(self._wire, self._clock, departure=departure, budget=self._budget, limit=limit, answers=answers)

    def _receive(self, frames: Sequence[Frame]) -> None:
        for can_id, data, _ in frames:
            answers = self._open.get(can_id)
            if answers is not None and not answers.full():
                answers.put_nowait(data)
