"""What those who wait are told: that their turn is near, and that a queue has gone stale."""

import asyncio
from asyncio import sleep
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from gateway.event import GATEWAY
from gateway.operation import Priority
from gateway.queue.notices import Notices
from gateway.settings import Parameters
from tests.doubles_queue import Act, MemoryStore
from tests.drain_scene import BY_P1, DECLINED, HOUR_MS, Scene, Stage, story
from tests.looptime import virtual_time

LASTING: dict[str, Any] = {"expires_at": 1_790_000_000_000 + 1000 * HOUR_MS}


@asynccontextmanager
async def notices(scene: Scene) -> AsyncIterator[Notices]:
    """The notices of a gateway, for a while."""
    told = Notices(scene.store, lambda: scene.parameters, scene.clock)
    running = asyncio.create_task(told.run())
    yield told
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


def places(scene: Scene) -> list[tuple[str, int]]:
    told = [event.attributes for event in scene.told("position_notice")]
    assert all(event.subject == event.attributes["component_id"] for event in scene.told("position_notice"))
    return [(each["request_id"], each["position"]) for each in told]


def alerts(scene: Scene) -> list[str]:
    return [event.subject for event in scene.told("queue_alert") if event.attributes["alert"] == "STALE"]


@story
async def test_whoever_waits_is_told_when_two_others_are_left_and_when_none_is(stage):
    async with stage.scene() as scene, notices(scene) as told:
        scene.executor.usual = Act(after_s=5.0)
        for n in range(5):
            await scene.queue(f"cmd_{n}")
        await sleep(10)
        assert places(scene) == []
        scene.comes_back("m1", deadline_s=1000)
        await sleep(2)
        assert places(scene) == [("cmd_1", 1), ("cmd_3", 3)]
        await sleep(5)
        assert places(scene)[2:] == [("cmd_2", 1), ("cmd_4", 3)]
        await sleep(60)
        assert sorted(places(scene)[4:]) == [("cmd_3", 1), ("cmd_4", 1)]
        assert told._places._reached == {}, "nothing waits, nothing is remembered"


@story
async def test_a_look_is_made_once_a_second_so_what_is_done_faster_is_not_told_of(stage):
    async with stage.scene(parameters={"max_requests_per_component": 1000}) as scene, notices(scene):
        scene.executor.usual = Act(after_s=0.005)
        for n in range(300):
            await scene.queue(f"cmd_{n:03}")
        scene.comes_back("m1", deadline_s=1000)
        await sleep(10)
        assert len(scene.begun) == 300
        assert len(places(scene)) <= 2 * 3


@story
async def test_each_place_is_told_once_whatever_overtakes_and_fails(stage):
    async with stage.scene() as scene, notices(scene):
        scene.executor.usual = Act(after_s=3.0)
        scene.executor.acts["cmd_1"] = [DECLINED] * 3
        for n in range(4):
            await scene.queue(f"cmd_{n}")
        scene.comes_back("m1", deadline_s=1000)
        await sleep(1.5)
        await scene.queue("cmd_9", priority="CRITICAL")
        await sleep(100)
        assert len(places(scene)) == len(set(places(scene)))
        assert {("cmd_1", 1), ("cmd_2", 1), ("cmd_3", 1), ("cmd_3", 3)} <= set(places(scene))
        assert "cmd_9" not in {request_id for request_id, _ in places(scene)}


@story
async def test_one_that_was_queued_at_a_place_is_not_told_that_it_stands_there(stage):
    async with stage.scene() as scene, notices(scene):
        for n in range(4):
            await scene.queue(f"cmd_{n}")
        await scene.store.write(lambda tx: tx.cancel("cmd_3", "not needed", "tech-anna", scene.clock.wall_ms()))
        await sleep(2)
        assert places(scene) == []


@story
async def test_a_cancellation_and_a_new_order_move_others_up(stage):
    async with stage.scene() as scene, notices(scene):
        for n in range(5):
            await scene.queue(f"cmd_{n}")
        await sleep(2)
        await scene.store.write(lambda tx: tx.cancel("cmd_0", "not needed", "tech-anna", scene.clock.wall_ms()))
        await sleep(2)
        assert places(scene) == [("cmd_1", 1), ("cmd_3", 3)]
        if isinstance(scene.store, MemoryStore):
            return  # it knows no new order
        now = scene.clock.wall_ms()
        await scene.store.write(lambda tx: tx.set_priority("cmd_4", Priority.HIGH, "operator-olga", now))
        await sleep(2)
        assert places(scene)[2:] == [("cmd_4", 1)]


@story
async def test_who_waits_for_a_proxy_is_told_too(stage):
    async with stage.scene() as scene, notices(scene):
        for n in range(3):
            await scene.queue_pairing(f"req_{n}", "m1", **BY_P1)
        await sleep(2)
        await scene.store.write(lambda tx: tx.cancel("req_0", "not needed", "tech-anna", scene.clock.wall_ms()))
        await sleep(2)
        assert places(scene) == [("req_1", 1)]


