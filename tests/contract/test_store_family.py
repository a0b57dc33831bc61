"""Routed commands in the store: what a parent is made of its children, told one promise at a time."""

from itertools import permutations, product
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Code
from gateway.event import GATEWAY
from gateway.operation import Action, Operation, Priority, Settlement, Status, Strategy, Verdict
from gateway.ports import Tx
from gateway.settings import Parameters
from tests.family_scene import (
    FAILURE,
    TARGETS,
    blocked,
    cancel,
    end,
    expire,
    family,
    of_type,
    progress,
    refused,
    reject,
    requeue,
    route,
    statuses,
)
from tests.store_scene import PARAMETERS, StoreScene, scene

ANY = {"policy": "ANY"}
Q, P, DONE, FAILED, CANCELLED, EXPIRED = (
    Status.QUEUED, Status.PROCESSING, Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.EXPIRED,
)  # fmt: skip


@pytest.fixture
async def told(tmp_path: Path):
    async with scene(tmp_path / "queue.db") as made:
        yield made


async def open_barrier(told: StoreScene, parent: Operation) -> None:
    await told.store.write(lambda tx: tx.open_barrier(parent.request_id, told.clock.wall_ms()))


async def barriers(told: StoreScene) -> list[str]:
    found = await told.store.read(lambda reader: reader.barriers())
    return [each.request_id for each in found]


# --- queued ---------------------------------------------------------------------------------------------------------


async def test_parent_and_children_are_stored_and_told_of_in_the_order_of_the_targets(told: StoreScene) -> None:
    parent, children = await route(told, title="All of them")
    assert await told.store.read(lambda reader: reader.children(parent.request_id)) == children
    assert [child.parent_id for child in children] == [parent.request_id] * 3
    assert await told.operation(parent.request_id) == parent
    first, *others = of_type(told, "request_queued")
    assert first.subject == GATEWAY
    assert first.attributes["children"] == [child.request_id for child in children]
    assert first.attributes["request"]["targets"] == list(TARGETS)
    assert [event.subject for event in others] == list(TARGETS)
    assert all(event.attributes["request"]["parent_id"] == parent.request_id for event in others)
    assert [event.wakes for event in (first, *others)] == [(), *((target,) for target in TARGETS)]


async def test_the_queue_counts_the_children_and_not_the_parent(told: StoreScene) -> None:
    parent, _ = await route(told, targets=("module-01",))
    alone = await told.enqueue(told.command("module-01"))
    assert await told.store.read(lambda reader: reader.depths()) == {"module-01": 2}
    assert (await told.store.read(lambda reader: reader.load(told.clock.wall_ms()))).queue_depth == 2
    assert await told.store.read(lambda reader: reader.queue_position(parent)) is None
    assert await told.store.read(lambda reader: reader.queue_position(alone)) == 2


async def test_one_full_queue_refuses_all_and_is_named(told: StoreScene) -> None:
    one = Parameters(max_requests_per_component=1)
    await told.enqueue(told.command("module-02"), one)
    no = await refused(route(told, parameters=one))
    assert (no.code, no.details) == (Code.QUEUE_FULL, {"component_id": "module-02"})
    assert len(await told.stored_events()) == 1
    assert await told.claim("module-01") is None
    assert (await refused(route(told, parameters=Parameters(max_queue_depth=3)))).code is Code.QUEUE_FULL
    await route(told, parameters=Parameters(max_queue_depth=4))


async def test_a_repeat_gives_the_parent_back_and_stores_no_child(told: StoreScene) -> None:
    parent, children = await route(told, idempotency_key="k-1")
    again, more = family(told, idempotency_key="k-1")
    earlier = await told.store.write(lambda tx: tx.enqueue(again, PARAMETERS, children=more))
    assert earlier.request_id == parent.request_id
    assert await told.store.read(lambda reader: reader.children(parent.request_id)) == children
    assert len(await told.statuses()) == 4


# --- decided by its children ----------------------------------------------------------------------------------------


async def test_the_first_child_that_starts_starts_the_parent(told: StoreScene) -> None:
    parent, children = await route(told)
    told.clock.advance(3)
    await told.claimed("module-02")
    await told.claimed("module-03")
    assert await statuses(told, parent, *children) == [P, Q, P, P]
    assert (await told.operation(parent.request_id)).started_at == told.clock.wall_ms()
    starts = [event.attributes["request_id"] for event in of_type(told, "request_started")]
    assert starts == [children[1].request_id, parent.request_id, children[2].request_id]


