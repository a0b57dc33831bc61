"""The budget of a bus: what a frame costs, what may go at once, who waits and who does not."""

import asyncio
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.bus.exchange.budget import BURST_S, FRAME_BITS, LOAD_WINDOW_S, ONE_EXCHANGE, BusBudget
from gateway.bus.exchange.protocol import CmdStatus
from gateway.bus.frame_length import longest_bits
from gateway.bus.simulator.trouble import Override
from gateway.operation import Ending, Reach
from tests.doubles import FakeClock
from tests.doubles_devices import LoopClock, MemoryBus, Scene, command, pairing, play, scene

BITRATE = 125_000
SHARE = 0.2


def stuffed(bits: list[int]) -> int:
    """Count bits after stuffing: after five alike one of the other kind, which counts for the next five."""
    count, run, last = 0, 0, None
    for bit in bits:
        run = run + 1 if bit == last else 1
        last, count = bit, count + 1
        if run == 5:
            last, run, count = 1 - bit, 1, count + 1
    return count


@pytest.mark.parametrize("length", range(9))
def test_a_frame_costs_what_the_worst_pattern_of_bits_makes_of_it(length: int) -> None:
    worst = [0] * 5 + ([1] * 4 + [0] * 4) * 20  # each stuff bit begins the next five
    assert longest_bits(length) == stuffed(worst[: 54 + 8 * length]) + 13
    assert longest_bits(length) == 80 + 10 * length


def test_a_full_frame_of_ours_is_160_bits() -> None:
    assert FRAME_BITS == 160


def test_a_bus_without_a_bit_rate_has_no_budget() -> None:
    budget = BusBudget(None, lambda: SHARE, FakeClock())
    assert all(budget.take(3) for _ in range(100_000))
    budget.spend(1_000)
    assert (budget.load(), budget.waits) == (None, 0)


def test_a_tenth_of_a_second_may_go_at_once_and_then_no_more_than_flows() -> None:
    clock = FakeClock()
    budget = BusBudget(BITRATE, lambda: SHARE, clock)
    burst = int(BITRATE * SHARE * BURST_S) // FRAME_BITS
    assert [budget.take(1) for _ in range(burst + 1)] == [True] * burst + [False]
    clock.advance(1)
    assert sum(budget.take(1) for _ in range(1_000)) == burst  # a pause is not saved up


def test_a_tiny_budget_still_holds_one_exchange() -> None:
    clock = FakeClock()
    budget = BusBudget(1_000, lambda: 0.1, clock)
    assert budget.take(3)
    assert not budget.take(3)
    clock.advance(ONE_EXCHANGE / (1_000 * 0.1 * (1 - BURST_S)) + 0.001)
    assert budget.take(3)


def test_who_waits_gets_room_in_turn_and_nobody_passes_by() -> None:
    async def story() -> None:
        clock = LoopClock()
        budget = BusBudget(BITRATE, lambda: SHARE, clock)
        while budget.take(1):
            pass
        served: list[int] = []

        async def wait(n: int, frames: int) -> None:
            await budget.wait(frames)
            served.append(n)

        waiting = [asyncio.create_task(wait(n, frames)) for n, frames in enumerate((3, 1, 2))]
        await asyncio.sleep(0.01)  # two frames' worth, though the first needs three
        assert not budget.take(1)
        began = clock.monotonic()
        await asyncio.gather(*waiting)
        assert served == [0, 1, 2]
        assert clock.monotonic() - began < 6 * FRAME_BITS / (BITRATE * SHARE * 0.9)
        assert budget.waits == 3

    play(story())


def test_one_that_gives_up_waiting_lets_the_next_one_through() -> None:
    async def story() -> None:
        budget = BusBudget(BITRATE, lambda: SHARE, LoopClock())
        while budget.take(1):
            pass
        first, second = (asyncio.create_task(budget.wait(3)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first, second], timeout=1)
        assert second.done()
        assert not second.cancelled()

    play(story())


