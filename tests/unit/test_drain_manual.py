"""The book of the drains that were asked for."""

import asyncio

import pytest

from gateway.errors import CODES, Code, ErrorClass, Refusal
from gateway.operation import Action
from gateway.queue.drain.manual import LIMIT, ManualDrains
from tests.doubles import FakeClock


def test_only_so_many_drains_are_under_way_at_once() -> None:
    book = ManualDrains(FakeClock())
    first, _ = book.begin("m1", 1, [])
    for _ in range(LIMIT - 1):
        book.begin("m1", 1, [])
    with pytest.raises(Refusal) as no:
        book.begin("m1", 1, [])
    assert CODES[no.value.code].error_class is ErrorClass.BUSY
    assert no.value.retry_after_ms
    book.end(first)
    book.begin("m1", 1, [])


async def test_reports_are_kept_for_a_while_and_not_for_ever() -> None:
    book, ids = ManualDrains(FakeClock()), []
    for _ in range(LIMIT + 1):
        drain_id, _ = book.begin("m1", 1, [])
        ids.append(drain_id)
        book.end(drain_id)
    assert (await book.finished(ids[1])).component_id == "m1"
    with pytest.raises(Refusal) as no:
        await book.finished(ids[0])
    assert no.value.code is Code.REQUEST_NOT_FOUND


async def test_everybody_who_waits_for_a_drain_gets_its_report() -> None:
    clock = FakeClock()
    book = ManualDrains(clock)
    drain_id, errand = book.begin("m1", 5, ["p1"])
    waiting = [asyncio.create_task(book.finished(drain_id)) for _ in range(2)]
    await asyncio.sleep(0)
    for action in (Action.COMPLETE, Action.RETRY, Action.RELEASE, Action.ABANDON):
        errand.take(clock.monotonic())
        errand.count(action)
    clock.advance(1.25)
    book.end(drain_id)
    for report in await asyncio.gather(*waiting):
        assert (report.requests_processed, report.successful, report.failed) == (3, 1, 2)
        assert report.processing_time_ms == 1250
    assert errand.left == 1
    assert list(errand.stops) == ["m1", "p1"]
