"""Commands for several components: who gets them, in which order, and the plan that tells so beforehand."""

from pathlib import Path
from typing import Any

import pytest

from gateway.clock import parse_rfc3339
from gateway.component import Component, ComponentKind
from gateway.ports import ComponentLoad, ExchangeTimes
from gateway.requests import TARGETS_MAX
from tests.api_scene import ANNA, CLOUD, OLGA, OWNER, ROOT, VIEWER, ApiScene, api_scene
from tests.doubles import FakeClock

READ = {"command_type": "read_parameter", "arguments": {"id": 7}}
TWO = {**READ, "targets": ["module-04", "module-03"]}
MODULES = {"selector": {"kind": "MODULE"}}


async def children(desk: ApiScene, answer: dict[str, Any]) -> list[dict[str, Any]]:
    told = await desk.ok(VIEWER, "get_request_status", request_id=answer["request"]["request_id"])
    assert [child["request_id"] for child in told["children"]] == answer["children"]
    found: list[dict[str, Any]] = told["children"]
    return found


async def targets(desk: ApiScene, answer: dict[str, Any]) -> list[str]:
    return [child["target_component"] for child in await children(desk, answer)]


def busy(desk: ApiScene, component_id: str, in_flight: int = 0, *, ms: float | None = None, failing: float = 0) -> None:
    desk.drains.loads[component_id] = ComponentLoad(in_flight, ExchangeTimes(ms, failing))


# --- a parent and its children --------------------------------------------------------------------------------------


async def test_a_command_for_several_is_a_parent_with_a_child_for_each(desk: ApiScene) -> None:
    aggregation = {"policy": "QUORUM", "n": 2}
    told = await desk.ok(OWNER, "queue_command", **TWO, aggregation=aggregation, barrier=True)
    parent = told["request"]
    assert (parent["strategy"], parent["targets"]) == ("BROADCAST", ["module-04", "module-03"])
    assert (parent["aggregation"], parent["barrier"]) == (aggregation, True)
    assert "target_component" not in parent
    assert told["queue_position"] is None
    family = await children(desk, told)
    assert [child["target_component"] for child in family] == ["module-04", "module-03"]
    assert {child["parent_id"] for child in family} == {parent["request_id"]}
    assert {child["expires_at"] for child in family} == {parent["expires_at"]}


async def test_children_are_asked_for_like_their_parent_but_have_no_hold_and_no_key_of_their_own(
    desk: ApiScene,
) -> None:
    said = {"priority": "HIGH", "delivery": "AT_MOST_ONCE", "timeout_s": 1.5, "conflict_key": "k", "source_ref": "e-77"}
    own = {"hold_ref": "order-1", "hold_amount": 5.0, "idempotency_key": "k1", "title": "t", "metadata": {"a": "b"}}
    told = await desk.ok(OWNER, "queue_command", **TWO, **said, **own)
    assert {name: told["request"][name] for name in said | own} == said | own
    for child in await children(desk, told):
        assert {name: child[name] for name in said} == said
        assert not {"hold_ref", "hold_amount", "idempotency_key", "title"} & child.keys()
        assert child["arguments"] == {"id": 7}


async def test_children_are_bound_to_the_devices_they_are_for(desk: ApiScene) -> None:
    told = await desk.ok(OWNER, "queue_command", **READ, targets=["module-03", "now-01"])
    bound = await desk.store.read(lambda reader: reader.children(told["request"]["request_id"]))
    assert [(child.bound_serial, child.pass_through) for child in bound] == [(0xA3, False), (None, True)]


async def test_one_after_the_other_shares_the_time_and_needs_one_success(desk: ApiScene) -> None:
    fields = {**READ, "targets": ["now-01", "module-03", "module-04"], "strategy": "FAILOVER", "ttl_s": 90}
    told = await desk.ok(OWNER, "queue_command", **fields)
    assert told["request"]["aggregation"] == {"policy": "ANY"}
    family = await children(desk, told)
    begin = parse_rfc3339(told["request"]["created_at"])
    assert [parse_rfc3339(child["expires_at"]) - begin for child in family] == [30_000, 60_000, 90_000]
    assert [child["target_component"] for child in family] == ["now-01", "module-03", "module-04"]
    kept = await desk.store.read(lambda reader: reader.children(told["request"]["request_id"]))
    assert [child.blocked for child in kept] == [0, 1, 1]


