"""What holds for every request: once, audited, answered; and those that look at components and parameters."""

import asyncio

import pytest

from gateway.access import Actor, Role
from gateway.api import REQUESTS, Tuning
from gateway.ports import Call
from gateway.settings import Parameters
from tests.api_scene import ANNA, CLOUD, OLGA, OWNER, PAIR, READ, REGISTRY, ROOT, VIEWER, ApiScene


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
        ("tech-anna", "queue_command", request_id, "accepted", None),
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


async def test_health_says_whether_the_time_is_trusted(desk: ApiScene) -> None:
    assert (await desk.ok(VIEWER, "get_health"))["time_trusted"]
    desk.clock.is_trusted = False
    assert not (await desk.ok(VIEWER, "get_health"))["time_trusted"]


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
    assert await desk.code(ROOT, "explode") == "UNKNOWN_COMMAND"
    assert await desk.code(ROOT, "x" * 10_000) == "UNKNOWN_COMMAND"


async def test_a_fault_of_ours_is_an_internal_error_and_no_crash(desk: ApiScene) -> None:
    desk.drains.begin = None  # type: ignore[assignment, method-assign]  # anything that breaks
    await desk.ok(ANNA, "queue_command", **READ)
    assert await desk.code(ANNA, "process_offline_queue", component_id="module-03") == "INTERNAL"


@pytest.mark.parametrize("request_name", sorted(REQUESTS))
async def test_every_request_has_an_answer_of_its_own(desk: ApiScene, request_name: str) -> None:
    answer = await desk.api.call(ROOT, request_name, {})
    assert answer["ok"] or answer["error"]["code"] in {"INVALID_ARGUMENT", "REASON_REQUIRED"}


async def test_the_same_call_twice_at_the_same_moment_has_one_effect(desk: ApiScene) -> None:
    desk.call = Call("tech-anna", "01HZZZZZZZ", b"content", desk.clock.wall_ms() + 60_000)
    answers = await asyncio.gather(*(desk.api.call(ANNA, "queue_command", READ, desk.call) for _ in range(2)))
    assert [answer["ok"] for answer in answers] == [True, False]
    assert answers[1]["error"]["code"] == "REPLAYED"
    assert len(desk.told("request_queued")) == 1
