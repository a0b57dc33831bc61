"""What must be COMPLETED first: kept, met, failed and told of by the store, over restarts and without cost."""

from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Code
from gateway.operation import Action, Ending, Operation, Outcome, Status, Verdict
from gateway.ports import Tx
from tests.family_scene import blocked, cancel, end, expire, of_type, refused, requeue, route, statuses
from tests.store_scene import PARAMETERS, StoreScene, scene

Q, DONE, FAILED = Status.QUEUED, Status.COMPLETED, Status.FAILED


@pytest.fixture
async def told(tmp_path: Path):
    async with scene(tmp_path / "queue.db") as made:
        yield made


async def after(told: StoreScene, *needed: Operation, target: str = "module-03", **changes: Any) -> Operation:
    """Queue a command that depends on others."""
    return await told.enqueue(told.command(target, depends_on=tuple(each.request_id for each in needed), **changes))


async def test_a_command_runs_once_all_it_depends_on_are_completed(told: StoreScene) -> None:
    first = await told.enqueue(told.command("module-01"))
    second = await told.enqueue(told.command("module-02"))
    last = await after(told, first, second, first)
    assert last.blocked == 2
    assert await told.claim() is None
    await end(told, "module-01")
    assert await told.claim() is None
    await end(told, "module-02")
    completed = told.events[-1]
    assert completed.type == "request_completed"
    assert completed.wakes == ("module-03",)
    assert (await told.claimed()).request_id == last.request_id


async def test_it_does_not_hold_up_those_that_depend_on_nothing(told: StoreScene) -> None:
    first = await told.enqueue(told.command("module-01"))
    waiting = await after(told, first)
    assert of_type(told, "request_queued")[-1].wakes == ()
    free = await told.enqueue(told.command())
    assert (await told.claimed()).request_id == free.request_id
    assert await statuses(told, waiting) == [Q]


async def test_one_that_is_completed_already_counts_no_more(told: StoreScene) -> None:
    first = await told.enqueue(told.command("module-01"))
    await end(told, "module-01")
    assert (await after(told, first)).blocked == 0
    await told.claimed()


async def test_a_dependency_must_exist(told: StoreScene) -> None:
    no = await refused(told.enqueue(told.command(depends_on=("cmd_none",))))
    assert (no.code, no.details) == (Code.REQUEST_NOT_FOUND, {"field": "depends_on", "request_id": "cmd_none"})
    assert await told.stored_events() == []


@pytest.mark.parametrize("how", ["failed", "abandoned", "cancelled", "expired"])
async def test_one_that_ended_otherwise_refuses_what_depends_on_it(told: StoreScene, how: str) -> None:
    first = await told.enqueue(told.command("module-01", expires_at=told.clock.wall_ms() + 1000))
    await _end(told, first, how)
    no = await refused(after(told, first))
    assert (no.code, (no.details or {})["request_id"]) == (Code.DEPENDENCY_FAILED, first.request_id)
    assert await told.claim() is None


async def _end(told: StoreScene, operation: Operation, how: str) -> None:
    target = operation.target_component
    match how:
        case "failed":
            await end(told, target, Action.FAIL)
        case "abandoned":
            await end(told, target, Action.ABANDON)
        case "cancelled":
            await cancel(told, operation.request_id)
        case "expired":
            told.clock.advance(1)
            await expire(told)


@pytest.mark.parametrize("how", ["failed", "abandoned", "cancelled", "expired"])
async def test_an_end_otherwise_than_completed_fails_all_that_depend_on_it_and_on_them(
    told: StoreScene, how: str
) -> None:
    first = await told.enqueue(told.command("module-01", expires_at=told.clock.wall_ms() + 1000))
    second = await after(told, first, target="module-02", hold_ref="wo-1")
    third, fourth = await after(told, second), await after(told, second, first)
    free = await told.enqueue(told.command("module-05"))
    await _end(told, first, how)
    assert await statuses(told, second, third, fourth, free) == [FAILED, FAILED, FAILED, Q]
    found = await told.operation(second.request_id)
    assert found.last_error is not None
    assert found.last_error["code"] == Code.DEPENDENCY_FAILED
    assert first.request_id in found.last_error["message"]
    assert (found.release_reason, found.started_at) == ("DEPENDENCY_FAILED", None)
    failed = [event.attributes["request_id"] for event in of_type(told, "request_failed")]
    assert failed[-3:] == [second.request_id, fourth.request_id, third.request_id]
    assert await told.store.read(lambda reader: reader.depths()) == {"module-05": 1}


async def test_a_chain_as_long_as_a_queue_may_be_falls_in_one_transaction(told: StoreScene) -> None:
    def chain(tx: Tx) -> str:
        before: tuple[str, ...] = ()
        for place in range(1500):  # longer than Python lets calls nest
            link = tx.enqueue(told.command(f"module-{place % 40}", depends_on=before), PARAMETERS)
            before = (link.request_id,)
        return link.request_id

    last = await told.store.write(chain)
    await end(told, "module-0", Action.FAIL)
    assert (await told.operation(last)).status is FAILED
    assert await told.store.read(lambda reader: reader.depths()) == {}


