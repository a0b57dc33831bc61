"""In which order the store hands work out, to whom, and how long anybody may be passed over."""

from pathlib import Path
from typing import Any

import pytest

from gateway.operation import (
    FIRST,
    Action,
    Ending,
    Mode,
    Operation,
    Outcome,
    Priority,
    Reach,
    RequestType,
    Status,
    Strategy,
)
from gateway.ports import Tx
from gateway.settings import Parameters
from tests.store_scene import PARAMETERS, StoreScene, scene

FEW = Parameters(max_requests_per_component=4)


class SpoiledError(Exception):
    """What a job raises to be undone."""


@pytest.fixture
async def told(tmp_path: Path):
    async with scene(tmp_path / "queue.db") as made:
        yield made


async def worked_off(told: StoreScene) -> Operation:
    return await told.finish(await told.claimed())


async def order(told: StoreScene) -> list[str]:
    waiting = await told.store.read(lambda reader: reader.front("module-03", 99))
    return [operation.request_id for operation in waiting]


def ids(*operations: Operation) -> list[str]:
    return [operation.request_id for operation in operations]


async def queue(told: StoreScene, *priorities: Priority) -> list[Operation]:
    return [await told.enqueue(told.command(priority=priority), FEW) for priority in priorities]


# --- modes ------------------------------------------------------------------------------------------------------------


async def test_the_safe_direction_goes_first_in_every_mode(tmp_path: Path) -> None:
    for mode in Mode:
        async with scene(tmp_path / f"{mode}.db", mode=mode) as told:
            (critical,) = await queue(told, Priority.CRITICAL)
            opening = await told.enqueue(told.command(urgency=FIRST, priority=Priority.LOW))
            assert await order(told) == ids(opening, critical)


async def test_a_queue_is_put_into_another_mode_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    async with scene(path) as told:
        low, high = await queue(told, Priority.LOW, Priority.HIGH)
        opening = await told.enqueue(told.command(urgency=FIRST))
        assert await order(told) == ids(opening, high, low)
    async with scene(path, mode=Mode.FIFO) as told:
        assert await order(told) == ids(opening, low, high)
        raised = await told.store.write(lambda tx: tx.set_priority(high.request_id, Priority.CRITICAL, "op-otto", 0))
        assert await told.store.read(lambda reader: reader.queue_position(raised)) == 3
        assert (await worked_off(told)).request_id == opening.request_id
        done = await worked_off(told)
    async with scene(path, mode=Mode.BATCH) as told:
        await queue(told, Priority.NORMAL)
        assert (await order(told))[0] == high.request_id
        assert (await told.operation(done.request_id)).urgency == Priority.LOW  # what has ended stays as it was


# --- nobody waits for ever --------------------------------------------------------------------------------------------


async def test_low_work_of_a_component_that_never_rests_has_its_turn(told: StoreScene) -> None:
    low, high = await queue(told, Priority.LOW, Priority.HIGH)
    begun = []
    for _ in range(2 * FEW.max_requests_per_component):
        begun.append((await worked_off(told)).request_id)
        await queue(told, Priority.HIGH)
    assert begun[0] == high.request_id
    assert begun.index(low.request_id) == FEW.max_requests_per_component


async def test_each_of_those_passed_over_has_its_turn_within_the_bound(told: StoreScene) -> None:
    waiting = await queue(told, Priority.NORMAL, Priority.LOW)
    await queue(told, Priority.HIGH)
    bound = FEW.max_requests_per_component + 1
    begun: list[str] = []
    for _ in range(3 * bound):
        begun.append((await worked_off(told)).request_id)
        await queue(told, Priority.HIGH)
    turns = [begun.index(operation.request_id) + 1 for operation in waiting]
    assert turns == [bound, 2 * bound]  # and no sooner: between them the order is that of the classes again


async def test_what_waits_at_one_time_is_worked_off_by_priority_alone_with_all_of_its_tries(told: StoreScene) -> None:
    rising = await queue(told, *Priority)
    begun = []
    for _ in range(2):
        claimed = await told.claimed()
        for _ in range(4):
            await told.finish(claimed, Action.RETRY, Outcome(Ending.DECLINED))
            claimed = await told.claimed()
        await told.finish(claimed)
        begun.append(claimed.request_id)
    begun += [(await worked_off(told)).request_id for _ in range(2)]
    assert begun == ids(*reversed(rising))


async def test_critical_work_is_held_up_by_nobody(told: StoreScene) -> None:
    (low,) = await queue(told, Priority.LOW)
    for _ in range(3 * FEW.max_requests_per_component):
        (critical,) = await queue(told, Priority.CRITICAL)
        assert (await worked_off(told)).request_id == critical.request_id
    await queue(told, Priority.HIGH)
    assert (await worked_off(told)).request_id == low.request_id


