"""The figures of what has ended, beside the same figures reckoned by hand from plain lists."""

import math
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.operation import Action, Ending, Operation, Outcome, RequestType, Status
from gateway.ports import ExchangeTimes, Figures, Spread
from gateway.queue.store import metrics as of_the_store
from gateway.queue.store.sql import migrate
from gateway.settings import Parameters
from tests.family_scene import end as end_child
from tests.family_scene import route
from tests.store_scene import StoreScene, scene

MANY = Parameters(max_requests_per_component=1000)
HOUR_MS = 3_600_000
approx: Any = pytest.approx  # it passes for the number it is like
NOTHING = Figures(None, 0, 0.0, Spread(), Spread(), 0, 0.0)


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[StoreScene]:
    async with scene(tmp_path / "queue.db") as made:
        yield made


async def metrics(told: StoreScene, from_ms: int, to_ms: int, by: str | None = None) -> list[Figures]:
    return await told.store.study(lambda reader: reader.metrics(from_ms, to_ms, by))


async def last_hour(told: StoreScene, by: str | None = None) -> list[Figures]:
    now = told.clock.wall_ms()
    return await metrics(told, now - HOUR_MS, now + 1, by)


async def run(
    told: StoreScene,
    operation: Operation,
    *,
    wait_s: float = 1,
    processing_s: float = 1,
    retries: int = 0,
    action: Action = Action.COMPLETE,
) -> Operation:
    """Queue, have it wait, try as often as is said, and end it."""
    await told.enqueue(operation, MANY)
    told.clock.advance(wait_s)
    for _ in range(retries):
        claimed = await told.claimed(operation.carrier, proxy=True)
        told.clock.advance(0.5)
        await told.finish(claimed, Action.RETRY, Outcome(Ending.DECLINED))
        told.clock.advance(10)
    claimed = await told.claimed(operation.carrier, proxy=True)
    told.clock.advance(processing_s)
    return await told.finish(claimed, action)


async def test_an_empty_span_has_no_figures_and_no_groups(told: StoreScene) -> None:
    now = told.clock.wall_ms()
    await run(told, told.command())
    for span in ((now - HOUR_MS, now), (now, now), (now + 10_000, now - 10_000)):
        for by in (None, "status", "type"):
            assert await metrics(told, *span, by) == [NOTHING]


async def test_the_figures_of_a_few(told: StoreScene) -> None:
    for seconds in (1, 2, 3, 10):
        await run(told, told.command(), wait_s=seconds, processing_s=seconds / 10)
    await run(told, told.command(), wait_s=4, retries=2, action=Action.FAIL)
    (figures,) = await last_hour(told)
    assert figures == Figures(
        key=None,
        count=5,
        throughput_per_hour=approx(5, rel=1e-5),
        wait=Spread(mean=4000.0, p50=3000, p95=10_000, p99=10_000),
        processing=Spread(mean=520.0, p50=300, p95=1000, p99=1000),
        retries=2,
        failure_rate=0.2,
    )


