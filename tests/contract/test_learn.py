"""Whatever devices speak on a bus: `learn` finds them again by nothing but when their frames came."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bus.learn.knowledge import Databases
from gateway.bus.learn.proposals import propose
from gateway.bus.learn.survey import Survey
from tests.learn_scene import Sender, ids, learned, traffic

PERIODS_S = st.sampled_from([0.01, 0.02, 0.05, 0.1, 0.2])
SECONDS = 40.0


@st.composite
def devices(draw: st.DrawFn) -> list[list[Sender]]:
    """Devices with several ids each, switched on and off at moments that are a second apart from each other's."""
    count = draw(st.integers(1, 4))
    numbers = iter(draw(st.lists(st.integers(1, 0x6FF), min_size=count * 5, max_size=count * 5, unique=True)))
    starts, made = draw(st.permutations(range(count))), []
    for start in starts:
        since, until = 2.0 + start * 2, SECONDS - 2.0 - draw(st.integers(0, 8))
        away = ((15.0 + 2 * start, 19.0 + 2 * start),) if draw(st.booleans()) else ()
        periods = draw(st.lists(PERIODS_S, min_size=2, max_size=5))
        phases = [draw(st.floats(0, 0.99)) * period_s for period_s in periods]
        made.append(
            [
                Sender(next(numbers), period_s, since, until, away, phase)
                for period_s, phase in zip(periods, phases, strict=True)
            ]
        )
    return made


@given(devices())
@settings(max_examples=40, deadline=None)
def test_every_device_is_found_with_all_its_ids_and_their_periods(several: list[list[Sender]]) -> None:
    found = learned(*(sender for device in several for sender in device), until=SECONDS)
    assert sorted(sorted(ids(proposal)) for proposal in found.proposals) == sorted(
        sorted(sender.can_id for sender in device) for device in several
    )
    periods = {sender.can_id: sender.period_s for device in several for sender in device}
    for proposal in found.proposals:
        for trace in proposal.traces:
            assert abs((trace.period_s or 0) - periods[trace.can_id]) < 1e-6
    assert found.nobody == []


@given(
    period_s=st.sampled_from([0.01, 0.1, 1.0]),
    jitter=st.floats(0, 0.2),
    lost=st.floats(0, 0.05),
    seed=st.integers(0, 1 << 32),
)
@settings(max_examples=60, deadline=None)
def test_a_period_is_learned_through_jitter_and_lost_frames(
    period_s: float, jitter: float, lost: float, seed: int
) -> None:
    rng = random.Random(seed)
    survey = Survey(0.0)
    frames = [
        (0x123, b"", n * period_s + rng.uniform(-jitter, jitter) / 2 * period_s)
        for n in range(1, 400)
        if rng.random() >= lost
    ]
    survey.take(sorted(frames, key=lambda frame: frame[2]))
    (trace,) = survey.traces
    assert trace.is_regular
    assert abs((trace.period_s or 0) - period_s) < 0.1 * period_s


@given(st.lists(st.tuples(st.integers(0, 0x7FF), st.binary(max_size=8), st.floats(0, 100)), max_size=200))
@settings(max_examples=100, deadline=None)
def test_no_traffic_is_too_strange_to_be_looked_at(frames: list[tuple[int, bytes, float]]) -> None:
    survey = Survey()
    survey.take(sorted(frames, key=lambda frame: frame[2]))
    found = propose(survey, Databases([]))
    told = [can_id for proposal in found.proposals for can_id in ids(proposal)]
    told += [trace.can_id for trace in found.nobody]
    assert sorted(told) == sorted({can_id for can_id, _, _ in frames})


def test_noise_between_the_frames_of_a_device_is_nobodys() -> None:
    rng = random.Random(11)
    noise = [(0x700 + n, b"", rng.uniform(0, 10)) for n in range(3) for _ in range(50)]
    survey = Survey(0.0)
    device = traffic(Sender(0x100, since=2.0, until=8.0), Sender(0x101, since=2.0, until=8.0))
    survey.take(sorted([*noise, *device], key=lambda frame: frame[2]))
    survey.listened(0.0, 10.0)
    found = propose(survey, Databases([]))
    assert [sorted(ids(proposal)) for proposal in found.proposals] == [[0x100, 0x101]]
    assert [trace.can_id for trace in found.nobody] == [0x700, 0x701, 0x702]
