"""How full a bus is and who fills it: told from counts, and from a sample."""

import pytest

from gateway.bus.frame_length import likely_s, longest_bits
from gateway.bus.link.fd import on_the_wire
from gateway.bus.link.traffic import BUSY, SAMPLE_EVERY_S, SAMPLE_FRAMES, LoadMeter, Sample, Traffic, spelt
from gateway.bus.wire import EXTENDED
from gateway.errors import LinkDown

BITRATE = 500_000


@pytest.mark.parametrize("length", range(9))
def test_a_likely_length_lies_between_the_bare_and_the_longest(length):
    bare = 67 + 8 * length
    assert bare < likely_s(1, length, 1.0, BITRATE) * BITRATE < longest_bits(length)


def test_a_frame_with_a_short_id_takes_twenty_bits_less_and_what_may_be_stuffed_in_them():
    assert likely_s(1, 8, 1.0, BITRATE) - likely_s(1, 8, 0.0, BITRATE) == pytest.approx(20 * 1.05 / BITRATE)


def test_data_of_can_fd_goes_at_its_own_bit_rate():
    slow, fast = likely_s(1, 64, 0.0, BITRATE), likely_s(1, 64, 0.0, BITRATE, 4 * BITRATE)
    assert slow - fast == pytest.approx(64 * 8 * 1.05 / BITRATE * 3 / 4)


def measured(*seconds: tuple[int, int], bitrate: int | None = BITRATE) -> LoadMeter:
    """A meter that saw so many (frames, bytes) a second."""
    meter = LoadMeter(bitrate)
    frames = data_bytes = 0
    meter.note(Traffic(0, 0), 100.0)
    for n, (more, more_bytes) in enumerate(seconds, 1):
        frames, data_bytes = frames + more, data_bytes + more_bytes
        meter.note(Traffic(frames, data_bytes), 100.0 + n)
    return meter


def test_a_load_is_the_part_of_the_time_that_frames_take():
    told = measured(*[(1000, 8000)] * 60).stats()
    assert told["bitrate"] == BITRATE
    assert told["frames_per_s"] == pytest.approx(1000, rel=0.01)
    assert told["load"] == pytest.approx(1000 * likely_s(1, 8, 1.0, BITRATE), rel=0.01)
    assert told["load"] == pytest.approx(told["load_peak"], rel=0.01)


def test_a_load_is_smoothed_and_its_worst_second_kept():
    told = measured(*[(100, 800)] * 30, (3000, 24000), *[(100, 800)] * 30).stats()
    assert told["load_peak"] == pytest.approx(3000 * likely_s(1, 8, 1.0, BITRATE), rel=0.01)
    assert told["load"] == pytest.approx(100 * likely_s(1, 8, 1.0, BITRATE), abs=0.005)


def test_no_load_is_above_one_and_none_is_told_without_a_bit_rate():
    assert measured((100_000, 800_000)).stats()["load_peak"] == 1.0
    told = measured((1000, 8000), bitrate=None).stats()
    assert (told["bitrate"], told["load"], told["load_peak"]) == (None, None, None)
    assert told["frames_per_s"] > 0


def test_a_meter_starts_anew_with_a_new_interface_and_waits_where_time_stands():
    meter = measured((1000, 8000))
    meter.note(Traffic(10, 80), 102.0)
    meter.note(Traffic(10_000, 80), 102.0)  # the clock of a recording that is over
    assert meter.peak == pytest.approx(1000 * likely_s(1, 8, 1.0, BITRATE))


def frames(*counts: tuple[int, int], began: float = 100.0, apart_s: float = 0.001):
    """So many frames of each id, in turn."""
    ids = [can_id for can_id, count in counts for _ in range(count)]
    return [(can_id, b"", began + apart_s * n) for n, can_id in enumerate(ids, 1)]


def test_a_sample_names_those_who_speak_most_with_their_rate():
    sample = Sample(100.0)
    sample.take(frames((0x123, 60), (0x18FF1012 | EXTENDED, 30), *[(n, 1) for n in range(10)]))
    rates = sample.rates(102.0)
    assert rates[:2] == [(0x123, 30.0), (0x18FF1012 | EXTENDED, 15.0)]
    assert len(rates) == 8
    assert sample.extended() == 0.3


def test_a_sample_is_bounded_and_then_as_long_as_its_last_frame():
    sample = Sample(100.0)
    sample.take(frames((0x123, SAMPLE_FRAMES - 1)))
    assert not sample.is_full
    sample.take(frames((0x123, 1000)))
    assert sample.is_full
    sample.take(frames((0x321, 1000)))
    ((can_id, rate),) = sample.rates(200.0)
    assert (can_id, round(rate)) == (0x123, SAMPLE_FRAMES * 1000)  # the last one came after 1 ms


def test_a_bus_on_which_nobody_speaks_has_no_talkers():
    sample = Sample(100.0)
    assert sample.extended() is None
    assert sample.rates(101.0) == []


def test_who_speaks_is_looked_at_now_and_then_and_at_once_when_traffic_has_doubled():
    meter = measured((10, 80))
    assert meter.wants_sample(101.0)
    meter.begin_sample(101.0).take(frames((0x123, 7)))
    assert not meter.wants_sample(200.0)  # one at a time
    meter.end_sample(102.0)
    assert meter.talkers == [(0x123, 7.0)]
    assert not meter.wants_sample(102.0)
    assert meter.wants_sample(101.0 + SAMPLE_EVERY_S)
    meter.note(Traffic(10 + round(BUSY) + 1, 80), 102.0)
    assert meter.wants_sample(102.0)


def test_the_kind_of_ids_that_a_sample_shows_tells_the_load():
    meter = measured((0, 0))
    meter.begin_sample(101.0).take(frames((0x123, 7)))
    meter.end_sample(102.0)
    meter.end_sample(103.0)  # nothing was begun
    meter.note(Traffic(1000, 8000), 102.0)
    assert meter.peak == pytest.approx(1000 * likely_s(1, 8, 0.0, BITRATE))


def test_ids_are_spelt_as_people_do():
    assert [spelt(each) for each in (0x7, 0x7FF, 0x7 | EXTENDED)] == ["007", "7FF", "00000007"]


@pytest.mark.parametrize(("length", "padded"), [(0, 0), (8, 8), (9, 12), (12, 12), (33, 48), (64, 64)])
def test_data_is_filled_up_to_a_length_that_there_is(length, padded):
    assert on_the_wire(b"\1" * length, fd=True, bus="can0") == b"\1" * length + b"\0" * (padded - length)


def test_data_that_no_frame_of_the_bus_can_hold_is_not_sent():
    assert on_the_wire(bytes(8), fd=False, bus="can0") == bytes(8)
    with pytest.raises(LinkDown, match="can0 carries no CAN FD"):
        on_the_wire(bytes(9), fd=False, bus="can0")
    with pytest.raises(LinkDown, match="65 bytes are too many"):
        on_the_wire(bytes(65), fd=True, bus="can0")
