"""Readers of events and what is asked for them, beside a gateway that keeps, drops and forgets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.client.errors import NoAnswer
from gateway.client.events import FIRST_SPAN, TRIES, Events
from gateway.client.gap import Gap
from gateway.client.recovery import QUIET_AT_LATEST_S, QUIET_S, Recovery
from gateway.errors import Code, PeerError, Refusal
from gateway.payloads import Event, Replayed
from tests.client_scene import event
from tests.looptime import virtual_time

Out = list[int | tuple[int, int, str]]


class Teller:
    """A gateway's store and its replay. `stored`: seqs; `sent`: up to where all has reached the broker."""

    def __init__(self, stored: range | list[int], sent: int | None = None) -> None:
        self.stored = set(stored)
        self.last = max(self.stored, default=0)
        self.sent = self.last if sent is None else sent
        self.asked: list[tuple[int, int]] = []
        self.troubles: list[Exception] = []
        self.keeps_back: Callable[[int], bool] = lambda _: False  # what never arrives
        self.recovery = Recovery(self.replay)

    async def replay(self, first: int, last: int) -> Replayed:
        self.asked.append((first, last))
        await asyncio.sleep(0.01)
        if self.troubles:
            raise self.troubles.pop(0)
        within = [seq for seq in sorted(self.stored) if first <= seq <= min(last, self.sent)]
        for seq in within:
            if not self.keeps_back(seq):
                self.recovery.took(event(seq))
        following = [seq for seq in self.stored if seq >= first]
        there = max(0, min(last, self.sent) - first + 1)
        return Replayed(
            replayed=len(within),
            from_seq=first,
            to_seq=last,
            gone=there - len(within),
            stored_from=min(following, default=None),
            sent_seq=self.sent,
            last_seq=self.last,
        )

    def tell(self, *seqs: int) -> None:
        """Tell new events, live."""
        self.stored |= set(seqs)
        self.last = self.sent = max(self.stored)
        for seq in seqs:
            self.recovery.took(event(seq))


@asynccontextmanager
async def running(teller: Teller) -> AsyncIterator[Recovery]:
    task = asyncio.create_task(teller.recovery.run())
    try:
        yield teller.recovery
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def short(item: Event | Gap) -> int | tuple[int, int, str]:
    return (item.from_seq, item.to_seq, item.reason) if isinstance(item, Gap) else item.seq


async def take(events: Events, count: int, within_s: float = 600.0) -> Out:
    async with asyncio.timeout(within_s):
        return [short(await anext(events)) for _ in range(count)]


async def nothing_comes(events: Events, for_s: float = 100.0) -> None:
    with pytest.raises(TimeoutError):
        await take(events, 1, for_s)


@virtual_time
async def test_a_reader_that_begins_in_the_past_gets_all_of_it_and_then_what_comes() -> None:
    teller = Teller(range(1, 2_501))
    async with running(teller) as recovery:
        events = recovery.reader(10)
        assert await take(events, 2_490) == list(range(11, 2_501))
        teller.tell(2_501)
        assert await take(events, 1) == [2_501]
        assert teller.asked == [(11, 1_010), (1_011, 2_500)], "twice as many at a time, as all came"


@virtual_time
async def test_a_reader_of_what_comes_from_now_on_asks_for_nothing() -> None:
    teller = Teller(range(1, 101))
    async with running(teller) as recovery:
        events = recovery.reader(None)
        await nothing_comes(events)
        teller.tell(101, 102)
        assert await take(events, 2) == [101, 102]
        assert teller.asked == []


@virtual_time
async def test_what_came_while_the_connection_was_gone_is_not_missed_even_by_one_who_had_read_nothing_yet() -> None:
    teller = Teller(range(1, 101))
    async with running(teller) as recovery:
        events = recovery.reader(None)
        teller.stored |= {101, 102}
        teller.last = teller.sent = 102
        recovery.doubt(100, more_comes=False)
        assert await take(events, 2) == [101, 102]


@virtual_time
async def test_a_hole_is_filled_and_all_readers_have_it_at_once() -> None:
    teller = Teller(range(1, 4))
    async with running(teller) as recovery:
        one, other = recovery.reader(0), recovery.reader(2)
        assert (await take(one, 3), await take(other, 1)) == ([1, 2, 3], [3])
        teller.stored |= {4, 5}
        teller.tell(6)
        assert (await take(one, 3), await take(other, 3)) == ([4, 5, 6], [4, 5, 6])
        assert teller.asked.count((4, 5)) == 1


@virtual_time
async def test_what_is_stored_no_longer_is_told_as_gone_however_much_it_is() -> None:
    teller = Teller([*range(1_000_000, 1_000_010), 1_000_015])
    async with running(teller) as recovery:
        events = recovery.reader(500)
        assert await take(events, 1) == [(501, 999_999, "gone")]
        assert await take(events, 12) == [*range(1_000_000, 1_000_010), (1_000_010, 1_000_014, "gone"), 1_000_015]
        assert len(teller.asked) <= 3


@virtual_time
async def test_what_has_not_been_sent_yet_is_waited_for() -> None:
    teller = Teller(range(1, 21), sent=10)
    async with running(teller) as recovery:
        events = recovery.reader(0)
        assert await take(events, 10) == list(range(1, 11))
        recovery.took(event(12))
        await nothing_comes(events, 600)
        recovery.took(event(11))
        assert await take(events, 2) == [11, 12]


