"""What may be sent once is sent once, however an attempt ends; and one component does one thing at a time."""

import asyncio
from asyncio import sleep

import pytest

from gateway.errors import Code
from gateway.operation import Ending, Kind, Operation, Outcome
from gateway.queue.drain.attempt import Attempts
from gateway.settings import Parameters
from tests.doubles_queue import Act, FakeCommands
from tests.drain_scene import HOUR_MS, LONG, ONCE, story

NEVER_AGAIN = {  # how an attempt ended, and whether a frame left -> what the operation is then, for good
    (Ending.DONE, True): "COMPLETED",
    (Ending.REFUSED, True): "FAILED",
    (Ending.REFUSED, False): "FAILED",
    (Ending.DECLINED, True): "FAILED",
    (Ending.UNANSWERED, True): "ABANDONED",
    (Ending.LOST, True): "ABANDONED",
    (Ending.NOT_STARTED, True): "ABANDONED",
}
AGAIN = [(Ending.DECLINED, False), (Ending.UNANSWERED, False), (Ending.LOST, False), (Ending.NOT_STARTED, False)]


@pytest.mark.parametrize(("ending", "sent"), [*NEVER_AGAIN, *AGAIN])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_what_may_be_sent_once_is_sent_once_however_it_ends(kind, ending, sent, tmp_path, caplog):
    @story
    async def told(stage):
        async with stage.scene() as scene:
            code = None if ending is Ending.DONE else Code.DEVICE_REFUSED
            scene.executor.acts["cmd_1"] = [Act(Outcome(ending, code=code), sends=sent)]
            await scene.queue("cmd_1", delivery=ONCE)
            scene.comes_back("m1", deadline_s=0.1)
            await sleep(5)
            await scene.restart()
            scene.comes_back("m1", deadline_s=60)
            await sleep(300)
            assert scene.begun.count("cmd_1") == (1 if (ending, sent) in NEVER_AGAIN else 2)
            assert await scene.status("cmd_1") == NEVER_AGAIN.get((ending, sent), "COMPLETED")

    told(kind, tmp_path, caplog)


@story
async def test_what_may_be_sent_once_is_not_sent_again_after_a_crash_in_the_middle(stage):
    async with stage.scene() as scene:
        scene.executor.usual = LONG
        await scene.queue("cmd_1", delivery=ONCE)
        scene.comes_back("m1", deadline_s=60)
        await sleep(1)
        await scene.restart()
        scene.comes_back("m1", deadline_s=60)
        await sleep(60)
        assert scene.begun == ["cmd_1"]
        operation = await scene.operation("cmd_1")
        assert operation.status == "ABANDONED"
        assert operation.last_error is not None
        assert operation.last_error["code"] == "OUTCOME_UNKNOWN"


@story
async def test_a_second_start_with_a_component_that_is_busy_sends_nothing(stage):
    async with stage.scene() as scene:
        scene.executor.usual = LONG
        scene.comes_back("m1", deadline_s=60)
        attempts = Attempts(
            store=scene.store,
            roster=scene.roster,
            executor=scene.executor,
            registry=scene.registry,
            commands=FakeCommands(),
            parameters=Parameters,
            clock=scene.clock,
        )
        now = scene.clock.wall_ms()
        first, second = (
            Operation(name, Kind.COMMAND, "m1", "tech-anna", now, now + HOUR_MS, command_type="identify")
            for name in ("cmd_1", "cmd_2")
        )
        under_way = asyncio.create_task(attempts.carry_out(first))
        await sleep(1)
        outcome, sent = await attempts.carry_out(second)
        assert (outcome.ending, outcome.code, sent) == (Ending.NOT_STARTED, Code.ALREADY_PROCESSING, False)
        assert (await under_way)[0].ending is Ending.DONE
        assert scene.begun == ["cmd_1"]