async def test_parents_of_several_commands_run_side_by_side(told: StoreScene) -> None:
    one, _ = await route(told, targets=("module-01",))
    other, _ = await route(told, targets=("module-02",))
    await told.claimed("module-01")
    await told.claimed("module-02")
    assert await statuses(told, one, other) == [P, P]


def decided(aggregation: dict[str, Any], total: int, ends: list[bool]) -> Status:
    """What a parent is after its children ended so, by the words of its policy."""
    needed = {"ALL": total, "ANY": 1}.get(aggregation["policy"]) or aggregation["n"]
    if ends.count(True) >= needed:
        return DONE
    return FAILED if total - ends.count(False) < needed else P


@pytest.mark.parametrize("total", [1, 2, 3, 4])
async def test_every_policy_is_decided_at_the_very_end_that_decides_it(told: StoreScene, total: int) -> None:
    policies: list[dict[str, Any]] = [
        {"policy": "ALL"},
        ANY,
        *({"policy": "QUORUM", "n": n} for n in range(1, total + 1)),
    ]
    targets = tuple(f"module-{n}" for n in range(total))
    orders = list(permutations(targets)) if total < 4 else [targets, targets[::-1]]
    for aggregation, outcomes, order in product(policies, product((True, False), repeat=total), orders):
        parent, _ = await route(told, targets=targets, aggregation=aggregation)
        claimed = {target: await told.claimed(target) for target in targets}
        so_far: list[bool] = []
        at_decision: Operation | None = None
        for target, success in zip(order, outcomes, strict=True):
            await told.finish(claimed[target], *((Action.COMPLETE,) if success else (Action.FAIL, FAILURE)))
            so_far.append(success)
            now = await told.operation(parent.request_id)
            if at_decision is not None:
                assert now == at_decision  # the others run on, and change nothing
                continue
            assert now.status is decided(aggregation, total, so_far), (aggregation, so_far)
            if now.status is not P:
                assert now.result is not None
                counts = (now.result["policy"], now.result["succeeded"], now.result["failed"])
                assert counts == (aggregation["policy"], so_far.count(True), so_far.count(False))
                assert [each["component_id"] for each in now.result["children"]] == list(targets)
                at_decision = now
        assert at_decision is not None
        assert await told.statuses() == {}


async def test_every_end_of_a_child_is_announced_with_the_count(told: StoreScene) -> None:
    parent, children = await route(told, aggregation=ANY)
    await end(told, "module-02", Action.FAIL)
    await end(told, "module-01")
    await end(told, "module-03", Action.ABANDON)
    assert progress(told) == [(0, 1, 2), (1, 1, 1), (1, 2, 0)]  # the last one after the decision
    first = of_type(told, "request_progress")[0]
    assert first.subject == GATEWAY
    assert first.attributes == {
        "request_id": parent.request_id,
        "child": {
            "request_id": children[1].request_id,
            "component_id": "module-02",
            "status": "FAILED",
            "last_error": {"code": "DEVICE_REFUSED", "message": "It said no."},
        },
        "succeeded": 0,
        "failed": 1,
        "pending": 2,
    }
    kinds = [event.type for event in of_type(told, "request_progress", "request_completed")]
    assert kinds == [
        "request_progress",
        "request_completed",
        "request_progress",
        "request_completed",
        "request_progress",
    ]
    assert (await told.operation(parent.request_id)).status is DONE


async def test_a_try_that_is_repeated_is_no_end(told: StoreScene) -> None:
    parent, _ = await route(told)
    await end(told, "module-01", Action.RETRY, not_before=told.clock.wall_ms())
    await end(told, "module-01", Action.RELEASE)
    assert progress(told) == []
    assert await statuses(told, parent) == [P]


async def test_a_failed_parent_says_which_target_failed_and_why(told: StoreScene) -> None:
    parent, _ = await route(told)
    await end(told, "module-01")
    await end(told, "module-02", Action.FAIL)
    ended = await told.operation(parent.request_id)
    assert ended.last_error is not None
    assert ended.last_error["code"] == Code.DEVICE_REFUSED
    assert "1 of 3 succeeded, 3 had to; module-02: FAILED" in ended.last_error["message"]
    (event,) = [each for each in of_type(told, "request_failed") if each.subject == GATEWAY]
    assert event.attributes["result"] == ended.result