async def test_throughput_is_by_the_hour_whatever_the_span(told: StoreScene) -> None:
    start = told.clock.wall_ms()
    for _ in range(6):
        await run(told, told.command())
    assert (await metrics(told, start, start + HOUR_MS // 2))[0].throughput_per_hour == 12.0
    assert (await metrics(told, start, start + 24 * HOUR_MS))[0].throughput_per_hour == 0.25


async def test_a_span_takes_what_ended_from_its_start_on_and_before_its_end(told: StoreScene) -> None:
    ends = [(await run(told, told.command())).finished_at for _ in range(3)]
    first, _, last = (end or 0 for end in ends)
    assert (await metrics(told, first, last))[0].count == 2
    assert (await metrics(told, first + 1, last + 1))[0].count == 2


async def test_what_never_began_counts_and_has_neither_wait_nor_processing(told: StoreScene) -> None:
    waiting = await told.enqueue(told.command())
    told.clock.advance(5)
    await told.store.write(lambda tx: tx.cancel(waiting.request_id, "no", "olga", told.clock.wall_ms()))
    (figures,) = await last_hour(told)
    assert (figures.count, figures.wait, figures.processing) == (1, Spread(), Spread())
    assert figures.failure_rate == 0.0  # of those that were tried


async def test_the_time_back_in_the_queue_is_no_processing(told: StoreScene) -> None:
    await told.enqueue(told.command())
    told.clock.advance(3)
    tried = await told.claimed()
    told.clock.advance(1)
    await told.finish(tried, Action.RETRY, Outcome(Ending.DECLINED))
    told.clock.advance(60)
    await told.store.write(lambda tx: tx.cancel(tried.request_id, "no", "olga", told.clock.wall_ms()))
    (figures,) = await last_hour(told)
    assert (figures.wait.mean, figures.processing, figures.retries) == (3000.0, Spread(), 1)


async def test_figures_are_broken_down_by_status(told: StoreScene) -> None:
    for action in (Action.COMPLETE, Action.FAIL, Action.ABANDON, Action.COMPLETE):
        await run(told, told.command(), action=action)
    totals, *groups = await last_hour(told, "status")
    assert (totals.key, totals.count, totals.failure_rate) == (None, 4, 0.5)
    told_of = {str(group.key): (group.count, group.failure_rate) for group in groups}
    assert told_of == {"ABANDONED": (1, 1.0), "COMPLETED": (2, 0.0), "FAILED": (1, 1.0)}
    assert [group.key for group in groups] == sorted(told_of)


async def test_figures_are_broken_down_by_type_of_command_and_of_pairing(told: StoreScene) -> None:
    await run(told, told.command(command_type="reset"), wait_s=2)
    await run(told, told.command(command_type="sleep"), wait_s=4)
    await run(told, told.command(command_type="reset"), wait_s=6)
    await run(told, told.pairing(), wait_s=8)
    await run(told, told.pairing(request_type=RequestType.PROXY, proxy_component="pack-02"))
    groups = (await last_hour(told, "type"))[1:]
    assert [(group.key, group.count, group.wait.mean) for group in groups] == [
        ("PROXY", 1, 1000.0),
        ("STANDARD", 1, 8000.0),
        ("reset", 2, 4000.0),
        ("sleep", 1, 4000.0),
    ]


async def test_a_routed_command_counts_by_its_children_alone(told: StoreScene) -> None:
    await route(told, ("module-01", "module-02"))
    told.clock.advance(1)
    for target in ("module-01", "module-02"):
        await end_child(told, target)
    assert (await last_hour(told))[0].count == 2


async def test_a_restart_forgets_nothing_and_the_archive_counts_as_the_live_table(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db") as told:
        for n in range(6):
            await run(told, told.command(), wait_s=n, processing_s=n)
        before = await last_hour(told, "status")
        cut = told.clock.wall_ms() - 5_000
    async with scene(tmp_path / "queue.db", told.clock) as told:
        assert await told.store.write(lambda tx: tx.archive(cut, 100)) == 5
        assert await last_hour(told, "status") == before


async def test_a_clock_that_was_set_back_makes_no_negative_times(told: StoreScene) -> None:
    await told.enqueue(told.command())
    told.clock.advance(-5)
    claimed = await told.claimed()
    told.clock.advance(-5)
    await told.finish(claimed)
    now = told.clock.wall_ms()
    (figures,) = await metrics(told, now, now + 1)
    assert (figures.wait.mean, figures.processing.mean) == (0.0, 0.0)


def spread_by_hand(durations: list[int]) -> Spread:
    """The nearest-rank percentiles of the textbook."""
    if not durations:
        return Spread()
    ranked = sorted(durations)
    p50, p95, p99 = (ranked[max(math.ceil(len(ranked) * percent / 100), 1) - 1] for percent in (50, 95, 99))
    return Spread(approx(sum(ranked) / len(ranked)), p50, p95, p99)


ENDED = st.tuples(
    st.sampled_from([Status.COMPLETED, Status.FAILED, Status.ABANDONED, Status.EXPIRED]),
    st.sampled_from(["reset", "sleep"]),
    st.integers(0, 300),  # wait
    st.integers(0, 300),  # processing
    st.integers(0, 3),  # retries
)


def reckoned(ended: list[tuple[Any, ...]], by: str) -> list[Figures]:
    """Put rows into a database, two thirds of them into the archive, and let it reckon."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db, "memory")
    for n, (status, kind, wait, processing, retries) in enumerate(ended):
        begun = status is not Status.EXPIRED
        times = (1000 - wait, 1000 if begun else None, 1000 + processing)
        row = (f"cmd_{n}", *times, str(status), f'{{"command_type":"{kind}"}}', f'{{"retry_count":{retries}}}')
        db.execute(INSERT.format(table="archive" if n % 3 else "operation"), row)
    found = of_the_store.metrics(db.execute, 0, 2000, by)
    db.close()
    return found


@settings(max_examples=40, deadline=None)
@given(st.lists(ENDED, min_size=1, max_size=150), st.sampled_from(["status", "type"]))
def test_all_figures_are_those_of_plain_lists(ended: list[tuple[Any, ...]], by: str) -> None:
    totals, *groups = reckoned(ended, by)
    place = 0 if by == "status" else 1
    keys = sorted({str(each[place]) for each in ended})
    expected = [figures_by_hand(key, [each for each in ended if str(each[place]) == key]) for key in keys]
    assert groups == expected
    assert totals == replace(figures_by_hand("", ended), key=None)


@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 99, 100, 101, 200])
def test_a_percentile_is_the_least_value_that_so_many_percent_do_not_exceed(count: int) -> None:
    totals, *_ = reckoned([(Status.COMPLETED, "reset", n, 1000 - n, 0) for n in range(1, count + 1)], "status")
    assert totals.wait == spread_by_hand(list(range(1, count + 1)))
    assert totals.processing == spread_by_hand(list(range(1000 - count, 1000)))


INSERT = """
INSERT INTO {table} (
    request_id, created_at, started_at, finished_at, status, details, outcome,
    kind, target_component, carrier, is_proxy, priority, expires_at, creator,
    resumes, not_before, urgency, rank, reach, blocked
) VALUES (?, ?, ?, ?, ?, ?, ?, 'COMMAND', 'm', 'm', 0, 2, 0, 'olga', 0, 0, 2, 0, 0, 0)
"""


def figures_by_hand(key: str, ended: list[tuple[Any, ...]]) -> Figures:
    begun = [each for each in ended if each[0] is not Status.EXPIRED]
    failed = [each for each in begun if each[0] is not Status.COMPLETED]
    return Figures(
        key=key,
        count=len(ended),
        throughput_per_hour=approx(len(ended) * 1800),
        wait=spread_by_hand([each[2] for each in begun]),
        processing=spread_by_hand([each[3] for each in begun]),
        retries=sum(each[4] for each in ended),
        failure_rate=approx(len(failed) / len(begun)) if begun else 0.0,
    )


# --- exchange times ---------------------------------------------------------------------------------------------------


async def exchange_times(told: StoreScene) -> dict[str, ExchangeTimes]:
    return dict(await told.store.read(lambda reader: reader.exchange_times()))


async def test_the_last_exchanges_of_each_carrier_tell_how_long_the_next_may_take(told: StoreScene) -> None:
    assert await exchange_times(told) == {}
    await run(told, told.command("module-01"), processing_s=2)
    await run(told, told.command("module-01"), processing_s=4, action=Action.FAIL)
    proxied = told.pairing("module-01", request_type=RequestType.PROXY, proxy_component="pack-02")
    await run(told, proxied, processing_s=7)
    assert await exchange_times(told) == {
        "module-01": ExchangeTimes(3000.0, 0.5),
        "pack-02": ExchangeTimes(7000.0, 0.0),
    }


async def test_what_ended_without_an_exchange_tells_nothing_of_it(told: StoreScene) -> None:
    waiting = await told.enqueue(told.command())
    await told.store.write(lambda tx: tx.reject(waiting.request_id, Outcome(Ending.NOT_STARTED), 0))
    assert await exchange_times(told) == {}


async def test_no_more_exchanges_are_looked_at_than_need_be(told: StoreScene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_the_store, "RECENT_EXCHANGES", 2)
    for seconds in (100, 1, 3):
        await run(told, told.command("module-01"), processing_s=seconds)
    assert (await exchange_times(told))["module-01"].average_ms == 2000.0
    monkeypatch.setattr(of_the_store, "RECENT_ENDS", 1)
    await run(told, told.command("module-02"), processing_s=5)
    assert await exchange_times(told) == {"module-02": ExchangeTimes(5000.0, 0.0)}
