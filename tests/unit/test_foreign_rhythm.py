"""How often others speak: learned, declared, second-shortest; and the short way beside the careful one."""

from dataclasses import dataclass, field
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bus.foreign.fields import Field
from gateway.bus.foreign.listening import _reading
from gateway.bus.foreign.protection import PROFILES, Checksum, Protection
from gateway.bus.foreign.rhythm import SURE_S, Beat, Chorus
from gateway.bus.foreign.watch import ForeignWatch, Listening
from gateway.bus.wire import Filter
from gateway.presence import Finding, Policy, Presence, Reason, State
from tests.foreign_scene import foreign


def came(beat: Beat, *times: float) -> Beat:
    for at in times:
        beat.note(at)
    return beat


def steps(start: float, every: float, count: int) -> list[float]:
    return [start + every * n for n in range(count)]


# --- one message -----------------------------------------------------------------------------------------------------


def test_a_period_is_learned_from_five_gaps_and_then_from_up_to_twenty() -> None:
    beat = came(Beat(), *steps(0, 2.0, 5))
    assert (beat.seconds, beat.learned_s) == (None, None)
    came(beat, 10.0)
    assert (beat.seconds, beat.learned_s) == (2.0, 2.0)
    came(beat, *steps(11.0, 1.0, 15))
    assert beat.seconds == 1.0


def test_a_full_sample_is_believed_for_five_minutes_and_then_taken_anew() -> None:
    beat = came(Beat(), *steps(0, 1.0, 21))
    assert beat.sure_until == 20 + SURE_S
    came(beat, *steps(20.5, 0.5, int(2 * SURE_S) - 1))
    assert beat.seconds == 1.0
    came(beat, *steps(20 + SURE_S, 0.5, 5))
    assert beat.seconds == 0.5


def test_bursts_with_pauses_have_the_period_of_their_longest_pause() -> None:
    burst = [10.0 * n + 0.01 * k for n in range(3) for k in range(5)]
    assert came(Beat(), *burst).seconds == pytest.approx(9.96)


def test_a_message_far_off_its_declared_period_differs_and_keeps_it() -> None:
    for every, differs in ((1.25, False), (1.26, True), (0.75, False), (0.74, True)):
        beat = came(Beat(1.0), *steps(0, every, 30))
        assert beat.seconds == 1.0
        assert beat.differs is differs


def test_a_declared_period_is_checked_ten_seconds_after_a_return() -> None:
    beat = Beat(1.0)
    beat.forget(0.0)
    came(beat, *steps(0, 0.2, 50))
    assert beat.learned_s is None
    came(beat, *steps(10.0, 1.0, 25))
    assert not beat.differs
    assert beat.learned_s == pytest.approx(1.0)


def test_what_was_learned_outlives_one_absence_and_not_a_second_without_a_word_between() -> None:
    beat = came(Beat(), *steps(0, 0.1, 25))
    beat.forget(50.0)
    assert beat.seconds == pytest.approx(0.1)
    assert beat.last is None
    came(beat, 50.0)
    beat.forget(60.0)
    assert beat.seconds is None


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=20), st.booleans())
def test_a_beat_says_what_all_its_gaps_together_say(gaps, is_declared) -> None:
    declared = 1.0 if is_declared else None
    beat, at = Beat(declared), 100.0
    beat.note(at)
    for gap in gaps:
        at += gap
        beat.note(at)
    learned = median(gaps) if sum(gaps) <= 2 * median(gaps) * len(gaps) else max(gaps)
    assert beat.seconds == pytest.approx(declared or (learned if len(gaps) >= 5 else None))


# --- several ---------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.none() | st.floats(0.01, 100), st.booleans()), max_size=8), st.none() | st.floats(0.01, 100)
)
def test_together_they_speak_as_often_as_the_second_fastest_of_those_that_were_heard(beats, told_s) -> None:
    chorus = Chorus(told_s)
    for n, (declared_s, is_heard) in enumerate(beats):
        chorus.beats.append(Beat(declared_s))
        if is_heard:
            chorus.note(chorus.beats[-1], float(n))
    known = sorted(declared_s for declared_s, is_heard in beats if is_heard and declared_s is not None)
    second = known[1] if len(known) > 1 else known[0] if known else None
    assert chorus.seconds == (told_s or second)
    assert chorus.is_settled == (chorus.seconds is not None)


def test_before_any_is_heard_what_they_declare_counts() -> None:
    assert Chorus(None, [10.0, 0.1, 1.0]).seconds == 1.0
    assert Chorus(5.0, [10.0, 0.1]).seconds == 5.0
    assert Chorus(None).seconds is None


def test_after_an_absence_only_those_count_that_have_come_back() -> None:
    chorus = Chorus(None)
    chorus.beats += [Beat(0.1), Beat(0.2), Beat(60.0)]
    for beat in chorus.beats:
        chorus.note(beat, 0.0)
    assert chorus.seconds == 0.2
    chorus.restart(100.0)
    assert chorus.seconds == 0.2
    chorus.note(chorus.beats[2], 100.0)
    assert chorus.seconds == 60.0


