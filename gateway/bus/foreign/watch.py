"""The track of a component of somebody else's make, and the routine of hearing it.

A frame that says nothing new costs a look-up and a few assignments; whatever is not routine goes to the track.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.bus.foreign.j1939 import Claims
from gateway.bus.foreign.rhythm import Beat, Chorus
from gateway.bus.watch import Watch
from gateway.bus.wire import Filter
from gateway.component import Component
from gateway.presence import Finding, Policy, Reason, State
from gateway.presence.rhythm import PACE_WINDOW_S
from gateway.presence.track import UNSETTLED

AWAKE: Final = 0  # no foreign heartbeat says that it is going to sleep


@dataclass(frozen=True, slots=True)
class Said:
    """What a valid frame says. `counter` None: it does not count. `boots`: it says that the device has just booted."""

    counter: int | None = None
    boots: bool = False
    vitals: Mapping[str, int] = field(default_factory=dict)


Reading = Callable[[bytes], Said | None]
"""Reads a frame; None: it is damaged."""


@dataclass(frozen=True, slots=True)
class Listening:
    """How a component is heard.

    `filters`: the frames that may be its own. `owns`: whether a CAN id (SocketCAN's spelling) is its own; asked once
    an id. `reading`: what a frame says; None: that it came is all there is to know. `node`: reads from a frame whose
    it is, where several share an id. `periods_s`: by CAN id, as its message declares. `counter_max`: the greatest
    counter, where frames count. `claims`: of a J1939 device, which address it has.
    """

    filters: Sequence[Filter]
    owns: Callable[[int], bool]
    reading: Reading | None = None
    node: Callable[[bytes], int | None] | None = None
    periods_s: Mapping[int, float] = field(default_factory=dict)
    counter_max: int | None = None
    claims: Claims | None = None


class ForeignWatch(Watch):
    """The track of a component that speaks no protocol of ours."""

    __slots__ = ("_boots", "_said", "chorus", "listening", "voices")

    def __init__(
        self,
        component: Component,
        listening: Listening,
        policy: Policy,
        now: float,
        origin: tuple[State, Reason | None],
    ) -> None:
        super().__init__(component, policy, now, origin)
        self.listening = listening
        self.chorus = Chorus(policy.declared_s)
        self.period = self.chorus  # type: ignore[assignment] # it does for several messages what a Period does for one
        self.voices: dict[int, Voice] = {}
        self._boots = 0
        self._said = Said()

    @property
    def vitals(self) -> Mapping[str, int]:
        """What its last valid frame says of it, as far as that is read at all."""
        return self._said.vitals

    @property
    def errors(self) -> int:
        """How many of its frames were damaged, or did not go on from the last, since the last five good ones."""
        return self.crc_errors + self.counter_errors

    def listens_as(self, other: Watch) -> bool:
        """Whether it is heard by the very frames that `other` is heard by."""
        return isinstance(other, ForeignWatch) and other.listening == self.listening

    def voice(self, can_id: int, unusual: "Unusual") -> "Voice":
        """Return the voice of an id of its own."""
        voice = self.voices.get(can_id)
        if voice is None:
            voice = self.voices[can_id] = Voice(self, Beat(self.listening.periods_s.get(can_id)), unusual)
            self.chorus.beats.append(voice.beat)
        return voice

    def judge(self, beat: Beat, data: bytes, at: float) -> list[Finding]:
        """Take any frame of its own, the careful way."""
        said = self._said if self.listening.reading is None else self.listening.reading(data)
        if said is None:
            return self.garble(at)
        beat.note(at)
        self._boots += said.boots
        errors = self.counter_errors
        counter = (self._counter + 1) % self.policy.counter_modulo if said.counter is None else said.counter
        found = self.hear(at, counter, self._boots, AWAKE)
        if self.counter_errors <= errors:
            self._said = said
        self.window_s = self.policy.window_s(self.chorus.seconds)
        return found

    def pace(self, now: float) -> list[Finding]:
        """Look at how many frames came since the last look; call it often."""
        elapsed_s = now - self._paced_at
        if elapsed_s < PACE_WINDOW_S:
            return []
        self.babbling = self.chorus.babbles(elapsed_s)
        return self._paced(now)

    def _catch_up(self) -> None:
        """Take over what was heard while all was routine."""
        if self.expect != UNSETTLED and self.last_valid is not None:
            self._seen_at, self.expect = self.last_valid, UNSETTLED


Unusual = Callable[[ForeignWatch, Beat, bytes, float], None]


class Voice:
    """One id by which a component is heard."""

    __slots__ = ("_unusual", "_watch", "beat", "is_plain")

    def __init__(self, watch: ForeignWatch, beat: Beat, unusual: Unusual) -> None:
        self._watch, self.beat, self._unusual = watch, beat, unusual
        self.is_plain = watch.listening.reading is None

    def take(self, data: bytes, at: float) -> None:
        """Take a frame."""
        watch, beat = self._watch, self.beat
        beat.heard += 1
        if self.is_plain and watch.expect != UNSETTLED and at < beat.sure_until:
            watch.last_valid = beat.last = at
        else:
            self._unusual(watch, beat, data, at)
