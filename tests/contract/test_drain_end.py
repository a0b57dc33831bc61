"""How drains end, and what a stop leaves behind."""

from asyncio import sleep

from tests.drain_scene import LONG, ONCE, story


@story
async def test_a_stop_leaves_the_attempt_under_way_to_the_next_start(stage):
    async with stage.scene() as scene:
        scene.executor.usual = LONG
        await scene.queue("cmd_1", "m1")
        await scene.queue("cmd_2", "m2", delivery=ONCE)
        scene.comes_back("m1", "m2", deadline_s=60)
        await sleep(1)
        await scene.stop()
        assert scene.left_behind == []
        assert [await scene.status(each) for each in ("cmd_1", "cmd_2")] == ["PROCESSING", "PROCESSING"]
        scene.start()
        await scene.restart()
        scene.comes_back("m1", "m2", deadline_s=60)
        await sleep(5)
        assert sorted(scene.begun) == ["cmd_1", "cmd_1", "cmd_2"]
        assert [await scene.status(each) for each in ("cmd_1", "cmd_2")] == ["COMPLETED", "ABANDONED"]


@story
async def test_one_drain_is_told_of_once_and_not_at_all_where_nothing_was_done(stage):
    async with stage.scene() as scene:
        for n in range(3):
            await scene.queue(f"cmd_{n}")
        scene.comes_back("m1", "m2")
        await sleep(30)
        (event,) = scene.told("queue_processed")
        assert event.attributes["requests_processed"] == event.attributes["successful"] == 3


@story
async def test_a_drain_cut_short_is_told_of_too(stage):
    async with stage.scene() as scene:
        scene.executor.acts["cmd_1"] = [LONG]
        await scene.queue("cmd_0")
        await scene.queue("cmd_1")
        scene.comes_back("m1")
        await sleep(1)
        await scene.falls_silent("m1")
        await sleep(1)
        (event,) = scene.told("queue_processed")
        assert (event.attributes["requests_processed"], event.attributes["failed"]) == (1, 0)
