"""What a drain spares: commits, wake-ups, and the outcome that a full disk could not take."""

from asyncio import sleep

from gateway.operation import Delivery
from tests.doubles_queue import Act, MemoryStore
from tests.drain_scene import EMERGENCY, Scene, Stage, module
from tests.looptime import virtual_time


def memory_of(scene: Scene) -> MemoryStore:
    assert isinstance(scene.store, MemoryStore)
    return scene.store


@virtual_time
async def test_a_steady_drain_commits_once_an_operation(tmp_path, caplog):
    async with Stage("memory", tmp_path, caplog).scene() as scene:
        scene.comes_back("m1")
        await sleep(1)
        scene.executor.usual = Act(after_s=0.01)
        await scene.stop()
        for n in range(20):
            await scene.queue(f"cmd_{n}")
        before = memory_of(scene).writes
        scene.start()
        scene.comes_back("m1")
        await sleep(5)
        assert len(scene.begun) == 20
        assert memory_of(scene).writes - before == 1 + 1 + 20  # the return, the first claim, then one each


@virtual_time
async def test_where_nothing_waits_nothing_wakes(tmp_path, caplog):
    async with Stage("memory", tmp_path, caplog).scene() as scene:
        await scene.queue("cmd_1")
        scene.comes_back("m1", "m2", deadline_s=1e6)
        await sleep(100)
        counted = memory_of(scene).writes, memory_of(scene).reads
        await sleep(100_000)
        assert (memory_of(scene).writes, memory_of(scene).reads) == counted


@virtual_time
async def test_an_outcome_is_kept_until_a_full_disk_has_room(tmp_path, caplog):
    async with Stage("memory", tmp_path, caplog).scene() as scene:
        await scene.queue("cmd_1", delivery=Delivery.AT_MOST_ONCE)
        scene.executor.usual = Act(after_s=1.0)
        scene.comes_back("m1")
        await sleep(0.5)
        memory_of(scene).full = True
        await sleep(60)
        assert await scene.status("cmd_1") == "PROCESSING"
        memory_of(scene).full = False
        await sleep(6)
        assert await scene.status("cmd_1") == "COMPLETED"
        assert scene.begun == ["cmd_1"]
        assert caplog.text.count("waits for room") == 1


@virtual_time
async def test_slow_commits_change_nothing_in_the_order(tmp_path, caplog):
    components = [module(f"m{n}", n) for n in range(8)]
    async with Stage("memory", tmp_path, caplog).scene(components) as scene:
        memory_of(scene).commit_s = 0.05
        for n in range(24):
            await scene.queue(f"cmd_{n:02}", f"m{n % 8}")
        scene.comes_back(*(each.component_id for each in components), deadline_s=60)
        await sleep(10)
        for component in components:
            own = [
                request_id for request_id, carrier, _, _ in scene.executor.journal if carrier == component.component_id
            ]
            assert len(own) == 3
            assert own == sorted(own)
        assert scene.drain.active == 0


@virtual_time
async def test_a_component_that_vanishes_during_a_slow_claim_is_not_spoken_to(tmp_path, caplog):
    async with Stage("memory", tmp_path, caplog).scene() as scene:
        scene.comes_back("m1")
        await sleep(1)
        memory_of(scene).commit_s = 0.2
        await scene.queue("cmd_1", delivery=Delivery.AT_MOST_ONCE)
        scene.roster.offline("m1")
        await sleep(0.2)
        assert await scene.status("cmd_1") == "QUEUED"
        scene.comes_back("m1")
        await sleep(0.3)
        assert await scene.status("cmd_1") == "PROCESSING"
        scene.roster.offline("m1")
        await sleep(1)
        assert await scene.status("cmd_1") == "QUEUED"
        assert scene.begun == []


@virtual_time
async def test_an_operation_that_expires_during_a_slow_claim_is_not_sent(tmp_path, caplog):
    async with Stage("memory", tmp_path, caplog).scene() as scene:
        scene.comes_back("m1")
        await sleep(1)
        memory_of(scene).commit_s = 0.5
        await scene.queue("cmd_1", expires_at=scene.clock.wall_ms() + 700)
        await sleep(3)
        assert scene.begun == []
        assert await scene.status("cmd_1") == "EXPIRED"


@virtual_time
async def test_a_component_that_begins_to_flap_during_a_slow_claim_is_left_alone(tmp_path, caplog):
    async with Stage("memory", tmp_path, caplog).scene() as scene:
        scene.comes_back("m1", deadline_s=60)
        await sleep(1)
        memory_of(scene).commit_s = 0.2
        await scene.queue_pairing("req_1", "m2", **EMERGENCY)
        await scene.queue("cmd_1")
        await sleep(0.1)
        scene.roster.flapping("m1", flaps=True)
        await sleep(1)
        operation = await scene.operation("cmd_1")
        assert (operation.status, operation.retry_count) == ("QUEUED", 0)
        scene.comes_back("m2", deadline_s=60)
        await sleep(0.5)
        assert await scene.status("req_1") == "PROCESSING"
        scene.roster.flapping("m2", flaps=True)
        await sleep(1)
        assert scene.begun == ["req_1"]


@virtual_time
async def test_whenever_a_component_settles_amid_slow_looks_for_emergencies_it_is_given_all_else_then(tmp_path, caplog):
    for settle_ms in range(100, 2000, 100):
        async with Stage("memory", tmp_path, caplog).scene(presence={"settle_ms": settle_ms}) as scene:
            memory_of(scene).commit_s = 0.15
            await scene.queue("cmd_1", "m2")
            await scene.queue_pairing("req_1", "m2", **EMERGENCY)
            scene.comes_back("m2", deadline_s=60)
            await sleep(4)
            assert (settle_ms, scene.begun) == (settle_ms, ["req_1", "cmd_1"])
