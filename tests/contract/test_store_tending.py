"""What people do to operations that wait or have ended badly: requeue, discard, settle, another place in the order."""

from pathlib import Path

import pytest

from gateway.errors import Code, Refusal
from gateway.operation import (
    FIRST,
    Action,
    Ending,
    Operation,
    Outcome,
    Priority,
    Reach,
    RequestType,
    Settlement,
    Status,
    Strategy,
)
from gateway.ports import Tx
from gateway.settings import Parameters
from tests.store_scene import HOUR_MS, PARAMETERS, StoreScene, scene


@pytest.fixture
async def told(tmp_path: Path):
    async with scene(tmp_path / "queue.db") as made:
        yield made


async def refused(told: StoreScene, job) -> Code:
    with pytest.raises(Refusal) as why:
        await told.store.write(job)
    return why.value.code


async def failed(told: StoreScene, operation: Operation, action: Action = Action.FAIL) -> Operation:
    await told.enqueue(operation)
    outcome = Outcome(Ending.REFUSED, code=Code.DEVICE_REFUSED)
    return await told.finish(await told.claimed(operation.target_component), action, outcome)


async def requeue(told: StoreScene, request_id: str, parameters: Parameters = PARAMETERS) -> Operation:
    now = told.clock.wall_ms()
    return await told.store.write(lambda tx: tx.requeue(request_id, now + HOUR_MS, parameters, "op-otto", now))


async def settle(told: StoreScene, request_id: str, outcome: Settlement, ref: str) -> Operation:
    return await told.store.write(lambda tx: tx.settle(request_id, outcome, ref, "erp", told.clock.wall_ms()))


def place(request_id: str, priority: Priority):
    return lambda tx: tx.set_priority(request_id, priority, "op-otto", 0)


def front(component: str, *operations: Operation):
    ids = [operation.request_id for operation in operations]
    return lambda tx: tx.reorder(component, ids, "op-otto", 0)


async def order(told: StoreScene, carrier: str = "module-03") -> list[str]:
    waiting = await told.store.read(lambda reader: reader.front(carrier, 99))
    return [operation.request_id for operation in waiting]


async def worked_off(told: StoreScene) -> str:
    return (await told.finish(await told.claimed())).request_id


def ids(*operations: Operation) -> list[str]:
    return [operation.request_id for operation in operations]


# --- dead letters -----------------------------------------------------------------------------------------------------


async def test_a_requeued_operation_begins_anew_and_wakes_its_drain(told: StoreScene) -> None:
    operation = await told.enqueue(told.pairing())
    first = await told.claimed()
    await told.store.write(lambda tx: tx.confirming(operation.request_id))
    await told.finish(first, Action.RETRY, Outcome(Ending.UNANSWERED))
    dead = await told.finish(await told.claimed(), Action.FAIL, Outcome(Ending.UNANSWERED))
    assert (dead.retry_count, dead.progress) == (1, "confirming")
    told.clock.advance(7200)
    again = await requeue(told, operation.request_id)
    assert await told.operation(operation.request_id) == again
    assert (again.status, again.retry_count, again.progress, again.resumes) == (Status.QUEUED, 0, None, False)
    assert again.expires_at == told.clock.wall_ms() + HOUR_MS
    event = told.events[-1]
    assert (event.type, event.wakes) == ("request_queued", ("module-03",))
    assert (event.attributes["actor"], event.attributes["queue_position"]) == ("op-otto", 1)
    claimed = await told.claimed()
    assert claimed.request_id == operation.request_id
    assert claimed.sequence != first.sequence  # it is asked for anew


async def test_a_requeued_operation_needs_room_as_a_new_one(told: StoreScene) -> None:
    dead = await failed(told, told.command())
    await told.enqueue(told.command())
    with pytest.raises(Refusal) as why:
        await requeue(told, dead.request_id, Parameters(max_requests_per_component=1))
    assert why.value.code is Code.QUEUE_FULL
    assert await told.operation(dead.request_id) == dead


async def test_what_is_settled_is_not_requeued_and_what_is_only_announced_is(told: StoreScene) -> None:
    announced = await failed(told, told.command(hold_ref="h-1"))
    settled = await failed(told, told.command(hold_ref="h-2"), Action.ABANDON)
    await settle(told, settled.request_id, Settlement.RELEASED, "s-1")
    again = await requeue(told, announced.request_id)
    assert (again.settlement, again.release_reason) == (None, None)
    with pytest.raises(Refusal) as why:
        await requeue(told, settled.request_id)
    assert why.value.code is Code.INVALID_STATE_TRANSITION


