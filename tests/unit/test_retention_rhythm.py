"""When the retention looks, and by which calendar."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Code, Refusal
from gateway.queue.months import month_after, month_of, start_of
from gateway.queue.retention import FIRST_LOOK_S, LOOK_S, Retention
from gateway.settings import Parameters
from tests.looptime import LoopClock, virtual_time


class Watched(Retention):
    """Notes when it looks, in seconds since its start; `troubles` are raised, one a look."""

    def __init__(self, clock: LoopClock, *troubles: Exception) -> None:
        nowhere: Any = None
        super().__init__(store=nowhere, parameters=Parameters, clock=clock, folder=Path())
        self.began = clock.monotonic()
        self.looks: list[float] = []
        self.troubles = list(troubles)

    async def look(self) -> None:
        self.looks.append(self._clock.monotonic() - self.began)
        if self.troubles:
            raise self.troubles.pop(0)


async def run_for(retention: Retention, seconds: float) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await retention.run()


@virtual_time
async def test_it_looks_soon_after_the_start_and_then_every_hour() -> None:
    retention = Watched(LoopClock())
    await run_for(retention, 3 * LOOK_S)
    assert retention.looks == [FIRST_LOOK_S, FIRST_LOOK_S + LOOK_S, FIRST_LOOK_S + 2 * LOOK_S]


@virtual_time
async def test_it_does_not_wait_an_hour_for_a_clock_that_is_soon_set() -> None:
    clock = LoopClock()
    clock.is_trusted = False
    retention = Watched(clock)
    await run_for(retention, 3.5 * FIRST_LOOK_S)
    clock.is_trusted = True
    assert len(retention.looks) == 3
    await run_for(retention, LOOK_S)
    assert len(retention.looks) == 4


@virtual_time
async def test_a_full_disk_does_not_end_it() -> None:
    retention = Watched(LoopClock(), OSError("no space"), Refusal(Code.STORAGE_FULL))
    await run_for(retention, 3 * LOOK_S)
    assert len(retention.looks) == 3


@virtual_time
async def test_a_bug_ends_it() -> None:
    with pytest.raises(ZeroDivisionError):
        await Watched(LoopClock(), ZeroDivisionError()).run()


TIMES = st.integers(0, 7_258_118_399_999)  # up to the year 2199


@given(TIMES)
def test_a_time_lies_in_its_month(at_ms: int) -> None:
    month = month_of(at_ms)
    assert start_of(month) <= at_ms < start_of(month_after(month))
    assert month == datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m")


@given(TIMES, st.integers(-500, 500))
def test_months_are_counted_forth_and_back(at_ms: int, count: int) -> None:
    month = month_of(at_ms)
    assert month_after(month_after(month, count), -count) == month
    assert (month_after(month, count) > month) == (count > 0)


def test_a_year_ends_with_december() -> None:
    assert [month_after("2026-11", count) for count in (1, 2, 14, -11)] == ["2026-12", "2027-01", "2028-01", "2025-12"]
    assert start_of("2026-09") == 1_788_220_800_000
