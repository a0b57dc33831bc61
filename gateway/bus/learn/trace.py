"""What is kept of one CAN id while a bus is listened to: bounded, however long it takes. Pure; times are arguments."""

import heapq
from array import array
from statistics import median
from typing import Final

from gateway.bus.wire import EXTENDED, EXTENDED_MASK
from gateway.presence.rhythm import TOLERANCE

SILENCE: Final = 3.5  # periods; what the gateway itself takes for an absence
FEWEST: Final = 5  # gaps that make a period
MOST_GAPS: Final = 256  # of the sample that the period is the median of
MOST_SILENCES: Final = 32  # the longest ones
MOST_PAYLOADS: Final = 128  # the first ones, for what counts and what sums up
BINS: Final = 256  # of the picture
_FEW_SILENCES: Final = 2  # are nothing unusual
_OFTEN: Final = 0.1  # of the gaps
_MOST: Final = 0.6  # of the frames that were due


class Trace:
    """One id. `can_id` in SocketCAN's spelling; all times in seconds of whoever notes them.

    Attributes:
        first, last: when it came first and last.
        count: of its frames.
        lengths: of its data, all that there were.
        changing: bits of the data that were not always the same, byte 0 lowest.
        payloads: its first frames, one after the other.
        bins: frames in each slice of time, as wide as the survey says.
    """

    __slots__ = (
        "_data",
        "_every",
        "_gaps",
        "_silences",
        "_skip",
        "_word",
        "bins",
        "can_id",
        "changing",
        "count",
        "first",
        "last",
        "lengths",
        "payloads",
    )

    def __init__(self, can_id: int, data: bytes, at: float) -> None:
        self.can_id = can_id
        self.first = self.last = at
        self.count = 1
        self.lengths = {len(data)}
        self.changing = 0
        self.payloads = [data]
        self.bins = array("L", bytes(BINS * array("L").itemsize))
        self._data, self._word = data, int.from_bytes(data, "little")
        self._gaps: list[float] = []
        self._every, self._skip = 1, 0  # of so many gaps one is sampled; so many are passed over yet
        self._silences: list[tuple[float, float]] = [(0.0, at)] * MOST_SILENCES  # (length, since), a heap

    def note(self, data: bytes, at: float) -> None:
        """Take its next frame."""
        gap, self.last = at - self.last, at
        self.count += 1
        if gap > self._silences[0][0]:
            heapq.heapreplace(self._silences, (gap, at - gap))
        if self._skip:
            self._skip -= 1
        else:
            self._sample(gap)
        if self.count <= MOST_PAYLOADS:
            self.payloads.append(data)
        if data != self._data:
            word = int.from_bytes(data, "little")
            self.changing |= word ^ self._word
            self._data, self._word = data, word
            self.lengths.add(len(data))

    def _sample(self, gap: float) -> None:
        """Keep a gap; of a sample that is full every second one, so that it stands for all of the time."""
        self._gaps.append(gap)
        if len(self._gaps) == MOST_GAPS:
            del self._gaps[::2]
            self._every *= 2
        self._skip = self._every - 1

    @property
    def is_extended(self) -> bool:
        """Whether its id has 29 bits."""
        return bool(self.can_id & EXTENDED)

    @property
    def number(self) -> int:
        """Its id without SocketCAN's flags."""
        return self.can_id & EXTENDED_MASK

    @property
    def period_s(self) -> float | None:
        """The median of its gaps; None: it came too seldom to tell."""
        return median(self._gaps) if len(self._gaps) >= FEWEST else None

    @property
    def jitter(self) -> float:
        """How far its gaps are off its period, as a part of that: the median; 1 where there is no period."""
        period_s = self.period_s
        if not period_s:
            return 1.0
        return median(abs(gap - period_s) for gap in self._gaps) / period_s

    @property
    def silences(self) -> list[tuple[float, float]]:
        """When it was silent for longer than its period explains: (from, to), the earliest first."""
        patience_s = SILENCE * (self.period_s or float("inf"))
        return sorted((since, since + length) for length, since in self._silences if length > patience_s)

    @property
    def is_regular(self) -> bool:
        """Whether its silence would say something: it has a period and keeps to it, frames lost now and then aside."""
        period_s = self.period_s
        if not period_s or self.jitter > TOLERANCE:
            return False
        long = sum(gap > SILENCE * period_s for gap in self._gaps)
        if long > max(_FEW_SILENCES, _OFTEN * len(self._gaps)):  # bursts that come back
            return False
        spoken_s = self.last - self.first - sum(to - since for since, to in self.silences)
        return self.count - 1 > _MOST * spoken_s / period_s

    def halve(self) -> None:
        """Make its slices of time twice as wide."""
        merged = array("L", map(sum, zip(self.bins[::2], self.bins[1::2], strict=True)))
        self.bins = merged + array("L", bytes(len(merged) * merged.itemsize))


def spelled(can_id: int) -> str:
    """Spell an id as people do: 594, 18FF10A3."""
    return f"{can_id & EXTENDED_MASK:08X}" if can_id & EXTENDED else f"{can_id:03X}"
