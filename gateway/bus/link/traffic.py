"""How busy a bus is, and who speaks most on it: told from counts, and from a look at all frames for a moment."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from gateway.bus.frame_length import likely_s
from gateway.bus.wire import EXTENDED, EXTENDED_MASK, Frame

SMOOTH_S: Final = 5.0  # a change of the load shows after this time by two thirds
SAMPLE_S: Final = 1.0
SAMPLE_FRAMES: Final = 512  # of a bus that is so busy that they come sooner
SAMPLE_EVERY_S: Final = 10.0
DOUBLED: Final = 2.0  # traffic that has grown so much, and beyond BUSY, is looked at at once
BUSY: Final = 200.0  # frames a second
MOST_TALKERS: Final = 8


class Traffic(NamedTuple):
    """What a bus has carried so far, in both directions, as far as is known. Starts anew with a new interface."""

    frames: int
    data_bytes: int


class Sample:
    """The frames of a bus for a moment, whoever sent them. `began`: s, monotonic."""

    def __init__(self, began: float) -> None:
        self.began = began
        self._frames: list[Frame] = []

    @property
    def is_full(self) -> bool:
        """Whether it takes no more."""
        return len(self._frames) >= SAMPLE_FRAMES

    def take(self, frames: Sequence[Frame]) -> None:
        """Take a batch, as far as there is room."""
        self._frames += frames[: SAMPLE_FRAMES - len(self._frames)]

    def extended(self) -> float | None:
        """Return the part of the frames that has a 29-bit id; None where there were none."""
        count = sum(can_id >= EXTENDED for can_id, _, _ in self._frames)
        return count / len(self._frames) if self._frames else None

    def rates(self, now: float) -> list[tuple[int, float]]:
        """Return the ids that were heard most, at most MOST_TALKERS, each with its frames a second."""
        ended = self._frames[-1][2] if self.is_full else now
        length_s = max(ended - self.began, 0.001)
        counts = Counter(can_id for can_id, _, _ in self._frames)
        return [(can_id, count / length_s) for can_id, count in counts.most_common(MOST_TALKERS)]


@dataclass(slots=True)
class LoadMeter:
    """The load of one bus. `bitrate`, `data_bitrate`: bit/s, as far as known; without them only frames are counted."""

    bitrate: int | None = None
    data_bitrate: int | None = None
    frames_per_s: float = 0.0
    load: float = 0.0
    peak: float = 0.0
    sample: Sample | None = None
    talkers: Sequence[tuple[int, float]] = ()
    _extended: float = 1.0
    _before: Traffic | None = None
    _at: float = 0.0
    _sampled_at: float = -math.inf
    _has_grown: bool = False

    def note(self, told: Traffic, now: float) -> None:
        """Take what the bus has carried until `now` (s, monotonic)."""
        before, passed_s = self._before, now - self._at
        if before is not None and passed_s <= 0:
            return
        self._before, self._at = told, now
        if before is None:
            return
        is_new = told.frames < before.frames
        frames = told.frames - (0 if is_new else before.frames)
        data_bytes = max(0, told.data_bytes - (0 if is_new else before.data_bytes))
        weight = 1.0 - math.exp(-passed_s / SMOOTH_S)
        rate = frames / passed_s
        self._has_grown = rate > max(BUSY, DOUBLED * self.frames_per_s)
        self.frames_per_s += weight * (rate - self.frames_per_s)
        if self.bitrate is not None:
            busy_s = likely_s(frames, data_bytes, self._extended, self.bitrate, self.data_bitrate)
            load = min(1.0, busy_s / passed_s)
            self.load += weight * (load - self.load)
            self.peak = max(self.peak, load)

    def wants_sample(self, now: float) -> bool:
        """Whether it is time to look who speaks."""
        return self.sample is None and (self._has_grown or now - self._sampled_at >= SAMPLE_EVERY_S)

    def begin_sample(self, now: float) -> Sample:
        """Begin to look who speaks. Returns what is to be given the frames, until `end_sample`."""
        self._sampled_at, self.sample = now, Sample(now)
        return self.sample

    def end_sample(self, now: float) -> None:
        """Note who spoke."""
        sample, self.sample = self.sample, None
        if sample is None:
            return
        self.talkers = sample.rates(now)
        extended = sample.extended()
        self._extended = self._extended if extended is None else extended

    def stats(self) -> dict[str, Any]:
        """Return {bitrate, frames_per_s, load, load_peak} for get_health."""
        is_known = self.bitrate is not None
        return {
            "bitrate": self.bitrate,
            "frames_per_s": round(self.frames_per_s, 1),
            "load": round(self.load, 3) if is_known else None,
            "load_peak": round(self.peak, 3) if is_known else None,
        }


def spelt(can_id: int) -> str:
    """Spell an id as people do: three digits are one of 11 bits, eight one of 29."""
    return f"{can_id & EXTENDED_MASK:08X}" if can_id & EXTENDED else f"{can_id:03X}"
