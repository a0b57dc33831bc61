"""The track of a component of somebody else's make, and the routine of hearing it.

A frame that says nothing new costs a look-up and a few assignments; whatever is not routine goes to the track.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.bus.foreign.fields import Field
from gateway.bus.foreign.j1939 import Claims
from gateway.bus.foreign.protection import Protection
from gateway.bus.foreign.rhythm import Beat, Chorus
from gateway.bus.watch import Watch
from gateway.bus.wire import Filter
from gateway.component import Component
from gateway.presence import Finding, Policy, Reason, State
from gateway.presence.rhythm import PACE_WINDOW_S
from gateway.presence.track import UNSETTLED

AWAKE: Final = 0  # no foreign heartbeat says that it is going to sleep
MOST_VOICES: Final = 64  # ids of one component whose rhythm is kept; a J1939 address may use any number


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

    `filters`: the frames to listen for. `reading`: what a frame says; None: that it came is all there is to know.
    `protection`: where counter and checksum are all it says.
    `node`: where a frame says whose it is, if several share an id. `periods_s`: by CAN id, as its message declares.
    `counter_max`: the greatest counter, where frames count. `claims`: of a J1939 device, which address it has.
    """

    filters: Sequence[Filter]
    reading: Reading | None = None
    protection: Protection | None = None
    node: Field | None = None
    periods_s: Mapping[int, float] = field(default_factory=dict)
    counter_max: int | None = None
    claims: Claims | None = None

    @property
    def owned(self) -> Sequence[Filter]:
        """The frames that are its own, as things stand."""
        return self.filters if self.claims is None else self.claims.owned


class ForeignWatch(Watch):
    """The track of a component that speaks no protocol of ours."""

    __slots__ = ("_boots", "_rest", "_said", "_voices", "chorus", "listening")

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
        self.chorus = Chorus(policy.declared_s, listening.periods_s.values())
        self.period = self.chorus  # type: ignore[assignment] # it does for several messages what a Period does for one
        self.window_s = policy.window_s(self.chorus.seconds)
        self._voices: dict[int, Voice] = {}
        self._rest: Voice | None = None
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

    @property
    def off_period(self) -> tuple[float | None, float | None]:
        """A period that was declared and the one learned, s, of the first message in which they differ."""
        beat = next((beat for beat in self.chorus.beats if beat.differs), Beat())
        return beat.declared_s, beat.learned_s

    def listens_as(self, other: Watch) -> bool:
        """Whether `other` is heard by the very same listening. Components may share frames: none ousts another."""
        return isinstance(other, ForeignWatch) and other.listening is self.listening

    def voice(self, can_id: int, unusual: "Unusual") -> "Voice":
        """Return the voice of an id of its own. Beyond `MOST_VOICES` the rest has one: signs of life, no rhythm."""
        voice = self._voices.get(can_id) or self._rest
        if voice is not None:
            return voice
        if len(self._voices) == MOST_VOICES:
            self._rest = Voice(self, Beat(), unusual)
            self._rest.beat.sure_until = float("inf")
            return self._rest
        make = Voice if self.listening.protection is None else ProtectedVoice
        voice = self._voices[can_id] = make(self, Beat(self._declared_s(can_id)), unusual)
        self.chorus.beats.append(voice.beat)
        return voice

    def _declared_s(self, can_id: int) -> float | None:
        """Return the period of one message: where it is the only one, that of the component goes before its own."""
        own_s = self.listening.periods_s.get(can_id)
        return (self.policy.declared_s or own_s) if len(self.listening.filters) == 1 else own_s

    def claimed(self, can_id: int, data: bytes) -> bool:
        """Take a claim of an address. Returns whether it has another since; by which ids it was heard is void then."""
        if self.listening.claims is None or not self.listening.claims.take(can_id, data):
            return False
        self._voices.clear()
        self.chorus.beats.clear()
        self._rest = None
        return True

    def judge(self, beat: Beat, data: bytes, at: float) -> list[Finding]:
        """Take any frame of its own, the careful way."""
        said = self._said if self.listening.reading is None else self.listening.reading(data)
        if said is None:
            return self.garble(at)
        if said.boots:
            self._boots += 1
            self._boot_doubt_until = float("-inf")  # its own word: no second device can be behind it
        errors = self.counter_errors
        counter = (self._counter + 1) % self.policy.counter_modulo if said.counter is None else said.counter
        found = self.hear(at, counter, self._boots, AWAKE)
        if self.counter_errors <= errors:
            self._said = said
            self.chorus.note(beat, at)
        self.window_s = self.policy.window_s(self.chorus.seconds)
        return found

    def pace(self, now: float) -> list[Finding]:
        """Look at how many frames came since the last look; call it often."""
        elapsed_s = now - self._paced_at
        if elapsed_s < PACE_WINDOW_S:
            return []
        self.babbling = self.chorus.babbles(elapsed_s)
        return self._paced(now)

    def sure_of(self, now: float) -> set[int]:
        """Return the ids whose rhythm needs no frame at `now` (s, monotonic) to be known."""
        return {can_id for can_id, voice in self._voices.items() if now < voice.beat.sure_until}

    def vouched(self, heard_at: float, wait_from: float) -> None:
        """Take another's word that it was heard at `heard_at` or later; its deadline counts from `wait_from`."""
        self.last_valid = heard_at if self.last_valid is None else max(self.last_valid, heard_at)
        self._armed_at = wait_from

    def listen_again(self, heard_at: float) -> None:
        """Go on with its frames, of which somebody else has heard the last at `heard_at`: those are no gap in them."""
        self._catch_up()
        self._seen_at = heard_at
        for beat in self.chorus.beats:
            if beat.last is not None:
                beat.last = heard_at

    def _catch_up(self) -> None:
        """Take over what was heard while all was routine."""
        if self.expect != UNSETTLED and self.last_valid is not None:
            self._counter = self._seen = (self.expect - 1) % self.policy.counter_modulo
            self._seen_at, self._seen_boot, self.expect = self.last_valid, self.boot, UNSETTLED


