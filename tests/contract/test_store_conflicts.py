"""Commands of one conflict_key for one component: they wait, the newer one is refused, or the older ones give way."""

from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Code
from gateway.operation import Action, ConflictPolicy, Operation, Status
from gateway.settings import Parameters
from tests.family_scene import TARGETS, end, of_type, refused, route, statuses
from tests.store_scene import PARAMETERS, StoreScene, scene

Q, P, FAILED, CANCELLED = Status.QUEUED, Status.PROCESSING, Status.FAILED, Status.CANCELLED
REJECT, SUPERSEDE = ConflictPolicy.REJECT, ConflictPolicy.SUPERSEDE


@pytest.fixture
async def told(tmp_path: Path):
    async with scene(tmp_path / "queue.db") as made:
        yield made


async def put(
    told: StoreScene,
    policy: ConflictPolicy = ConflictPolicy.QUEUE,
    target: str = "module-03",
    *,
    parameters: Parameters = PARAMETERS,
    **changes: Any,
) -> Operation:
    told_of = {"conflict_key": "limits", **changes}
    operation = told.command(target, **told_of)
    return await told.store.write(lambda tx: tx.enqueue(operation, parameters, conflict_policy=policy))


async def test_commands_of_one_key_wait_for_each_other_like_any_others(told: StoreScene) -> None:
    first, second = await put(told), await put(told)
    assert await statuses(told, first, second) == [Q, Q]
    assert (await told.claimed()).request_id == first.request_id


async def test_the_newer_one_is_refused_while_an_older_one_waits_or_runs(told: StoreScene) -> None:
    first = await put(told, REJECT)
    no = await refused(put(told, REJECT))
    expected = {"request_id": first.request_id, "component_id": "module-03"}
    assert (no.code, no.details) == (Code.PRECONDITION_FAILED, expected)
    running = await told.claimed()
    assert (await refused(put(told, REJECT))).code is Code.PRECONDITION_FAILED
    await told.finish(running)
    await put(told, REJECT)


async def test_another_key_and_another_component_are_no_conflict(told: StoreScene) -> None:
    await put(told, REJECT)
    await put(told, REJECT, conflict_key="charge")
    await put(told, REJECT, "module-04")
    await put(told, REJECT, conflict_key=None)


async def test_fifty_updates_for_an_absent_component_become_one(told: StoreScene) -> None:
    one = Parameters(max_requests_per_component=1)  # they make room for each other
    updates = [await put(told, SUPERSEDE, parameters=one) for _ in range(50)]
    assert await told.statuses() == {updates[-1].request_id: Q}
    reasons = [(await told.operation(each.request_id)).cancellation_reason for each in updates[:-1]]
    assert reasons == [f"superseded by {each.request_id}" for each in updates[1:]]
    assert len(of_type(told, "request_cancelled")) == 49


async def test_what_runs_already_is_not_superseded(told: StoreScene) -> None:
    first = await put(told)
    running = await told.claimed()
    second = await put(told, SUPERSEDE)
    assert await statuses(told, first, second) == [P, Q]
    await told.finish(running, Action.RETRY)
    third = await put(told, SUPERSEDE)
    assert await statuses(told, first, second, third) == [CANCELLED, CANCELLED, Q]


async def test_a_hold_is_let_go_by_what_supersedes_its_operation(told: StoreScene) -> None:
    first = await put(told, hold_ref="wo-1")
    await put(told, SUPERSEDE)
    assert (await told.operation(first.request_id)).release_reason == "SUPERSEDED"


async def test_what_depended_on_the_superseded_one_fails(told: StoreScene) -> None:
    first = await put(told)
    orphan = await told.enqueue(told.command("module-05", depends_on=(first.request_id,)))
    await put(told, SUPERSEDE)
    assert await statuses(told, first, orphan) == [CANCELLED, FAILED]


async def test_one_that_depends_on_another_is_superseded_with_it_and_ends_once(told: StoreScene) -> None:
    first = await put(told)
    second = await put(told, depends_on=(first.request_id,))
    await put(told, SUPERSEDE)
    assert await statuses(told, first, second) == [CANCELLED, CANCELLED]
    ends = [*of_type(told, "request_cancelled"), *of_type(told, "request_failed")]
    assert [end.attributes["request_id"] for end in ends] == [first.request_id, second.request_id]


async def test_none_takes_the_place_of_what_it_waits_for(told: StoreScene) -> None:
    first, other = await put(told), await put(told)
    second = await put(told, SUPERSEDE, depends_on=(first.request_id,))
    assert await statuses(told, first, other, second) == [Q, CANCELLED, Q]
    assert second.blocked == 1


async def test_none_supersedes_what_its_dependencies_depend_on(told: StoreScene) -> None:
    first = await put(told)
    second = await told.enqueue(told.command("module-05", depends_on=(first.request_id,)))
    before = len(await told.stored_events())
    assert (await refused(put(told, SUPERSEDE, depends_on=(second.request_id,)))).code is Code.DEPENDENCY_FAILED
    assert await statuses(told, first, second) == [Q, Q]
    assert len(await told.stored_events()) == before


async def test_a_routed_command_supersedes_target_by_target(told: StoreScene) -> None:
    alone = await put(told, target="module-02")
    old_parent, old = await route(told, conflict_key="limits")
    new_parent, new = await route(told, conflict_key="limits", policy=SUPERSEDE, targets=TARGETS[1:])
    assert await statuses(told, alone, old_parent, *old) == [CANCELLED, Q, Q, CANCELLED, CANCELLED]
    assert (await told.operation(old[1].request_id)).cancellation_reason == f"superseded by {new[0].request_id}"
    assert await statuses(told, new_parent, *new) == [Q, Q, Q]
    await end(told, "module-01")
    assert await statuses(told, old_parent) == [FAILED]


async def test_a_routed_command_that_is_superseded_whole_is_cancelled(told: StoreScene) -> None:
    old_parent, _ = await route(told, conflict_key="limits")
    await route(told, conflict_key="limits", policy=SUPERSEDE)
    assert await statuses(told, old_parent) == [CANCELLED]


async def test_one_conflict_refuses_a_routed_command_whole(told: StoreScene) -> None:
    await put(told, target="module-02")
    no = await refused(route(told, conflict_key="limits", policy=REJECT))
    assert (no.code, (no.details or {})["component_id"]) == (Code.PRECONDITION_FAILED, "module-02")
    assert await told.claim("module-01") is None
