"""An event loop whose time stands still while there is work and jumps to the next timer when there is none.

Hours pass in no time and always alike. Threads live in real time: while some task is `outside`, nothing jumps.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

STUCK_AFTER_S = 10.0  # real time, and only where a test is broken

P = ParamSpec("P")
T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Where the loop would sleep, it turns the hands instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.outside = 0

    def select(self, timeout: float | None = None) -> Any:
        if self.outside:  # a thread is at work: its end comes through the loop's own pipe
            return super().select(timeout if timeout == 0 else None)
        events = super().select(0)
        if not events and timeout is None:
            events = super().select(STUCK_AFTER_S)  # the loop's own threads end that way
            if not events:
                raise RuntimeError("everybody waits and nobody will ever wake them")
        if not events and timeout:
            self.now += timeout
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time, from 1000 s on."""

    def __init__(self) -> None:
        self._hands = _JumpingSelector()
        super().__init__(self._hands)

    def time(self) -> float:
        return self._hands.now

    @contextmanager
    def outside(self) -> Iterator[None]:
        """While this lasts, somebody waits for a thread: time stands still."""
        self._hands.outside += 1
        try:
            yield
        finally:
            self._hands.outside -= 1


class LoopClock:
    """The gateway's clocks on virtual time. `wall_offset_ms` sets the wall clock, `is_trusted` whether it is right."""

    def __init__(self, wall_ms: int = 1_790_000_000_000) -> None:
        self._loop = asyncio.get_running_loop()
        self.wall_offset_ms = wall_ms - round(self._loop.time() * 1000)
        self.is_trusted = True

    def monotonic(self) -> float:
        return self._loop.time()

    def wall_ms(self) -> int:
        return self.wall_offset_ms + round(self._loop.time() * 1000)

    def trusted(self) -> bool:
        return self.is_trusted


def virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Run an async test on virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            return runner.run(test(*args, **kwargs))

    return run
