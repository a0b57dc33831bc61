"""What becomes of an operation whose component is lost in the middle."""

from asyncio import sleep

from gateway.errors import Code
from gateway.event import Event
from gateway.operation import Ending, Outcome
from tests.doubles_queue import Act
from tests.drain_scene import LONG, ONCE, UNANSWERED, story


@story
async def test_a_component_lost_in_the_middle_is_no_failure_of_the_operation(stage):
    async with stage.scene() as scene:
        scene.executor.acts["cmd_1"] = [LONG]
        scene.executor.acts["cmd_0"] = [LONG]
        await scene.queue("cmd_0", delivery=ONCE)
        await scene.queue("cmd_1")
        for _ in range(2):
            scene.comes_back("m1")
            await sleep(1)
            await scene.falls_silent("m1")
            await sleep(5)
        once, least = await scene.operation("cmd_0"), await scene.operation("cmd_1")
        assert once.status == "ABANDONED"
        assert once.last_error is not None
        assert once.last_error["code"] == "OUTCOME_UNKNOWN"
        assert (least.status, least.retry_count) == ("QUEUED", 0)
        assert scene.begun == ["cmd_0", "cmd_1"]
        scene.comes_back("m1")
        await sleep(1)
        assert await scene.status("cmd_1") == "COMPLETED"
        assert scene.begun == ["cmd_0", "cmd_1", "cmd_1"]


@story
async def test_a_boot_in_the_middle_loses_the_exchange_unless_it_was_asked_for(stage):
    async with stage.scene() as scene:
        scene.executor.usual = LONG
        await scene.queue("cmd_1", "m1")
        await scene.queue("cmd_2", "m2", command_type="reset")
        scene.comes_back("m1", "m2", deadline_s=60)
        await sleep(1)
        scene.comes_back("m1", "m2", restarted=True, deadline_s=60)
        await sleep(5)
        assert sorted(scene.begun) == ["cmd_1", "cmd_1", "cmd_2"]
        assert (await scene.operation("cmd_1")).retry_count == 0
        assert await scene.status("cmd_2") == "COMPLETED"


@story
async def test_a_reset_outlives_the_silence_it_causes(stage):
    async with stage.scene() as scene:
        scene.executor.usual = Act(after_s=8.0)
        await scene.queue("cmd_1", command_type="reset")
        scene.comes_back("m1")
        await sleep(1)
        await scene.falls_silent("m1")
        await sleep(3)
        scene.comes_back("m1")
        await sleep(6)
        assert scene.begun == ["cmd_1"]
        assert await scene.status("cmd_1") == "COMPLETED"


@story
async def test_a_reset_from_which_a_component_does_not_come_back_in_time_is_a_failure_and_not_tried_for_ever(stage):
    async with stage.scene(parameters={"enable_retry": False}) as scene:
        scene.executor.usual = Act(UNANSWERED.outcome, after_s=5.0)
        await scene.queue("cmd_1", command_type="reset")
        scene.comes_back("m1")
        await sleep(1)
        await scene.falls_silent("m1")
        await sleep(5)
        assert await scene.status("cmd_1") == "FAILED"


@story
async def test_an_absence_too_short_to_be_stored_in_time_loses_the_attempt_before_it_and_not_the_one_after(stage):
    async with stage.scene() as scene:
        scene.executor.usual = LONG
        await scene.queue("cmd_1", delivery=ONCE)
        await scene.queue("cmd_2", delivery=ONCE)
        scene.comes_back("m1", deadline_s=60)
        await sleep(1)
        scene.roster.offline("m1")
        await sleep(0.3)
        scene.comes_back("m1", deadline_s=60)
        await sleep(0.5)
        assert scene.begun == ["cmd_1", "cmd_2"]
        change = Event("component_offline", "m1", scene.clock.wall_ms())
        await scene.store.write(lambda tx: tx.emit(change))  # the news of the absence comes late
        await sleep(3)
        assert await scene.status("cmd_1") == "ABANDONED"
        assert await scene.status("cmd_2") == "COMPLETED"


