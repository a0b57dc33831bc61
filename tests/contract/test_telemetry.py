"""Telemetry beside what it promises: whatever is heard and whenever somebody looks."""

from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter

from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry import Signal, Source, Value

Heard = tuple[float, bytes]  # (s, two bytes: one a signal)
STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0, 3.0]), st.binary(min_size=2, max_size=2), st.booleans()),
    max_size=40,
)
DEADBANDS = st.sampled_from([0.0, 1.0, 5.0, 100.0])
INTERVALS = st.sampled_from([0.1, 0.5, 1.0, 3.0])
GARBAGE = 0xFF  # data that begin so are not to be believed


class Plain:
    """One signal, told the plain way: all that was heard and all that was told is kept."""

    def __init__(self, byte: int, deadband: float, min_interval_s: float) -> None:
        self.byte, self.deadband, self.min_interval_s = byte, deadband, min_interval_s
        self.heard: list[Heard] = []
        self.told: list[tuple[float, Value]] = []

    def look(self, now: float) -> Value | None:
        if not self.heard or self.heard[-1][1][0] == GARBAGE:
            return None
        value = self.heard[-1][1][self.byte]
        if self.told:
            told_at, told = self.told[-1]
            assert isinstance(told, int)
            if now < told_at + self.min_interval_s or abs(value - told) <= self.deadband:
                return None
        self.told.append((now, value))
        return value


@given(STEPS, st.tuples(DEADBANDS, DEADBANDS), st.tuples(INTERVALS, INTERVALS))
def test_it_tells_what_the_plain_way_tells(
    steps: Sequence[tuple[float, bytes, bool]], deadbands: tuple[float, float], intervals: tuple[float, float]
) -> None:
    plain = [Plain(byte, deadbands[byte], intervals[byte]) for byte in (0, 1)]
    signals = [Signal(str(n), itemgetter(n), deadbands[n], intervals[n]) for n in (0, 1)]
    source = Source(signals, lambda data: data[0] != GARBAGE)
    now = 1000.0
    for wait_s, data, looked in steps:
        now += wait_s
        source.hear(data, now)
        for each in plain:
            each.heard.append((now, data))
        if looked:
            expected = {str(each.byte): value for each in plain if (value := each.look(now)) is not None}
            assert source.look(now) == expected


@given(STEPS, DEADBANDS, INTERVALS)
def test_whoever_looks_when_it_says_so_ends_within_the_deadband_and_is_told_no_faster_than_the_interval(
    steps: Sequence[tuple[float, bytes, bool]], deadband: float, min_interval_s: float
) -> None:
    source = Source([Signal("V", itemgetter(0), deadband, min_interval_s)])
    told: list[tuple[float, Value]] = []

    def look_until(end: float) -> None:
        while source.due_at <= end:
            at = max(source.due_at, now)
            told.extend((at, value) for value in source.look(at).values())

    now, newest = 1000.0, None
    for wait_s, data, _ in steps:
        look_until(now + wait_s)
        now += wait_s
        source.hear(data, now)
        newest = data[0]
    look_until(now + min_interval_s)
    assert source.due_at == float("inf")
    if newest is not None:
        last = told[-1][1]
        assert isinstance(last, int)
        assert abs(newest - last) <= deadband
    times = [at for at, _ in told]
    assert all(later >= earlier + min_interval_s for earlier, later in pairwise(times))