# --- that never begin -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize("strategy", [Strategy.BROADCAST, Strategy.FAILOVER])
async def test_a_parent_expires_with_its_last_child_in_however_many_batches(
    told: StoreScene, limit: int, strategy: Strategy
) -> None:
    parent, children = await route(told, strategy=strategy, ttl_ms=6000)
    assert await told.store.read(lambda reader: reader.next_expiry()) == children[0].expires_at
    told.clock.advance(6)
    seen = []
    while batch := await expire(told, limit):
        seen += [each.request_id for each in batch]
    assert seen == [child.request_id for child in children]
    assert await statuses(told, parent, *children) == [EXPIRED] * 4
    assert of_type(told, "request_expired")[-1].attributes["request_id"] == parent.request_id
    assert progress(told) == [(0, 1, 2), (0, 2, 1), (0, 3, 0)]
    assert await told.store.read(lambda reader: reader.next_expiry()) is None
    ended = await told.operation(parent.request_id)
    assert (ended.result or {})["failed"] == 3


async def test_a_parent_that_began_fails_when_what_is_missing_expires(told: StoreScene) -> None:
    parent, children = await route(told, targets=TARGETS[:2], ttl_ms=6000)
    await end(told, "module-01")
    told.clock.advance(6)
    await expire(told)
    assert await statuses(told, parent, *children) == [FAILED, DONE, EXPIRED]
    assert ((await told.operation(parent.request_id)).last_error or {})["code"] == Code.REQUEST_EXPIRED


async def test_a_parent_waits_for_those_that_can_still_begin_and_is_decided_by_their_beginning(
    told: StoreScene,
) -> None:
    parent, children = await route(told)
    await reject(told, children[0].request_id)
    assert await statuses(told, parent) == [Q]
    await told.claimed("module-02")
    assert await statuses(told, parent, *children) == [FAILED, FAILED, P, Q]
    assert [event.type for event in told.events[-3:]] == ["request_started", "request_started", "request_failed"]


async def test_a_parent_whose_children_are_all_rejected_fails(told: StoreScene) -> None:
    parent, children = await route(told, targets=TARGETS[:2])
    for child in children:
        await reject(told, child.request_id)
    ended = await told.operation(parent.request_id)
    assert (ended.status, ended.started_at) == (FAILED, None)


# --- cancelled ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [{}, {"barrier": True}, {"strategy": Strategy.FAILOVER}], ids=str)
async def test_cancelling_a_parent_that_waits_cancels_all_of_it(told: StoreScene, shape: dict[str, Any]) -> None:
    parent, children = await route(told, **shape)
    cancelled = await cancel(told, parent.request_id, "wrong fleet")
    assert cancelled == await told.operation(parent.request_id)
    assert await statuses(told, parent, *children) == [CANCELLED] * 4
    events = of_type(told, "request_cancelled")
    assert {event.attributes["cancellation_reason"] for event in events} == {"wrong fleet"}
    assert [event.attributes["actor"] for event in events] == ["tech-anna"] * 4
    assert (await refused(cancel(told, parent.request_id))).code is Code.INVALID_STATE_TRANSITION


@pytest.mark.parametrize(("aggregation", "ends_as"), [({"policy": "ALL"}, FAILED), (ANY, DONE)])
async def test_cancelling_a_parent_that_runs_cancels_what_waits_and_is_decided_by_what_runs(
    told: StoreScene, aggregation: dict[str, Any], ends_as: Status
) -> None:
    parent, children = await route(told, aggregation=aggregation)
    running = await told.claimed("module-02")
    cancelled = await cancel(told, parent.request_id, "wrong fleet")
    assert (cancelled.status, cancelled.cancellation_reason) == (P, "wrong fleet")
    assert await statuses(told, parent, *children) == [P, CANCELLED, P, CANCELLED]
    await told.finish(running)
    ended = await told.operation(parent.request_id)
    assert ended.status is ends_as
    assert ended.cancellation_reason == (None if ends_as is DONE else "wrong fleet")


