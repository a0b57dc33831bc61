"""What is kept of each id while a bus is listened to, and that it stays small."""

import sys

import pytest

from gateway.bus.learn.survey import MOST_IDS, Survey
from gateway.bus.learn.trace import BINS, MOST_GAPS, MOST_PAYLOADS, Trace, spelled
from gateway.bus.wire import ERROR_FRAME, EXTENDED
from tests.learn_scene import Sender, surveyed


def trace_of(*senders: Sender, until: float = 10.0) -> Trace:
    (trace,) = surveyed(*senders, until=until).traces
    return trace


def test_an_id_is_known_by_its_period_and_from_when_to_when_it_came() -> None:
    trace = trace_of(Sender(0x123, 0.1, since=1.0, until=5.05))
    assert (trace.first, trace.count, trace.lengths) == (1.0, 41, {8})
    assert trace.last == pytest.approx(5.0)
    assert trace.period_s == pytest.approx(0.1)
    assert trace.jitter == pytest.approx(0, abs=1e-6)
    assert trace.is_regular


def test_a_silence_is_more_than_three_and_a_half_periods() -> None:
    trace = trace_of(Sender(0x123, 0.1, absences=((2.0, 2.19), (4.0, 4.36), (6.0, 9.0))))
    assert [(round(since, 2), round(to, 2)) for since, to in trace.silences] == [(3.9, 4.4), (5.9, 9.0)]
    assert trace.is_regular


def test_too_few_frames_have_no_period_and_no_silence() -> None:
    trace = trace_of(Sender(0x123, 2.0))
    assert (trace.count, trace.period_s, trace.silences, trace.is_regular) == (5, None, [], False)


def test_what_comes_in_bursts_is_not_regular() -> None:
    survey = Survey(0.0)
    survey.take((0x5CC, b"", second + 0.07 * n) for second in range(10) for n in range(3))
    assert not survey.traces[0].is_regular


def test_what_comes_at_random_is_not_regular() -> None:
    survey = Survey(0.0)
    survey.take((0x5CC, b"", sum((0.1, 0.05, 0.4, 0.7)[m % 4] for m in range(n))) for n in range(100))
    assert not survey.traces[0].is_regular


def test_the_bits_that_change_are_known() -> None:
    trace = trace_of(Sender(0x123, payload=lambda n: bytes([0xF0, n % 2, 7])))
    assert trace.changing == 1 << 8
    assert trace.payloads[:2] == [bytes([0xF0, 0, 7]), bytes([0xF0, 1, 7])]


def test_an_hour_of_a_busy_bus_is_kept_in_the_same_room_as_a_minute() -> None:
    def room(trace: Trace) -> int:
        parts = (trace.bins, trace.payloads, trace._gaps, trace._silences, trace.lengths)
        return sum(map(sys.getsizeof, parts))

    minute = trace_of(Sender(0x123, 0.02, until=60.0), until=60.0)
    hour = trace_of(Sender(0x123, 0.02, until=3600.0), until=3600.0)
    assert len(hour._gaps) < MOST_GAPS
    assert len(hour.payloads) == MOST_PAYLOADS
    assert room(hour) <= 1.5 * room(minute)
    assert hour.period_s == pytest.approx(0.02)


def test_every_frame_is_in_the_picture_however_long_it_takes() -> None:
    survey = surveyed(Sender(0x123, 0.5, until=3000.0), Sender(0x124, 1.0, since=1000.0, until=2000.0))
    assert [sum(trace.bins) for trace in survey.traces] == [6000, 1000]
    second = survey.traces[1]
    assert len(second.bins) == BINS
    filled = [n * survey.bin_s for n, count in enumerate(second.bins) if count]
    assert filled[0] == pytest.approx(1000, abs=survey.bin_s)
    assert filled[-1] == pytest.approx(2000, abs=survey.bin_s)


def test_a_babbling_bus_has_a_bound_of_ids_and_says_what_it_passed_over() -> None:
    survey = Survey()
    survey.take((can_id, b"", 5.0) for can_id in range(MOST_IDS + 3))
    assert (len(survey.traces), survey.unnoticed, survey.frames) == (MOST_IDS, 3, MOST_IDS + 3)
    assert (survey.began, survey.seconds) == (5.0, 0.0)


def test_error_frames_are_counted_and_are_nobodys() -> None:
    survey = Survey()
    survey.take([(ERROR_FRAME | 0x40, bytes(8), 0.0), (0x123, b"", 0.1)])
    assert (survey.errors, [trace.can_id for trace in survey.traces]) == (1, [0x123])


def test_a_frame_from_before_the_beginning_is_in_the_first_slice() -> None:
    survey = Survey(10.0)
    survey.take([(0x123, b"", 9.9)])
    assert survey.traces[0].bins[0] == 1


def test_ids_are_spelled_as_people_do() -> None:
    assert spelled(0x7F) == "07F"
    assert spelled(EXTENDED | 0x18FF10A3) == "18FF10A3"