@story
async def test_no_answer_and_no_heartbeat_waits_for_the_verdict_and_offline_makes_it_a_loss(stage):
    async with stage.scene() as scene:
        scene.executor.acts["cmd_1"] = [UNANSWERED]
        await scene.queue("cmd_1")
        scene.comes_back("m1", deadline_s=3.5)
        await sleep(3)
        assert await scene.status("cmd_1") == "PROCESSING"
        await scene.falls_silent("m1")
        await sleep(0.1)
        operation = await scene.operation("cmd_1")
        assert (operation.status, operation.retry_count, operation.not_before) == ("QUEUED", 0, 0)


@story
async def test_no_answer_and_then_a_heartbeat_is_a_counted_failure(stage):
    async with stage.scene() as scene:
        scene.executor.acts["cmd_1"] = [UNANSWERED]
        await scene.queue("cmd_1")
        scene.comes_back("m1", deadline_s=3.5)
        await sleep(2)
        assert await scene.status("cmd_1") == "PROCESSING"
        scene.roster.heartbeat("m1")
        await sleep(0.1)
        operation = await scene.operation("cmd_1")
        assert (operation.status, operation.retry_count) == ("QUEUED", 1)


@story
async def test_no_answer_from_one_that_was_heard_meanwhile_counts_at_once(stage):
    async with stage.scene() as scene:
        scene.executor.acts["cmd_1"] = [UNANSWERED]
        await scene.queue("cmd_1")
        scene.comes_back("m1")
        await sleep(0.3)
        scene.roster.heartbeat("m1")
        await sleep(0.25)
        assert (await scene.operation("cmd_1")).retry_count == 1


@story
async def test_a_verdict_that_never_comes_is_not_waited_for_longer_than_the_deadline_and_a_second(stage):
    async with stage.scene() as scene:
        scene.executor.acts["cmd_1"] = [UNANSWERED]
        await scene.queue("cmd_1")
        scene.comes_back("m1", deadline_s=3.5)
        await sleep(4.4)
        assert (await scene.operation("cmd_1")).retry_count == 0
        await sleep(0.3)
        assert (await scene.operation("cmd_1")).retry_count == 1


@story
async def test_a_boot_during_the_wait_for_the_verdict_is_a_loss(stage):
    async with stage.scene() as scene:
        scene.executor.acts["cmd_1"] = [UNANSWERED]
        await scene.queue("cmd_1")
        scene.comes_back("m1", deadline_s=3.5)
        await sleep(1)
        scene.comes_back("m1", restarted=True)
        await sleep(1)
        operation = await scene.operation("cmd_1")
        assert (operation.status, operation.retry_count) == ("COMPLETED", 0)


@story
async def test_an_initiator_lost_in_the_middle_is_waited_for_and_is_no_failure(stage):
    silent = Act(Outcome(Ending.UNANSWERED, code=Code.EXCHANGE_TIMEOUT, waits_for="p1"), after_s=0.5)
    async with stage.scene() as scene:
        scene.executor.acts["req_1"] = [silent]
        await scene.queue_pairing("req_1")
        scene.comes_back("m1", "p1", deadline_s=60)
        await sleep(1)
        scene.roster.heartbeat("m1", deadline_s=60)  # the target lives: that is no verdict on the initiator
        await sleep(1)
        assert await scene.status("req_1") == "PROCESSING"
        await scene.falls_silent("p1")
        await sleep(0.5)
        operation = await scene.operation("req_1")
        assert (operation.status, operation.retry_count, operation.waits_for) == ("QUEUED", 0, "p1")
        scene.comes_back("p1", deadline_s=60)
        await sleep(2)
        assert await scene.status("req_1") == "COMPLETED"


@story
async def test_an_initiator_that_lives_and_does_not_answer_is_a_counted_failure(stage):
    silent = Act(Outcome(Ending.UNANSWERED, code=Code.EXCHANGE_TIMEOUT, waits_for="p1"), after_s=0.5)
    async with stage.scene() as scene:
        scene.executor.acts["req_1"] = [silent]
        await scene.queue_pairing("req_1")
        scene.comes_back("m1", "p1", deadline_s=60)
        await sleep(2)
        scene.roster.heartbeat("p1", deadline_s=60)
        await sleep(0.5)
        operation = await scene.operation("req_1")
        assert (operation.status, operation.retry_count, operation.waits_for) == ("QUEUED", 1, None)
