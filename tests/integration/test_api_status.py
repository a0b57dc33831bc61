"""What waits, in which order, and when its turn will come."""

import asyncio
import threading
from dataclasses import replace
from typing import Any

from gateway.clock import rfc3339
from gateway.component import DrainMode
from gateway.operation import Action, Ending, Outcome, Verdict
from gateway.ports import ComponentLoad, ExchangeTimes, PresenceChange
from gateway.presence import Presence
from tests.api_scene import ANNA, OLGA, OWNER, PAIR, READ, ROOT, VIEWER, ApiScene


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


async def test_a_list_of_what_has_ended_keeps_nobody_waiting_who_looks_at_the_queue(desk: ApiScene) -> None:
    go_on = threading.Event()
    studying = asyncio.create_task(desk.store.study(lambda _: go_on.wait(30)))
    listing = asyncio.create_task(desk.ok(VIEWER, "get_queued_requests", status_filter="COMPLETED"))
    await asyncio.sleep(0)  # it has asked
    await desk.ok(VIEWER, "get_queued_requests")
    assert not listing.done()
    go_on.set()
    assert await studying
    assert await listing == {"requests": []}


async def test_one_request_is_looked_at_with_its_place(desk: ApiScene) -> None:
    queued = await desk.ok(ANNA, "queue_command", **READ)
    told = await desk.ok(VIEWER, "get_request_status", request_id=queued["request"]["request_id"])
    now = rfc3339(desk.clock.wall_ms())
    assert told == {"request": queued["request"], "queue_position": 1, "estimated_processing": now, "children": []}
    gone = "req_01HZZZZZZZZZZZZZZZZZZZZZZZ"
    assert await desk.code(VIEWER, "get_request_status", request_id=gone) == "REQUEST_NOT_FOUND"


async def estimate(desk: ApiScene, answer: dict[str, Any]) -> int | None:
    """Return in how many ms the turn of an operation is said to come."""
    told = await desk.ok(VIEWER, "get_request_status", request_id=answer["request"]["request_id"])
    at = told.get("estimated_processing")
    return next((ms for ms in range(0, 700_000, 10) if rfc3339(desk.clock.wall_ms() + ms) == at), None)


def exchange_takes(desk: ApiScene, component_id: str, ms: float) -> None:
    desk.drains.loads[component_id] = ComponentLoad(0, ExchangeTimes(ms, 0.0))


async def test_a_turn_comes_after_those_before_it(desk: ApiScene) -> None:
    first, _, third = [await desk.ok(ANNA, "queue_command", **READ) for _ in range(3)]
    assert await estimate(desk, third) is None  # nobody knows how long an exchange takes
    exchange_takes(desk, "pack-01", 400.0)
    exchange_takes(desk, "module-04", 200.0)
    assert await estimate(desk, third) == 600  # as others take
    exchange_takes(desk, "module-03", 50.0)
    assert await estimate(desk, third) == 100
    assert await estimate(desk, first) == 0


async def test_a_turn_comes_when_the_component_is_back_and_has_settled(desk: ApiScene) -> None:
    desk.roster.offline("module-03")
    queued = await desk.ok(ANNA, "queue_command", **READ)
    assert await estimate(desk, queued) is None
    now = desk.clock.wall_ms()
    gone = PresenceChange("module-03", None, now, Presence.OFFLINE, "marked", now, now, expected_return=now + 60_000)
    await desk.store.write(lambda tx: tx.record_presence([gone]))
    assert await estimate(desk, queued) == 60_500
    short = await desk.ok(ANNA, "queue_command", **READ, priority="HIGH", ttl_s=60)
    assert await estimate(desk, short) is None  # it will have expired


async def test_nobody_knows_when_somebody_will_ask_for_a_drain(desk: ApiScene) -> None:
    module = desk.registry.get("module-03")
    assert module is not None
    desk.registry.add(replace(module, drain_mode=DrainMode.MANUAL))
    assert await estimate(desk, await desk.ok(ANNA, "queue_command", **READ)) is None
    emergency = await desk.ok(OLGA, "queue_pairing_request", **PAIR, request_type="EMERGENCY")
    assert await estimate(desk, emergency) == 0


async def test_a_proxy_is_waited_for_unless_proxies_are_not_worked_off(desk: ApiScene) -> None:
    desk.roster.offline("module-03")
    queued = await desk.ok(OWNER, "queue_pairing_request", **PAIR, request_type="PROXY", proxy_component="pack-01")
    assert await estimate(desk, queued) == 0
    await desk.ok(ROOT, "set_params", params={"enable_proxy_processing": False})
    assert await estimate(desk, queued) is None


async def test_what_waits_for_others_has_no_turn_yet(desk: ApiScene) -> None:
    first = await desk.ok(ANNA, "queue_command", **READ)
    second = await desk.ok(ANNA, "queue_command", **READ, depends_on=[first["request"]["request_id"]])
    exchange_takes(desk, "module-03", 50.0)
    assert await estimate(desk, second) is None
    assert await estimate(desk, first) == 0


async def test_what_runs_or_has_ended_has_neither_place_nor_turn(desk: ApiScene) -> None:
    queued = await desk.ok(ANNA, "queue_command", **READ)
    now = desk.clock.wall_ms()

    async def look() -> tuple[str, int | None, bool]:
        told = await desk.ok(VIEWER, "get_request_status", request_id=queued["request"]["request_id"])
        return told["request"]["status"], told["queue_position"], "estimated_processing" in told

    claimed = await desk.store.write(lambda tx: tx.claim("module-03", now))
    assert claimed is not None
    assert await look() == ("PROCESSING", None, False)
    done = Outcome(Ending.DONE, result={"result_code": 0, "data": 5})
    await desk.store.write(lambda tx: tx.finish(claimed, Verdict(Action.COMPLETE), done, now))
    assert await look() == ("COMPLETED", None, False)


async def test_a_parent_is_looked_at_with_its_children_as_they_are(desk: ApiScene) -> None:
    fields = {"command_type": "identify", "targets": ["module-03", "module-04"]}
    queued = await desk.ok(OWNER, "queue_command", **fields)
    await desk.store.write(lambda tx: tx.claim("module-04", desk.clock.wall_ms()))
    told = await desk.ok(VIEWER, "get_request_status", request_id=queued["request"]["request_id"])
    assert (told["request"]["status"], told["queue_position"]) == ("PROCESSING", None)
    assert [child["status"] for child in told["children"]] == ["QUEUED", "PROCESSING"]


async def test_what_was_archived_is_told_like_what_is_live(desk: ApiScene) -> None:
    fields = {"command_type": "identify", "targets": ["module-03", "module-04"], "idempotency_key": "k1"}
    queued = await desk.ok(OWNER, "queue_command", **fields)
    request_id = queued["request"]["request_id"]
    await desk.ok(OWNER, "cancel_request", request_id=request_id, cancellation_reason="x")
    live = await desk.ok(VIEWER, "get_request_status", request_id=request_id)
    assert await desk.store.write(lambda tx: tx.archive(desk.clock.wall_ms() + 1, 100)) == 3
    assert await desk.ok(VIEWER, "get_request_status", request_id=request_id) == live
    assert [child["status"] for child in live["children"]] == ["CANCELLED", "CANCELLED"]
    again = await desk.ok(OWNER, "queue_command", **fields)
    assert (again["request"], again["children"]) == (live["request"], queued["children"])
