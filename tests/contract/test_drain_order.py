"""When a drain begins, and in which order it works."""

from asyncio import sleep
from itertools import pairwise

import pytest

from gateway.event import GATEWAY
from gateway.ports import ComponentLoad, ExchangeTimes
from gateway.settings import Parameters
from tests.doubles_queue import Act
from tests.drain_scene import EMERGENCY, LONG, M, module, story


@story
async def test_work_for_an_absent_component_is_done_in_order_when_it_comes_back(stage):
    async with stage.scene() as scene:
        for priority in ("LOW", "NORMAL", "CRITICAL", "HIGH"):
            await scene.queue(f"cmd_{priority}", priority=priority)
        await sleep(5)
        assert scene.begun == []
        scene.comes_back("m1")
        await sleep(5)
        assert scene.begun == ["cmd_CRITICAL", "cmd_HIGH", "cmd_NORMAL", "cmd_LOW"]
        assert await scene.status("cmd_LOW") == "COMPLETED"


@story
async def test_a_component_that_came_back_is_left_to_settle_but_not_in_an_emergency(stage):
    async with stage.scene(presence={"settle_ms": 500, "settle_jitter_ms": 250}) as scene:
        await scene.queue("cmd_1", "m1")
        await scene.queue("cmd_2", "m2")
        await scene.queue_pairing("req_1", "m2", **EMERGENCY)
        back = scene.clock.monotonic()
        scene.comes_back("m1", "m2", deadline_s=60)
        await sleep(3)
        assert scene.began_at["req_1"] - back < 0.01
        assert 0.5 <= scene.began_at["cmd_1"] - back <= 0.76
        assert 0.5 <= scene.began_at["cmd_2"] - back <= 0.76


@story
async def test_an_emergency_that_arrives_while_a_component_settles_does_not_wait(stage):
    async with stage.scene(presence={"settle_ms": 500}) as scene:
        scene.comes_back("m1")
        await sleep(0.1)
        await scene.queue("cmd_1")
        await scene.queue_pairing("req_1", **EMERGENCY)
        await sleep(0.1)
        assert scene.begun == ["req_1"]
        await sleep(0.5)
        assert scene.begun == ["req_1", "cmd_1"]


@story
async def test_work_for_a_component_that_is_here_is_done_at_once(stage):
    async with stage.scene() as scene:
        scene.comes_back("m1")
        await sleep(60)
        await scene.queue("cmd_1")
        await sleep(0.05)
        assert await scene.status("cmd_1") == "COMPLETED"


@story
async def test_components_that_were_here_before_the_drain_ran_are_not_forgotten(stage):
    async with stage.scene() as scene:
        await scene.stop()
        await scene.queue("cmd_1")
        scene.comes_back("m1")
        scene.start()
        await sleep(1)
        assert scene.begun == ["cmd_1"]


@story
async def test_strangers_and_discovered_components_are_never_drained(stage):
    async with stage.scene([*M, module("found", 9, configured=False)]) as scene:
        await scene.queue("cmd_1", "found")
        scene.comes_back("found", "nobody")
        await sleep(5)
        assert scene.begun == []
        assert scene.executor.asked == []


@story
async def test_one_component_does_one_thing_at_a_time_and_several_work_at_once(stage):
    async with stage.scene() as scene:
        scene.executor.usual = LONG
        for n in range(3):
            await scene.queue(f"cmd_1{n}", "m1")
            await scene.queue(f"cmd_2{n}", "m2")
        scene.comes_back("m1", "m2", deadline_s=60)
        await sleep(1)
        assert scene.drain.active == 2
        await sleep(9)
        assert scene.drain.active == 0
        for carrier in ("m1", "m2"):
            spans = [(begin, end) for _, of, begin, end in scene.executor.journal if of == carrier]
            assert len(spans) == 3
            assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


def _many(bus: str, count: int):
    return [module(f"{bus}-{n}", n, bus=bus) for n in range(count)]


@story
async def test_of_one_bus_five_components_are_drained_at_once_and_of_all_as_many_as_the_parameter_says(stage):
    components = [*_many("can0", 7), *_many("can1", 7)]
    async with stage.scene(components, parameters={"max_concurrent_operations": 8}) as scene:
        scene.executor.usual = LONG
        for each in components:
            await scene.queue(f"cmd_{each.component_id}", each.component_id)
        scene.comes_back(*(each.component_id for each in components), deadline_s=60)
        await sleep(1)
        assert len(scene.begun) == 8
        assert sum("can0" in each for each in scene.begun) <= 5
        await sleep(10)
        assert sorted(scene.begun) == sorted(f"cmd_{each.component_id}" for each in components)


@story
async def test_a_long_queue_does_not_keep_others_waiting(stage):
    async with stage.scene(parameters={"max_concurrent_operations": 1}) as scene:
        for n in range(30):
            await scene.queue(f"cmd_1{n:02}", "m1")
        await scene.queue("cmd_2", "m2")
        scene.comes_back("m1", deadline_s=60)
        await sleep(0.015)
        scene.comes_back("m2", deadline_s=60)
        await sleep(5)
        assert scene.begun.index("cmd_2") == 10
        assert len(scene.begun) == 31


@story
async def test_an_emergency_goes_before_components_that_wait_longer(stage):
    async with stage.scene(parameters={"max_concurrent_operations": 1}) as scene:
        scene.comes_back("p1", "m1", "m2", deadline_s=60)
        await sleep(1)
        scene.executor.acts["cmd_1"] = [LONG]
        for n, target in enumerate(("m1", "p1"), 1):
            await scene.queue(f"cmd_{n}", target)
            await sleep(0.1)
        await scene.queue_pairing("req_1", "m2", **EMERGENCY)
        await sleep(5)
        assert scene.begun == ["cmd_1", "req_1", "cmd_2"]


@story
async def test_a_lower_limit_is_kept_as_soon_as_what_is_under_way_has_ended(stage):
    components = _many("can0", 4)
    async with stage.scene(components, parameters={"max_concurrent_operations": 4}) as scene:
        scene.executor.usual = Act(after_s=1.0)
        for each in components:
            for n in range(5):
                await scene.queue(f"cmd_{each.component_id}_{n}", each.component_id)
        scene.comes_back(*(each.component_id for each in components), deadline_s=600)
        await sleep(0.5)
        assert scene.drain.active == 4
        scene.parameters = Parameters(max_concurrent_operations=1)
        await scene.tells("params_changed", GATEWAY)
        await sleep(1)
        assert scene.drain.active == 1
        await sleep(4)
        assert scene.drain.active == 1
        scene.parameters = Parameters(max_concurrent_operations=3)
        await scene.tells("params_changed", GATEWAY)
        await sleep(0.1)
        assert scene.drain.active == 3
        await sleep(60)
        assert len(scene.begun) == 20


@story
async def test_how_busy_a_component_is_can_be_asked(stage):
    async with stage.scene() as scene:
        scene.executor.usual = LONG
        await scene.queue("cmd_1")
        scene.comes_back("m1", deadline_s=60)
        await sleep(1)
        assert scene.drain.load("m1") == ComponentLoad(1, ExchangeTimes(None, 0.0))
        await sleep(3)
        assert scene.drain.load("m1").in_flight == 0
        assert scene.drain.load("m1").times.average_ms == pytest.approx(2000, abs=1)
        await scene.restart()
        await sleep(0.1)
        assert scene.drain.load("m1").times.average_ms == pytest.approx(2000, abs=1)
