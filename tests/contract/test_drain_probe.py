"""Who is it? Asked before anything is sent, and what the answer means."""

from asyncio import sleep

import pytest

from tests.drain_scene import module, story


@story
async def test_a_component_is_asked_who_it_is_after_each_return_before_anything_is_sent(stage):
    async with stage.scene() as scene:
        await scene.queue("cmd_1")
        scene.executor.identify_s = 0.2
        scene.comes_back("m1")
        await sleep(1)
        assert len(scene.executor.asked) == 1
        assert scene.began_at["cmd_1"] >= scene.executor.asked[0][1] + 0.2
        await scene.queue("cmd_2")
        await sleep(1)
        assert len(scene.executor.asked) == 1  # it was not away
        scene.comes_back("m1", restarted=True)
        await sleep(1)
        assert len(scene.executor.asked) == 2


@story
async def test_the_serial_number_it_answers_first_is_learned(stage):
    async with stage.scene() as scene:
        scene.comes_back("m1")
        await sleep(1)
        assert scene.registry.get("m1").serial == 0xA2


@story
async def test_one_that_does_not_answer_is_reported_once_and_asked_every_ten_seconds(stage):
    async with stage.scene() as scene:
        serial = scene.executor.serials.pop("m1")
        await scene.queue("cmd_1")
        scene.comes_back("m1")
        await sleep(25)
        first = scene.executor.asked[0][1]
        assert [at - first for _, at in scene.executor.asked] == pytest.approx([0, 10, 20])
        assert [event.subject for event in scene.told("component_unresponsive")] == ["m1"]
        assert await scene.status("cmd_1") == "QUEUED"
        assert (await scene.operation("cmd_1")).retry_count == 0
        scene.executor.serials["m1"] = serial
        await sleep(6)
        assert await scene.status("cmd_1") == "COMPLETED"


@story
async def test_an_answer_from_before_a_boot_does_not_count(stage):
    async with stage.scene() as scene:
        await scene.queue("cmd_1")
        scene.executor.identify_s = 0.3
        scene.comes_back("m1")
        await sleep(0.1)
        scene.comes_back("m1", restarted=True)
        await sleep(0.3)
        assert scene.begun == []
        await sleep(0.5)
        assert len(scene.executor.asked) == 2
        assert scene.begun == ["cmd_1"]


@story
async def test_a_question_that_breaks_or_never_ends_is_an_answer_not_given(stage):
    async with stage.scene(parameters={"processing_timeout_s": 2.0}) as scene:
        scene.executor.identify_s = 100.0
        scene.comes_back("m1")
        await sleep(3)
        assert len(scene.told("component_unresponsive")) == 1
        scene.executor.identify_s, scene.executor.identify_raises = 0.0, RuntimeError("a bug")
        scene.comes_back("m2")
        await sleep(3)
        assert len(scene.told("component_unresponsive")) == 2


@story
async def test_silence_of_one_that_is_gone_again_is_no_news(stage):
    async with stage.scene() as scene:
        del scene.executor.serials["m1"]
        scene.executor.identify_s = 0.6
        scene.comes_back("m1")
        await sleep(0.3)
        await scene.falls_silent("m1")
        await sleep(30)
        assert scene.told("component_unresponsive") == []
        assert len(scene.executor.asked) == 1


@story
async def test_what_was_queued_for_a_replaced_device_is_not_sent_to_the_new_one(stage):
    async with stage.scene([module("m1", serial=0x11)]) as scene:
        for n in range(3):
            await scene.queue(f"cmd_old{n}", bound_serial=0x11)
        await scene.queue("cmd_any")
        scene.comes_back("m1")
        await sleep(1)
        assert scene.begun == ["cmd_any"]
        old = await scene.operation("cmd_old1")
        assert old.status == "FAILED"
        assert old.last_error is not None
        assert old.last_error["code"] == "SERIAL_MISMATCH"
        (event,) = scene.told("component_replaced")
        assert event.attributes == {"old": "0x0000000000000011", "new": "0x00000000000000A1"}
        assert scene.registry.get("m1").serial == 0xA1


@story
async def test_what_was_queued_for_a_replaced_device_may_depend_on_each_other(stage):
    async with stage.scene([module("m1", serial=0x11)]) as scene:
        await scene.queue("cmd_1", bound_serial=0x11)
        await scene.queue("cmd_2", bound_serial=0x11, depends_on=("cmd_1",))
        await scene.queue("cmd_any")
        scene.comes_back("m1")
        await sleep(1)
        assert [await scene.status(each) for each in ("cmd_1", "cmd_2", "cmd_any")] == ["FAILED", "FAILED", "COMPLETED"]


@story
async def test_another_device_than_the_configured_one_is_never_spoken_to(stage):
    async with stage.scene([module("m1", serial=0x11)], pinned=["m1"]) as scene:
        await scene.queue("cmd_old", bound_serial=0x11)
        await scene.queue("cmd_any")
        for _ in range(2):
            scene.comes_back("m1")
            await sleep(1)
        await scene.queue("cmd_new")
        report = await scene.ask_for_drain("m1")
        assert report.requests_processed == 0
        assert scene.begun == []
        assert await scene.status("cmd_old") == "FAILED"
        assert await scene.status("cmd_any") == "QUEUED"
        assert len(scene.told("component_replaced")) == 1
        assert scene.registry.get("m1").serial == 0x11
        scene.executor.serials["m1"] = 0x11  # the right one is put back
        scene.comes_back("m1")
        await sleep(1)
        assert scene.begun == ["cmd_any", "cmd_new"]


@story
async def test_one_that_cannot_be_asked_is_not_asked(stage):
    async with stage.scene([module("m1", probe=False)]) as scene:
        await scene.queue("cmd_1")
        scene.comes_back("m1")
        await sleep(1)
        assert scene.executor.asked == []
        assert scene.begun == ["cmd_1"]


@story
async def test_an_operation_bound_to_another_serial_number_fails_before_its_first_frame(stage):
    async with stage.scene() as scene:
        scene.comes_back("m1")
        await sleep(1)
        await scene.queue("cmd_1", bound_serial=0x77)
        await sleep(1)
        assert scene.begun == []
        operation = await scene.operation("cmd_1")
        assert operation.status == "FAILED"
        assert operation.last_error is not None
        assert operation.last_error["code"] == "SERIAL_MISMATCH"