async def test_a_discarded_letter_is_told_of_with_its_reason_and_comes_back_where_it_is_requeued(
    told: StoreScene,
) -> None:
    dead = await failed(told, told.command())
    discarded = await told.store.write(lambda tx: tx.discard(dead.request_id, "replaced", "op-otto", 5))
    event = told.events[-1]
    assert event.type == "request_discarded"
    assert event.attributes == discarded.summary() | {"reason": "replaced", "actor": "op-otto"}
    assert (await requeue(told, dead.request_id)).discarded_at is None


# --- holds ------------------------------------------------------------------------------------------------------------


async def test_a_hold_is_captured_once_and_the_same_again_tells_nothing(told: StoreScene) -> None:
    await told.enqueue(told.command(hold_ref="h-1", hold_amount=4.5))
    done = await told.finish(await told.claimed())
    assert (done.settlement, done.release_reason) == (Settlement.PENDING, None)
    settled = await settle(told, done.request_id, Settlement.CAPTURED, "s-1")
    assert await told.operation(done.request_id) == settled
    assert (settled.settlement_ref, settled.settled_at) == ("s-1", told.clock.wall_ms())
    seen = len(told.events)
    assert told.events[-1].type == "request_settled"
    assert told.events[-1].attributes["settlement"] == "CAPTURED"
    assert await settle(told, done.request_id, Settlement.CAPTURED, "s-1") == settled
    assert len(told.events) == seen


@pytest.mark.parametrize(
    ("action", "outcome", "ref"),
    [
        (Action.COMPLETE, Settlement.RELEASED, "s-1"),  # it was carried out
        (Action.FAIL, Settlement.CAPTURED, "s-1"),  # it was not
        (Action.FAIL, Settlement.RELEASED, "s-2"),  # by another booking than the one before
    ],
)
async def test_a_second_or_a_wrong_settlement_is_refused(
    told: StoreScene, action: Action, outcome: Settlement, ref: str
) -> None:
    ended = await failed(told, told.command(hold_ref="h-1"), action)
    if ref == "s-2":
        await settle(told, ended.request_id, outcome, "s-1")
    before = await told.operation(ended.request_id)
    with pytest.raises(Refusal) as why:
        await settle(told, ended.request_id, outcome, ref)
    assert why.value.code is Code.INVALID_STATE_TRANSITION
    assert await told.operation(ended.request_id) == before


async def test_without_a_hold_or_an_end_nothing_is_to_be_settled(told: StoreScene) -> None:
    waiting = await told.enqueue(told.command(hold_ref="h-1"))
    without = await failed(told, told.command("module-04"))
    for operation in (waiting, without):
        with pytest.raises(Refusal) as why:
            await settle(told, operation.request_id, Settlement.RELEASED, "s-1")
        assert why.value.code is Code.INVALID_STATE_TRANSITION


# --- the order --------------------------------------------------------------------------------------------------------


async def test_another_priority_is_another_place_by_age(told: StoreScene) -> None:
    one, two, three = [await told.enqueue(told.command(priority=Priority.HIGH)) for _ in range(3)]
    last = await told.enqueue(told.command(priority=Priority.LOW))
    await told.store.write(front("module-03", three))
    placed = await told.store.write(place(three.request_id, Priority.LOW))
    assert await order(told) == ids(one, two, three, last)
    assert await told.operation(three.request_id) == placed
    event = told.events[-1]
    assert (event.type, event.subject, event.wakes) == ("queue_reordered", "module-03", ("module-03",))
    assert event.attributes == {
        "component_id": "module-03",
        "request_ids": [three.request_id],
        "priority": "LOW",
        "actor": "op-otto",
    }
    assert [await worked_off(told) for _ in range(4)] == ids(one, two, three, last)


async def test_what_goes_first_stays_first_whatever_its_priority(told: StoreScene) -> None:
    opening = await told.enqueue(told.command(urgency=FIRST))
    critical = await told.enqueue(told.command(priority=Priority.CRITICAL))
    await told.store.write(place(opening.request_id, Priority.LOW))
    assert await order(told) == ids(opening, critical)
    urgent = await told.enqueue(told.pairing(request_type=RequestType.EMERGENCY, priority=Priority.CRITICAL))
    assert await refused(told, place(urgent.request_id, Priority.LOW)) is Code.PRECONDITION_FAILED


