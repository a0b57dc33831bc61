"""Mode BATCH: up to a hundred operations together, and at most one batch a second."""

from asyncio import sleep

import pytest

from gateway.operation import Mode
from tests.doubles_queue import Act
from tests.drain_scene import EMERGENCY, Scene, story

MANY = {"max_requests_per_component": 1000}


def batches(scene: Scene, *carriers: str) -> list[tuple[float, int]]:
    """When each batch began and how many operations it took; what begins within half a second is one."""
    begins = sorted(begin for _, carrier, begin, _ in scene.executor.journal if carrier in carriers)
    found: list[tuple[float, int]] = []
    for begin in begins:
        if found and begin < found[-1][0] + 0.5:
            found[-1] = found[-1][0], found[-1][1] + 1
        else:
            found.append((begin, 1))
    return found


async def queue_many(scene: Scene, count: int, target: str = "m1") -> None:
    for n in range(count):
        await scene.queue(f"cmd_{target}_{n:03}", target)


@story
async def test_a_component_takes_a_hundred_operations_together_and_the_next_a_second_later(stage):
    async with stage.scene(mode=Mode.BATCH, parameters=MANY) as scene:
        scene.executor.usual = Act(after_s=0.001)
        await queue_many(scene, 250)
        scene.comes_back("m1", deadline_s=60)
        await sleep(10)
        (first, one), (second, two), (third, three) = batches(scene, "m1")
        assert (one, two, three) == (100, 100, 50)
        assert second - first == pytest.approx(1.0, abs=0.02)
        assert third - second == pytest.approx(1.0, abs=0.02)
        assert scene.begun == sorted(scene.begun)


@story
async def test_what_comes_soon_after_a_batch_waits_for_the_next_but_not_in_an_emergency(stage):
    async with stage.scene(mode=Mode.BATCH) as scene:
        scene.comes_back("m1", deadline_s=60)
        await sleep(5)
        await scene.queue("cmd_1")
        await sleep(0.2)
        await scene.queue("cmd_2")
        await sleep(0.1)
        await scene.queue("cmd_3")
        await scene.queue_pairing("req_1", **EMERGENCY)
        await sleep(0.1)
        assert scene.begun == ["cmd_1", "req_1"]
        await sleep(2)
        began = scene.began_at
        assert scene.begun == ["cmd_1", "req_1", "cmd_2", "cmd_3"]
        assert began["cmd_2"] - began["cmd_1"] == pytest.approx(1.0, abs=0.02)
        assert began["cmd_3"] - began["cmd_2"] < 0.1


@story
async def test_an_emergency_begins_no_batch(stage):
    async with stage.scene(mode=Mode.BATCH) as scene:
        scene.comes_back("m1", deadline_s=60)
        await sleep(5)
        await scene.queue_pairing("req_1", **EMERGENCY)
        await sleep(0.1)
        await scene.queue("cmd_1")
        await sleep(0.1)
        assert scene.begun == ["req_1", "cmd_1"]


@story
async def test_a_batch_that_took_longer_than_a_second_is_followed_at_once(stage):
    async with stage.scene(mode=Mode.BATCH, parameters=MANY) as scene:
        scene.executor.usual = Act(after_s=0.02)
        await queue_many(scene, 110)
        scene.comes_back("m1", deadline_s=60)
        await sleep(5)
        began = sorted(begin for _, _, begin, _ in scene.executor.journal)
        assert began[-1] - began[0] == pytest.approx(109 * 0.02, abs=0.1)


@story
async def test_a_drain_somebody_asks_for_goes_on_with_the_next_batch(stage):
    async with stage.scene(mode=Mode.BATCH, parameters=MANY) as scene:
        scene.executor.usual = Act(after_s=0.001)
        await queue_many(scene, 150, "m3")
        scene.comes_back("m3", deadline_s=60)
        await sleep(1)
        report = await scene.ask_for_drain("m3", 1000)
        assert (report.requests_processed, report.successful) == (150, 150)
        assert [count for _, count in batches(scene, "m3")] == [100, 50]


@story
async def test_a_drain_that_has_done_all_it_may_does_not_wait_for_the_next_batch(stage):
    async with stage.scene(mode=Mode.BATCH, parameters=MANY) as scene:
        scene.executor.usual = Act(after_s=0.001)
        await queue_many(scene, 101, "m3")
        scene.comes_back("m3", deadline_s=60)
        await sleep(1)
        asked_at = scene.clock.monotonic()
        assert (await scene.ask_for_drain("m3", 100)).requests_processed == 100
        assert scene.clock.monotonic() - asked_at < 0.5


@story
async def test_a_batch_keeps_its_place_and_then_lets_others_have_it(stage):
    async with stage.scene(mode=Mode.BATCH, parameters={**MANY, "max_concurrent_operations": 1}) as scene:
        await queue_many(scene, 120, "m1")
        await scene.queue("cmd_m2", "m2")
        scene.comes_back("m1", deadline_s=60)
        await sleep(0.015)
        scene.comes_back("m2", deadline_s=60)
        await sleep(10)
        assert scene.begun.index("cmd_m2") == 100
        assert len(scene.begun) == 121