async def test_a_turn_that_was_undone_does_not_count(told: StoreScene) -> None:
    low, _ = await queue(told, Priority.LOW, Priority.HIGH)

    def spoiled(tx: Tx) -> None:
        assert tx.claim("module-03", told.clock.wall_ms()) is not None
        raise SpoiledError

    with pytest.raises(SpoiledError):
        await told.store.write(spoiled)
    for _ in range(FEW.max_requests_per_component):
        assert (await worked_off(told)).request_id != low.request_id
        await queue(told, Priority.HIGH)
    assert (await worked_off(told)).request_id == low.request_id


async def test_what_makes_a_battery_safe_waits_for_nothing_that_is_to_be_asked_again(told: StoreScene) -> None:
    (lost,) = await queue(told, Priority.CRITICAL)
    now = told.clock.wall_ms()
    await told.finish(await told.claimed(), Action.RETRY, Outcome(Ending.UNANSWERED), not_before=now + 4000)
    await queue(told, Priority.CRITICAL)
    assert await told.claim() is None, "it may have been carried out: it is asked again first"
    opening = await told.enqueue(told.command(urgency=FIRST, reach=Reach.EMERGENCY))
    assert (await worked_off(told)).request_id == opening.request_id
    assert await told.claim() is None
    told.clock.advance(4)
    opening = await told.enqueue(told.command(urgency=FIRST, reach=Reach.EMERGENCY))
    assert [(await worked_off(told)).request_id for _ in range(2)] == ids(opening, lost)


async def test_nobody_waits_longer_than_ten_seconds_for_what_is_to_be_asked_again(told: StoreScene) -> None:
    (lost,) = await queue(told, Priority.CRITICAL)
    not_before = told.clock.wall_ms() + 64_000
    await told.finish(await told.claimed(), Action.RETRY, Outcome(Ending.UNANSWERED), not_before=not_before)
    (low, normal) = await queue(told, Priority.LOW, Priority.NORMAL)
    assert (await worked_off(told)).request_id == normal.request_id
    told.clock.advance(54)
    assert await told.claim() is None
    assert await told.store.read(lambda reader: reader.next_due("module-03", told.clock.wall_ms())) == not_before
    told.clock.advance(10)
    assert [(await worked_off(told)).request_id for _ in range(2)] == ids(lost, low)


# --- whom it reaches --------------------------------------------------------------------------------------------------


async def test_each_reach_takes_its_own_and_anybody_settled_takes_all(told: StoreScene) -> None:
    wake = await told.enqueue(told.command(reach=Reach.SLEEPING))
    await queue(told, Priority.CRITICAL)
    opening = await told.enqueue(told.command(urgency=FIRST, reach=Reach.EMERGENCY))
    pairing = await told.enqueue(told.pairing(request_type=RequestType.EMERGENCY, priority=Priority.CRITICAL))
    now = told.clock.wall_ms()
    assert (await told.claimed(reach=Reach.SLEEPING)).request_id == wake.request_id
    await told.finish(await told.operation(wake.request_id), Action.RETRY, not_before=now + 500)
    assert await told.claim(reach=Reach.SLEEPING) is None
    sleeping = await told.store.read(lambda reader: reader.next_due("module-03", now, reach=Reach.SLEEPING))
    assert sleeping == now + 500
    urgent = []
    for _ in range(2):
        claimed = await told.claimed(reach=Reach.EMERGENCY)
        urgent.append((await told.finish(claimed)).request_id)
    assert urgent == ids(opening, pairing)
    emergency = await told.store.read(lambda reader: reader.next_due("module-03", now, reach=Reach.EMERGENCY))
    assert emergency is None
    assert await told.claim(reach=Reach.EMERGENCY) is None


async def test_what_was_to_pass_through_fails_when_its_component_goes(told: StoreScene) -> None:
    passing = await told.enqueue(told.command(pass_through=True))
    waiting = await told.enqueue(told.command())
    elsewhere = await told.enqueue(told.command("module-04", pass_through=True))
    assert await told.store.write(lambda tx: tx.give_up_passing("module-03", told.clock.wall_ms())) == 1
    gone = await told.operation(passing.request_id)
    assert (gone.status, (gone.last_error or {})["code"]) == (Status.FAILED, "COMPONENT_OFFLINE")
    assert ids(*(await told.page()).operations) == ids(waiting, elsewhere)


# --- what is told -----------------------------------------------------------------------------------------------------


def alerts(told: StoreScene) -> list[dict[str, Any]]:
    return [dict(event.attributes) for event in told.events if event.type == "queue_alert"]