async def test_the_priority_of_a_parent_is_that_of_its_waiting_children(told: StoreScene) -> None:
    targets = ("module-03", "module-04", "module-05")
    parent = told.command("", targets=targets, strategy=Strategy.BROADCAST, aggregation={"policy": "ALL"})
    children = [told.command(target, parent_id=parent.request_id) for target in targets]
    await told.store.write(lambda tx: tx.enqueue(parent, PARAMETERS, children=children))
    await told.store.write(lambda tx: tx.cancel(children[0].request_id, "not this one", "tech-anna", 0))
    rivals = [await told.enqueue(told.command(target, priority=Priority.HIGH)) for target in targets[1:]]
    raised = await told.store.write(place(parent.request_id, Priority.CRITICAL))
    assert raised.priority is Priority.CRITICAL
    for child, rival in zip(children[1:], rivals, strict=True):
        assert await order(told, child.target_component) == ids(child, rival)
    assert (await told.operation(children[0].request_id)).priority is Priority.NORMAL  # it has ended
    event = told.events[-1]
    assert (event.subject, event.wakes) == ("gateway", targets[1:])
    assert event.attributes["request_ids"] == ids(parent, *children[1:])


async def test_the_front_is_in_the_order_asked_for_within_each_priority(told: StoreScene) -> None:
    low = [await told.enqueue(told.command(priority=Priority.LOW)) for _ in range(3)]
    high = [await told.enqueue(told.command(priority=Priority.HIGH)) for _ in range(3)]
    placed = await told.store.write(front("module-03", low[2], high[2], high[1]))
    assert ids(*placed) == ids(low[2], high[2], high[1])
    assert await order(told) == ids(high[2], high[1], high[0], low[2], low[0], low[1])
    await told.store.write(front("module-03", high[0]))  # before those that were put forward before
    assert (await order(told))[0] == high[0].request_id
    newest = await told.enqueue(told.command(priority=Priority.HIGH))
    assert told.events[-1].attributes["queue_position"] == 4
    listed = (await told.page(page_size=3)).operations
    assert ids(*listed) == ids(high[0], high[2], high[1])
    rest = (await told.page(page_size=3, cursor=(await told.page(page_size=3)).next_cursor)).operations
    assert ids(*rest) == ids(newest, low[2], low[0])
    assert told.events[6].attributes == {
        "component_id": "module-03",
        "request_ids": ids(low[2], high[2], high[1]),
        "actor": "op-otto",
    }


async def test_a_proxy_request_is_put_first_by_either_of_its_components_after_all_others(told: StoreScene) -> None:
    one, two = [
        await told.enqueue(told.pairing(request_type=RequestType.PROXY, proxy_component="pack-02")) for _ in range(2)
    ]
    own = await told.enqueue(told.command("pack-02", priority=Priority.LOW))
    await told.store.write(front("pack-02", two, one))
    assert await order(told, "pack-02") == ids(own, two, one)
    await told.store.write(front("module-03", one))
    assert await order(told, "pack-02") == ids(own, one, two)


@pytest.mark.parametrize("wrong", ["another component", "twice", "unknown"])
async def test_an_order_that_cannot_be_is_refused_as_a_whole(told: StoreScene, wrong: str) -> None:
    one, two = await told.enqueue(told.command()), await told.enqueue(told.command())
    other = await told.enqueue(told.command("module-04"))
    stranger = told.command()
    job, code = {
        "another component": (front("module-03", two, other), Code.INVALID_ARGUMENT),
        "twice": (front("module-03", two, two), Code.INVALID_ARGUMENT),
        "unknown": (front("module-03", two, stranger), Code.REQUEST_NOT_FOUND),
    }[wrong]
    assert await refused(told, job) is code
    assert await order(told) == ids(one, two)


async def test_places_are_right_at_once_in_the_transaction_that_changes_them(told: StoreScene) -> None:
    one, two = await told.enqueue(told.command()), await told.enqueue(told.command())

    def job(tx: Tx) -> list[int | None]:
        placed = tx.set_priority(two.request_id, Priority.HIGH, "op-otto", 0)
        asked = tx.queue_position(placed), tx.queue_position(one)
        urgent = tx.enqueue(told.command(urgency=FIRST, reach=Reach.EMERGENCY), PARAMETERS)
        return [*asked, tx.queue_position(urgent), tx.queue_position(placed)]

    assert await told.store.write(job) == [1, 2, 1, 2]