async def test_dependencies_outlive_a_restart(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db") as told:
        good, bad = await told.enqueue(told.command("module-01")), await told.enqueue(told.command("module-02"))
        lucky, unlucky = await after(told, good, target="module-04"), await after(told, bad, target="module-05")
    async with scene(tmp_path / "queue.db") as told:
        await end(told, "module-01")
        assert told.events[-1].wakes == ("module-04",)
        await end(told, "module-02", Action.FAIL)
        assert (await told.claimed("module-04")).request_id == lucky.request_id
        assert await statuses(told, unlucky) == [FAILED]


async def test_a_try_that_is_repeated_neither_meets_nor_fails_a_dependency(told: StoreScene) -> None:
    first = await told.enqueue(told.command("module-01"))
    last = await after(told, first)
    await end(told, "module-01", Action.RETRY, not_before=told.clock.wall_ms())
    await end(told, "module-01", Action.RELEASE)
    assert await blocked(told, last) == [1]


async def test_what_has_ended_itself_is_left_alone(told: StoreScene) -> None:
    first = await told.enqueue(told.command("module-01"))
    gone, expired = await after(told, first), await after(told, first, expires_at=told.clock.wall_ms() + 1000)
    await cancel(told, gone.request_id)
    told.clock.advance(1)
    await expire(told)
    before = [await told.operation(each.request_id) for each in (gone, expired)]
    await end(told, "module-01", Action.FAIL)
    assert [await told.operation(each.request_id) for each in (gone, expired)] == before
    assert [each.blocked for each in before] == [0, 0]


async def test_a_routed_command_can_be_depended_on_as_a_whole(told: StoreScene) -> None:
    parent, _ = await route(told, targets=("module-01", "module-02"))
    last = await after(told, parent)
    await end(told, "module-01")
    assert await told.claim() is None
    await end(told, "module-02")
    assert told.events[-1].wakes == ("module-03",)
    assert (await told.claimed()).request_id == last.request_id
    failing, _ = await route(told, targets=("module-01", "module-02"))
    orphan = await after(told, failing)
    await end(told, "module-01", Action.FAIL)
    assert await statuses(told, orphan) == [FAILED]


async def test_what_depends_on_two_that_end_at_once_fails_once(told: StoreScene) -> None:
    _, children = await route(told, barrier=True)
    last = await after(told, *children[1:], target="module-05")
    await cancel(told, children[0].request_id)
    assert await statuses(told, *children, last) == [Status.CANCELLED] * 3 + [FAILED]
    assert len(of_type(told, "request_failed")) == 1


async def test_the_children_of_a_routed_command_wait_for_what_it_depends_on(told: StoreScene) -> None:
    first = await told.enqueue(told.command("module-09"))
    parent, children = await route(told, depends_on=(first.request_id,))
    doomed, _ = await route(told, targets=("module-05",), depends_on=(parent.request_id,))
    assert await told.claim("module-01") is None
    await end(told, "module-09")
    assert told.events[-1].wakes == ("module-01", "module-02", "module-03")
    running = await told.claimed("module-01")
    assert running.request_id == children[0].request_id
    await cancel(told, parent.request_id)
    await told.finish(running)
    assert await statuses(told, parent, doomed) == [FAILED, FAILED]


async def test_a_routed_command_fails_as_one_with_what_it_depends_on(told: StoreScene) -> None:
    first = await told.enqueue(told.command("module-09"))
    parent, children = await route(told, barrier=True, depends_on=(first.request_id,))
    await end(told, "module-09", Action.FAIL)
    assert await statuses(told, parent, *children) == [FAILED] * 4
    for each in (parent, *children):
        found = await told.operation(each.request_id)
        assert (found.last_error or {})["code"] == Code.DEPENDENCY_FAILED


async def test_a_dead_letter_is_not_tried_again_before_what_it_depends_on(told: StoreScene) -> None:
    first = await told.enqueue(told.command("module-01"))
    last = await after(told, first)
    await end(told, "module-01", Action.FAIL)
    assert (await refused(requeue(told, last.request_id))).code is Code.DEPENDENCY_FAILED
    await requeue(told, first.request_id)
    assert (await requeue(told, last.request_id)).blocked == 1
    assert await told.claim() is None
    await end(told, "module-01")
    assert (await told.claimed()).request_id == last.request_id
    await told.finish(await told.operation(last.request_id), Action.FAIL)
    assert (await requeue(told, last.request_id)).blocked == 0


async def test_what_a_failed_job_did_to_dependencies_is_undone(told: StoreScene) -> None:
    first = await told.enqueue(told.command("module-01"))
    last = await after(told, first)

    def job(tx: Tx) -> None:
        tx.enqueue(told.command("module-05", depends_on=(first.request_id,)), PARAMETERS)
        tx.cancel(first.request_id, "gone", "tech-anna", told.clock.wall_ms())
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await told.store.write(job)
    assert await statuses(told, first, last) == [Q, Q]
    await end(told, "module-01")
    assert told.events[-1].wakes == ("module-03",)
    assert await told.store.read(lambda reader: reader.depths()) == {"module-03": 1}


async def test_an_end_that_concerns_nobody_asks_the_database_nothing(told: StoreScene) -> None:
    first = await told.enqueue(told.command("module-01"))
    await after(told, first)
    asked: list[str] = []
    await told.enqueue(told.command("module-05"))
    taken = await told.claimed("module-05")

    def undone(tx: Tx) -> None:
        tx.enqueue(told.command("module-06", depends_on=(taken.request_id,)), PARAMETERS)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await told.store.write(undone)

    def job(tx: Any) -> None:
        tx._db.set_trace_callback(asked.append)
        tx.finish(taken, Verdict(Action.COMPLETE), Outcome(Ending.DONE), told.clock.wall_ms())
        tx._db.set_trace_callback(None)

    await told.store.write(job)
    assert asked == []