async def test_a_queue_that_grows_large_is_told_of_once_until_it_is_half_as_long(told: StoreScene) -> None:
    four = Parameters(alert_queue_size=4)
    for depth in range(1, 7):
        await told.enqueue(told.command(), four)
        assert len(alerts(told)) == (depth >= 4)
    large = {"component_id": "module-03", "alert": "LARGE", "queue_size": 4}
    assert alerts(told) == [large]
    for _ in range(4):
        await worked_off(told)
    waiting = (await told.page()).operations
    assert len(waiting) == 2  # half of it; a change of place is no way out
    await told.store.write(lambda tx: tx.set_priority(waiting[0].request_id, Priority.HIGH, "op-otto", 0))
    for _ in range(3):
        await told.enqueue(told.command(), four)
    assert alerts(told) == [large]
    for _ in range(4):
        await worked_off(told)
    for _ in range(3):
        await told.enqueue(told.command(), four)
    assert alerts(told) == [large, large]


async def test_a_queue_that_is_large_already_is_not_told_of_again_after_a_restart(tmp_path: Path) -> None:
    two = Parameters(alert_queue_size=2)
    for queued, expected in ((3, 1), (1, 0)):
        async with scene(tmp_path / "queue.db") as told:
            for _ in range(queued):
                await told.enqueue(told.command(), two)
            assert len(alerts(told)) == expected


async def test_what_was_to_make_a_battery_safe_and_came_too_late_is_an_alert(told: StoreScene) -> None:
    opening = await told.enqueue(told.command(urgency=FIRST, command_type="contactor_open"))
    await queue(told, Priority.CRITICAL)
    await told.store.write(lambda tx: tx.expire(opening.expires_at, 10))
    assert [event.type for event in told.events[-3:]] == ["request_expired", "queue_alert", "request_expired"]
    assert alerts(told) == [
        {
            "component_id": "module-03",
            "alert": "SAFE_DIRECTION_EXPIRED",
            "request_id": opening.request_id,
            "command_type": "contactor_open",
        }
    ]


async def test_those_that_wait_for_a_first_answer_are_woken_when_it_is_given_up(told: StoreScene) -> None:
    await queue(told, Priority.LOW)
    silent, now = await told.claimed(), told.clock.wall_ms()
    await queue(told, Priority.HIGH)
    await told.finish(silent, Action.RETRY, Outcome(Ending.UNANSWERED), not_before=now + 1000)
    await told.store.write(lambda tx: tx.cancel(silent.request_id, "enough", "tech-anna", now))
    assert (told.events[-1].type, told.events[-1].wakes) == ("request_cancelled", ("module-03",))
    assert await told.claim() is not None


# --- parents ----------------------------------------------------------------------------------------------------------


async def routed(told: StoreScene, parameters: Parameters, *targets: str) -> Operation:
    parent = told.command("", targets=targets, strategy=Strategy.BROADCAST, aggregation={"policy": "ALL"})
    children = [told.command(target, parent_id=parent.request_id) for target in targets]
    return await told.store.write(lambda tx: tx.enqueue(parent, parameters, children=children))


async def test_a_routed_parent_takes_no_room_and_has_no_place(told: StoreScene) -> None:
    parent = await routed(told, Parameters(max_requests_per_component=1, max_queue_depth=2), "module-03", "module-04")
    assert await told.store.read(lambda reader: reader.depths()) == {"module-03": 1, "module-04": 1}
    oldest = await told.store.read(lambda reader: reader.oldest_waiting())
    assert oldest == dict.fromkeys(["module-03", "module-04"], parent.created_at)
    first = told.events[0]
    assert (first.subject, first.attributes["queue_position"], first.wakes) == ("gateway", None, ())
    assert await told.store.read(lambda reader: reader.queue_position(parent)) is None
    assert await told.store.write(lambda tx: tx.queue_position(parent)) is None


async def test_a_routed_command_is_a_load_by_its_children_alone(told: StoreScene) -> None:
    await routed(told, PARAMETERS, "module-03", "module-04")
    for target, lasts_s in (("module-03", 1), ("module-04", 3)):
        claimed = await told.claimed(target)
        told.clock.advance(lasts_s)
        await told.finish(claimed)
    await routed(told, PARAMETERS, "module-05", "module-06")
    load = await told.store.read(lambda reader: reader.load(told.clock.wall_ms()))
    assert (load.queue_depth, load.average_wait_ms, load.average_processing_ms) == (2, 500, 2000)


async def test_any_number_of_parents_run_at_once_and_a_restart_leaves_them_running(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db") as told:
        parents = [await routed(told, PARAMETERS, f"module-{n}", f"module-{n + 1}") for n in (10, 20)]
        running = [await told.claimed(f"module-{n}") for n in (10, 11, 20, 21)]
    async with scene(tmp_path / "queue.db", told.clock) as told:
        found = await told.store.write(lambda tx: tx.recover(told.clock.wall_ms()))
        assert ids(*found) == ids(*running)
        for parent in parents:
            assert (await told.operation(parent.request_id)).status is Status.PROCESSING
        assert len((await told.page()).operations) == 6
        for child in running:
            await told.finish(await told.claimed(child.target_component))
        assert (await told.operation(parents[0].request_id)).status is Status.COMPLETED
