"""Components that have said that they sleep: a wake reaches them, nothing else."""

from asyncio import sleep
from itertools import pairwise

import pytest

from gateway.event import GATEWAY
from gateway.operation import Ending, Outcome
from gateway.presence import Reason
from tests.doubles_queue import Act
from tests.drain_scene import BUS_DOWN, EMERGENCY, LONG, ONCE, UNANSWERED, WAKE, module, story

ASLEEP = Reason.DECLARED_SLEEP


@story
async def test_a_sleeper_is_woken_without_being_asked_who_it_is_and_does_the_rest_when_it_is_back(stage):
    async with stage.scene() as scene:
        await scene.falls_silent("m1", ASLEEP)
        await scene.queue("cmd_1", priority="HIGH")
        await scene.queue_pairing("req_1", **EMERGENCY)
        await scene.queue("cmd_2", **WAKE, priority="LOW")
        await sleep(100)
        assert scene.begun == ["cmd_2"]
        assert scene.executor.asked == []
        assert await scene.status("cmd_2") == "COMPLETED"
        scene.comes_back("m1")
        await sleep(1)
        assert scene.begun == ["cmd_2", "req_1", "cmd_1"]
        assert len(scene.executor.asked) == 1


@story
async def test_a_component_that_is_lost_and_not_asleep_is_not_woken(stage):
    async with stage.scene() as scene:
        await scene.queue("cmd_1", **WAKE)
        await scene.falls_silent("m1")
        await sleep(10)
        assert scene.begun == []
        await scene.falls_silent("m1", ASLEEP)
        await sleep(1)
        assert scene.begun == ["cmd_1"]


@story
async def test_a_sleeper_that_does_not_answer_is_woken_again_after_one_two_and_four_seconds_and_then_given_up(stage):
    async with stage.scene() as scene:
        await scene.falls_silent("m1", ASLEEP)
        scene.executor.usual = UNANSWERED
        await scene.queue("cmd_1", **WAKE)
        await sleep(3600)
        begins = [begin for _, _, begin, _ in scene.executor.journal]
        gaps = [later - earlier for earlier, later in pairwise(begins)]
        assert gaps == pytest.approx([1.5, 2.5, 4.5], abs=0.1)
        operation = await scene.operation("cmd_1")
        assert (operation.status, operation.retry_count) == ("FAILED", 3)


@story
async def test_a_wake_that_must_not_be_sent_twice_is_not(stage):
    async with stage.scene() as scene:
        await scene.falls_silent("m1", ASLEEP)
        scene.executor.usual = UNANSWERED
        await scene.queue("cmd_1", **WAKE, delivery=ONCE)
        await sleep(60)
        assert scene.begun == ["cmd_1"]
        assert await scene.status("cmd_1") == "ABANDONED"


@story
async def test_the_return_that_a_wake_brings_about_does_not_cut_it_off(stage):
    async with stage.scene() as scene:
        await scene.falls_silent("m1", ASLEEP)
        scene.executor.acts["cmd_1"] = [LONG]
        await scene.queue("cmd_1", **WAKE, delivery=ONCE)
        await scene.queue("cmd_2")
        await sleep(1)
        scene.comes_back("m1", deadline_s=60)
        await sleep(0.5)
        assert await scene.status("cmd_1") == "PROCESSING"
        await sleep(1)
        assert [await scene.status(each) for each in ("cmd_1", "cmd_2")] == ["COMPLETED", "COMPLETED"]
        assert scene.begun == ["cmd_1", "cmd_2"]


@story
async def test_a_wake_that_waited_over_a_restart_of_the_gateway_is_carried_to_one_that_still_sleeps(stage):
    async with stage.scene() as scene:
        await scene.stop()
        await scene.falls_silent("m1", ASLEEP)
        await scene.queue("cmd_1", **WAKE)
        await scene.restart()
        await sleep(0.1)
        assert scene.begun == ["cmd_1"]


@story
async def test_what_keeps_a_wake_from_a_sleeper_is_tried_every_ten_seconds(stage):
    async with stage.scene() as scene:
        await scene.falls_silent("m1", ASLEEP)
        scene.executor.acts["cmd_1"] = [BUS_DOWN] * 3
        await scene.queue("cmd_1", **WAKE)
        await sleep(29)
        assert scene.begun == ["cmd_1"] * 3
        assert (await scene.operation("cmd_1")).retry_count == 0
        await sleep(2)
        assert await scene.status("cmd_1") == "COMPLETED"


@story
async def test_a_wake_lost_with_the_bus_is_tried_again_uncounted(stage):
    async with stage.scene() as scene:
        await scene.falls_silent("m1", ASLEEP)
        scene.executor.acts["cmd_1"] = [Act(Outcome(Ending.LOST))]
        await scene.queue("cmd_1", **WAKE)
        await sleep(9)
        assert (await scene.operation("cmd_1")).retry_count == 0
        await sleep(2)
        assert scene.begun == ["cmd_1", "cmd_1"]


@story
async def test_a_sleeper_in_manual_mode_is_woken_by_who_asks_for_its_drain(stage):
    async with stage.scene() as scene:
        await scene.falls_silent("m3", ASLEEP)
        await scene.queue("cmd_1", "m3", **WAKE)
        await sleep(60)
        assert scene.begun == []
        assert (await scene.ask_for_drain("m3")).successful == 1


@story
async def test_a_sleeper_that_flaps_is_left_alone_until_it_calms_down(stage):
    async with stage.scene() as scene:
        await scene.falls_silent("m1", ASLEEP)
        scene.roster.flapping("m1", flaps=True)
        await scene.queue("cmd_1", **WAKE)
        await scene.queue_pairing("req_1", **EMERGENCY)
        await sleep(60)
        assert scene.begun == []
        scene.roster.flapping("m1", flaps=False)
        await sleep(6)
        assert scene.begun == ["cmd_1"]


@story
async def test_another_device_than_the_configured_one_is_not_woken_either(stage):
    async with stage.scene([module("m1", serial=0x11)], pinned=["m1"]) as scene:
        scene.comes_back("m1")
        await sleep(1)
        await scene.falls_silent("m1", ASLEEP)
        await scene.queue("cmd_1", **WAKE)
        await scene.tells("params_changed", GATEWAY)
        await sleep(60)
        assert scene.begun == []