@pytest.mark.parametrize("action", [Action.RETRY, Action.RELEASE])
async def test_what_runs_when_its_parent_is_cancelled_is_not_tried_again(told: StoreScene, action: Action) -> None:
    parent, children = await route(told, targets=TARGETS[:2])
    running = [await told.claimed(target) for target in TARGETS[:2]]
    await cancel(told, parent.request_id, "wrong fleet")
    back = await told.finish(running[0], action, FAILURE)
    assert (back.status, back.cancellation_reason) == (CANCELLED, "wrong fleet")
    assert await statuses(told, parent, *children) == [P, CANCELLED, P]
    await told.finish(running[1])
    assert await statuses(told, parent) == [FAILED]


async def test_a_cancelled_parent_stays_so_over_a_restart(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db") as told:
        parent, children = await route(told)
        await told.claimed("module-02")
        await cancel(told, parent.request_id, "wrong fleet")
    async with scene(tmp_path / "queue.db") as told:
        (found,) = await told.store.write(lambda tx: tx.recover(told.clock.wall_ms()))
        assert (found.request_id, found.status) == (children[1].request_id, CANCELLED)
        assert await statuses(told, parent) == [FAILED]


async def test_a_parent_all_of_whose_children_are_cancelled_is_cancelled(told: StoreScene) -> None:
    parent, children = await route(told)
    for child in children:
        assert await statuses(told, parent) == [Q]
        await cancel(told, child.request_id, "one by one")
    ended = await told.operation(parent.request_id)
    assert (ended.status, ended.cancellation_reason, ended.last_error) == (CANCELLED, "one by one", None)


async def test_cancelling_a_decided_parent_is_refused(told: StoreScene) -> None:
    parent, children = await route(told, aggregation=ANY)
    await end(told, "module-01")
    assert (await refused(cancel(told, parent.request_id))).code is Code.INVALID_STATE_TRANSITION
    assert await statuses(told, *children) == [DONE, Q, Q]


# --- one after the other --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", [Action.FAIL, Action.ABANDON])
async def test_the_next_target_has_its_turn_when_the_one_before_failed(told: StoreScene, action: Action) -> None:
    parent, children = await route(told, strategy=Strategy.FAILOVER)
    assert await blocked(told, *children) == [0, 1, 1]
    assert await told.claim("module-02") is None
    await end(told, "module-01", action)
    assert await blocked(told, *children) == [0, 0, 1]
    assert told.events[-1].wakes == ("module-02",)
    await end(told, "module-02", Action.RETRY, not_before=told.clock.wall_ms())
    assert await told.claim("module-03") is None
    await end(told, "module-02", Action.FAIL)
    await end(told, "module-03")
    assert (await told.operation(parent.request_id)).status is DONE


async def test_one_that_is_not_back_in_time_hands_over(told: StoreScene) -> None:
    _, children = await route(told, strategy=Strategy.FAILOVER, ttl_ms=6000)
    told.clock.advance(2)
    assert [each.request_id for each in await expire(told)] == [children[0].request_id]
    assert (await told.claimed("module-02")).request_id == children[1].request_id


async def test_once_one_has_succeeded_the_others_are_not_needed(told: StoreScene) -> None:
    parent, children = await route(told, strategy=Strategy.FAILOVER)
    await end(told, "module-01")
    assert await statuses(told, parent, *children) == [DONE, DONE, CANCELLED, CANCELLED]
    ended = await told.operation(children[2].request_id)
    assert ended.cancellation_reason == f"not needed: {children[0].request_id} succeeded"
    result = (await told.operation(parent.request_id)).result or {}
    assert (result["policy"], result["succeeded"], result["failed"]) == ("ANY", 1, 0)
    assert [each["status"] for each in result["children"]] == ["COMPLETED", "QUEUED", "QUEUED"]  # when it was decided
    assert progress(told) == [(1, 0, 2), (1, 1, 1), (1, 2, 0)]


async def test_a_target_cancelled_ahead_of_its_turn_is_left_out(told: StoreScene) -> None:
    parent, children = await route(told, strategy=Strategy.FAILOVER)
    await cancel(told, children[1].request_id)
    assert await blocked(told, children[2]) == [1]
    await end(told, "module-01", Action.FAIL)
    assert await blocked(told, children[2]) == [0]
    await end(told, "module-03", Action.FAIL)
    assert await statuses(told, parent) == [FAILED]


async def test_a_target_whose_turn_has_come_waits_for_what_the_command_depends_on(told: StoreScene) -> None:
    needed = await told.enqueue(told.command("module-09"))
    _, children = await route(told, strategy=Strategy.FAILOVER, depends_on=(needed.request_id,))
    await cancel(told, children[0].request_id)
    assert await blocked(told, *children[1:]) == [1, 2]
    assert told.events[-1].wakes == ()
    await end(told, "module-09")
    assert await blocked(told, *children[1:]) == [0, 1]


async def test_a_target_tried_anew_does_not_hand_over_twice(told: StoreScene) -> None:
    parent, children = await route(told, strategy=Strategy.FAILOVER)
    await end(told, "module-01", Action.FAIL)
    await requeue(told, children[0].request_id)
    await end(told, "module-02", Action.FAIL)
    assert await blocked(told, *children) == [0, 0, 1]  # the first one is to be tried before the third
    await end(told, "module-01", Action.FAIL)
    assert await blocked(told, *children) == [0, 0, 0]
    assert await statuses(told, parent) == [P]


# --- all together ---------------------------------------------------------------------------------------------------


async def test_behind_a_barrier_all_wait_until_it_opens(told: StoreScene) -> None:
    parent, children = await route(told, barrier=True)
    await route(told, strategy=Strategy.FAILOVER)  # whose children wait for each other, too, but not for all of them
    assert await barriers(told) == [parent.request_id]
    assert await blocked(told, *children) == [1, 1, 1]
    await open_barrier(told, parent)
    assert await barriers(told) == []
    await open_barrier(told, parent)  # the same again
    assert await blocked(told, *children) == [0, 0, 0]
    assert (await told.claimed("module-03")).request_id == children[2].request_id


async def test_only_a_barrier_can_be_opened(told: StoreScene) -> None:
    parent, children = await route(told, strategy=Strategy.FAILOVER)
    await open_barrier(told, parent)
    await open_barrier(told, await told.enqueue(told.command("module-01")))
    assert await blocked(told, *children) == [0, 1, 1]


@pytest.mark.parametrize("how", [cancel, reject])
async def test_where_one_cannot_start_none_does(told: StoreScene, how: Any) -> None:
    parent, children = await route(told, barrier=True, aggregation=ANY)
    await how(told, children[1].request_id)
    ended = await statuses(told, parent, *children)
    assert ended[2] is (FAILED if how is reject else CANCELLED)
    assert ended[1] is ended[3] is CANCELLED
    assert ended[0] is (FAILED if how is reject else CANCELLED)
    reason = (await told.operation(children[0].request_id)).cancellation_reason
    assert reason == f"cannot start together: {children[1].request_id} is {ended[2]}"
    assert await barriers(told) == []


@pytest.mark.parametrize("limit", [1, 100])
async def test_a_barrier_that_never_opens_expires_with_all_behind_it(told: StoreScene, limit: int) -> None:
    parent, children = await route(told, barrier=True, ttl_ms=1000)
    told.clock.advance(1)
    while await expire(told, limit):
        pass
    assert await statuses(told, parent, *children) == [EXPIRED] * 4
    assert await barriers(told) == []


# --- dead letters, holds, what is undone ----------------------------------------------------------------------------


async def test_a_child_of_a_decided_parent_may_be_tried_again_and_leaves_it_alone(told: StoreScene) -> None:
    parent, children = await route(told)
    for target in TARGETS:
        await end(told, target, Action.FAIL)
    before = await told.operation(parent.request_id)
    await requeue(told, children[0].request_id)
    await end(told, "module-01")
    assert await told.operation(parent.request_id) == before
    assert progress(told)[-1] == (1, 2, 0)
    no = await refused(requeue(told, parent.request_id))
    assert no.code is Code.INVALID_STATE_TRANSITION
    assert "children" in no.message


@pytest.mark.parametrize(
    ("action", "settlement", "release_reason"),
    [(Action.COMPLETE, Settlement.PENDING, None), (Action.FAIL, Settlement.PENDING, "FAILED")],
)
async def test_the_hold_of_a_routed_command_is_settled_by_its_parent(
    told: StoreScene, action: Action, settlement: Settlement, release_reason: str | None
) -> None:
    parent, children = await route(told, targets=TARGETS[:1], hold_ref="wo-7", hold_amount=3.5)
    await end(told, "module-01", action)
    ended = await told.operation(parent.request_id)
    assert (ended.settlement, ended.release_reason) == (settlement, release_reason)
    assert (await told.operation(children[0].request_id)).settlement is None
    event = next(event for event in reversed(told.events) if event.attributes.get("hold_ref"))
    assert (event.attributes["request_id"], event.attributes["settlement"]) == (parent.request_id, "PENDING")
    assert event.attributes.get("release_reason") == release_reason


async def test_the_hold_of_one_that_never_began_is_released_for_what_ended_it(told: StoreScene) -> None:
    cancelled, _ = await route(told, hold_ref="wo-1")
    await cancel(told, cancelled.request_id)
    expired, _ = await route(told, hold_ref="wo-2", ttl_ms=1000)
    told.clock.advance(1)
    await expire(told)
    needed = await told.enqueue(told.command("module-09"))
    orphaned, _ = await route(told, hold_ref="wo-3", depends_on=(needed.request_id,))
    await end(told, "module-09", Action.FAIL)
    found = [await told.operation(each.request_id) for each in (cancelled, expired, orphaned)]
    assert [each.release_reason for each in found] == ["CANCELLED", "EXPIRED", "DEPENDENCY_FAILED"]


async def test_a_family_that_a_job_leaves_behind_when_it_fails_is_gone(told: StoreScene) -> None:
    needed = await told.enqueue(told.command("module-09"))
    parent, children = await route(told, strategy=Strategy.FAILOVER, depends_on=(needed.request_id,))
    kept = len(await told.stored_events())

    def job(tx: Tx) -> None:
        now = told.clock.wall_ms()
        tx.enqueue((lost := family(told, depends_on=(needed.request_id,)))[0], PARAMETERS, children=lost[1])
        taken = tx.claim("module-09", now)
        assert taken is not None
        tx.finish(taken, Verdict(Action.FAIL), FAILURE, now)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await told.store.write(job)
    assert await statuses(told, parent, *children, needed) == [Q] * 5
    assert len(await told.stored_events()) == kept
    await end(told, "module-09")
    assert told.events[-1].wakes == ("module-01",)
    assert await blocked(told, *children) == [0, 1, 1]


async def forget(told: StoreScene, operation: Operation) -> None:
    """Lose a row, as a database does that was damaged."""

    def job(tx: Any) -> None:
        tx.change_now("DELETE FROM operation WHERE request_id = ?", (operation.request_id,))

    await told.store.write(job)


async def test_a_parent_that_has_lost_a_child_is_decided_by_the_others(told: StoreScene) -> None:
    parent, children = await route(told)
    await forget(told, children[0])
    await end(told, "module-02")
    await end(told, "module-03")
    ended = await told.operation(parent.request_id)
    assert (ended.status, (ended.last_error or {})["code"]) == (FAILED, Code.OUTCOME_UNKNOWN)


async def test_a_parent_that_has_lost_the_last_child_that_could_decide_it_is_decided_at_the_next_start(
    told: StoreScene,
) -> None:
    alone, lost = await route(told)
    whole, _ = await route(told)
    for child in lost:
        await forget(told, child)
    await told.store.write(lambda tx: tx.recover(told.clock.wall_ms()))
    assert await statuses(told, alone, whole) == [FAILED, Q]
    assert ((await told.operation(alone.request_id)).last_error or {})["code"] == Code.OUTCOME_UNKNOWN


async def test_a_parent_whose_running_child_is_lost_is_decided_at_the_next_start(told: StoreScene) -> None:
    parent, children = await route(told)
    await told.claimed("module-01")
    for child in children:
        await forget(told, child)
    await told.store.write(lambda tx: tx.recover(told.clock.wall_ms()))
    assert await statuses(told, parent) == [FAILED]


async def test_children_that_have_lost_their_parent_go_on(told: StoreScene) -> None:
    parent, children = await route(told)
    await forget(told, parent)
    await end(told, "module-01", Action.RELEASE)
    await end(told, "module-01")
    assert await statuses(told, *children) == [DONE, Q, Q]


async def test_the_priority_of_a_parent_reaches_the_children_that_wait(told: StoreScene) -> None:
    parent, children = await route(told)
    await cancel(told, children[0].request_id)
    await told.enqueue(told.command("module-02", priority=Priority.HIGH))
    now = told.clock.wall_ms()
    await told.store.write(lambda tx: tx.set_priority(parent.request_id, Priority.CRITICAL, "op-1", now))
    assert (await told.operation(children[0].request_id)).priority is Priority.NORMAL
    assert (await told.claimed("module-02")).request_id == children[1].request_id
    (event,) = of_type(told, "queue_reordered")
    assert event.wakes == ("module-02", "module-03")