async def test_the_audit_names_the_parent(desk: ApiScene) -> None:
    told = await desk.ok(OWNER, "queue_command", **TWO)
    assert desk.audit() == [("fleet-north", "queue_command", told["request"]["request_id"], "accepted", None)]


# --- who can be named -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ("nobody", "COMPONENT_NOT_FOUND"),
        ("can0-module-a7", "NOT_ALLOWED"),
        ("module-04", "NOT_OWNER"),
        ("shy-01", "NOT_CAPABLE"),
        ("now-01", "COMPONENT_OFFLINE"),
    ],
)
async def test_a_single_target_in_the_way_lets_nothing_be_stored(desk: ApiScene, other: str, code: str) -> None:
    desk.roster.offline("now-01")
    actor = ANNA if code == "NOT_OWNER" else OLGA
    assert await desk.code(actor, "queue_command", **READ, targets=["module-03", other]) == code
    assert desk.events == []


async def test_the_wrong_one_of_several_is_named(desk: ApiScene) -> None:
    error = await desk.no(OLGA, "queue_command", **READ, targets=["module-03", "nobody"])
    assert error["details"]["field"] == "targets.1"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"target_component": "module-03", "targets": ["module-03"]},
        {"targets": []},
        {"targets": ["module-03", "module-03"]},
        {"targets": ["module-03"], "strategy": "DIRECT"},
        {"selector": {}},
        {"targets": ["module-03"], "strategy": "FAILOVER", "barrier": True},
        {"targets": ["module-03"], "strategy": "OPTIMAL", "aggregation": {"policy": "ANY"}},
        {"targets": ["module-03"], "aggregation": {"policy": "ANY", "n": 1}},
        {"targets": ["module-03"], "aggregation": {"policy": "QUORUM"}},
        {"targets": ["module-03"], "aggregation": {"policy": "QUORUM", "n": 2}},
        {"selector": {"parent": "pack-01"}, "aggregation": {"policy": "QUORUM", "n": 2}},
        {"targets": [f"m-{n}" for n in range(TARGETS_MAX + 1)]},
    ],
)
async def test_fields_that_do_not_go_together_are_refused(desk: ApiScene, fields: dict[str, Any]) -> None:
    assert await desk.code(OLGA, "queue_command", **READ, **fields) == "INVALID_ARGUMENT"


# --- who is selected --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ({"kind": "MODULE"}, ["module-03", "module-04", "now-01"]),
        ({"kind": "PACK", "bus": "can1"}, ["far-01"]),
        ({"parent": "pack-01"}, ["module-03"]),
        ({"bus": "can0"}, ["pack-01", "module-03", "module-04", "now-01"]),
        ({"capability": "contactor_open"}, ["pack-01", "far-01"]),
    ],
)
async def test_a_selector_takes_all_that_match_and_can(
    desk: ApiScene, selector: dict[str, str], found: list[str]
) -> None:
    assert await targets(desk, await desk.ok(CLOUD, "queue_command", **READ, selector=selector)) == found


async def test_a_selector_takes_only_what_the_actor_may_touch(desk: ApiScene) -> None:
    assert await targets(desk, await desk.ok(ANNA, "queue_command", **READ, **MODULES)) == ["module-03"]


async def test_a_selector_that_finds_nobody_says_why(desk: ApiScene) -> None:
    assert await desk.code(ANNA, "queue_command", **READ, selector={"kind": "PACK"}) == "COMPONENT_NOT_FOUND"
    contactors = {"command_type": "contactor_open", **MODULES}
    assert await desk.code(OWNER, "queue_command", **contactors) == "NOT_CAPABLE"


async def test_a_selector_leaves_nobody_out_for_being_away(desk: ApiScene) -> None:
    desk.roster.offline("now-01")
    assert await desk.code(OWNER, "queue_command", **READ, **MODULES) == "COMPONENT_OFFLINE"
    assert desk.events == []


