"""The request for a command of one component: its type, its class, what it waits for, what it replaces."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import parse_rfc3339
from gateway.operation import FIRST, Reach
from gateway.settings import Parameters
from tests.api_scene import ANNA, CLOUD, OLGA, OWNER, READ, ROOT, ApiScene, api_scene
from tests.doubles import FakeClock

PACK = {"target_component": "pack-01"}
LIMITS = {**PACK, "command_type": "set_limits", "arguments": {"charge_a": 10.0, "discharge_a": 20.0}}
CLOSE = {**PACK, "command_type": "contactor_close"}
OPEN = {**PACK, "command_type": "contactor_open"}


async def test_a_discovered_component_is_never_commanded(desk: ApiScene) -> None:
    assert await desk.code(ROOT, "queue_command", **{**READ, "target_component": "can0-module-a7"}) == "NOT_ALLOWED"


async def test_commands_are_checked_before_they_are_queued(desk: ApiScene) -> None:
    assert await desk.code(ANNA, "queue_command", **{**READ, "command_type": "explode"}) == "UNKNOWN_COMMAND"
    error = await desk.no(ANNA, "queue_command", **{**READ, "arguments": {"id": 70_000}})
    assert (error["code"], error["details"]["field"]) == ("INVALID_ARGUMENT", "arguments.id")
    assert await desk.code(ANNA, "queue_command", **{**READ, "target_component": "module-04"}) == "NOT_OWNER"
    assert await desk.code(OLGA, "queue_command", **{**READ, "target_component": "shy-01"}) == "NOT_CAPABLE"
    told = (await desk.ok(ANNA, "queue_command", **READ, timeout_s=1.5))["request"]
    assert (told["command_type"], told["arguments"], told["timeout_s"]) == ("read_parameter", {"id": 7}, 1.5)


async def test_an_idempotency_key_gives_the_first_answer_again(desk: ApiScene) -> None:
    first = await desk.ok(ANNA, "queue_command", **READ, idempotency_key="k1")
    desk.clock.advance(5)
    again = await desk.ok(ANNA, "queue_command", **READ, idempotency_key="k1")
    assert again["request"]["request_id"] == first["request"]["request_id"]
    other = {**READ, "arguments": {"id": 8}}
    assert await desk.code(ANNA, "queue_command", **other, idempotency_key="k1") == "IDEMPOTENCY_CONFLICT"
    assert len([event for event in desk.events if event.type == "request_queued"]) == 1


async def test_a_component_that_passes_work_through_takes_it_only_while_it_is_online(desk: ApiScene) -> None:
    now = {**READ, "target_component": "now-01"}
    assert (await desk.ok(OWNER, "queue_command", **now))["queue_position"] == 1
    desk.roster.offline("now-01")
    assert await desk.code(OWNER, "queue_command", **now) == "COMPONENT_OFFLINE"
    assert len([event for event in desk.events if event.type == "request_queued"]) == 1


async def test_a_full_queue_says_so(desk: ApiScene) -> None:
    await desk.ok(ROOT, "set_params", params={"max_requests_per_component": 1})
    await desk.ok(ANNA, "queue_command", **READ)
    assert await desk.code(ANNA, "queue_command", **READ) == "QUEUE_FULL"


async def test_a_repeat_is_known_by_what_was_asked_and_not_by_what_the_gateway_made_of_it(desk: ApiScene) -> None:
    first = await desk.ok(ANNA, "queue_command", **READ, idempotency_key="k1")
    desk.tuning.change({"max_queue_time_hours": 1.0})  # and so another end than the first time
    again = await desk.ok(ANNA, "queue_command", **READ, idempotency_key="k1")
    assert again == first
    with_policy = {**READ, "conflict_policy": "SUPERSEDE"}  # which no record tells
    assert await desk.code(ANNA, "queue_command", **with_policy, idempotency_key="k1") == "IDEMPOTENCY_CONFLICT"


async def test_a_repeat_is_known_across_an_update_that_adds_fields_to_the_request(desk: ApiScene) -> None:
    stored = await desk.kept(await desk.ok(ANNA, "queue_command", **READ, priority="NORMAL", idempotency_key="k1"))
    asked = hashlib.sha256(json.dumps(["queue_command", READ], sort_keys=True).encode()).digest()
    found = await desk.store.read(lambda reader: reader.repeated(ANNA.name, "k1", asked))
    assert found == stored


async def test_a_repeat_is_answered_whatever_is_in_the_way_by_now(desk: ApiScene) -> None:
    desk.roster.says("pack-01", pair_state=2, fault=0)
    first = await desk.ok(OLGA, "queue_command", **CLOSE, idempotency_key="k1")
    desk.roster.offline("pack-01")
    assert await desk.code(OLGA, "queue_command", **CLOSE) == "COMPONENT_OFFLINE"
    assert await desk.ok(OLGA, "queue_command", **CLOSE, idempotency_key="k1") == first
    assert len(desk.told("request_queued")) == 1


async def test_an_idempotency_key_is_known_after_a_restart_and_belongs_to_its_actor(tmp_path: Path) -> None:
    clock = FakeClock()
    async with api_scene(tmp_path, clock=clock) as desk:
        first = await desk.ok(OWNER, "queue_command", **READ, idempotency_key="k1")
    clock.advance(3600)
    async with api_scene(tmp_path, clock=clock) as desk:
        again = await desk.ok(OWNER, "queue_command", **READ, idempotency_key="k1")
        other = await desk.ok(ANNA, "queue_command", **READ, idempotency_key="k1")
    assert again == first
    assert other["request"]["request_id"] != first["request"]["request_id"]


async def test_what_passes_through_is_marked(desk: ApiScene) -> None:
    told = await desk.ok(OWNER, "queue_command", **{**READ, "target_component": "now-01"})
    assert told["request"]["pass_through"]
    assert "pass_through" not in (await desk.ok(OWNER, "queue_command", **READ))["request"]


async def test_a_safety_command_must_be_allowed_by_the_configuration(desk: ApiScene) -> None:
    assert await desk.code(ROOT, "queue_command", **{**CLOSE, "command_type": "precharge"}) == "NOT_ALLOWED"


async def test_a_safety_command_needs_an_operator(desk: ApiScene) -> None:
    desk.roster.says("pack-01", pair_state=2, fault=0)
    for actor in (OWNER, CLOUD):
        assert await desk.code(actor, "queue_command", **CLOSE) == "NOT_AUTHORIZED"
    await desk.ok(OLGA, "queue_command", **CLOSE)


async def test_a_safety_command_lives_five_seconds_is_sent_once_and_armed_first(desk: ApiScene) -> None:
    desk.roster.says("pack-01", pair_state=2, fault=0)
    assert await desk.code(OLGA, "queue_command", **CLOSE, ttl_s=5.1) == "EXPIRY_OUT_OF_RANGE"
    assert (await desk.no(OLGA, "queue_command", **CLOSE, delivery="AT_LEAST_ONCE"))["details"]["field"] == "delivery"
    told = await desk.ok(OLGA, "queue_command", **CLOSE)
    assert lives(told) == 5_000
    assert told["request"]["delivery"] == "AT_MOST_ONCE"
    assert (await desk.kept(told)).arms


def lives(told: dict[str, Any]) -> int:
    request = told["request"]
    return parse_rfc3339(request["expires_at"]) - parse_rfc3339(request["created_at"])


@pytest.mark.parametrize(
    "vitals",
    [
        {},
        {"pair_state": 1, "fault": 0},
        {"pair_state": 2},
        {"pair_state": 2, "fault": 1},
        {"pair_state": 2, "fault": 0, "pack_state": 9},
        {"pair_state": 2, "fault": 0, "module_state": 9},
    ],
)
async def test_a_safety_command_needs_a_component_that_says_it_is_paired_and_without_fault(
    desk: ApiScene, vitals: dict[str, int]
) -> None:
    desk.roster.says("pack-01", **vitals)
    assert await desk.code(OLGA, "queue_command", **CLOSE) == "PRECONDITION_FAILED"


async def test_a_safety_command_does_not_wait_for_anybody(desk: ApiScene) -> None:
    desk.roster.offline("pack-01")
    assert await desk.code(OLGA, "queue_command", **CLOSE) == "COMPONENT_OFFLINE"
    assert desk.events == []


async def test_a_fault_is_no_obstacle_to_what_clears_it(desk: ApiScene) -> None:
    desk.roster.says("pack-01", pair_state=2, fault=1)
    await desk.ok(OLGA, "queue_command", **{**CLOSE, "command_type": "clear_fault"})
    desk.roster.says("pack-01", pair_state=0, fault=1)
    assert await desk.code(OLGA, "queue_command", **{**CLOSE, "command_type": "clear_fault"}) == "PRECONDITION_FAILED"


async def test_what_makes_safe_goes_first_reaches_far_and_lives_a_minute(desk: ApiScene) -> None:
    desk.roster.offline("pack-01")
    await desk.ok(OWNER, "queue_command", **LIMITS, priority="CRITICAL")
    told = await desk.ok(OWNER, "queue_command", **OPEN, priority="LOW")
    kept = await desk.kept(told)
    assert (told["queue_position"], kept.urgency, kept.reach, lives(told)) == (1, FIRST, Reach.EMERGENCY, 60_000)
    assert await desk.code(OWNER, "queue_command", **OPEN, ttl_s=61) == "EXPIRY_OUT_OF_RANGE"


async def test_wake_reaches_sleepers(desk: ApiScene) -> None:
    told = await desk.ok(OWNER, "queue_command", command_type="wake", target_component="shy-01")
    assert (await desk.kept(told)).reach is Reach.SLEEPING


@pytest.mark.parametrize(("ttl_s", "lives_ms"), [(None, 300_000), (300, 300_000), (1, 1_000)])
async def test_limits_live_five_minutes_at_most(desk: ApiScene, ttl_s: float | None, lives_ms: int) -> None:
    assert lives(await desk.ok(OWNER, "queue_command", **LIMITS, ttl_s=ttl_s)) == lives_ms
    assert await desk.code(OWNER, "queue_command", **LIMITS, ttl_s=300.1) == "EXPIRY_OUT_OF_RANGE"


async def test_no_command_waits_longer_than_the_parameter_says(desk: ApiScene) -> None:
    desk.tuning.change({"max_queue_time_hours": 0.5})
    assert lives(await desk.ok(ANNA, "queue_command", **READ)) == 1_800_000
    assert await desk.code(ANNA, "queue_command", **READ, ttl_s=1801) == "EXPIRY_OUT_OF_RANGE"


async def waiting(desk: ApiScene, component_id: str) -> list[str]:
    page = await desk.ok(ROOT, "get_queued_requests", component_id=component_id)
    return [told["request_id"] for told in page["requests"]]


async def test_of_limits_only_the_newest_wait(desk: ApiScene) -> None:
    desk.roster.offline("pack-01")
    ids = [(await desk.ok(OWNER, "queue_command", **LIMITS))["request"]["request_id"] for _ in range(50)]
    assert await waiting(desk, "pack-01") == ids[-1:]
    (last,) = desk.told("request_cancelled")[-1:]
    assert last.attributes["cancellation_reason"] == f"superseded by {ids[-1]}"


@pytest.mark.parametrize("fields", [{"conflict_policy": "QUEUE"}, {"conflict_key": "mine"}])
async def test_a_caller_may_have_limits_wait_beside_each_other(desk: ApiScene, fields: dict[str, str]) -> None:
    for _ in range(3):
        await desk.ok(OWNER, "queue_command", **LIMITS, **fields)
    assert len(await waiting(desk, "pack-01")) == 3


async def test_a_key_of_its_own_decides_what_conflicts(desk: ApiScene) -> None:
    await desk.ok(ANNA, "queue_command", **READ, conflict_key="a")
    assert await desk.code(ANNA, "queue_command", **READ, conflict_key="a", conflict_policy="REJECT") == (
        "PRECONDITION_FAILED"
    )
    await desk.ok(ANNA, "queue_command", **READ, conflict_key="b", conflict_policy="REJECT")
    newest = await desk.ok(ANNA, "queue_command", **READ, conflict_key="a", conflict_policy="SUPERSEDE")
    assert newest["request"]["conflict_key"] == "a"
    assert len(await waiting(desk, "module-03")) == 2


async def test_a_policy_without_a_key_is_about_commands_of_that_type(desk: ApiScene) -> None:
    for _ in range(2):
        told = await desk.ok(ANNA, "queue_command", **READ, conflict_policy="SUPERSEDE")
    assert told["request"]["conflict_key"] == "read_parameter"
    assert len(await waiting(desk, "module-03")) == 1


async def test_a_command_may_wait_for_others_that_exist(desk: ApiScene) -> None:
    first = (await desk.ok(ANNA, "queue_command", **READ))["request"]["request_id"]
    told = await desk.ok(ANNA, "queue_command", **READ, depends_on=[first])
    assert told["request"]["depends_on"] == [first]
    assert (await desk.kept(told)).blocked == 1
    gone = "cmd_01HZZZZZZZZZZZZZZZZZZZZZZZ"
    assert await desk.code(ANNA, "queue_command", **READ, depends_on=[gone]) == "REQUEST_NOT_FOUND"
    await desk.ok(ANNA, "cancel_request", request_id=first, cancellation_reason="x")
    assert await desk.code(ANNA, "queue_command", **READ, depends_on=[first]) == "DEPENDENCY_FAILED"


async def test_a_full_gateway_says_so(desk: ApiScene) -> None:
    desk.tuning.current = Parameters(max_queue_depth=1)
    await desk.ok(ANNA, "queue_command", **READ)
    assert await desk.code(OWNER, "queue_command", **{**READ, "target_component": "module-04"}) == "QUEUE_FULL"
