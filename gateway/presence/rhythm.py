"""How often a component speaks: its period, declared or learned, and whether it speaks far too often. Pure."""

from collections import deque
from statistics import median
from typing import Final

SAMPLE: Final = 20  # gaps
FIRST_GUESS: Final = 5  # gaps that make a period worth using
TOLERANCE: Final = 0.25
SETTLING_S: Final = 10.0  # after a return or a boot a node may speak faster for a while, and rightly
PACE_WINDOW_S: Final = 2.0
BABBLING_FACTOR: Final = 10
BABBLING_ALLOWANCE: Final = 10  # frames; a queue that empties at once is no babbling


class Period:
    """The period of one component: as declared, else the median of its last gaps. Declared ones are checked once.

    `seconds`: None while unknown. `differs`: the learned period is more than a quarter off the declared one.
    """

    __slots__ = ("_declared", "_from", "_gaps", "differs", "seconds")

    def __init__(self, declared_s: float | None) -> None:
        self._declared = declared_s
        self._gaps: deque[float] = deque(maxlen=SAMPLE)
        self._from = 0.0
        self.seconds = declared_s
        self.differs = False

    @property
    def is_settled(self) -> bool:
        """Whether no further gap would change anything."""
        return self._declared is not None and len(self._gaps) == SAMPLE

    def restart(self, at: float) -> None:
        """Begin a new sample: the component is back, or has booted, at `at`."""
        self._gaps.clear()
        self._from = at if self._declared is None else at + SETTLING_S

    def learn(self, at: float, gap_s: float) -> bool:
        """Take one gap between two valid frames, the second at `at`. Returns whether the period has changed."""
        if at < self._from or self.is_settled:
            return False
        self._gaps.append(gap_s)
        if self._declared is not None:
            if self.is_settled:
                self.differs = abs(median(self._gaps) - self._declared) > TOLERANCE * self._declared
            return False
        if len(self._gaps) >= FIRST_GUESS:
            self.seconds = median(self._gaps)
        return len(self._gaps) >= FIRST_GUESS

    @property
    def learned_s(self) -> float | None:
        """The median of the gaps sampled, once there are enough."""
        return median(self._gaps) if len(self._gaps) >= FIRST_GUESS else None


def is_babbling(frames: int, elapsed_s: float, period_s: float | None) -> bool:
    """Whether so many frames in `elapsed_s` are far above what the period promises."""
    return period_s is not None and frames > BABBLING_FACTOR * elapsed_s / period_s + BABBLING_ALLOWANCE
