"""What operators, administrators and the backend ask for, from the request to the real store and back."""

from pathlib import Path
from typing import Any

import pytest

from gateway.adoption import merge
from gateway.api import REQUESTS
from gateway.clock import rfc3339
from gateway.component import Registry
from gateway.operation import Action, Ending, Outcome, Verdict
from tests.api_scene import ANNA, CLOUD, OLGA, OWNER, PAIR, READ, REGISTRY, ROOT, VIEWER, ApiScene, api_scene
from tests.doubles import FakeClock

HOUR_S = 3600
GONE = "cmd_01HZZZZZZZZZZZZZZZZZZZZZZZ"


async def queued(desk: ApiScene, **fields: Any) -> str:
    return str((await desk.ok(CLOUD, "queue_command", **READ | fields))["request"]["request_id"])


async def carried_out(desk: ApiScene, action: Action = Action.FAIL, took_s: float = 2.0) -> str:
    """Have the drain take the next command and end it; returns its id."""
    operation = await desk.store.write(lambda tx: tx.claim("module-03", desk.clock.wall_ms()))
    assert operation is not None
    desk.clock.advance(took_s)
    ending = Ending.DONE if action is Action.COMPLETE else Ending.REFUSED
    now_ms = desk.clock.wall_ms()
    await desk.store.write(lambda tx: tx.finish(operation, Verdict(action), Outcome(ending), now_ms))
    return operation.request_id


def ids(result: dict[str, Any]) -> list[str]:
    return [told["request_id"] for told in result["requests"]]


async def pages(desk: ApiScene, request: str, **fields: Any) -> list[str]:
    """Return the ids of all pages of a list, two at a time."""
    found: list[str] = []
    more: dict[str, Any] = {}
    while True:
        result = await desk.ok(VIEWER, request, **fields, **more, page_size=2)
        assert len(result["requests"]) <= 2
        found += ids(result)
        if "next_cursor" not in result:
            return found
        more = {"cursor": result["next_cursor"]}


# --- dead letters -----------------------------------------------------------------------------------------------------


async def test_a_dead_letter_is_listed_queued_again_and_discarded(desk: ApiScene) -> None:
    for _ in range(5):
        await queued(desk)
    dead = [await carried_out(desk) for _ in range(5)]
    assert await pages(desk, "list_dead_letters") == dead[::-1]
    assert await pages(desk, "list_dead_letters", component_id="module-04") == []

    told = (await desk.ok(OLGA, "requeue", request_id=dead[0], ttl_s=60.0))["request"]
    assert (told["status"], told["retry_count"]) == ("QUEUED", 0)
    assert told["expires_at"] == rfc3339(desk.clock.wall + 60_000)
    assert desk.events[-1].type == "request_queued"
    assert await desk.code(OLGA, "requeue", request_id=dead[0]) == "INVALID_STATE_TRANSITION"

    discarded = (await desk.ok(OLGA, "discard", request_id=dead[1], reason="known"))["request"]
    assert discarded["status"] == "FAILED"
    assert "discarded_at" in discarded
    assert desk.events[-1].type == "request_discarded"
    assert desk.events[-1].attributes["reason"] == "known"
    assert await desk.code(OLGA, "discard", request_id=dead[1], reason="again") == "INVALID_STATE_TRANSITION"
    assert await pages(desk, "list_dead_letters") == dead[:1:-1]
    assert await desk.code(OLGA, "requeue", request_id=GONE) == "REQUEST_NOT_FOUND"
    assert await desk.code(OLGA, "discard", request_id=GONE, reason="x") == "REQUEST_NOT_FOUND"


async def test_a_dead_letter_needs_room_like_anything_else(desk: ApiScene) -> None:
    await queued(desk)
    dead = await carried_out(desk)
    await desk.ok(ROOT, "set_params", params={"max_requests_per_component": 1})
    await queued(desk)
    assert await desk.code(OLGA, "requeue", request_id=dead) == "QUEUE_FULL"


# --- order ------------------------------------------------------------------------------------------------------------