def test_a_parameter_that_is_raised_frees_who_waits() -> None:
    async def story() -> None:
        share = 0.000_01
        clock = LoopClock()
        budget = BusBudget(BITRATE, lambda: share, clock)
        assert budget.take(3)
        waiting = asyncio.create_task(budget.wait(3))
        await asyncio.sleep(5)
        assert not waiting.done()
        share = 0.5
        await asyncio.wait([waiting], timeout=2)
        assert waiting.done()

    play(story())


def test_a_flood_that_nobody_paid_for_is_forgiven_after_a_second() -> None:
    async def story() -> None:
        clock = LoopClock()
        budget = BusBudget(BITRATE, lambda: SHARE, clock)
        budget.spend(1_000_000)
        began = clock.monotonic()
        await budget.wait(1)
        assert 1.0 < clock.monotonic() - began < 1.2

    play(story())


PAUSES = st.sampled_from([0.0, 0.001, 0.01, 0.1, 0.25, 0.5, 1.0, 2.0])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(PAUSES, st.sampled_from([1, 2, 3]), st.sampled_from([0, 0, 1, 5])), max_size=40),
    st.sampled_from([10_000, 125_000]),
    st.sampled_from([0.05, 0.2, 0.5]),
)
@example([(0.1, 1, 0)] * 20, 125_000, 0.2)  # a burst, and then all that flows
def test_over_any_span_of_a_second_or_more_no_more_is_sent_than_allowed(
    steps: list[tuple[float, int, int]], bitrate: int, share: float
) -> None:
    """After each pause some emergencies pass at once, then others send all they may: these never exceed the whole."""
    clock = FakeClock()
    budget = BusBudget(bitrate, lambda: share, clock)
    allowed = bitrate * share
    window_s = max(1.0, ONE_EXCHANGE / (BURST_S * allowed))
    sent: list[tuple[float, int, bool]] = []  # when, how many bits, whether anybody but emergencies sent
    debt = 0.0
    for pause_s, frames, emergencies in steps:
        clock.advance(pause_s)
        debt = max(0.0, debt - pause_s * allowed * (1 - BURST_S))
        bits = 0
        for _ in range(emergencies):
            if debt + FRAME_BITS < allowed * 0.9:  # what is beyond is forgiven one day
                debt += FRAME_BITS
                budget.spend(1)
                bits += FRAME_BITS
        others = 0
        while budget.take(frames):
            others += frames * FRAME_BITS
        sent.append((clock.now, bits + others, others > 0))
    for end, (until, _, others_sent) in enumerate(sent):
        for begin in range(end + 1 if others_sent else 0):
            total = sum(bits for _, bits, _ in sent[begin : end + 1])
            assert total <= allowed * max(window_s, until - sent[begin][0]) + 1e-6


def test_the_load_is_that_of_the_last_seconds() -> None:
    clock = FakeClock()
    budget = BusBudget(BITRATE, lambda: 1.0, clock)
    budget.spend(100)
    assert budget.load() == pytest.approx(100 * FRAME_BITS / (LOAD_WINDOW_S * BITRATE))
    clock.advance(LOAD_WINDOW_S * 1.5)
    assert budget.load() == pytest.approx(100 * FRAME_BITS / (LOAD_WINDOW_S * BITRATE))
    clock.advance(LOAD_WINDOW_S / 2)
    assert budget.load() == pytest.approx(50 * FRAME_BITS / (LOAD_WINDOW_S * BITRATE))
    clock.advance(LOAD_WINDOW_S * 3)
    assert budget.load() == 0.0


# --- in an exchange --------------------------------------------------------------------------------------------------


def frames(it: Scene) -> Counter[str]:
    """Count the exchange frames on the bus, both ways."""
    return Counter(name for name, _ in it.spoken())


def spent(it: Scene) -> float:
    return it.budget._spent / FRAME_BITS


