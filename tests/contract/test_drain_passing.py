"""Components that queue nothing: what cannot pass through at once fails."""

from asyncio import sleep

from gateway.component import QueueMode
from gateway.event import GATEWAY, Event
from tests.doubles_queue import MemoryStore
from tests.drain_scene import BUS_DOWN, DECLINED, LONG, M, Scene, module, story

PASSING = (module("m1", 1, queue_mode=QueueMode.PASS_THROUGH), module("m2", 2))


async def failed_because_it_is_offline(scene: Scene, request_id: str) -> bool:
    operation = await scene.operation(request_id)
    error = operation.last_error or {}
    return (operation.status, error.get("code")) == ("FAILED", "COMPONENT_OFFLINE")


@story
async def test_what_waits_to_pass_through_fails_when_its_component_goes_away(stage):
    async with stage.scene(PASSING) as scene:
        scene.executor.usual = LONG
        scene.comes_back("m1", deadline_s=60)
        await sleep(1)
        await scene.queue("cmd_1", pass_through=True)
        await scene.queue("cmd_2", pass_through=True)
        await scene.queue("cmd_3")
        await sleep(1)
        await scene.falls_silent("m1")
        await sleep(0.1)
        assert await failed_because_it_is_offline(scene, "cmd_2")
        assert await scene.status("cmd_3") == "QUEUED"


@story
async def test_what_was_lost_in_the_middle_of_passing_does_not_wait_for_the_return(stage):
    async with stage.scene(PASSING) as scene:
        scene.executor.usual = LONG
        scene.comes_back("m1", deadline_s=60)
        await sleep(1)
        await scene.queue("cmd_1", pass_through=True)
        await sleep(1)
        await scene.falls_silent("m1")
        await sleep(1)
        assert await failed_because_it_is_offline(scene, "cmd_1")
        assert scene.begun == ["cmd_1"]


@story
async def test_what_waits_to_pass_through_fails_with_its_bus(stage):
    async with stage.scene(PASSING) as scene:
        scene.comes_back("m1", deadline_s=60)
        await sleep(1)
        scene.executor.acts["cmd_1"] = [DECLINED]
        await scene.queue("cmd_1", pass_through=True)
        await sleep(0.5)
        assert await scene.status("cmd_1") == "QUEUED"
        scene.roster.offline("m1")
        down = Event("bus_down", GATEWAY, scene.clock.wall_ms(), {"components": ["m1"]})
        await scene.store.write(lambda tx: tx.emit(down))
        await sleep(0.1)
        assert await failed_because_it_is_offline(scene, "cmd_1")


@story
async def test_what_was_queued_the_moment_its_component_went_away_fails_at_once(stage):
    async with stage.scene(PASSING) as scene:
        await scene.queue("cmd_1", pass_through=True)
        await sleep(0.1)
        assert await failed_because_it_is_offline(scene, "cmd_1")


@story
async def test_one_that_cannot_begin_fails_instead_of_waiting(stage):
    async with stage.scene(PASSING) as scene:
        scene.comes_back("m1")
        await sleep(1)
        await scene.queue("cmd_1", pass_through=True, expires_at=scene.clock.wall_ms() + 60_000)
        scene.roster.offline("m1")  # and no event yet
        await sleep(0.1)
        assert await failed_because_it_is_offline(scene, "cmd_1")


@story
async def test_one_that_is_here_and_cannot_be_reached_does_not_keep_what_was_to_pass_through(stage):
    async with stage.scene(PASSING) as scene:
        scene.executor.usual = BUS_DOWN
        scene.comes_back("m1", deadline_s=60)
        await sleep(1)
        await scene.queue("cmd_1", pass_through=True)
        await scene.queue("cmd_2", "m2")
        scene.comes_back("m2", deadline_s=60)
        await sleep(0.1)
        assert [await scene.status(each) for each in ("cmd_1", "cmd_2")] == ["FAILED", "QUEUED"]


@story
async def test_a_restart_gives_up_what_was_to_pass_through_to_those_that_are_not_there(stage):
    components = (*PASSING, module("m3", 3, queue_mode=QueueMode.PASS_THROUGH))
    async with stage.scene(components) as scene:
        await scene.stop()
        await scene.queue("cmd_1", "m1", pass_through=True)
        await scene.queue("cmd_3", "m3", pass_through=True)
        scene.roster.online("m3", ready=False)  # so it was stored; it has not been heard yet
        scene.drain = scene.new_drain()
        scene.start()
        await sleep(0.1)
        assert await failed_because_it_is_offline(scene, "cmd_1")
        assert await scene.status("cmd_3") == "QUEUED"
        scene.comes_back("m3")
        await sleep(0.1)
        assert await scene.status("cmd_3") == "COMPLETED"


@story
async def test_absences_of_components_that_queue_cost_nothing(stage):
    async with stage.scene(M) as scene:
        scene.comes_back("m1")
        await sleep(1)
        if isinstance(scene.store, MemoryStore):
            before = scene.store.writes
            await scene.falls_silent("m1")
            await sleep(1)
            assert scene.store.writes == before + 1