@virtual_time
async def test_what_never_arrives_is_told_after_a_few_tries() -> None:
    teller = Teller(range(1, 11))
    teller.keeps_back = lambda seq: seq in {4, 5}
    async with running(teller) as recovery:
        events = recovery.reader(0)
        assert await take(events, 9) == [1, 2, 3, (4, 5, "undelivered"), *range(6, 11)]
        assert teller.asked.count((4, 5)) == TRIES


@virtual_time
async def test_who_may_not_ask_is_told_and_gets_what_comes() -> None:
    teller = Teller([])
    async with running(teller) as recovery:
        events = recovery.reader(0)
        teller.troubles = [Refusal(Code.NOT_AUTHORIZED)] * 2
        await nothing_comes(events)
        teller.tell(3)
        assert await take(events, 2) == [(1, 2, "refused"), 3]


@pytest.mark.parametrize(
    "trouble",
    [
        Refusal(Code.RATE_LIMITED, retry_after_ms=5_000),
        Refusal(Code.PRECONDITION_FAILED),
        NoAnswer("replay", "id", "no connection", may_have_had_effect=False),
        PeerError("replay: the answer is not what it should be"),
    ],
)
def test_a_passing_trouble_is_waited_out(trouble: Exception) -> None:
    @virtual_time
    async def read() -> None:
        teller = Teller(range(1, 4))
        teller.troubles = [trouble] * 3
        async with running(teller) as recovery:
            began = asyncio.get_running_loop().time()
            assert await take(recovery.reader(0), 3) == [1, 2, 3]
            waited_s = asyncio.get_running_loop().time() - began
        assert len(teller.asked) == 4
        assert waited_s >= (15 if isinstance(trouble, Refusal) and trouble.retry_after_ms else 3)

    read()


@virtual_time
async def test_a_gateway_that_counts_anew_is_noticed_however_many_it_has_told_before() -> None:
    teller = Teller(range(1, 101))
    async with running(teller) as recovery:
        events = recovery.reader(99)
        assert await take(events, 1) == [100]
        teller.stored, teller.last, teller.sent = {1, 2}, 2, 2
        recovery.doubt(0, more_comes=True)
        assert await take(events, 3) == [(101, 0, "renumbered"), 1, 2]
        teller.tell(3)
        assert await take(events, 1) == [3]


@virtual_time
async def test_a_slow_reader_costs_no_memory_and_misses_nothing() -> None:
    teller = Teller([])
    async with running(teller) as recovery:
        events = recovery.reader(0, room=10)
        for seq in range(1, 101):
            teller.tell(seq)
            assert len(events._sequencer._held) <= 10
        assert teller.asked == [], "who does not wait asks for nothing"
        assert await take(events, 100) == list(range(1, 101))
        assert all(last - first < 10 for first, last in teller.asked)


@virtual_time
async def test_what_the_broker_has_kept_comes_first_and_only_then_the_rest_is_asked_for() -> None:
    teller = Teller(range(1, 31))
    async with running(teller) as recovery:
        events = recovery.reader(0)
        recovery.doubt(0, more_comes=True)
        reading = asyncio.create_task(take(events, 30))
        for seq in range(1, 21):
            await asyncio.sleep(QUIET_S / 2 if seq < 10 else 0)
            recovery.took(event(seq))
            assert teller.asked == []
        assert await reading == list(range(1, 31))
        assert teller.asked == [(21, 21 + FIRST_SPAN - 1)]


@virtual_time
async def test_a_stream_that_never_rests_does_not_put_the_question_off_for_ever() -> None:
    teller = Teller(range(1, 6))
    async with running(teller) as recovery:
        events = recovery.reader(100)
        recovery.doubt(0, more_comes=True)
        reading = asyncio.create_task(take(events, 1))
        for seq in range(1, 100):
            await asyncio.sleep(QUIET_S / 2)
            recovery.took(event(seq % 5 + 1))
            if reading.done():
                break
        assert seq * QUIET_S / 2 <= QUIET_AT_LATEST_S + QUIET_S
        assert await reading == [(101, 0, "renumbered")]


@virtual_time
async def test_reading_ends_with_the_client_after_what_is_there() -> None:
    teller = Teller([])
    events = teller.recovery.reader(0)
    teller.tell(1)
    waiting = asyncio.create_task(take(events, 5))
    await asyncio.sleep(1)
    teller.tell(2)
    teller.recovery.close()
    with pytest.raises(StopAsyncIteration):
        await anext(teller.recovery.reader(0)) if waiting.done() else await _ended(waiting)


@virtual_time
async def test_who_begins_to_read_after_the_end_does_not_wait_for_ever_and_a_client_may_be_entered_again() -> None:
    teller = Teller([1])
    teller.recovery.close()
    async with asyncio.timeout(10):
        assert [short(item) async for item in teller.recovery.reader(0)] == []
    teller.recovery.open()
    async with running(teller) as recovery:
        assert await take(recovery.reader(0), 1) == [1]


async def _ended(waiting: "asyncio.Task[Any]") -> None:
    try:
        await waiting
    except RuntimeError as why:  # a StopAsyncIteration that left a comprehension
        raise StopAsyncIteration from why


@virtual_time
async def test_a_reader_that_is_let_go_of_is_forgotten() -> None:
    recovery = Teller([]).recovery
    events = recovery.reader(0)
    assert len(recovery._readers) == 1
    del events
    assert len(recovery._readers) == 0
