"""Replies are what their models and the schemas in docs/ say: every request, answered by the API on a real store."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Code
from gateway.operation import Ending, Outcome
from gateway.payloads import CONTRACTS
from tests.api_scene import PAIR, READ, ROOT, VIEWER, ApiScene, api_scene
from tests.integration.test_told_events import DONE, carried_out
from tests.told import check_reply


class Conversation:
    """Asks and keeps what was answered, by request."""

    def __init__(self, desk: ApiScene) -> None:
        self._desk = desk
        self.answers: list[tuple[str, dict[str, Any]]] = []

    async def ask(self, request: str, **fields: Any) -> dict[str, Any]:
        answer = await self._desk.api.call(ROOT, request, fields)
        self.answers.append((request, {"id": "0123456789", **answer}))
        result: dict[str, Any] = answer.get("result", {})
        return result

    async def queued(self, **fields: Any) -> str:
        return str((await self.ask("queue_command", **READ | fields))["request"]["request_id"])


async def everything_is_asked(desk: ApiScene, at: Conversation) -> None:
    paired = (await at.ask("queue_pairing_request", **PAIR, expiry_hours=2.0))["request"]["request_id"]
    await at.ask("queue_pairing_request", **PAIR, request_type="PROXY", proxy_component="pack-01")
    several = {"command_type": "identify", "selector": {"bus": "can0", "kind": "PACK"}, "strategy": "FAILOVER"}
    parent = (await at.ask("queue_command", **several))["request"]["request_id"]
    await at.ask("route_command", command_type="identify", selector={"bus": "can0"})
    await at.ask("get_request_status", request_id=parent)
    await at.ask("get_request_status", request_id=paired)
    await at.ask("get_queued_requests", component_id="module-03", page_size=1)
    await at.ask("list_proxy_queue", proxy_component="pack-01")
    await at.ask("process_offline_queue", component_id="module-03")
    await at.ask("process_offline_queue", component_id="module-03", wait=False)
    await at.ask("cancel_request", request_id=paired, cancellation_reason="no need")
    dead, held = await at.queued(priority="HIGH"), await at.queued(hold_ref="hold-7", hold_amount=2.5)
    await carried_out(desk, "module-03", Outcome(Ending.REFUSED, code=Code.DEVICE_REFUSED, device_status=0x21))
    await at.ask("list_dead_letters")
    await at.ask("requeue", request_id=dead, ttl_s=60.0)
    await at.ask("set_priority", request_id=dead, priority="LOW")
    await at.ask("reorder_queue", component_id="module-03", request_ids=[held])
    await at.ask("set_priority", request_id=held, priority="CRITICAL")
    await carried_out(desk, "module-03", Outcome(Ending.DONE, result=DONE))
    await at.ask("settle", request_id=held, outcome="CAPTURED", settlement_ref="tx-1")
    other = await at.queued(priority="CRITICAL")
    await carried_out(desk, "module-03", Outcome(Ending.REFUSED, code=Code.DEVICE_REFUSED))
    await at.ask("discard", request_id=other, reason="known")
    await the_gateway_is_asked(at)


async def the_gateway_is_asked(at: Conversation) -> None:
    await at.ask("mark_offline", component_id="module-04", reason="in repair", expected_return="2100-01-01T00:00:00Z")
    await at.ask("mark_online", component_id="module-04", reason="repaired")
    adopted = {"component_id": "module-07", "kind": "MODULE", "bus": "can0", "node": 0xA7, "owner": "fleet-north"}
    await at.ask("adopt_component", **adopted)
    await at.ask("confirm_clock")
    await at.ask("get_presence")
    await at.ask("get_params")
    await at.ask("set_params", params={"max_retry_attempts": 5})
    await at.ask("get_metrics", window="HOUR", by="type")
    await at.ask("get_history", page_size=2)
    await at.ask("get_audit", page_size=2)
    await at.ask("verify_audit")
    await at.ask("replay", from_seq=1, to_seq=2)


async def test_every_request_is_answered_as_its_model_says(tmp_path: Path) -> None:
    async with api_scene(tmp_path) as desk:
        at = Conversation(desk)
        await everything_is_asked(desk, at)
    for request, reply in at.answers:
        assert reply["ok"], (request, reply)
        check_reply(request, reply)
    assert {request for request, _ in at.answers} == CONTRACTS.keys() - {"get_health"}  # its parts are doubles here


REFUSED: Mapping[str, dict[str, Any]] = {
    "cancel_request": {"request_id": f"cmd_{'0' * 26}", "cancellation_reason": "x"},
    "queue_command": {"command_type": "identify", "target_component": "nobody"},
    "set_params": {"params": {"max_retry_attempts": -1}},
    "process_offline_queue": {"component_id": "module-03"},
}


@pytest.mark.parametrize("request_name", REFUSED)
async def test_a_no_is_what_its_model_says(request_name: str, tmp_path: Path) -> None:
    async with api_scene(tmp_path) as desk:
        answer = await desk.api.call(ROOT, request_name, REFUSED[request_name])
        assert not answer["ok"]
        check_reply(request_name, {"id": "0123456789", **answer})


async def test_whoever_asks_too_often_is_told_when_to_come_again_as_the_model_says(tmp_path: Path) -> None:
    async with api_scene(tmp_path) as desk:
        desk.tuning.change({"requests_per_minute": 1})
        await desk.ok(VIEWER, "get_params")
        answer = await desk.api.call(VIEWER, "get_params", {})
        assert answer["error"]["retry_after_ms"] > 0
        check_reply("get_params", {"id": "0123456789", **answer})