async def test_an_operator_changes_the_order_and_the_drain_follows(desk: ApiScene) -> None:
    first, second, third, urgent = [await queued(desk) for _ in range(3)] + [await queued(desk, priority="HIGH")]
    told = await desk.ok(OLGA, "reorder_queue", component_id="module-03", request_ids=[third, second])
    assert ids(told) == [third, second]
    assert (desk.events[-1].type, desk.events[-1].attributes["actor"]) == ("queue_reordered", "olga")
    assert await pages(desk, "get_queued_requests", component_id="module-03") == [urgent, third, second, first]
    moved = await desk.ok(OLGA, "set_priority", request_id=first, priority="CRITICAL")
    assert (moved["request"]["priority"], moved["queue_position"]) == ("CRITICAL", 1)
    assert [await carried_out(desk, Action.COMPLETE) for _ in range(4)] == [first, urgent, third, second]


async def test_only_what_waits_there_is_put_in_order(desk: ApiScene) -> None:
    here, elsewhere = await queued(desk), await queued(desk, target_component="module-04")
    reorder = {"component_id": "module-03"}
    assert await desk.code(OLGA, "reorder_queue", **reorder, request_ids=[elsewhere]) == "INVALID_ARGUMENT"
    assert await desk.code(OLGA, "reorder_queue", **reorder, request_ids=[here, GONE]) == "REQUEST_NOT_FOUND"
    await carried_out(desk)
    assert await desk.code(OLGA, "reorder_queue", **reorder, request_ids=[here]) == "INVALID_STATE_TRANSITION"
    assert await desk.code(OLGA, "set_priority", request_id=here, priority="LOW") == "INVALID_STATE_TRANSITION"


async def test_an_emergency_keeps_its_place(desk: ApiScene) -> None:
    told = await desk.ok(OLGA, "queue_pairing_request", **PAIR, request_type="EMERGENCY")
    fields = {"request_id": told["request"]["request_id"], "priority": "LOW"}
    assert await desk.code(ROOT, "set_priority", **fields) == "PRECONDITION_FAILED"


# --- holds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("action", "outcome"), [(Action.COMPLETE, "CAPTURED"), (Action.FAIL, "RELEASED")])
async def test_the_backend_settles_what_it_holds_once_and_for_all(desk: ApiScene, action: Action, outcome: str) -> None:
    request_id = await queued(desk, hold_ref="order-77", hold_amount=12.5)
    settle = {"request_id": request_id, "outcome": outcome, "settlement_ref": "s-1"}
    assert await desk.code(CLOUD, "settle", **settle) == "INVALID_STATE_TRANSITION"
    await carried_out(desk, action)
    told = (await desk.ok(CLOUD, "settle", **settle))["request"]
    assert (told["settlement"], told["settlement_ref"]) == (outcome, "s-1")
    assert desk.events[-1].type == "request_settled"
    again = (await desk.ok(CLOUD, "settle", **settle))["request"]
    assert again == told
    assert len(desk.told("request_settled")) == 1
    assert await desk.code(CLOUD, "settle", **settle | {"settlement_ref": "s-2"}) == "INVALID_STATE_TRANSITION"
    if action is Action.FAIL:
        assert await desk.code(OLGA, "requeue", request_id=request_id) == "INVALID_STATE_TRANSITION"


async def test_a_hold_is_settled_as_its_operation_ended(desk: ApiScene) -> None:
    request_id = await queued(desk, hold_ref="order-77")
    await desk.ok(OLGA, "cancel_request", request_id=request_id, cancellation_reason="x")
    settle = {"request_id": request_id, "settlement_ref": "s-1"}
    assert await desk.code(CLOUD, "settle", **settle, outcome="CAPTURED") == "INVALID_STATE_TRANSITION"
    await desk.ok(CLOUD, "settle", **settle, outcome="RELEASED")


# --- routed and proxy requests ----------------------------------------------------------------------------------------