async def test_a_selector_may_match_so_many_and_no_more(desk: ApiScene) -> None:
    for n in range(TARGETS_MAX - 1):
        desk.registry.add(Component(f"cell-{n:03d}", ComponentKind.OTHER, "can2", n, parent="far-01"))
    cells: dict[str, Any] = {"command_type": "read_parameter", "arguments": {"id": 1}, "selector": {"parent": "far-01"}}
    desk.registry.add(Component("cell-249", ComponentKind.OTHER, "can3", 1, parent="far-01"))
    assert len((await desk.ok(CLOUD, "queue_command", **cells))["children"]) == TARGETS_MAX
    desk.registry.add(Component("cell-250", ComponentKind.OTHER, "can3", 2, parent="far-01"))
    assert await desk.code(CLOUD, "queue_command", **cells) == "INVALID_ARGUMENT"


# --- who is the best --------------------------------------------------------------------------------------------------


async def test_the_plan_tells_who_comes_first_and_why_and_stores_nothing(desk: ApiScene) -> None:
    await desk.ok(OWNER, "queue_command", **READ, target_component="module-03")
    busy(desk, "module-03", 1, ms=20.0, failing=0.5)
    desk.events.clear()
    told = await desk.ok(VIEWER, "route_command", **READ, **MODULES, strategy="OPTIMAL")
    assert told["plan"] == [
        {
            "component_id": "module-04",
            "presence": "ONLINE",
            "capable": True,
            "score": 20.0,
            "rank": 1,
            "reason": "ONLINE, 0 waiting, 0 under way",
        },
        {
            "component_id": "now-01",
            "presence": "ONLINE",
            "capable": True,
            "score": 20.0,
            "rank": 2,
            "reason": "ONLINE, 0 waiting, 0 under way",
        },
        {
            "component_id": "module-03",
            "presence": "ONLINE",
            "capable": True,
            "score": 120.0,
            "rank": 3,
            "reason": "ONLINE, 1 waiting, 1 under way, 20 ms an exchange, 50% failed",
        },
        {
            "component_id": "shy-01",
            "presence": "ONLINE",
            "capable": False,
            "score": 20.0,
            "rank": None,
            "reason": told["plan"][3]["reason"],
        },
    ]
    assert told["plan"][3]["reason"].startswith("NOT_CAPABLE: shy-01 does not take read_parameter.")
    assert desk.events == []
    assert len(desk.audit()) == 1


async def test_a_plan_tells_how_busy_each_is_even_where_that_decides_nothing(desk: ApiScene) -> None:
    busy(desk, "module-04", 1, ms=30.0)
    plan = (await desk.ok(OWNER, "route_command", **TWO))["plan"]
    assert [(place["component_id"], place["score"]) for place in plan] == [("module-04", 60.0), ("module-03", 30.0)]


async def test_the_best_one_is_the_first_of_the_plan_and_gets_a_plain_command(desk: ApiScene) -> None:
    busy(desk, "module-04", ms=80.0)
    busy(desk, "now-01", ms=60.0)
    busy(desk, "module-03", ms=70.0)
    fields = {**READ, **MODULES, "strategy": "OPTIMAL"}
    plan = (await desk.ok(OWNER, "route_command", **fields))["plan"]
    assert [place["component_id"] for place in plan[:3]] == ["now-01", "module-03", "module-04"]
    told = await desk.ok(OWNER, "queue_command", **fields)
    assert (told["request"]["target_component"], told["request"]["strategy"]) == ("now-01", "OPTIMAL")
    assert (told["children"], told["queue_position"]) == ([], 1)
    assert "parent_id" not in told["request"]


async def test_the_best_one_is_one_that_can_of_those_that_are_named(desk: ApiScene) -> None:
    desk.roster.offline("now-01")
    fields = {**READ, "strategy": "OPTIMAL"}
    told = await desk.ok(OWNER, "queue_command", **fields, targets=["shy-01", "now-01", "module-03"])
    assert told["request"]["target_component"] == "module-03"
    assert await desk.code(OWNER, "queue_command", **fields, targets=["shy-01", "now-01"]) == "NOT_CAPABLE"
    assert await desk.code(ANNA, "queue_command", **fields, targets=["module-03", "module-04"]) == "NOT_OWNER"


