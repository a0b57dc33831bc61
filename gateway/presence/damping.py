"""A component that comes and goes too often is told of once and then held, so that nobody drains into it. Pure."""

from collections import deque


class FlapDamper:
    """Counts changes; more than `changes` within `window_s` start a hold of `hold_s`, which goes on while they do."""

    __slots__ = ("_hold_s", "_restless", "_times", "_window_s", "until")

    def __init__(self, changes: int, window_s: float, hold_s: float) -> None:
        self._times: deque[float] = deque(maxlen=changes + 1)
        self._window_s = window_s
        self._hold_s = hold_s
        self._restless = False
        self.until: float | None = None  # s, monotonic: when this hold ends

    @property
    def is_held(self) -> bool:
        """Whether changes are not to be told one by one."""
        return self.until is not None

    def count(self, at: float) -> bool:
        """Note one change. Returns whether it is the one that starts a hold."""
        self._times.append(at)
        if self.until is not None:
            self._restless = True
            return False
        if len(self._times) < (self._times.maxlen or 0) or at - self._times[0] > self._window_s:
            return False
        self.until = at + self._hold_s
        return True

    def forget(self) -> None:
        """End a hold, and what led to it: somebody has decided what is true."""
        self._times.clear()
        self.until, self._restless = None, False

    def is_over(self, now: float) -> bool:
        """Whether a hold ends at `now`, so that the truth is due. One that saw changes is followed by another."""
        if self.until is None or now < self.until:
            return False
        self.until = now + self._hold_s if self._restless else None
        self._restless = False
        return True
