"""All ids of one bus, as they come: a `Trace` each, in bounded memory. Pure; times are arguments."""

from collections.abc import Iterable, Sequence
from typing import Final

from gateway.bus.learn.trace import BINS, Trace
from gateway.bus.wire import ERROR_FRAME, Frame

MOST_IDS: Final = 2048  # a healthy bus has a few hundred; a babbling one may have any number
FIRST_BIN_S: Final = 1 / 64


class Survey:
    """What was heard on a bus.

    Attributes:
        began, until: s; the time of the first and of the last frame of any id.
        frames: how many there were.
        errors: error frames among them.
        unnoticed: frames of ids beyond the bound.
        bin_s: how much time each slice of the traces is.
    """

    def __init__(self, began: float | None = None) -> None:
        self.began = began
        self.until = began or 0.0
        self.frames = self.errors = self.unnoticed = 0
        self.bin_s = FIRST_BIN_S
        self._by_id: dict[int, Trace] = {}

    def take(self, frames: Iterable[Frame]) -> None:
        """Take frames in the order in which they came."""
        by_id = self._by_id
        for can_id, data, at in frames:
            self.frames += 1
            self.until = at
            trace = by_id.get(can_id)
            if trace is None:
                trace = self._meet(can_id, data, at)
                if trace is None:
                    continue
            else:
                trace.note(data, at)
            n = self._bin(at)  # first: it may give every trace new bins
            trace.bins[n] += 1

    def _meet(self, can_id: int, data: bytes, at: float) -> Trace | None:
        if self.began is None:
            self.began = at
        if can_id & ERROR_FRAME:
            self.errors += 1
            return None
        if len(self._by_id) >= MOST_IDS:
            self.unnoticed += 1
            return None
        trace = self._by_id[can_id] = Trace(can_id, data, at)
        return trace

    def _bin(self, at: float) -> int:
        """Return the slice of a time; all slices are made wider until there is one for it."""
        since = at - (self.began or 0.0)
        while since >= BINS * self.bin_s:
            self.bin_s *= 2
            for trace in self._by_id.values():
                trace.halve()
        return max(0, int(since / self.bin_s))

    def listened(self, began: float, until: float) -> None:
        """Say from when to when it was listened, though there may have been no frame at either end."""
        self.began, self.until = began, max(self.until, until)

    @property
    def traces(self) -> Sequence[Trace]:
        """Every id that was heard, the lowest first."""
        return [self._by_id[can_id] for can_id in sorted(self._by_id)]

    @property
    def seconds(self) -> float:
        """How long it was listened."""
        return self.until - (self.began or 0.0)
