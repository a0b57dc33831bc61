"""What waited too long."""

from asyncio import sleep

import pytest

from tests.drain_scene import DECLINED, HOUR_MS, LONG, story


@story
async def test_what_waited_too_long_expires_on_time_and_is_never_sent(stage):
    async with stage.scene() as scene:
        await sleep(1)
        now = scene.clock.wall_ms()
        await scene.queue("cmd_2", expires_at=now + 90_000)
        await sleep(0.1)
        await scene.queue("cmd_1", expires_at=now + 10_000)  # later, and due earlier
        await sleep(9.8)
        assert await scene.status("cmd_1") == "QUEUED"
        await sleep(0.2)
        assert await scene.status("cmd_1") == "EXPIRED"
        await sleep(80)
        assert await scene.status("cmd_2") == "EXPIRED"
        assert [event.at - now for event in scene.told("request_expired")] == pytest.approx([10_000, 90_000], abs=20)


@story
async def test_a_whole_queue_may_expire_at_once(stage):
    async with stage.scene(parameters={"max_requests_per_component": 1000}) as scene:
        for n in range(250):
            await scene.queue(f"cmd_{n}", expires_at=scene.clock.wall_ms() + 10_000)
        await sleep(10.1)
        assert len(scene.told("request_expired")) == 250


@story
async def test_nothing_expires_before_the_time_is_known(stage):
    async with stage.scene() as scene:
        scene.clock.is_trusted = False
        await scene.queue("cmd_1", expires_at=scene.clock.wall_ms() + 1000)
        await scene.queue("cmd_2", expires_at=scene.clock.wall_ms() + 1000)
        await sleep(100)
        assert scene.told("request_expired") == []
        scene.executor.acts["cmd_1"] = [LONG]
        scene.comes_back("m1")
        await sleep(1)
        assert scene.begun == ["cmd_1"]
        scene.clock.is_trusted = True
        await sleep(60)
        assert await scene.status("cmd_1") == "COMPLETED"
        assert await scene.status("cmd_2") == "EXPIRED"


@story
async def test_what_is_queued_before_the_time_is_known_has_its_whole_time_once_it_is(stage):
    async with stage.scene() as scene:
        await scene.queue("cmd_before", expires_at=scene.clock.wall_ms() + HOUR_MS)
        scene.clock.is_trusted = False
        await scene.queue("cmd_short", expires_at=scene.clock.wall_ms() + 30_000)
        await scene.queue("cmd_long", expires_at=scene.clock.wall_ms() + 90_000)
        await scene.queue("cmd_done", "m2")
        await sleep(60)
        scene.comes_back("m2")
        await sleep(1)
        scene.clock.wall_offset_ms += 400 * 24 * HOUR_MS
        scene.clock.is_trusted = True
        await sleep(6)
        expired = [event.attributes["request_id"] for event in scene.told("request_expired")]
        assert expired == ["cmd_before", "cmd_short"]
        assert await scene.status("cmd_done") == "COMPLETED"
        await sleep(22)
        assert await scene.status("cmd_long") == "QUEUED"
        await sleep(2)
        assert await scene.status("cmd_long") == "EXPIRED"


@story
async def test_expired_work_stays_where_the_parameters_say_so_and_is_not_sent(stage):
    async with stage.scene(parameters={"auto_cancel_expired": False}) as scene:
        await scene.queue("cmd_1", expires_at=scene.clock.wall_ms() + 1000)
        await sleep(10)
        scene.comes_back("m1")
        await sleep(10)
        assert await scene.status("cmd_1") == "QUEUED"
        assert scene.begun == []


@story
async def test_a_retry_that_comes_too_late_expires(stage):
    async with stage.scene() as scene:
        scene.executor.acts["req_1"] = [DECLINED]
        await scene.queue_pairing("req_1", expires_at=scene.clock.wall_ms() + 30_000)
        scene.comes_back("m1")
        await sleep(30.1)
        assert await scene.status("req_1") == "EXPIRED"