@story
async def test_what_stands_at_the_front_at_the_start_is_taken_as_told(stage):
    async with stage.scene() as scene:
        for n in range(4):
            await scene.queue(f"cmd_{n}")
        async with notices(scene):
            await sleep(2)
            await scene.store.write(lambda tx: tx.cancel("cmd_2", "not needed", "tech-anna", scene.clock.wall_ms()))
            await sleep(2)
            assert places(scene) == [("cmd_3", 3)]


@story
async def test_an_operation_that_began_before_its_notice_was_written_is_not_told_of(stage):
    async with stage.scene() as scene:
        for n in range(2):
            await scene.queue(f"cmd_{n}")
        at_front = await scene.store.read(lambda reader: reader.front("m1", 3))
        await scene.store.write(lambda tx: tx.cancel("cmd_0", "not needed", "tech-anna", scene.clock.wall_ms()))
        told = Notices(scene.store, lambda: scene.parameters, scene.clock)
        await scene.store.write(lambda tx: told._emit_places(tx, [(each.request_id, 1) for each in at_front]))
        await sleep(0.1)
        assert [request_id for request_id, _ in places(scene)] == ["cmd_1"]


@story
async def test_a_queue_that_waits_for_too_long_is_reported_once(stage):
    async with stage.scene(parameters={"alert_oldest_hours": 2.0}) as scene, notices(scene):
        await scene.queue("cmd_1", "m1", **LASTING)
        await sleep(1800)
        await scene.queue("cmd_2", "m2", **LASTING)
        await scene.queue("cmd_3", "m1", **LASTING)
        await sleep(5395)
        assert alerts(scene) == []
        await sleep(10)
        assert alerts(scene) == ["m1"]
        (alert,) = scene.told("queue_alert")
        assert alert.attributes["component_id"] == "m1"
        assert alert.attributes["alert_oldest_hours"] == 2.0
        assert alert.attributes["oldest_request"] == "2026-09-21T14:13:20.000Z"
        await sleep(10_000)
        assert alerts(scene) == ["m1", "m2"]


@story
async def test_a_queue_is_reported_again_after_nothing_stale_was_in_it(stage):
    async with stage.scene(parameters={"alert_oldest_hours": 1.0}) as scene, notices(scene):
        await scene.queue("cmd_1", **LASTING)
        await sleep(4000)
        await scene.queue("cmd_2", **LASTING)
        await scene.store.write(lambda tx: tx.cancel("cmd_1", "not needed", "tech-anna", scene.clock.wall_ms()))
        await sleep(3000)
        assert alerts(scene) == ["m1"]
        await sleep(1000)
        assert alerts(scene) == ["m1", "m1"]


@story
async def test_failing_attempts_at_a_stale_operation_are_no_news(stage):
    async with stage.scene(parameters={"alert_oldest_hours": 1.0}) as scene, notices(scene):
        await scene.queue("cmd_1", **LASTING)
        scene.executor.usual = DECLINED
        await sleep(4000)
        scene.comes_back("m1", deadline_s=1000)
        await sleep(30)
        assert len(scene.begun) == 4
        assert alerts(scene) == ["m1"]


@story
async def test_a_changed_limit_is_judged_by_at_once(stage):
    async with stage.scene() as scene, notices(scene):
        await scene.queue("cmd_1", **LASTING)
        await sleep(7200)
        assert alerts(scene) == []
        scene.parameters = Parameters(alert_oldest_hours=1.0)
        await scene.tells("params_changed", GATEWAY)
        await sleep(1)
        assert alerts(scene) == ["m1"]


@virtual_time
async def test_while_nothing_happens_nothing_is_looked_at(tmp_path, caplog):
    async with Stage("memory", tmp_path, caplog).scene() as scene:
        store = scene.store
        assert isinstance(store, MemoryStore)
        await scene.queue("cmd_1", **LASTING)
        await scene.stop()  # the drain looks for what has expired
        async with notices(scene):
            await sleep(10)
            before = store.reads, store.writes
            await sleep(80_000)
            assert (store.reads, store.writes) == before


@virtual_time
async def test_a_full_disk_costs_notices_of_places_but_no_alert(tmp_path, caplog):
    stage = Stage("memory", tmp_path, caplog)
    async with stage.scene(parameters={"alert_oldest_hours": 1.0}) as scene, notices(scene):
        store = scene.store
        assert isinstance(store, MemoryStore)
        for n in range(2):
            await scene.queue(f"cmd_{n}", **LASTING)
        await sleep(3590)
        await store.write(lambda tx: tx.cancel("cmd_0", "not needed", "tech-anna", scene.clock.wall_ms()))
        store.full = True
        await sleep(60)
        store.full = False
        await sleep(60)
        assert places(scene) == []
        assert alerts(scene) == ["m1"]