Unusual = Callable[[ForeignWatch, Beat, bytes, float], None]


class Voice:
    """One id by which a component is heard."""

    __slots__ = ("_is_plain", "_unusual", "_watch", "beat")

    def __init__(self, watch: ForeignWatch, beat: Beat, unusual: Unusual) -> None:
        self._watch, self.beat, self._unusual = watch, beat, unusual
        self._is_plain = watch.listening.reading is None

    def take(self, data: bytes, at: float) -> None:
        """Take a frame."""
        watch, beat = self._watch, self.beat
        beat.heard += 1
        if self._is_plain and watch.expect != UNSETTLED and at < beat.sure_until:
            watch.last_valid = beat.last = at
        else:
            self._unusual(watch, beat, data, at)


class ProtectedVoice(Voice):
    """One that carries counter and checksum: routine while they are right."""

    __slots__ = ("_counts", "_judge", "_modulo")

    def __init__(self, watch: ForeignWatch, beat: Beat, unusual: Unusual) -> None:
        super().__init__(watch, beat, unusual)
        assert watch.listening.protection is not None
        self._judge = watch.listening.protection.judge
        self._counts = watch.listening.protection.counter is not None
        self._modulo = watch.policy.counter_modulo

    def take(self, data: bytes, at: float) -> None:
        """Take a frame."""
        watch, beat = self._watch, self.beat
        beat.heard += 1
        if watch.expect != UNSETTLED and at < beat.sure_until:
            counter = self._judge(data)
            if counter is not None and (counter == watch.expect or not self._counts):
                if self._counts:
                    watch.expect = (counter + 1) % self._modulo
                watch.last_valid = beat.last = at
                return
        self._unusual(watch, beat, data, at)
