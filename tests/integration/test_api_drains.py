"""The request for a drain: who may ask, when there is anything to do, and which comes first, answer or drain."""

import pytest

from gateway.errors import Code, Refusal
from tests.api_scene import ANNA, CLOUD, OLGA, PAIR, READ, ApiScene


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


async def test_a_drain_nobody_waits_for_begins_once_its_answer_is_stored(desk: ApiScene) -> None:
    await desk.ok(ANNA, "queue_command", **READ)
    stored: list[str] = []
    desk.drains.on_release = lambda: stored.append(desk.audit()[-1][1])
    await desk.ok(ANNA, "process_offline_queue", component_id="module-03", wait=False)
    assert desk.drains.released == [("drain-1", True)]
    assert stored == ["process_offline_queue"]


async def test_a_drain_whose_answer_cannot_be_stored_does_not_begin(
    desk: ApiScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.ok(ANNA, "queue_command", **READ)

    async def full(_: object) -> None:
        raise Refusal(Code.STORAGE_FULL)

    monkeypatch.setattr(desk.store, "write", full)
    drain = {"component_id": "module-03", "wait": False}
    assert await desk.code(ANNA, "process_offline_queue", **drain) == "STORAGE_FULL"
    assert desk.drains.released == [("drain-1", False)]


async def test_a_drain_somebody_waits_for_is_not_held(desk: ApiScene) -> None:
    await desk.ok(ANNA, "queue_command", **READ)
    await desk.ok(ANNA, "process_offline_queue", component_id="module-03")
    assert desk.drains.held == set()