def test_each_message_is_counted_for_itself_when_it_babbles() -> None:
    chorus = Chorus(None)
    chorus.beats += [Beat(0.1), Beat(1.0), Beat()]
    for beat, heard in zip(chorus.beats, (210, 30, 9000), strict=True):
        beat.heard = heard
    assert not chorus.babbles(2.0)
    assert [beat.heard for beat in chorus.beats] == [0, 0, 0]
    chorus.beats[1].heard = 31
    assert chorus.babbles(2.0)


# --- the short way ---------------------------------------------------------------------------------------------------

POLICY = Policy(declared_s=None, counter_modulo=16)
FILTERS = [Filter(n, 0x7FF) for n in range(3)]
SUMMED = Checksum(PROFILES["SUM8"], Field(0, 8, little=True), range(1), (0,), 2)
COUNTED = Protection(Field(8, 4, little=True), SUMMED)
LISTENINGS = {
    "plain": Listening(FILTERS),
    "summed": Listening(FILTERS, reading=_reading(Protection(None, SUMMED)), protection=Protection(None, SUMMED)),
    "counted": Listening(FILTERS, reading=_reading(COUNTED), protection=COUNTED, counter_max=15),
}


@dataclass
class Heard:
    """A component of three messages, and what it found."""

    careful: bool
    listening: Listening
    found: list[Finding] = field(default_factory=list)
    short_cuts: int = 0

    def __post_init__(self) -> None:
        self.watch = ForeignWatch(foreign("x"), self.listening, POLICY, 0.0, (State.UNKNOWN, Reason.NEVER_HEARD))

    def unusual(self, watch: ForeignWatch, beat: Beat, data: bytes, at: float) -> None:
        self.found += watch.judge(beat, data, at)
        self.short_cuts -= 1

    def take(self, can_id: int, data: bytes, at: float) -> None:
        voice = self.watch.voice(can_id, self.unusual)
        self.short_cuts += 1
        if self.careful:
            voice.beat.heard += 1
            self.unusual(self.watch, voice.beat, data, at)
        else:
            voice.take(data, at)

    def look(self, now: float) -> None:
        self.found += self.watch.elapse(now) + self.watch.release(now) + self.watch.pace(now)


DEEDS = st.one_of(
    st.tuples(st.just("hear"), st.integers(0, 2), st.sampled_from([0.0, 0.1, 0.5, 1.0, 4.0, 30.0])),
    st.tuples(st.just("steady"), st.integers(0, 2), st.sampled_from([0.05, 0.5, 1.0])),
    st.tuples(st.sampled_from(["skip", "repeat", "damage"]), st.just(0), st.sampled_from([0.0, 0.5])),
    st.tuples(st.just("wait"), st.just(0), st.sampled_from([0.5, 1.0, 3.5, 200.0, 400.0])),
    st.tuples(st.sampled_from(["down", "up", "gap", "mark", "unmark"]), st.just(0), st.just(0.0)),
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(LISTENINGS)), st.lists(DEEDS, max_size=40))
def test_skipping_the_track_while_all_is_routine_finds_the_same(kind, deeds) -> None:
    short, careful = (Heard(careful=each, listening=LISTENINGS[kind]) for each in (False, True))
    now, counter = 10.0, 0
    for deed, which, seconds in deeds:
        for _ in range(60 if deed == "steady" else 1):
            now = round(now + seconds, 6)
            counter = (counter + {"hear": 1, "steady": 1, "skip": 5}.get(deed, 0)) % 16
            data = bytes((counter ^ (deed == "damage"), counter))
            for each in (short, careful):
                each.look(now)
                if deed in {"hear", "steady", "skip", "repeat", "damage"}:
                    each.take(which, data, now)
        for each in (short, careful):
            watch = each.watch
            if deed == "down":
                each.found += watch.bus_down(now)
            elif deed == "up":
                watch.bus_up(now)
            elif deed == "gap":
                watch.gap(now)
            elif deed in {"mark", "unmark"}:
                each.found += watch.mark(Presence.OFFLINE if deed == "mark" else Presence.ONLINE, now)
        assert short.found == careful.found
        assert (short.watch.state, short.watch.deadline) == (careful.watch.state, careful.watch.deadline)
        assert short.watch.chorus.seconds == careful.watch.chorus.seconds


@pytest.mark.parametrize("kind", LISTENINGS)
def test_a_component_that_speaks_steadily_takes_the_short_way(kind) -> None:
    heard = Heard(careful=False, listening=LISTENINGS[kind])
    for n in range(1000):
        heard.take(n % 3, bytes((n % 16, n % 16)), 1.0 + n * 0.1)
    assert heard.short_cuts > 1000 - 3 * 22
