import asyncio

import pytest

from gateway.errors import LinkDown
from gateway.sync.window import SLOW_S, START, Window


class Hand:
    """A clock's hand."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


async def filled(window: Window, count: int) -> None:
    for mid in range(count):
        await window.room()
        window.put(mid, f"topic/{mid}")


async def test_there_is_room_for_as_many_as_the_limit_and_the_next_waits_in_line() -> None:
    window = Window(Hand())
    await filled(window, START)
    first, second = asyncio.create_task(window.room()), asyncio.create_task(window.room())
    await asyncio.sleep(0)
    assert not first.done()
    window.limit = START  # as it is while acknowledgements are slow
    window.give_back()
    await asyncio.sleep(0)
    assert (first.done(), second.done()) == (True, False)
    second.cancel()
    await asyncio.sleep(0)
    window.give_back()
    await window.room()  # whoever gave up holds no place


async def test_a_place_granted_in_the_moment_somebody_gives_up_goes_to_the_next() -> None:
    window = Window(Hand(), most=1)
    await window.room()
    first, second = asyncio.create_task(window.room()), asyncio.create_task(window.room())
    await asyncio.sleep(0)
    window.give_back()
    first.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert second.done()
    assert first.cancelled()


async def test_quick_acknowledgements_open_the_window_up_to_what_the_broker_takes() -> None:
    window = Window(Hand(), most=20)
    await filled(window, START)
    for mid in range(START):
        window.pop(mid)
    assert window.limit == 20


async def test_late_acknowledgements_halve_the_window_once_for_all_that_left_together() -> None:
    hand = Hand()
    window = Window(hand)
    await filled(window, START)
    assert not window.slow()
    hand.at += SLOW_S + 0.1
    assert window.slow()
    for mid in range(START):
        window.pop(mid)
    assert window.limit == START // 2
    assert not window.slow(), "nothing is under way"
    await filled(window, 1)
    assert window.slow(), "until it has opened again"
    hand.at += 10
    window.pop(0)
    assert window.limit == START // 4


async def test_it_never_closes_for_good() -> None:
    hand = Hand()
    window = Window(hand)
    for mid in range(20):
        await window.room()
        window.put(mid, "topic")
        hand.at += 100
        window.pop(mid)
    assert window.limit == 1


async def test_slow_is_not_stuck() -> None:
    hand = Hand()
    window = Window(hand)
    assert (window.waited_s(), window.stuck_s(), window.oldest) == (0, 0, None)
    await filled(window, 3)
    hand.at += 20
    window.pop(0)
    hand.at += 15
    assert (window.waited_s(), window.stuck_s()) == (35, 15)
    window.pop(2)  # one behind it does not help the oldest
    assert window.stuck_s() == 15
    assert window.oldest is not None
    assert window.oldest.topic == "topic/1"
    assert window.under_way() == 1


async def test_an_acknowledgement_nobody_asked_for_changes_nothing() -> None:
    window = Window(Hand())
    assert window.pop(7) is None
    assert window.limit == START


async def test_the_end_of_the_connection_ends_every_wait() -> None:
    window = Window(Hand(), most=1)
    await window.room()
    sent = window.put(1, "topic")
    waiting = asyncio.create_task(window.room())
    await asyncio.sleep(0)
    window.close(lambda: LinkDown("gone"))
    for wait in (sent, waiting):
        with pytest.raises(LinkDown, match="gone"):
            await wait
