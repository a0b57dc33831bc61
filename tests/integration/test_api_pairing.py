"""The request for a pairing: who, with whom, by whom, and for how long it may wait."""

from typing import Any

import pytest

from gateway.clock import parse_rfc3339
from gateway.errors import Code
from gateway.operation import Action, Ending, Outcome, Verdict
from tests.api_scene import ANNA, CLOUD, OLGA, OWNER, PAIR, READ, VIEWER, ApiScene

PROXY = {**PAIR, "request_type": "PROXY", "proxy_component": "pack-01"}


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


async def test_an_idempotency_key_gives_the_first_pairing_again(desk: ApiScene) -> None:
    first = await desk.ok(OWNER, "queue_pairing_request", **PAIR, idempotency_key="k1")
    desk.clock.advance(5)
    desk.tuning.change({"max_queue_time_hours": 1.0})  # and so another end than the first time
    desk.roster.offline("pack-01")  # and nobody could be paired with it now
    assert await desk.ok(OWNER, "queue_pairing_request", **PAIR, idempotency_key="k1") == first
    assert await desk.code(OWNER, "queue_pairing_request", **PAIR, title="t", idempotency_key="k1") == (
        "IDEMPOTENCY_CONFLICT"
    )
    assert await desk.code(OWNER, "queue_command", **READ, idempotency_key="k1") == "IDEMPOTENCY_CONFLICT"


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


async def test_an_emergency_reaches_components_that_others_do_not(desk: ApiScene) -> None:
    emergency = await desk.ok(OLGA, "queue_pairing_request", **PAIR, request_type="EMERGENCY")
    assert (await desk.kept(emergency)).emergency
    assert not (await desk.kept(await desk.ok(OLGA, "queue_pairing_request", **PAIR))).emergency


async def test_a_pairing_for_one_that_passes_work_through_is_marked_or_refused(desk: ApiScene) -> None:
    fields = {**PAIR, "target_component": "now-01"}
    assert (await desk.ok(OWNER, "queue_pairing_request", **fields))["request"]["pass_through"]
    assert "pass_through" not in (await desk.ok(OWNER, "queue_pairing_request", **PAIR))["request"]
    desk.roster.offline("now-01")
    assert await desk.code(OWNER, "queue_pairing_request", **fields) == "COMPONENT_OFFLINE"


async def test_every_proxy_request_is_on_record_when_it_is_queued_refused_cancelled_and_when_it_ends(
    desk: ApiScene,
) -> None:
    await desk.no(OLGA, "queue_pairing_request", **{**PROXY, "proxy_component": "module-04"})
    first, second = [(await desk.ok(OLGA, "queue_pairing_request", **PROXY))["request"]["request_id"] for _ in "12"]
    await desk.ok(OLGA, "cancel_request", request_id=first, cancellation_reason="not needed")
    claimed = await desk.store.write(lambda tx: tx.claim("pack-01", desk.clock.wall_ms(), proxy=True))
    assert claimed is not None
    no = Outcome(Ending.REFUSED, code=Code.DEVICE_REFUSED)
    await desk.store.write(lambda tx: tx.finish(claimed, Verdict(Action.FAIL), no, desk.clock.wall_ms()))
    assert desk.audit() == [
        ("olga", "queue_pairing_request", "module-03", "refused", "PROXY_NOT_AUTHORIZED"),
        ("olga", "queue_pairing_request", first, "accepted", None),
        ("olga", "queue_pairing_request", second, "accepted", None),
        ("gateway", "request_cancelled", first, "CANCELLED", None),
        ("olga", "cancel_request", first, "accepted", None),
        ("gateway", "request_failed", second, "FAILED", "DEVICE_REFUSED"),
    ]


async def test_a_standard_request_ends_without_an_entry(desk: ApiScene) -> None:
    await desk.ok(OWNER, "queue_pairing_request", **PAIR)
    claimed = await desk.store.write(lambda tx: tx.claim("module-03", desk.clock.wall_ms()))
    assert claimed is not None
    done = Outcome(Ending.DONE)
    await desk.store.write(lambda tx: tx.finish(claimed, Verdict(Action.COMPLETE), done, desk.clock.wall_ms()))
    assert [action for _, action, *_ in desk.audit()] == ["queue_pairing_request"]
