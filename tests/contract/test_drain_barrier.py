"""Commands that start together or not at all."""

from asyncio import sleep
from typing import Any

from gateway.errors import Code
from gateway.operation import Ending, Kind, Operation, Outcome, Strategy
from tests.drain_scene import HOUR_MS, Scene, story

TARGETS = ("m1", "m2")


async def queue_together(scene: Scene, parent_id: str = "cmd_1", targets: tuple[str, ...] = TARGETS) -> None:
    now = scene.clock.wall_ms()
    common: dict[str, Any] = {
        "kind": Kind.COMMAND,
        "creator": "tech-anna",
        "created_at": now,
        "command_type": "identify",
    }
    common |= {"expires_at": now + HOUR_MS, "strategy": Strategy.BROADCAST}
    aggregation = {"policy": "ALL"}
    parent = Operation(
        **common, request_id=parent_id, target_component="", targets=targets, barrier=True, aggregation=aggregation
    )
    children = [
        Operation(**common, request_id=f"{parent_id}{each}", target_component=each, parent_id=parent_id)
        for each in targets
    ]
    await scene.store.write(lambda tx: tx.enqueue(parent, scene.parameters, children=children))


@story
async def test_children_of_a_barrier_start_once_all_their_targets_are_here(stage):
    async with stage.scene() as scene:
        await queue_together(scene)
        scene.comes_back("m1", deadline_s=60)
        await sleep(60)
        assert scene.begun == []
        scene.comes_back("m2", deadline_s=60)
        await sleep(1)
        assert sorted(scene.begun) == ["cmd_1m1", "cmd_1m2"]
        began = scene.began_at
        assert abs(began["cmd_1m1"] - began["cmd_1m2"]) < 0.1


@story
async def test_targets_that_are_never_here_at_one_moment_open_no_barrier(stage):
    async with stage.scene() as scene:
        await queue_together(scene)
        scene.comes_back("m1")
        await sleep(1)
        await scene.falls_silent("m1")
        scene.comes_back("m2")
        await sleep(60)
        assert scene.begun == []


@story
async def test_a_barrier_whose_targets_are_all_here_is_open_from_the_start(stage):
    async with stage.scene() as scene:
        scene.comes_back("m1", "m2", deadline_s=60)
        await sleep(1)
        await queue_together(scene)
        await sleep(0.1)
        assert sorted(scene.begun) == ["cmd_1m1", "cmd_1m2"]


@story
async def test_a_target_that_flaps_is_not_here(stage):
    async with stage.scene() as scene:
        scene.comes_back("m1", deadline_s=60)
        scene.comes_back("m2", deadline_s=60, flapping=True)
        await queue_together(scene)
        await sleep(20)
        assert scene.begun == []
        scene.comes_back("m2", deadline_s=60)  # as the monitor says when it has calmed down
        await sleep(1)
        assert len(scene.begun) == 2


@story
async def test_a_closed_barrier_outlives_a_restart_of_the_gateway(stage):
    async with stage.scene() as scene:
        await queue_together(scene)
        await scene.restart()
        scene.comes_back("m1", "m2", deadline_s=60)
        await sleep(1)
        assert sorted(scene.begun) == ["cmd_1m1", "cmd_1m2"]


@story
async def test_barriers_that_will_never_open_are_forgotten(stage):
    async with stage.scene() as scene:
        await queue_together(scene, "cmd_1")
        await queue_together(scene, "cmd_2")
        await queue_together(scene, "cmd_3")
        await sleep(0.1)
        barriers = scene.drain._barriers
        assert len(barriers) == 3
        no = Outcome(Ending.REFUSED, code=Code.INTERNAL)
        await scene.store.write(lambda tx: tx.cancel("cmd_1", "not needed", "tech-anna", scene.clock.wall_ms()))
        await scene.store.write(lambda tx: tx.reject("cmd_2", no, scene.clock.wall_ms()))
        await sleep(0.1)
        assert len(barriers) == 1
        await sleep(3601)
        assert len(barriers) == 0


@story
async def test_a_command_that_was_cancelled_as_its_barrier_opened_stays_cancelled(stage):
    async with stage.scene() as scene:
        await queue_together(scene)
        await scene.store.write(lambda tx: tx.cancel("cmd_1", "not needed", "tech-anna", scene.clock.wall_ms()))
        parent = await scene.operation("cmd_1")
        scene.drain._barriers.learn([parent])  # as if it had ended after the barriers were read
        scene.comes_back("m1", "m2", deadline_s=60)
        await sleep(1)
        assert await scene.status("cmd_1") == "CANCELLED"
        assert len(scene.drain._barriers) == 0
