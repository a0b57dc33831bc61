"""How often each message of a component comes, and what their silence together says. Pure; times are arguments.

A device that sends several messages is heard by any of them. It is lost when it is silent for longer than the
second-fastest of them explains: then at least two have failed to come, and no single message that was switched off
makes it so.
"""

from collections import deque
from statistics import median
from typing import Final

from gateway.presence.rhythm import FIRST_GUESS, SAMPLE, TOLERANCE, is_babbling

SURE_S: Final = 60.0  # after a full sample a period is believed for so long before another is taken


class Beat:
    """One message: its period, as declared, else the median of its last gaps.

    Attributes:
        seconds: None while unknown.
        last: s, monotonic, when it came last; None: not since the component was lost.
        sure_until: until then no further gap would change anything.
        heard: frames since the pace was last looked at.
    """

    __slots__ = ("_gaps", "declared_s", "heard", "last", "seconds", "sure_until")

    def __init__(self, declared_s: float | None = None) -> None:
        self.declared_s = self.seconds = declared_s
        self.last: float | None = None
        self.sure_until = float("-inf")
        self.heard = 0
        self._gaps: deque[float] = deque(maxlen=SAMPLE)

    @property
    def learned_s(self) -> float | None:
        """The median of the gaps sampled, once there are enough."""
        return median(self._gaps) if len(self._gaps) >= FIRST_GUESS else None

    @property
    def differs(self) -> bool:
        """Whether it comes more than a quarter off its declared period."""
        if self.declared_s is None or len(self._gaps) < SAMPLE:
            return False
        return abs(median(self._gaps) - self.declared_s) > TOLERANCE * self.declared_s

    def note(self, at: float) -> None:
        """Take a frame that came at `at`."""
        last, self.last = self.last, at
        if last is None or at < self.sure_until:
            return
        if self.sure_until > 0 and len(self._gaps) == SAMPLE:  # the last sample is old: take another
            self._gaps.clear()
        self._gaps.append(at - last)
        if self.declared_s is None and len(self._gaps) >= FIRST_GUESS:
            self.seconds = median(self._gaps)
        if len(self._gaps) == SAMPLE:
            self.sure_until = at + SURE_S

    def forget(self) -> None:
        """Begin anew: the component is back, or has booted."""
        self.last = None
        self.sure_until = float("-inf")
        self._gaps.clear()


class Chorus:
    """All messages of one component, in the place of a `gateway.presence.rhythm.Period`.

    `declared_s`: the period the configuration gives the component as a whole; it goes before everything else.
    """

    __slots__ = ("_declared_s", "beats", "differs", "seconds")

    def __init__(self, declared_s: float | None) -> None:
        self._declared_s = self.seconds = declared_s
        self.beats: list[Beat] = []
        self.differs = False

    @property
    def is_settled(self) -> bool:
        """Whether the routine may be trusted: each message knows itself when it next wants to be looked at."""
        return self.seconds is not None

    @property
    def learned_s(self) -> float | None:
        """What the messages together say of their period."""
        return _second([beat.learned_s for beat in self.beats])

    def restart(self, _at: float) -> None:
        """Begin anew: the component is back, or has booted."""
        for beat in self.beats:
            beat.forget()

    def learn(self, _at: float, _gap_s: float) -> bool:
        """Take over what the messages have learned. Returns whether the period has changed."""
        before, self.differs = self.seconds, any(beat.differs for beat in self.beats)
        self.seconds = self._declared_s or _second([beat.seconds for beat in self.beats if beat.last is not None])
        return self.seconds != before

    def babbles(self, elapsed_s: float) -> bool:
        """Whether any message came far too often in the last `elapsed_s`; counts anew."""
        found = any(is_babbling(beat.heard, elapsed_s, beat.seconds) for beat in self.beats)
        for beat in self.beats:
            beat.heard = 0
        return found


def _second(periods: list[float | None]) -> float | None:
    """Return the second-shortest of those known; of a single one, that."""
    known = sorted(period for period in periods if period is not None)
    return known[min(1, len(known) - 1)] if known else None
