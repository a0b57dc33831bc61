"""Every request, against the real store and the real command types; roster and drains are doubles."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.access import Actor, Role
from gateway.api import REQUESTS, Tuning
from gateway.clock import parse_rfc3339
from gateway.ports import Call
from gateway.settings import Parameters
from tests.api_scene import ANNA, CLOUD, OLGA, OWNER, PAIR, READ, REGISTRY, ROOT, VIEWER, ApiScene, api_scene


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[ApiScene]:
    async with api_scene(tmp_path) as scene:
        yield scene


async def test_a_pairing_request_is_stored_and_told_with_its_place_in_the_queue(desk: ApiScene) -> None:
    first = await desk.ok(OWNER, "queue_pairing_request", **PAIR, priority="HIGH", metadata={"order": "77"})
    second = await desk.ok(OWNER, "queue_pairing_request", **PAIR)
    assert first["request"]["status"] == "QUEUED"
    assert first["request"]["request_id"].startswith("req_")
    assert first["request"]["metadata"] == {"order": "77"}
    assert (first["queue_position"], second["queue_position"]) == (1, 2)
    queued = [event for event in desk.events if event.type == "request_queued"]
    assert [event.subject for event in queued] == ["module-03", "module-03"]
    assert queued[1].attributes["queue_position"] == 2


async def test_a_request_waits_as_long_as_it_may_and_no_longer(desk: ApiScene) -> None:
    longest = await desk.ok(OWNER, "queue_pairing_request", **PAIR)
    an_hour = await desk.ok(OWNER, "queue_pairing_request", **PAIR, expiry_hours=1)
    a_minute = await desk.ok(OWNER, "queue_pairing_request", **PAIR, ttl_s=60)
    command = await desk.ok(OWNER, "queue_command", **READ)
    told = [answer["request"] for answer in (longest, an_hour, a_minute, command)]
    lives = [parse_rfc3339(each["expires_at"]) - parse_rfc3339(each["created_at"]) for each in told]
    assert lives == [168 * 3_600_000, 3_600_000, 60_000, 24 * 3_600_000]


@pytest.mark.parametrize("fields", [{"ttl_s": 0}, {"ttl_s": -1}, {"expiry_hours": 169}, {"ttl_s": 1e12}])
async def test_a_wait_out_of_range_is_refused(desk: ApiScene, fields: dict[str, float]) -> None:
    assert await desk.code(OWNER, "queue_pairing_request", **PAIR, **fields) == "EXPIRY_OUT_OF_RANGE"


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({**PAIR, "priority": "URGENT"}, "priority"),
        ({**PAIR, "surprise": 1}, "surprise"),
        ({"initiator_component": "pack-01"}, "target_component"),
        ({**PAIR, "metadata": {str(n): "x" for n in range(33)}}, "metadata"),
        ({**PAIR, "title": "x" * 257}, "title"),
        ({**PAIR, "ttl_s": "60"}, "ttl_s"),
        ({**PAIR, "hold_amount": float("nan")}, "hold_amount"),
        ({"initiator_component": "pack/01", "target_component": "module-03"}, "initiator_component"),
    ],
)
async def test_a_wrong_field_is_named(desk: ApiScene, fields: dict[str, Any], names: str) -> None:
    error = await desk.no(OWNER, "queue_pairing_request", **fields)
    assert error["code"] == "INVALID_ARGUMENT"
    assert error["details"]["field"].split(".")[0] == names


@pytest.mark.parametrize(
    "fields",
    [
        {**PAIR, "expiry_hours": 1, "ttl_s": 60},
        {**PAIR, "proxy_component": "pack-01"},
        {**PAIR, "request_type": "PROXY"},
        {"initiator_component": "pack-01", "target_component": "pack-01"},
        {"initiator_component": "far-01", "target_component": "module-03"},
    ],
)
async def test_fields_that_contradict_each_other_are_refused(desk: ApiScene, fields: dict[str, Any]) -> None:
    assert await desk.code(OWNER, "queue_pairing_request", **fields) == "INVALID_ARGUMENT"


async def test_the_initiator_must_be_there_and_online(desk: ApiScene) -> None:
    assert await desk.code(OWNER, "queue_pairing_request", **{**PAIR, "initiator_component": "x"}) == (
        "COMPONENT_NOT_FOUND"
    )
    desk.roster.offline("pack-01")
    assert await desk.code(OWNER, "queue_pairing_request", **PAIR) == "INITIATOR_OFFLINE"


async def test_an_absent_target_is_what_the_queue_is_for(desk: ApiScene) -> None:
    desk.roster.offline("module-03")
    assert (await desk.ok(OWNER, "queue_pairing_request", **PAIR))["queue_position"] == 1
    desk.clock.advance(1)
    assert (await desk.ok(ANNA, "queue_command", **READ))["queue_position"] == 2


async def test_whoever_does_not_own_the_initiator_queues_no_pairing_for_it(desk: ApiScene) -> None:
    assert await desk.code(ANNA, "queue_pairing_request", **PAIR) == "NOT_OWNER"
    assert await desk.code(VIEWER, "queue_pairing_request", **PAIR) == "NOT_AUTHORIZED"
    assert (await desk.ok(CLOUD, "queue_pairing_request", **PAIR))["request"]["creator"] == "cloud"


async def test_an_emergency_needs_an_operator_and_counts_as_critical(desk: ApiScene) -> None:
    emergency = {**PAIR, "request_type": "EMERGENCY", "priority": "LOW"}
    assert await desk.code(OWNER, "queue_pairing_request", **emergency) == "NOT_AUTHORIZED"
    assert (await desk.ok(OLGA, "queue_pairing_request", **emergency))["request"]["priority"] == "CRITICAL"


async def test_a_proxy_must_be_named_by_its_target_known_and_in_reach(desk: ApiScene) -> None:
    async def code(proxy: str, target: str) -> str:
        fields = {"initiator_component": "pack-01", "target_component": target}
        return await desk.code(OLGA, "queue_pairing_request", **fields, request_type="PROXY", proxy_component=proxy)

    assert await code("nobody", "module-03") == "COMPONENT_NOT_FOUND"
    assert await code("module-04", "module-03") == "PROXY_NOT_AUTHORIZED"
    assert await code("pack-01", "module-04") == "PRECONDITION_FAILED"  # its serial number is not known
    assert await code("far-01", "module-03") == "INVALID_ARGUMENT"  # on another bus
    fields = {**PAIR, "request_type": "PROXY", "proxy_component": "pack-01"}
    assert (await desk.ok(OLGA, "queue_pairing_request", **fields))["request"]["proxy_component"] == "pack-01"


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


async def test_the_same_call_has_one_effect_and_one_answer(desk: ApiScene) -> None:
    desk.call = Call("tech-anna", "01HZZZZZZZ", b"content", desk.clock.wall_ms() + 60_000)
    first = await desk.ok(ANNA, "queue_command", **READ)
    desk.roster.offline("module-03")
    again = await desk.ok(ANNA, "queue_command", **READ)
    assert again == first
    desk.call = Call("tech-anna", "01HZZZZZZZ", b"other content", desk.clock.wall_ms() + 60_000)
    assert await desk.code(ANNA, "queue_command", **READ) == "REPLAYED"
    assert len([event for event in desk.events if event.type == "request_queued"]) == 1


async def test_a_refusal_is_remembered_as_well(desk: ApiScene) -> None:
    desk.call = Call("fleet-north", "01HZZZZZZZ", b"content", desk.clock.wall_ms() + 60_000)
    desk.roster.offline("pack-01")
    assert await desk.code(OWNER, "queue_pairing_request", **PAIR) == "INITIATOR_OFFLINE"
    desk.roster.online("pack-01")
    assert await desk.code(OWNER, "queue_pairing_request", **PAIR) == "INITIATOR_OFFLINE"


async def test_every_change_and_every_refusal_of_one_is_audited(desk: ApiScene) -> None:
    queued = await desk.ok(ANNA, "queue_command", **READ)
    request_id = queued["request"]["request_id"]
    await desk.no(VIEWER, "cancel_request", request_id=request_id, cancellation_reason="no")
    await desk.ok(ANNA, "get_presence")
    assert desk.audit() == [
        ("tech-anna", "queue_command", "module-03", "accepted", None),
        ("screen", "cancel_request", request_id, "refused", "NOT_AUTHORIZED"),
    ]


async def test_an_operation_that_waits_can_be_cancelled_with_a_reason(desk: ApiScene) -> None:
    request_id = (await desk.ok(ANNA, "queue_command", **READ))["request"]["request_id"]
    assert await desk.code(ANNA, "cancel_request", request_id=request_id) == "REASON_REQUIRED"
    assert await desk.code(ANNA, "cancel_request", request_id=request_id, cancellation_reason=" ") == "REASON_REQUIRED"
    gone = "cmd_01HZZZZZZZZZZZZZZZZZZZZZZZ"
    assert await desk.code(ANNA, "cancel_request", request_id=gone, cancellation_reason="x") == "REQUEST_NOT_FOUND"
    told = (await desk.ok(ANNA, "cancel_request", request_id=request_id, cancellation_reason="wrong module"))["request"]
    assert (told["status"], told["cancellation_reason"]) == ("CANCELLED", "wrong module")
    code = await desk.code(ANNA, "cancel_request", request_id=request_id, cancellation_reason="again")
    assert code == "INVALID_STATE_TRANSITION"
    assert desk.events[-1].type == "request_cancelled"


async def test_creator_owner_and_operator_cancel_and_nobody_else(desk: ApiScene) -> None:
    async def queued() -> str:
        answer = await desk.ok(CLOUD, "queue_pairing_request", **PAIR)
        return str(answer["request"]["request_id"])

    stranger = Actor("tech-bob", Role.TECHNICIAN, frozenset({"module-03"}), "mqtt")  # the target is not the initiator
    fields = {"request_id": await queued(), "cancellation_reason": "x"}
    assert await desk.code(stranger, "cancel_request", **fields) == "NOT_OWNER"
    for actor in (CLOUD, OWNER, OLGA):
        await desk.ok(actor, "cancel_request", request_id=await queued(), cancellation_reason="x")


async def test_a_drain_is_begun_and_its_report_is_the_answer(desk: ApiScene) -> None:
    await desk.ok(ANNA, "queue_command", **READ)
    report = await desk.ok(ANNA, "process_offline_queue", component_id="module-03", max_operations=5)
    assert report == {
        "component_id": "module-03",
        "requests_processed": 5,
        "successful": 4,
        "failed": 1,
        "processing_time_ms": 1250,
    }
    told = await desk.ok(ANNA, "process_offline_queue", component_id="module-03", wait=False)
    assert told == {"accepted": True, "drain_id": "drain-2"}
    assert desk.drains.begun == [("module-03", 5, False), ("module-03", 10, False)]


async def test_a_drain_needs_something_to_do_and_somebody_there(desk: ApiScene) -> None:
    drain = {"component_id": "module-03"}
    assert await desk.code(ANNA, "process_offline_queue", **drain) == "NOTHING_PENDING"
    await desk.ok(ANNA, "queue_command", **READ)
    desk.roster.offline("module-03")
    assert await desk.code(ANNA, "process_offline_queue", **drain) == "COMPONENT_OFFLINE"
    assert await desk.code(ANNA, "process_offline_queue", component_id="pack-01") == "NOT_OWNER"
    assert await desk.code(CLOUD, "process_offline_queue", **drain) == "NOT_AUTHORIZED"
    assert desk.drains.begun == []


async def test_a_proxy_that_is_there_is_reason_enough_for_a_drain_that_asks_for_it(desk: ApiScene) -> None:
    await desk.ok(OLGA, "queue_pairing_request", **PAIR, request_type="PROXY", proxy_component="pack-01")
    desk.roster.offline("module-03")
    drain = {"component_id": "module-03"}
    assert await desk.code(OLGA, "process_offline_queue", **drain) == "NOTHING_PENDING"
    await desk.ok(OLGA, "process_offline_queue", **drain, process_proxy_queue=True)
    assert desk.drains.begun == [("module-03", 10, True)]


async def test_the_queue_is_listed_in_the_order_of_processing_page_by_page(desk: ApiScene) -> None:
    for priority in ("LOW", "CRITICAL", "NORMAL", "HIGH"):
        await desk.ok(ANNA, "queue_command", **READ, priority=priority)
    first = await desk.ok(VIEWER, "get_queued_requests", component_id="module-03", page_size=3)
    rest = await desk.ok(
        VIEWER, "get_queued_requests", component_id="module-03", page_size=3, cursor=first["next_cursor"]
    )
    order = [told["priority"] for told in first["requests"] + rest["requests"]]
    assert order == ["CRITICAL", "HIGH", "NORMAL", "LOW"]
    assert "next_cursor" not in rest
    assert first["queue_status"]["priority_queue_size"] == 2
    assert first["queue_status"]["standard_queue_size"] == 2
    assert first["offline_operation"]["operation_count"] == 4
    urgent = await desk.ok(VIEWER, "get_queued_requests", queue_type="PRIORITY")
    assert len(urgent["requests"]) == 2
    assert await desk.code(VIEWER, "get_queued_requests", cursor="nonsense") == "INVALID_ARGUMENT"
    assert await desk.code(VIEWER, "get_queued_requests", component_id="nobody") == "COMPONENT_NOT_FOUND"


async def test_one_request_is_looked_at_with_its_place(desk: ApiScene) -> None:
    queued = await desk.ok(ANNA, "queue_command", **READ)
    told = await desk.ok(VIEWER, "get_request_status", request_id=queued["request"]["request_id"])
    assert told == {"request": queued["request"], "queue_position": 1, "children": []}
    gone = "req_01HZZZZZZZZZZZZZZZZZZZZZZZ"
    assert await desk.code(VIEWER, "get_request_status", request_id=gone) == "REQUEST_NOT_FOUND"


async def test_presence_tells_the_registry_record_and_what_is_heard(desk: ApiScene) -> None:
    desk.roster.offline("module-03")
    (told,) = (await desk.ok(VIEWER, "get_presence", component_id="module-03"))["components"]
    assert told["presence"] == "OFFLINE"
    assert told["serial"] == "0x00000000000000A3"
    assert told["proxies"] == ["far-01", "pack-01"]
    assert "key" not in told
    assert len((await desk.ok(VIEWER, "get_presence"))["components"]) == len(REGISTRY)
    assert await desk.code(VIEWER, "get_presence", component_id="nobody") == "COMPONENT_NOT_FOUND"


async def test_health_is_well_only_if_every_bus_and_the_broker_are(desk: ApiScene) -> None:
    told = await desk.ok(VIEWER, "get_health")
    assert told["healthy"]
    assert told["active_operations"] == 2
    desk.health.connected = False
    assert not (await desk.ok(VIEWER, "get_health"))["healthy"]
    desk.health.connected, desk.health.state = True, "DOWN"
    assert not (await desk.ok(VIEWER, "get_health"))["healthy"]
    desk.health.state, desk.health.heard = "UP", "SILENT"
    assert not (await desk.ok(VIEWER, "get_health"))["healthy"]


async def test_parameters_are_changed_by_an_admin_kept_and_told(desk: ApiScene) -> None:
    assert await desk.code(OLGA, "set_params", params={"max_retry_attempts": 5}) == "NOT_AUTHORIZED"
    assert await desk.code(ROOT, "set_params", params={"max_retry_attempts": -1}) == "INVALID_ARGUMENT"
    assert await desk.code(ROOT, "set_params", params={"max_retries": 1}) == "INVALID_ARGUMENT"
    assert await desk.code(ROOT, "set_params", params={}) == "INVALID_ARGUMENT"
    told = await desk.ok(ROOT, "set_params", params={"max_retry_attempts": 5})
    assert told["params"]["max_retry_attempts"] == 5
    assert (await desk.ok(VIEWER, "get_params"))["params"] == told["params"]
    assert desk.events[-1].attributes == {"params": {"max_retry_attempts": 5}, "actor": "root"}
    kept = await desk.store.write(lambda tx: tx.parameters())
    assert Tuning(Parameters(), kept).current.max_retry_attempts == 5


async def test_parameters_changed_at_the_same_time_are_all_in_force(desk: ApiScene) -> None:
    changes = [{"max_retry_attempts": 5}, {"max_queue_depth": 50}, {"enable_retry": False}]
    await asyncio.gather(*(desk.ok(ROOT, "set_params", params=params) for params in changes))
    told = (await desk.ok(VIEWER, "get_params"))["params"]
    assert (told["max_retry_attempts"], told["max_queue_depth"], told["enable_retry"]) == (5, 50, False)


async def test_what_is_not_known_is_answered_and_not_raised(desk: ApiScene) -> None:
    assert await desk.code(ROOT, "settle") == "UNKNOWN_COMMAND"
    assert await desk.code(ROOT, "x" * 10_000) == "UNKNOWN_COMMAND"


async def test_a_fault_of_ours_is_an_internal_error_and_no_crash(desk: ApiScene) -> None:
    desk.drains.begin = None  # type: ignore[assignment, method-assign]  # anything that breaks
    await desk.ok(ANNA, "queue_command", **READ)
    assert await desk.code(ANNA, "process_offline_queue", component_id="module-03") == "INTERNAL"


@pytest.mark.parametrize("request_name", sorted(REQUESTS))
async def test_every_request_has_an_answer_of_its_own(desk: ApiScene, request_name: str) -> None:
    answer = await desk.api.call(ROOT, request_name, {})
    assert answer["ok"] or answer["error"]["code"] in {"INVALID_ARGUMENT", "REASON_REQUIRED"}
