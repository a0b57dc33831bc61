"""The sequencer beside the plain list of what the gateway has told, whatever becomes of it on its way."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.client.gap import Gap, GapReason
from gateway.client.sequencer import Sequencer
from gateway.payloads import Event
from tests.client_scene import event

ROOM = 8
SPAN = 5


class SequencerMachine(RuleBasedStateMachine):
    """A gateway tells events, and drops some before anybody has them; the way to the reader loses and mixes them."""

    @initialize(since=st.sampled_from([0, 3]))
    def begin(self, since: int) -> None:
        self.sequencer = Sequencer(since, ROOM)
        self.since = since
        self.told: list[int] = list(range(1, since + 1))  # seqs the gateway has given
        self.gone: set[int] = set()
        self.on_their_way: list[int] = []
        self.out: list[Event | Gap] = []

    @rule(count=st.integers(1, 12), dropped=st.sets(st.integers(0, 11), max_size=4))
    def tell(self, count: int, dropped: set[int]) -> None:
        first = len(self.told) + 1
        self.told += range(first, first + count)
        self.gone |= {first + each for each in dropped if each < count}
        self.on_their_way += [seq for seq in range(first, first + count) if seq not in self.gone]

    @precondition(lambda self: self.on_their_way)
    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        seq = data.draw(st.sampled_from(self.on_their_way))
        self.on_their_way.remove(seq)
        self.sequencer.offer(event(seq))

    @precondition(lambda self: self.on_their_way)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        self.on_their_way.remove(data.draw(st.sampled_from(self.on_their_way)))

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def come_again(self, data: st.DataObject) -> None:
        seq = data.draw(st.sampled_from(self.told))
        if seq not in self.gone:
            self.sequencer.offer(event(seq))

    @rule()
    def hear_of_the_newest(self) -> None:
        self.sequencer.heard_of(len(self.told))

    @rule(lost=st.sets(st.integers(1, 60)))
    def ask_again(self, lost: set[int]) -> None:
        """What is missing is replayed, and some of it is lost once more."""
        missing = self.sequencer.missing(SPAN)
        if missing is None:
            return
        first, last = missing
        assert last - first < SPAN
        self.replay(first, last, lost)

    def replay(self, first: int, last: int, lost: frozenset[int] | set[int] = frozenset()) -> None:
        stored = [seq for seq in range(first, min(last, len(self.told)) + 1) if seq not in self.gone]
        for seq in stored:
            if seq not in lost:
                self.sequencer.offer(event(seq))
        if self.sequencer.lacking(first, last) == last - first + 1 - len(stored):
            self.sequencer.explain(first, last, GapReason.GONE)

    @rule()
    def read(self) -> None:
        while (item := self.sequencer.take()) is not None:
            self.out.append(item)

    @invariant()
    def what_was_read_is_the_sequence(self) -> None:
        """In order, each once, and a gap exactly where something is gone."""
        position = self.since
        for item in self.out:
            if isinstance(item, Gap):
                assert item.from_seq == position + 1
                assert self.gone >= set(range(item.from_seq, item.to_seq + 1))
            else:
                assert item.seq == position + 1
            position = item.seq

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.sequencer._held) <= ROOM

    def teardown(self) -> None:
        """Once nothing more is lost, everything is read: nothing is left out and nothing keeps the reader waiting."""
        if not hasattr(self, "sequencer"):
            return
        self.sequencer.heard_of(len(self.told))
        self.read()
        while (missing := self.sequencer.missing(SPAN)) is not None:
            self.replay(*missing)
            self.read()
        self.what_was_read_is_the_sequence()
        assert (self.out[-1].seq if self.out else self.since) == len(self.told)


TestSequencer = SequencerMachine.TestCase
TestSequencer.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def dropped(seq: int, count: int, *ranges: tuple[int, int]) -> Event:
    told: dict[str, Any] = {
        "count": count,
        "types": {"position_notice": count},
        "ranges": [list(each) for each in ranges],
    }
    return event(seq, "events_dropped", **told)


def everything(sequencer: Sequencer) -> list[tuple[int, int, str] | int]:
    out: list[tuple[int, int, str] | int] = []
    while (item := sequencer.take()) is not None:
        out.append((item.from_seq, item.to_seq, item.reason) if isinstance(item, Gap) else item.seq)
    return out


def test_without_a_beginning_it_begins_with_what_comes_first() -> None:
    sequencer = Sequencer(None)
    assert sequencer.take() is None
    assert sequencer.missing(10) is None
    sequencer.offer(event(41))
    sequencer.offer(event(40))
    assert everything(sequencer) == [41]


def test_what_was_known_before_an_interruption_is_where_it_begins() -> None:
    sequencer = Sequencer(None)
    sequencer.begin_after(39)
    sequencer.begin_after(45)
    sequencer.offer(event(41))
    assert sequencer.missing(10) == (40, 40)


def test_a_tombstone_says_what_will_not_come() -> None:
    sequencer = Sequencer(1)
    sequencer.offer(event(4))
    sequencer.offer(dropped(7, 4, (2, 3), (5, 6)))
    assert everything(sequencer) == [(2, 3, "dropped"), 4, (5, 6, "dropped"), 7]
    assert sequencer.missing(10) is None


def test_a_tombstone_whose_ranges_are_coarse_is_not_believed() -> None:
    sequencer = Sequencer(1)
    sequencer.offer(dropped(7, 4, (2, 6)))
    assert everything(sequencer) == []
    assert sequencer.missing(10) == (2, 6)


def test_what_came_all_the_same_is_no_gap() -> None:
    sequencer = Sequencer(1)
    sequencer.offer(event(4))
    sequencer.explain(2, 6, GapReason.GONE)
    assert everything(sequencer) == [(2, 3, "gone"), 4, (5, 6, "gone")]


def test_it_is_asked_for_what_is_in_the_way_and_no_more_than_there_is_room_for() -> None:
    sequencer = Sequencer(0, room=5)
    for seq in (1, 3, 9):
        sequencer.offer(event(seq))
    assert sequencer.missing(100) is None, "what comes next is there"
    assert everything(sequencer) == [1]
    assert sequencer.missing(100) == (2, 2)
    sequencer.offer(event(2))
    assert everything(sequencer) == [2, 3]
    assert sequencer.missing(100) == (4, 8), "9 lay beyond the window: it will be asked for"
    assert sequencer.missing(2) == (4, 5)


def test_a_gateway_that_counts_anew_is_begun_with_anew() -> None:
    sequencer = Sequencer(100)
    sequencer.offer(event(102))
    assert sequencer.renumber(3) == Gap(101, 0, GapReason.RENUMBERED)
    assert sequencer.missing(10) == (1, 3)
    for seq in (2, 1, 3):
        sequencer.offer(event(seq))
    assert everything(sequencer) == [1, 2, 3]


def test_explanations_are_bounded_and_what_is_forgotten_is_asked_for() -> None:
    sequencer = Sequencer(0)
    for seq in range(1, 3_001, 2):
        sequencer.explain(seq, seq, GapReason.GONE)
    assert len(sequencer._explained) <= 1_001
    assert sequencer.missing(1) == (1, 1)