async def test_without_an_order_of_the_caller_the_least_busy_is_tried_first(desk: ApiScene) -> None:
    busy(desk, "module-03", ms=80.0)
    busy(desk, "now-01", ms=60.0)
    busy(desk, "module-04", ms=10.0)
    told = await desk.ok(OWNER, "queue_command", **READ, **MODULES, strategy="FAILOVER")
    assert await targets(desk, told) == ["module-04", "now-01", "module-03"]


async def test_a_plan_shows_a_technician_what_the_command_would_do_and_a_viewer_everything(desk: ApiScene) -> None:
    fields = {**READ, **MODULES, "strategy": "OPTIMAL"}
    mine = (await desk.ok(ANNA, "route_command", **fields))["plan"]
    assert [place["component_id"] for place in mine] == ["module-03"]
    assert len((await desk.ok(VIEWER, "route_command", **fields))["plan"]) == 4
    assert await desk.code(ANNA, "route_command", **READ, targets=["module-04"]) == "NOT_OWNER"
    await desk.ok(VIEWER, "route_command", **READ, targets=["module-04"])


async def test_a_plan_shows_what_is_in_the_way_of_one_that_is_named(desk: ApiScene) -> None:
    desk.roster.offline("now-01")
    plan = (await desk.ok(OLGA, "route_command", **READ, targets=["now-01", "module-03"]))["plan"]
    assert [(place["component_id"], place["rank"]) for place in plan] == [("module-03", 1), ("now-01", None)]
    assert plan[1]["reason"].startswith("COMPONENT_OFFLINE: now-01 takes work only while it is online.")
    assert plan[1]["capable"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"command_type": "explode"}, "UNKNOWN_COMMAND"),
        ({"arguments": {"id": -1}}, "INVALID_ARGUMENT"),
        ({"ttl_s": 0}, "EXPIRY_OUT_OF_RANGE"),
        ({"command_type": "precharge", "arguments": {}}, "NOT_ALLOWED"),
        ({"targets": ["nobody"]}, "COMPONENT_NOT_FOUND"),
    ],
)
async def test_a_plan_is_refused_like_the_command(desk: ApiScene, fields: dict[str, Any], code: str) -> None:
    assert await desk.code(VIEWER, "route_command", **{**TWO, **fields}) == code


async def test_a_viewer_may_plan_what_needs_an_operator_and_a_technician_may_not(desk: ApiScene) -> None:
    close = {"command_type": "contactor_close", "target_component": "pack-01"}
    (place,) = (await desk.ok(VIEWER, "route_command", **close))["plan"]
    assert place["reason"].startswith("PRECONDITION_FAILED: ")
    assert await desk.code(OWNER, "route_command", **close) == "NOT_AUTHORIZED"


# --- once -------------------------------------------------------------------------------------------------------------


async def test_a_repeat_gives_the_family_there_is_though_others_would_be_chosen_by_now(tmp_path: Path) -> None:
    clock = FakeClock()
    everybody = {**READ, **MODULES, "idempotency_key": "all"}
    best = {**READ, **MODULES, "strategy": "OPTIMAL", "idempotency_key": "best"}
    async with api_scene(tmp_path, clock=clock) as desk:
        first = [await desk.ok(OWNER, "queue_command", **fields) for fields in (everybody, best)]
    clock.advance(60)
    async with api_scene(tmp_path, clock=clock) as desk:
        desk.registry.add(Component("module-09", ComponentKind.MODULE, "can0", 0xA9, owner="fleet-north"))
        busy(desk, first[1]["request"]["target_component"], ms=60_000.0)
        again = [await desk.ok(OWNER, "queue_command", **fields) for fields in (everybody, best)]
        assert again == first
        assert desk.events == []
        other = {**everybody, "selector": {"bus": "can0"}}
        assert await desk.code(OWNER, "queue_command", **other) == "IDEMPOTENCY_CONFLICT"


async def test_cancelling_the_parent_cancels_what_waits_of_it(desk: ApiScene) -> None:
    told = await desk.ok(OWNER, "queue_command", **TWO)
    request_id = told["request"]["request_id"]
    await desk.ok(OWNER, "cancel_request", request_id=request_id, cancellation_reason="not today")
    assert [child["status"] for child in await children(desk, told)] == ["CANCELLED", "CANCELLED"]
    assert (await desk.ok(ROOT, "get_request_status", request_id=request_id))["request"]["status"] == "CANCELLED"