@pytest.mark.parametrize("doubled", [False, True])
def test_every_frame_of_an_exchange_is_counted_its_answers_too(doubled: bool) -> None:
    async def story() -> None:
        async with scene(bitrate=500_000) as it:
            if doubled:
                it.simulator.do("module-03", "double_answers")
            await it.execute(command("clear_events", sequence=1))  # accepted, then done
            await it.execute(command("identify", sequence=2))
            await it.execute(pairing())
            await asyncio.sleep(1)
            assert spent(it) == sum(frames(it).values())

    play(story())


def test_a_late_answer_was_paid_for_with_its_question() -> None:
    async def story() -> None:
        async with scene(bitrate=500_000) as it:
            it.simulator.do("module-03", "late_answers")
            await it.execute(command("identify"))
            await asyncio.sleep(5)
            assert (frames(it), spent(it)) == ({"CMD_REQ": 3, "CMD_RSP": 3}, 6)

    play(story())


def test_what_others_answer_is_no_frame_of_ours() -> None:
    async def story() -> None:
        async with scene(bitrate=500_000) as it:
            it.simulator.do("module-03", "wrong_answers")
            await it.execute(command("identify"))
            await asyncio.sleep(1)
            assert spent(it) == 6  # three questions, and the answers that were expected

    play(story())


def test_a_drain_keeps_to_its_budget_and_waiting_is_no_time_out() -> None:
    async def story() -> None:
        async with scene(bitrate=20_000, max_bus_load=0.1) as it:  # 2000 bit/s: five exchanges of a command a second
            began = it.clock.monotonic()
            for n in range(50):
                assert (await it.execute(command("identify", sequence=n))).ending is Ending.DONE
            took_s = it.clock.monotonic() - began
            assert frames(it) == {"CMD_REQ": 50, "CMD_RSP": 50}
            assert 2_000 * took_s + ONE_EXCHANGE >= 100 * FRAME_BITS
            assert took_s < 1.2 * 100 * FRAME_BITS / 2_000
            assert it.exchange.stats()["budget_waits"] > 40
            assert it.exchange.stats()["exchange_load"] == pytest.approx(0.09, abs=0.01)

    play(story())


def test_a_pairing_that_waits_for_room_has_its_ten_seconds_for_the_devices() -> None:
    async def story() -> None:
        async with scene(bitrate=10_000, max_bus_load=0.01) as it:  # 100 bit/s: 30 s for its twenty frames
            began = it.clock.monotonic()
            assert (await it.execute(pairing())).ending is Ending.DONE
            assert it.clock.monotonic() - began > 15

    play(story())


def test_a_command_that_waits_for_room_has_its_time_for_the_device() -> None:
    async def story() -> None:
        async with scene(bitrate=10_000, max_bus_load=0.01) as it:
            it.simulator.do("module-03", Override(1, CmdStatus.ACCEPTED, command=True))
            it.budget.spend(1)
            began = it.clock.monotonic()
            assert (await it.execute(command("identify", timeout_s=2.0))).ending is Ending.UNANSWERED
            assert it.clock.monotonic() - began > 2.0 + 3.0

    play(story())


@pytest.mark.parametrize("reach", [Reach.EMERGENCY, Reach.SETTLED])
def test_an_emergency_does_not_wait_and_is_counted(reach: Reach) -> None:
    async def story() -> None:
        async with scene(bitrate=BITRATE) as it:
            it.budget.spend(1_000)
            before, began = spent(it), it.clock.monotonic()
            assert (await it.execute(command("emergency_open", "pack-01", reach=reach))).ending is Ending.DONE
            waited_s = it.clock.monotonic() - began
            assert (waited_s == 0) == (reach is Reach.EMERGENCY)
            assert spent(it) == before + 2

    play(story())


def test_an_exchange_of_its_own_has_no_budget_unless_it_is_given_one() -> None:
    async def story() -> None:
        async with scene(MemoryBus()) as it:
            for n in range(200):
                await it.execute(command("identify", sequence=n))
            assert it.exchange.stats() == {
                "answers_dropped": {"invalid": 0, "late": 0, "double": 0, "foreign": 0},
                "exchange_load": None,
                "budget_waits": 0,
            }

    play(story())