async def test_cancelling_a_routed_command_cancels_what_waits_of_it(desk: ApiScene) -> None:
    fields = {name: value for name, value in READ.items() if name != "target_component"}
    told = await desk.ok(CLOUD, "queue_command", **fields, targets=["module-03", "module-04"])
    parent = told["request"]["request_id"]
    await desk.ok(CLOUD, "cancel_request", request_id=parent, cancellation_reason="not now")
    status = await desk.ok(VIEWER, "get_request_status", request_id=parent)
    assert [each["status"] for each in (status["request"], *status["children"])] == ["CANCELLED"] * 3
    assert await desk.code(OLGA, "requeue", request_id=parent) == "INVALID_STATE_TRANSITION"


async def test_a_proxys_queue_comes_in_pages(desk: ApiScene) -> None:
    fields = {**PAIR, "request_type": "PROXY", "proxy_component": "pack-01"}
    asked = [(await desk.ok(OLGA, "queue_pairing_request", **fields))["request"]["request_id"] for _ in range(3)]
    assert await pages(desk, "list_proxy_queue", proxy_component="pack-01") == asked
    assert await desk.code(VIEWER, "list_proxy_queue", proxy_component="pack-01", cursor="x") == "INVALID_ARGUMENT"


# --- looking back -----------------------------------------------------------------------------------------------------


async def test_history_is_filtered_and_comes_in_pages(desk: ApiScene) -> None:
    began = rfc3339(desk.clock.wall)
    failed = []
    for _ in range(3):
        await queued(desk)
        failed.append(await carried_out(desk))
    middle = rfc3339(desk.clock.wall)
    waiting = (await desk.ok(OWNER, "queue_command", **READ))["request"]["request_id"]
    assert await pages(desk, "get_history") == [waiting, *failed[::-1]]
    assert await pages(desk, "get_history", status="FAILED") == failed[::-1]
    assert await pages(desk, "get_history", creator="fleet-north") == [waiting]
    assert await pages(desk, "get_history", **{"from": began, "to": middle}) == failed[::-1]
    assert await pages(desk, "get_history", component_id="module-04") == []
    assert await pages(desk, "get_history", command_type="reset") == []
    assert await desk.code(VIEWER, "get_history", cursor="x") == "INVALID_ARGUMENT"


async def test_figures_are_those_of_what_ended(desk: ApiScene) -> None:
    for action in (Action.COMPLETE, Action.COMPLETE, Action.COMPLETE, Action.FAIL):
        await queued(desk)
        desk.clock.advance(4)
        await carried_out(desk, action)
    desk.clock.advance(1)
    told = await desk.ok(VIEWER, "get_metrics", window="HOUR", by="status")
    assert (told["totals"]["count"], told["totals"]["failure_rate"]) == (4, 0.25)
    assert told["totals"]["wait_ms"]["mean"] == 4000
    assert told["totals"]["processing_ms"]["p50"] == 2000
    assert {group["key"]: group["count"] for group in told["groups"]} == {"COMPLETED": 3, "FAILED": 1}
    nothing = await desk.ok(VIEWER, "get_metrics", **{"from": rfc3339(0), "to": rfc3339(1)})
    assert (nothing["totals"]["count"], nothing["totals"]["wait_ms"]["mean"]) == (0, None)


async def test_what_was_accepted_and_refused_stands_in_the_chain_and_the_chain_holds(desk: ApiScene) -> None:
    request_id = await queued(desk)
    await desk.no(VIEWER, "discard", request_id=request_id, reason="x")
    await desk.no(OLGA, "mark_offline", component_id="module-03")
    await desk.ok(OLGA, "mark_offline", component_id="module-03", reason="x")
    first = await desk.ok(ROOT, "get_audit", page_size=3)
    rest = await desk.ok(ROOT, "get_audit", page_size=3, cursor=first["next_cursor"])
    told = [(entry["actor"], entry["action"], entry["outcome"], entry["code"]) for entry in first["entries"]]
    assert told == [
        ("cloud", "queue_command", "accepted", None),
        ("screen", "discard", "refused", "NOT_AUTHORIZED"),
        ("olga", "mark_offline", "refused", "REASON_REQUIRED"),
    ]
    (last,) = rest["entries"]
    assert (last["action"], last["previous_hash"]) == ("mark_offline", first["entries"][-1]["hash"])
    assert await desk.ok(ROOT, "verify_audit") == {
        "entries": 4,
        "last_seq": 4,
        "first_broken": None,
        "head": last["hash"],
    }


