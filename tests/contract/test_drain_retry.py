"""Failures, retries, and what lets an operation wait."""

from asyncio import sleep
from itertools import pairwise

import pytest

from gateway.operation import Ending, Outcome
from gateway.settings import Parameters
from tests.doubles_queue import Act
from tests.drain_scene import BUS_DOWN, DECLINED, story


@story
async def test_a_command_is_tried_again_after_one_two_and_four_seconds_and_then_fails(stage):
    async with stage.scene() as scene:
        scene.executor.acts["cmd_1"] = [DECLINED] * 4
        await scene.queue("cmd_1")
        scene.comes_back("m1")
        await sleep(20)
        begins = [begin for _, _, begin, _ in scene.executor.journal]
        gaps = [later - earlier for earlier, later in pairwise(begins)]
        assert gaps == pytest.approx([1.01, 2.01, 4.01], abs=0.01)
        operation = await scene.operation("cmd_1")
        assert (operation.status, operation.retry_count) == ("FAILED", 3)
        assert scene.drain.counters() == {"retry": 3, "fail": 1, "broken": 0}


@story
async def test_others_are_not_kept_waiting_by_a_retry(stage):
    async with stage.scene() as scene:
        scene.executor.acts["req_1"] = [DECLINED]
        await scene.queue_pairing("req_1", priority="HIGH")
        await scene.queue("cmd_2")
        scene.comes_back("m1")
        await sleep(59)
        assert scene.begun == ["req_1", "cmd_2"]
        await sleep(3)
        assert scene.begun == ["req_1", "cmd_2", "req_1"]


@story
async def test_without_retries_the_first_failure_is_the_last(stage):
    async with stage.scene(parameters={"enable_retry": False}) as scene:
        scene.executor.acts["cmd_1"] = [DECLINED]
        await scene.queue("cmd_1")
        scene.comes_back("m1")
        await sleep(1)
        assert await scene.status("cmd_1") == "FAILED"


@story
async def test_a_retry_is_noticed_within_a_minute_after_the_clock_was_set(stage):
    async with stage.scene() as scene:
        scene.executor.acts["req_1"] = [DECLINED] * 3
        scene.parameters = Parameters(max_retry_attempts=3)
        await scene.queue_pairing("req_1")
        scene.comes_back("m1")
        await sleep(200)  # the second retry is due four minutes after the first
        assert len(scene.begun) == 3
        scene.clock.wall_offset_ms += 600_000
        await sleep(60)
        assert len(scene.begun) == 4


@story
async def test_an_exchange_that_breaks_counts_as_a_failure_and_the_drain_goes_on(stage):
    async with stage.scene() as scene:
        scene.executor.acts["cmd_1"] = [Act(raises=RuntimeError("a bug in an exchange")), DECLINED]
        await scene.queue("cmd_1", priority="HIGH")
        await scene.queue("cmd_2")
        scene.comes_back("m1", deadline_s=0.2)
        await sleep(1.4)
        operation = await scene.operation("cmd_1")
        assert operation.retry_count == 1
        assert operation.last_error is not None
        assert operation.last_error["code"] == "INTERNAL"
        assert "a bug in an exchange" in stage.caplog.text
        assert await scene.status("cmd_2") == "QUEUED", "the device may have done it: it is asked again first"
        await sleep(1.5)
        assert await scene.status("cmd_2") == "COMPLETED"
        assert scene.drain.counters()["broken"] == 1


@story
async def test_a_timeout_of_the_executor_itself_is_a_fault_like_any_other(stage):
    async with stage.scene() as scene:
        scene.executor.acts["cmd_1"] = [Act(raises=TimeoutError(), sends=False)]
        await scene.queue("cmd_1")
        scene.comes_back("m1")
        await sleep(0.5)
        operation = await scene.operation("cmd_1")
        assert operation.last_error is not None
        assert operation.last_error["code"] == "INTERNAL"


@story
async def test_an_exchange_that_never_ends_is_ended(stage):
    async with stage.scene(parameters={"processing_timeout_s": 5.0}) as scene:
        scene.executor.acts["cmd_1"] = [Act(after_s=1000.0)]
        await scene.queue("cmd_1")
        scene.comes_back("m1", deadline_s=0.1)
        await sleep(5.5)
        operation = await scene.operation("cmd_1")
        assert operation.retry_count == 1
        assert operation.last_error is not None
        assert operation.last_error["code"] == "EXCHANGE_TIMEOUT"


@story
async def test_an_operation_whose_initiator_is_away_lets_others_pass_and_waits_for_it(stage):
    async with stage.scene() as scene:
        scene.executor.acts["req_1"] = [Act(Outcome(Ending.NOT_STARTED, waits_for="p1"), sends=False)]
        await scene.queue_pairing("req_1", priority="HIGH")
        await scene.queue("cmd_2")
        scene.comes_back("m1", deadline_s=1000)
        await sleep(300)
        assert scene.begun == ["req_1", "cmd_2"]
        assert (await scene.operation("req_1")).waits_for == "p1"
        scene.comes_back("p1")
        await sleep(1)
        assert scene.begun == ["req_1", "cmd_2", "req_1"]
        assert await scene.status("req_1") == "COMPLETED"


@story
async def test_an_initiator_that_is_back_before_anybody_waits_for_it_is_not_waited_for(stage):
    async with stage.scene() as scene:
        scene.executor.acts["req_1"] = [Act(Outcome(Ending.NOT_STARTED, waits_for="p1"), sends=False)]
        await scene.queue_pairing("req_1")
        scene.comes_back("p1", "m1")
        await sleep(3)
        assert scene.begun == ["req_1", "req_1"]
        assert await scene.status("req_1") == "COMPLETED"


@story
async def test_a_bus_that_is_down_is_tried_once_a_second_and_not_faster(stage):
    async with stage.scene() as scene:
        scene.executor.acts["cmd_1"] = [BUS_DOWN] * 3
        await scene.queue("cmd_1")
        scene.comes_back("m1")
        await scene.queue("cmd_2", priority="LOW")
        await sleep(2.5)
        assert scene.begun == ["cmd_1"] * 3
        assert (await scene.operation("cmd_1")).retry_count == 0
        await sleep(2)
        assert scene.begun == [*["cmd_1"] * 4, "cmd_2"]


@story
async def test_a_return_ends_the_pause(stage):
    async with stage.scene() as scene:
        scene.executor.acts["cmd_1"] = [BUS_DOWN]
        await scene.queue("cmd_1")
        scene.comes_back("m1")
        await sleep(0.2)
        scene.comes_back("m1")
        await sleep(0.2)
        assert scene.begun == ["cmd_1", "cmd_1"]
