"""The publishes under way: how many there may be, how long the oldest has waited."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MOST: Final = 64
START: Final = 16  # enough for a fast link to open up within a moment, little for one that turns out slow
SLOW_S: Final = 2.0  # nobody should wait longer for an answer because of what is under way before it


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """One publish under way. `at`: s, monotonic; `done` ends with its acknowledgement."""

    topic: str
    at: float
    done: asyncio.Future[None]


class Window:
    """Lets as many publishes out as come back within `SLOW_S`: one more for each that does, half for one that doesn't.

    Whoever finds no room waits in line. `most`: what the broker takes at a time.
    """

    def __init__(self, now: Callable[[], float], most: int = MOST) -> None:
        self.limit = min(START, most)
        self._now = now
        self._most = most
        self._start = self.limit
        self._taken = 0
        self._sent: dict[int, Sent] = {}  # by message id, the oldest first
        self._line: deque[asyncio.Future[None]] = deque()
        self._narrowed = 0.0  # what was sent before then says nothing about the present limit
        self._moved = 0.0  # when the oldest before this one came back

    async def room(self) -> None:
        """Take a place; `put` or `give_back` it."""
        if self._taken < self.limit and not self._line:
            self._taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:
                self.give_back()
            raise

    def give_back(self) -> None:
        """Leave a place; the next in line gets it."""
        self._taken -= 1
        while self._line and self._taken < self.limit:
            turn = self._line.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)

    def put(self, mid: int, topic: str) -> "asyncio.Future[None]":
        """Note a publish that has left, in a place of ours; the future ends with its acknowledgement."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sent[mid] = Sent(topic, self._now(), done)
        return done

    def pop(self, mid: int) -> "asyncio.Future[None] | None":
        """Note an acknowledgement; return the future to end. None: nobody knows what it is for."""
        oldest = self.oldest
        sent = self._sent.pop(mid, None)
        if sent is None:
            return None
        now = self._now()
        if sent is oldest:
            self._moved = now
        if now - sent.at <= SLOW_S:
            self.limit = min(self.limit + 1, self._most)
        elif sent.at >= self._narrowed:
            self.limit, self._narrowed = max(self.limit // 2, 1), now
        self.give_back()
        return sent.done

    def __contains__(self, mid: object) -> bool:
        return mid in self._sent

    @property
    def oldest(self) -> Sent | None:
        """The publish that has waited longest."""
        return next(iter(self._sent.values()), None)

    def under_way(self) -> int:
        """Return how many are not acknowledged."""
        return len(self._sent)

    def waited_s(self) -> float:
        """Return how long the oldest has been under way; 0: none is."""
        oldest = self.oldest
        return 0.0 if oldest is None else self._now() - oldest.at

    def stuck_s(self) -> float:
        """Return for how long the oldest has been the oldest: slow is not stuck; 0: none is under way."""
        oldest = self.oldest
        return 0.0 if oldest is None else self._now() - max(oldest.at, self._moved)

    def slow(self) -> bool:
        """Whether what is under way takes long."""
        return bool(self._sent) and (self.limit < self._start or self.waited_s() > SLOW_S)

    def close(self, why: Callable[[], Exception]) -> None:
        """Fail whatever is under way, and whoever waits."""
        waiting = [sent.done for sent in self._sent.values()] + list(self._line)
        self._sent.clear()
        self._line.clear()
        self._taken = 0
        for future in waiting:
            if not future.done():
                future.set_exception(why())
                future.exception()  # not everybody waits for theirs