async def test_an_entry_of_the_chain_tells_who_asked_by_which_way_for_what_and_when(desk: ApiScene) -> None:
    request_id = await queued(desk)
    desk.clock.advance(1)
    await desk.ok(ROOT, "set_params", params={"alert_queue_size": 7})
    desk.clock.advance(1)
    await desk.no(OLGA, "settle", request_id=request_id, outcome="CAPTURED", settlement_ref="s-1")
    entries = (await desk.ok(ROOT, "get_audit"))["entries"]
    began = desk.clock.wall - 2000
    assert [tuple(entry.values())[1:-2] for entry in entries] == [
        (rfc3339(began), "cloud", "mqtt", "queue_command", request_id, "accepted", None),
        (rfc3339(began + 1000), "root", "socket", "set_params", "gateway", "accepted", None),
        (rfc3339(began + 2000), "olga", "mqtt", "settle", request_id, "refused", "NOT_AUTHORIZED"),
    ]
    assert {tuple(entry) for entry in entries} == {
        ("seq", "at", "actor", "transport", "action", "subject", "outcome", "code", "previous_hash", "hash")
    }


async def test_a_gateway_nobody_has_asked_anything_has_an_empty_chain(desk: ApiScene) -> None:
    assert await desk.ok(ROOT, "get_audit") == {"entries": []}
    assert (await desk.ok(ROOT, "verify_audit"))["first_broken"] is None


# --- the registry, parameters, time -----------------------------------------------------------------------------------


async def test_what_is_adopted_and_set_outlives_a_restart(tmp_path: Path) -> None:
    adopt = {"component_id": "module-07", "bus": "can0", "node": 0xA7, "kind": "MODULE", "owner": "tech-anna"}
    async with api_scene(tmp_path) as desk:
        await desk.ok(ROOT, "adopt_component", **adopt)
        await desk.ok(ROOT, "set_params", params={"alert_queue_size": 7})
        await desk.ok(ANNA, "queue_command", **READ | {"target_component": "module-07"})
    async with api_scene(tmp_path) as desk:
        registry = Registry(REGISTRY)
        assert merge(registry, await desk.store.read(lambda reader: reader.registrations()), ["can0"]) == []
        adopted = registry.at("can0", 0xA7)
        assert adopted is not None
        assert (adopted.component_id, adopted.owner, adopted.configured) == ("module-07", "tech-anna", True)
        assert (await desk.store.write(lambda tx: tx.parameters())) == {"alert_queue_size": 7}


async def test_nothing_expires_before_an_operator_has_confirmed_the_clock(tmp_path: Path) -> None:
    clock = FakeClock()
    async with api_scene(tmp_path, clock=clock) as desk:
        request_id = await queued(desk, ttl_s=60.0)
        clock.is_trusted = False
        clock.advance(2 * HOUR_S)
        assert await desk.store.write(lambda tx: tx.expire(clock.wall_ms(), 10)) == []
        await desk.ok(OLGA, "confirm_clock")
        (expired,) = await desk.store.write(lambda tx: tx.expire(clock.wall_ms(), 10))
        assert expired.request_id == request_id


@pytest.mark.parametrize("request_name", list(REQUESTS))
async def test_every_request_answers_a_stranger_to_it_with_a_code_and_never_a_fault(
    desk: ApiScene, request_name: str
) -> None:
    for fields in ({}, {"surprise": 1}, {"request_id": GONE, "component_id": "x" * 65, "cursor": "x"}):
        answer = await desk.api.call(ROOT, request_name, fields)
        assert answer["ok"] or answer["error"]["code"] not in {"INTERNAL", "UNKNOWN_COMMAND"}, answer
