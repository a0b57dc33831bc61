"""How often each message of a component comes, and what their silence together says. Pure; times are arguments.

A device that sends several messages is heard by any of them. It is lost when it is silent for longer than the
second-fastest of them explains: then at least two have failed to come, and no single message that was switched off
makes it so.
"""

from collections import deque
from collections.abc import Iterable
from statistics import median
from typing import Final

from gateway.presence.rhythm import FIRST_GUESS, SAMPLE, SETTLING_S, TOLERANCE, is_babbling

SURE_S: Final = 300.0  # after a full sample a period is believed for so long before another is taken
BURSTY: Final = 2  # gaps whose mean is so many times their median are bursts with pauses


class Beat:
    """One message: its period, as declared, else learned from its last gaps.

    Attributes:
        seconds: None while unknown.
        learned_s: the median of the gaps sampled, once there are enough.
        differs: whether that is more than a quarter off the declared one.
        last: s, monotonic, when it came last; None: not since the component was lost.
        sure_until: until then no further gap would change anything.
        heard: frames since the pace was last looked at.
    """

    __slots__ = ("_gaps", "declared_s", "differs", "heard", "last", "learned_s", "seconds", "sure_until")

    def __init__(self, declared_s: float | None = None) -> None:
        self.declared_s = self.seconds = declared_s
        self.learned_s: float | None = None
        self.differs = False
        self.last: float | None = None
        self.sure_until = float("-inf")
        self.heard = 0
        self._gaps: deque[float] = deque(maxlen=SAMPLE)

    def note(self, at: float) -> bool:
        """Take a frame that came at `at`. Returns whether anything of the rhythm may have changed by it."""
        last, self.last = self.last, at
        if last is None:
            return True
        if at < self.sure_until:
            return False
        if len(self._gaps) == SAMPLE:  # the last sample is old: take another
            self._gaps.clear()
        self._gaps.append(at - last)
        if len(self._gaps) < FIRST_GUESS:
            return False
        self._learn(at)
        return True

    def _learn(self, at: float) -> None:
        self.learned_s = median(self._gaps)
        if self.declared_s is None:
            bursty = sum(self._gaps) > BURSTY * self.learned_s * len(self._gaps)
            self.seconds = max(self._gaps) if bursty else self.learned_s
        if len(self._gaps) == SAMPLE:
            self.sure_until = at + SURE_S
            self.differs = (
                self.declared_s is not None and abs(self.learned_s - self.declared_s) > TOLERANCE * self.declared_s
            )

    def forget(self, at: float) -> None:
        """Begin anew at `at`: the component is back, or has booted."""
        if not self._gaps:  # never two in a row since it was last lost: it has another rhythm now
            self.seconds = self.declared_s
        self._gaps.clear()
        self.last = None
        # What is declared is checked once a device has settled: one that has just booted may rightly speak faster.
        self.sure_until = float("-inf") if self.declared_s is None else at + SETTLING_S


class Chorus:
    """All messages of one component, in the place of a `gateway.presence.rhythm.Period`.

    Args:
        declared_s: the period the configuration gives the component as a whole; it goes before everything else.
        promised_s: what its messages declare, for as long as none has been heard.

    Attributes:
        seconds: how often it speaks; None while unknown.
        differs: whether any message does not keep the period declared for it.
    """

    __slots__ = ("_declared_s", "beats", "differs", "seconds")

    def __init__(self, declared_s: float | None, promised_s: Iterable[float] = ()) -> None:
        self._declared_s = declared_s
        self.seconds = declared_s or _second(promised_s)
        self.beats: list[Beat] = []
        self.differs = False

    @property
    def is_settled(self) -> bool:
        """Whether the routine may be trusted: each message knows itself when it next wants to be looked at."""
        return self.seconds is not None

    def note(self, beat: Beat, at: float) -> None:
        """Take a frame of one of its messages."""
        if beat.note(at):
            self._settle()

    def restart(self, at: float) -> None:
        """Begin anew at `at`: the component is back, or has booted. Its period stays until the next frame is noted."""
        for beat in self.beats:
            beat.forget(at)

    def learn(self, _at: float, _gap_s: float) -> bool:
        """Whether a gap between frames of any messages has changed the period: no, its messages tell of theirs."""
        return False

    def babbles(self, elapsed_s: float) -> bool:
        """Whether any message came far too often in the last `elapsed_s`; counts anew."""
        found = any(is_babbling(beat.heard, elapsed_s, beat.seconds) for beat in self.beats)
        for beat in self.beats:
            beat.heard = 0
        return found

    def _settle(self) -> None:
        heard = (beat.seconds for beat in self.beats if beat.last is not None and beat.seconds is not None)
        self.seconds = self._declared_s or _second(heard)
        self.differs = any(beat.differs for beat in self.beats)


def _second(periods: Iterable[float]) -> float | None:
    """Return the second-shortest; of a single one, that; of none, None."""
    known = sorted(periods)
    return known[min(1, len(known) - 1)] if known else None
