"""Drains that somebody asks for."""

import asyncio
from asyncio import sleep
from itertools import pairwise

import pytest

from gateway.errors import Code, Refusal
from gateway.operation import Ending, Outcome
from tests.doubles_queue import Act
from tests.drain_scene import DECLINED, LONG, story


@story
async def test_a_drain_does_as_much_as_was_asked_for_and_tells_what(stage):
    async with stage.scene(presence={"settle_ms": 500}) as scene:
        for n in range(4):
            await scene.queue(f"cmd_{n}", "m3")
        scene.executor.acts["cmd_1"] = [Act(Outcome(Ending.REFUSED, code=Code.DEVICE_REFUSED), after_s=0.1)]
        scene.comes_back("m3")
        report = await scene.ask_for_drain("m3", 3)
        assert scene.begun == ["cmd_0", "cmd_1", "cmd_2"]
        assert (report.requests_processed, report.successful, report.failed) == (3, 2, 1)
        assert report.processing_time_ms == pytest.approx(120, abs=5)
        (event,) = scene.told("queue_processed")
        assert event.subject == "m3"
        assert event.attributes == {name: getattr(report, name) for name in report.__slots__}
        await sleep(60)
        assert len(scene.begun) == 3


@story
async def test_a_drain_of_an_absent_component_ends_with_nothing_done(stage):
    async with stage.scene() as scene:
        await scene.queue("cmd_1")
        report = await scene.ask_for_drain("m1")
        assert (report.requests_processed, report.processing_time_ms) == (0, 0)


@story
async def test_a_drain_that_is_held_begins_when_it_is_let_go(stage):
    async with stage.scene() as scene:
        await scene.queue("cmd_1", "m3")
        scene.comes_back("m3")
        drain_id = scene.drain.begin("m3", max_operations=5, process_proxy_queue=False, held=True)
        await sleep(10)
        assert scene.begun == []
        scene.drain.release(drain_id, go=True)
        assert (await scene.drain.finished(drain_id)).successful == 1


@story
async def test_a_drain_that_is_not_let_go_ends_with_nothing_done(stage):
    async with stage.scene() as scene:
        await scene.queue("cmd_1", "m3")
        scene.comes_back("m3", deadline_s=60)
        drain_id = scene.drain.begin("m3", max_operations=5, process_proxy_queue=False, held=True)
        scene.drain.release(drain_id, go=False)
        assert (await scene.drain.finished(drain_id)).requests_processed == 0
        await sleep(10)
        assert scene.begun == []


@story
async def test_a_drain_joins_the_one_that_is_under_way(stage):
    async with stage.scene() as scene:
        scene.executor.usual = Act(after_s=0.5)
        for n in range(4):
            await scene.queue(f"cmd_{n}")
        scene.comes_back("m1", deadline_s=60)
        await sleep(0.2)
        report = await scene.ask_for_drain("m1", 2)
        assert report.requests_processed == 2
        assert scene.begun[:3] == ["cmd_0", "cmd_1", "cmd_2"]
        await sleep(5)
        assert scene.begun == ["cmd_0", "cmd_1", "cmd_2", "cmd_3"]
        spans = [(begin, end) for _, _, begin, end in scene.executor.journal]
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
        assert sum(event.attributes["requests_processed"] for event in scene.told("queue_processed")) == 4


@story
async def test_drains_of_one_component_follow_each_other(stage):
    async with stage.scene() as scene:
        for n in range(5):
            await scene.queue(f"cmd_{n}", "m3")
        scene.comes_back("m3")
        first, second = await asyncio.gather(scene.ask_for_drain("m3", 2), scene.ask_for_drain("m3", 9))
        assert (first.requests_processed, second.requests_processed) == (2, 3)


@story
async def test_a_drain_leaves_retries_that_are_not_due(stage):
    async with stage.scene() as scene:
        scene.executor.acts["req_1"] = [DECLINED]
        await scene.queue_pairing("req_1", "m3")
        scene.comes_back("m3")
        first = await scene.ask_for_drain("m3")
        assert (first.requests_processed, first.failed) == (1, 1)
        assert (await scene.ask_for_drain("m3")).requests_processed == 0


@story
async def test_somebody_who_asks_does_not_wait_for_the_next_probe(stage):
    async with stage.scene() as scene:
        serial = scene.executor.serials.pop("m1")
        await scene.queue("cmd_1")
        scene.comes_back("m1")
        await sleep(3)
        assert (await scene.ask_for_drain("m1")).requests_processed == 0
        assert [at for _, at in scene.executor.asked] == pytest.approx([1000, 1003], abs=0.1)
        scene.executor.serials["m1"] = serial
        assert (await scene.ask_for_drain("m1")).requests_processed == 1


@story
async def test_a_drain_of_a_stranger_and_the_report_of_an_unknown_one_are_refused(stage):
    async with stage.scene() as scene:
        with pytest.raises(Refusal) as no:
            scene.drain.begin("nobody", max_operations=1, process_proxy_queue=False)
        assert no.value.code is Code.COMPONENT_NOT_FOUND
        with pytest.raises(Refusal) as no:
            await scene.drain.finished("drain_1")
        assert no.value.code is Code.REQUEST_NOT_FOUND


@story
async def test_whoever_waits_for_a_drain_is_told_when_the_gateway_stops(stage):
    async with stage.scene() as scene:
        scene.executor.usual = LONG
        await scene.queue("cmd_1")
        scene.comes_back("m1")
        waiting = asyncio.create_task(scene.ask_for_drain("m1"))
        await sleep(1)
        await scene.stop()
        assert (await waiting).requests_processed == 0
