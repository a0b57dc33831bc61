"""Commands of class safety: only for a component that is what it was when they were queued. And those that open."""

from asyncio import sleep

import pytest

from gateway.operation import Operation
from tests.drain_scene import ONCE, OPEN, Scene, story

SOUND = {"pack_state": 5, "pair_state": 2, "fault": 0}


async def precharge(scene: Scene, command_type: str = "precharge") -> Operation:
    """Queue a safety command, five seconds after the last thing that happened."""
    await sleep(5)
    await scene.queue("cmd_1", command_type=command_type, delivery=ONCE)
    await sleep(1)
    return await scene.operation("cmd_1")


def refusal(operation: Operation) -> str:
    """What it was refused for; "" where it was not."""
    assert operation.last_error is None or operation.last_error["code"] == "PRECONDITION_FAILED"
    return str(operation.last_error["message"]) if operation.last_error else ""


@story
async def test_one_for_a_sound_component_that_stays_is_carried_out(stage):
    async with stage.scene() as scene:
        scene.comes_back("m1", deadline_s=60, vitals=SOUND)
        assert (await precharge(scene)).status == "COMPLETED"


@pytest.mark.parametrize(
    ("vitals", "why"),
    [
        ({}, "is paired"),
        ({**SOUND, "pair_state": 1}, "is paired"),
        ({**SOUND, "fault": 1}, "without fault"),
        ({"pack_state": 5, "pair_state": 2}, "without fault"),
        ({**SOUND, "pack_state": 9}, "without fault"),
        ({"pair_state": 2, "fault": 0, "module_state": 9}, "without fault"),
    ],
)
def test_one_for_a_component_that_is_not_paired_and_sound_is_refused(vitals, why, tmp_path, caplog):
    @story
    async def told(stage):
        async with stage.scene() as scene:
            scene.comes_back("m1", deadline_s=60, vitals=vitals)
            operation = await precharge(scene)
            assert operation.status == "FAILED"
            assert why in refusal(operation)
            assert scene.begun == []

    told("memory", tmp_path, caplog)


@story
async def test_a_fault_does_not_keep_away_what_mends_it(stage):
    async with stage.scene() as scene:
        scene.comes_back("m1", deadline_s=60, vitals={**SOUND, "fault": 1, "pack_state": 9})
        assert (await precharge(scene, "clear_fault")).status == "COMPLETED"


@story
async def test_one_is_never_sent_after_an_absence_however_short(stage):
    async with stage.scene() as scene:
        await sleep(1)
        await scene.queue("cmd_1", command_type="precharge", delivery=ONCE)
        await sleep(1)
        scene.comes_back("m1", deadline_s=60, vitals=SOUND)
        await sleep(1)
        assert "was away or booted" in refusal(await scene.operation("cmd_1"))
        assert scene.begun == []


@story
async def test_one_is_never_sent_after_a_boot_that_was_no_absence(stage):
    async with stage.scene() as scene:
        scene.comes_back("m1", deadline_s=60, vitals=SOUND)
        await sleep(5)
        scene.executor.identify_s = 0.5
        await scene.queue("cmd_1", command_type="precharge", delivery=ONCE)
        scene.comes_back("m1", restarted=True)
        await sleep(2)
        assert "was away or booted" in refusal(await scene.operation("cmd_1"))
        assert scene.begun == []


@story
async def test_one_is_never_sent_after_a_restart_of_the_gateway(stage):
    async with stage.scene() as scene:
        scene.comes_back("m1", deadline_s=60, vitals=SOUND)
        await sleep(5)
        await scene.stop()
        await scene.queue("cmd_1", command_type="precharge", delivery=ONCE)
        await scene.restart()
        scene.drain.ready("m1")  # it has been here all the time
        await sleep(1)
        assert "gateway was restarted" in refusal(await scene.operation("cmd_1"))
        assert (await precharge_again(scene)).status == "COMPLETED"


async def precharge_again(scene: Scene) -> Operation:
    await scene.queue("cmd_2", command_type="precharge", delivery=ONCE)
    await sleep(1)
    return await scene.operation("cmd_2")


@story
async def test_what_brings_a_battery_into_a_safe_state_waits_neither_to_settle_nor_for_somebody_to_ask(stage):
    async with stage.scene(presence={"settle_ms": 500}) as scene:
        await scene.queue("cmd_1", "m3", **OPEN)
        await scene.queue("cmd_2", "m1", **OPEN)
        back = scene.clock.monotonic()
        scene.comes_back("m1", "m3", deadline_s=60)
        await sleep(0.1)
        assert {each: round(at - back, 2) for each, at in scene.began_at.items()} == {"cmd_1": 0.0, "cmd_2": 0.0}
        scene.comes_back("m2", deadline_s=60, flapping=True)
        await sleep(1)
        await scene.queue("cmd_3", "m2", **OPEN)
        await sleep(0.1)
        assert scene.begun[-1] == "cmd_3"


@story
async def test_what_is_to_happen_after_such_a_command_does_not_wait_to_settle_either(stage):
    async with stage.scene(presence={"settle_ms": 2000}) as scene:
        scene.comes_back("m1", "m2", deadline_s=60)
        await scene.queue("cmd_1", "m1", **OPEN)
        await scene.queue("cmd_2", "m2", **OPEN, depends_on=("cmd_1",))
        await sleep(0.5)
        assert scene.begun == ["cmd_1", "cmd_2"]


@story
async def test_work_that_waited_for_an_operation_of_another_component_begins_when_that_has_ended(stage):
    async with stage.scene() as scene:
        scene.comes_back("m1", "m2", deadline_s=60)
        await sleep(1)
        await scene.queue("cmd_1", "m1")
        await scene.queue("cmd_2", "m2", depends_on=("cmd_1",))
        await sleep(0.1)
        assert scene.begun == ["cmd_1", "cmd_2"]
        await scene.falls_silent("m1")
        await scene.queue("cmd_3", "m1")
        await scene.queue("cmd_4", "m2", depends_on=("cmd_3",))
        await sleep(60)
        assert scene.begun == ["cmd_1", "cmd_2"]
