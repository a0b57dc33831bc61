"""Every action on an operation in every status, through the real store: one step of the table, or nothing at all."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.errors import Code, Refusal
from gateway.operation import (
    EVENT_OF,
    FINAL,
    RELEASE_REASONS,
    TRANSITIONS,
    Action,
    ConflictPolicy,
    Ending,
    Operation,
    Outcome,
    Priority,
    Settlement,
    Status,
    Verdict,
)
from gateway.ports import Tx
from tests.store_scene import HOUR_MS, PARAMETERS, StoreScene, scene

NOT_NOW: Final = Outcome(Ending.DECLINED, code=Code.DEVICE_REFUSED)
WAYS: Final = {  # how an operation gets where it is
    Status.QUEUED: (),
    Status.PROCESSING: (Action.CLAIM,),
    Status.COMPLETED: (Action.CLAIM, Action.COMPLETE),
    Status.FAILED: (Action.CLAIM, Action.FAIL),
    Status.ABANDONED: (Action.CLAIM, Action.ABANDON),
    Status.CANCELLED: (Action.CANCEL,),
    Status.EXPIRED: (Action.EXPIRE,),
}
Job = Callable[[Tx, Operation, int], Operation | None]


def finish(action: Action) -> Job:
    return lambda tx, operation, now: tx.finish(operation, Verdict(action), NOT_NOW, now)


def expire(tx: Tx, operation: Operation, _: int) -> Operation | None:
    return next(iter(tx.expire(operation.expires_at, 10)), None)


def supersede(tx: Tx, operation: Operation, now: int) -> Operation | None:
    newer = Operation(
        f"cmd_newer_{now}", operation.kind, operation.target_component, "tech-anna", now, now + 1, conflict_key="key"
    )
    tx.enqueue(newer, PARAMETERS, conflict_policy=ConflictPolicy.SUPERSEDE)
    return tx.operation(operation.request_id)


def orphan(tx: Tx, operation: Operation, now: int) -> Operation | None:
    (needed,) = operation.depends_on
    tx.cancel(needed, "not needed", "tech-anna", now)
    return tx.operation(operation.request_id)


ACTS: Final[dict[Action, Job]] = {
    Action.CLAIM: lambda tx, operation, now: tx.claim(operation.target_component, now),
    **{
        action: finish(action)
        for action in (Action.COMPLETE, Action.FAIL, Action.RETRY, Action.RELEASE, Action.ABANDON)
    },
    Action.CANCEL: lambda tx, operation, now: tx.cancel(operation.request_id, "gone", "tech-anna", now),
    Action.EXPIRE: expire,
    Action.REJECT: lambda tx, operation, now: tx.reject(operation.request_id, NOT_NOW, now),
    Action.REQUEUE: lambda tx, operation, now: tx.requeue(
        operation.request_id, now + HOUR_MS, PARAMETERS, "op-otto", now
    ),
    Action.SUPERSEDE: supersede,
    Action.ORPHAN: orphan,
}
PASSES_BY: Final = frozenset({Action.CLAIM, Action.EXPIRE, Action.SUPERSEDE, Action.ORPHAN})  # looks for what is QUEUED


@pytest.fixture
async def told(tmp_path: Path):
    async with scene(tmp_path / "queue.db") as made:
        yield made


async def do(told: StoreScene, action: Action, operation: Operation) -> Operation | None:
    return await told.store.write(lambda tx: ACTS[action](tx, operation, told.clock.wall_ms()))


async def made(told: StoreScene, status: Status, action: Action | None = None) -> Operation:
    """An operation in a status, with a hold; tied to another one where the action comes from there."""
    needed: tuple[str, ...] = ()
    if action is Action.ORPHAN and status is Status.QUEUED:
        needed = ((await told.enqueue(told.command("module-04"))).request_id,)
    key = "key" if action is Action.SUPERSEDE else None
    operation = await told.enqueue(told.command(hold_ref="h-1", conflict_key=key, depends_on=needed))
    for step in WAYS[status]:
        told.clock.advance(0.001)
        after = await do(told, step, operation)
        assert after is not None
        operation = after
    assert operation.status is status
    told.clock.advance(0.001)
    return operation


def test_every_action_can_be_tried() -> None:
    assert ACTS.keys() == set(Action)
    assert WAYS.keys() == set(Status)


@pytest.mark.parametrize(("status", "action"), list(TRANSITIONS))
async def test_a_step_of_the_table_is_taken_with_its_one_event(
    told: StoreScene, status: Status, action: Action
) -> None:
    before = await made(told, status, action)
    seen = len(told.events)
    after = await do(told, action, before)
    assert after is not None
    assert after.status is TRANSITIONS[status, action]
    assert await told.operation(before.request_id) == after
    (event,) = [each for each in told.events[seen:] if about(each.attributes) == before.request_id]
    assert event.type == EVENT_OF[action]
    ended = after.status in FINAL
    assert (after.finished_at is not None) == ended
    assert (after.settlement, after.release_reason) == (
        (Settlement.PENDING, RELEASE_REASONS.get(action)) if ended else (None, None)
    )
    if ended:
        assert event.attributes["settlement"] == "PENDING"
        assert event.attributes.get("release_reason") == after.release_reason


def about(attributes: Mapping[str, Any]) -> Any:
    return attributes.get("request_id") or attributes.get("request", {}).get("request_id")


@pytest.mark.parametrize(
    ("status", "action"),
    [(s, a) for s in Status for a in Action if (s, a) not in TRANSITIONS and a is not Action.ORPHAN],
)
async def test_any_other_step_is_refused_or_finds_nothing_and_changes_nothing(
    told: StoreScene, status: Status, action: Action
) -> None:
    before = await made(told, status, action)
    seen = len(told.events)
    if action in PASSES_BY:
        found = await do(told, action, before)
        assert found is None or found == before
    else:
        with pytest.raises(Refusal) as refused:
            await do(told, action, before)
        assert refused.value.code is Code.INVALID_STATE_TRANSITION
    assert await told.operation(before.request_id) == before
    assert all(about(event.attributes) != before.request_id for event in told.events[seen:])


@pytest.mark.parametrize("status", Status)
async def test_only_what_waits_can_be_put_elsewhere_in_the_order(told: StoreScene, status: Status) -> None:
    operation = await made(told, status)
    now, request_id = told.clock.wall_ms(), operation.request_id
    jobs: list[Callable[[Tx], object]] = [
        lambda tx: tx.set_priority(request_id, Priority.HIGH, "op-otto", now),
        lambda tx: tx.reorder("module-03", [request_id], "op-otto", now),
    ]
    for job in jobs:
        if status is Status.QUEUED:
            await told.store.write(job)
            assert told.events[-1].type == "queue_reordered"
            continue
        with pytest.raises(Refusal) as refused:
            await told.store.write(job)
        assert refused.value.code is Code.INVALID_STATE_TRANSITION
        assert await told.operation(request_id) == operation


@pytest.mark.parametrize("status", Status)
async def test_only_a_dead_letter_can_be_discarded_and_only_once(told: StoreScene, status: Status) -> None:
    operation = await made(told, status)
    now = told.clock.wall_ms()

    async def discard() -> Operation:
        return await told.store.write(lambda tx: tx.discard(operation.request_id, "seen", "op-otto", now))

    if status in {Status.FAILED, Status.ABANDONED}:
        discarded = await discard()
        assert (discarded.status, discarded.discarded_at) == (status, now)
        assert await told.operation(operation.request_id) == discarded
    with pytest.raises(Refusal) as refused:
        await discard()
    assert refused.value.code is Code.INVALID_STATE_TRANSITION
