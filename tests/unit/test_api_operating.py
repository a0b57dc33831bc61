"""What an operator and a backend may do to what is queued: what is checked, passed on, answered and audited."""

from typing import Any

import pytest

from gateway.access import Actor, Role
from gateway.errors import Code
from gateway.operation import Kind, Operation, Priority, RequestType, Settlement, Status
from gateway.ports import Page
from tests.api_scene import ANNA, CLOUD, OLGA, OWNER, ROOT, VIEWER
from tests.doubles_api import HOUR_MS, ID, OTHER_ID, DeskScene, command

PAIRING_ID = "req_01HZZZZZZZZZZZZZZZZZZZZZZZ"
CHANGES: dict[str, dict[str, Any]] = {
    "cancel_request": {"request_id": ID, "cancellation_reason": "wrong module"},
    "requeue": {"request_id": ID},
    "discard": {"request_id": ID, "reason": "known"},
    "set_priority": {"request_id": ID, "priority": "HIGH"},
    "reorder_queue": {"component_id": "module-03", "request_ids": [ID, OTHER_ID]},
    "settle": {"request_id": ID, "outcome": "RELEASED", "settlement_ref": "s-1"},
}


@pytest.fixture
def scene() -> DeskScene:
    made = DeskScene()
    made.keep(command(), command(OTHER_ID))
    return made


def pairing(**fields: Any) -> Operation:
    told = {"target_component": "module-03", "initiator_component": "pack-01", "request_type": RequestType.STANDARD}
    made = command()
    return Operation(
        PAIRING_ID,
        Kind.PAIRING,
        creator="cloud",
        created_at=made.created_at,
        expires_at=made.expires_at,
        **told | fields,
    )


@pytest.mark.parametrize(
    ("request_name", "actor", "passed_on"),
    [
        ("cancel_request", OLGA, ("cancel", ID, "wrong module", "olga")),
        ("requeue", OLGA, ("requeue", ID, HOUR_MS, "olga")),
        ("discard", OLGA, ("discard", ID, "known", "olga")),
        ("set_priority", OLGA, ("set_priority", ID, Priority.HIGH, "olga")),
        ("reorder_queue", OLGA, ("reorder", "module-03", [ID, OTHER_ID], "olga")),
        ("settle", CLOUD, ("settle", ID, Settlement.RELEASED, "s-1", "cloud")),
    ],
)
async def test_what_is_allowed_is_done_once_and_audited(
    scene: DeskScene, request_name: str, actor: Actor, passed_on: tuple[Any, ...]
) -> None:
    result = await scene.ok(actor, request_name, **CHANGES[request_name])
    assert scene.ledger.asked == [passed_on]
    told = result["request"] if "request" in result else result["requests"][0]
    assert told["request_id"] == ID
    subject = "module-03" if request_name == "reorder_queue" else ID
    assert scene.last_audit() == (actor.name, request_name, subject, "accepted", None)


@pytest.mark.parametrize(
    ("request_name", "actor"),
    [
        *((name, VIEWER) for name in CHANGES),
        *((name, ANNA) for name in CHANGES if name != "cancel_request"),
        *((name, CLOUD) for name in ("requeue", "discard", "set_priority", "reorder_queue")),
        ("settle", OLGA),
    ],
)
async def test_who_has_not_the_role_is_refused_and_that_is_audited(
    scene: DeskScene, request_name: str, actor: Actor
) -> None:
    assert await scene.no(actor, request_name, **CHANGES[request_name]) == ("NOT_AUTHORIZED", None)
    assert scene.ledger.asked == []
    subject = CHANGES[request_name].get("request_id", "module-03")
    assert scene.last_audit() == (actor.name, request_name, subject, "refused", "NOT_AUTHORIZED")


@pytest.mark.parametrize("request_name", CHANGES)
async def test_an_admin_may_do_it_all(scene: DeskScene, request_name: str) -> None:
    await scene.ok(ROOT, request_name, **CHANGES[request_name])


@pytest.mark.parametrize("request_name", CHANGES)
@pytest.mark.parametrize("code", [Code.REQUEST_NOT_FOUND, Code.INVALID_STATE_TRANSITION, Code.QUEUE_FULL])
async def test_what_the_store_refuses_is_refused(scene: DeskScene, request_name: str, code: Code) -> None:
    scene.ledger.refuses = code
    assert await scene.no(ROOT, request_name, **CHANGES[request_name]) == (code, None)
    assert scene.last_audit()[3:] == ("refused", code)


@pytest.mark.parametrize(
    ("request_name", "fields", "code", "field"),
    [
        ("cancel_request", {"cancellation_reason": "  "}, "REASON_REQUIRED", None),
        ("discard", {"reason": ""}, "REASON_REQUIRED", None),
        ("cancel_request", {"request_id": "x"}, "INVALID_ARGUMENT", "request_id"),
        ("set_priority", {"priority": "URGENT"}, "INVALID_ARGUMENT", "priority"),
        ("reorder_queue", {"request_ids": []}, "INVALID_ARGUMENT", "request_ids"),
        ("reorder_queue", {"request_ids": [ID, ID]}, "INVALID_ARGUMENT", "request_ids"),
        ("reorder_queue", {"component_id": "nobody"}, "COMPONENT_NOT_FOUND", "component_id"),
        ("reorder_queue", {"component_id": "can0-module-a7"}, "NOT_ALLOWED", None),
        ("settle", {"settlement_ref": " "}, "INVALID_ARGUMENT", "settlement_ref"),
        ("settle", {"outcome": "PENDING"}, "INVALID_ARGUMENT", "outcome"),
        ("requeue", {"ttl_s": 0}, "EXPIRY_OUT_OF_RANGE", None),
        ("requeue", {"ttl_s": 169 * 3600.0}, "EXPIRY_OUT_OF_RANGE", None),
        ("requeue", {"request_id": PAIRING_ID}, "REQUEST_NOT_FOUND", None),
        ("cancel_request", {"request_id": PAIRING_ID}, "REQUEST_NOT_FOUND", None),
    ],
)
async def test_what_is_wrong_is_named(
    scene: DeskScene, request_name: str, fields: dict[str, Any], code: str, field: str | None
) -> None:
    assert await scene.no(ROOT, request_name, **CHANGES[request_name] | fields) == (code, field)
    assert scene.ledger.asked == []


async def test_a_changed_priority_is_told_with_the_new_place(scene: DeskScene) -> None:
    assert (await scene.ok(OLGA, "set_priority", request_id=ID, priority="LOW"))["queue_position"] == 3


# --- cancelling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "actor", "allowed"),
    [
        (command(creator="x"), ANNA, True),  # the target is granted
        (command(creator="x"), Actor("tech-bob", Role.TECHNICIAN), False),
        (command(creator="tech-bob"), Actor("tech-bob", Role.TECHNICIAN), True),
        (command(creator="x"), CLOUD, False),
        (command(creator="cloud"), CLOUD, True),
        (command(creator="x", target_component="gone-01"), OWNER, False),
        (pairing(), ANNA, False),  # of a pairing it is the initiator that matters
        (pairing(), OWNER, True),
        (command(creator="x", target_component="", targets=("module-03", "module-04")), OWNER, True),
        (command(creator="x", target_component="", targets=("module-03", "module-04")), ANNA, False),
    ],
)
async def test_creator_owner_and_operator_cancel_and_nobody_else(
    scene: DeskScene, operation: Operation, actor: Actor, allowed: bool
) -> None:
    scene.keep(operation)
    fields = {"request_id": operation.request_id, "cancellation_reason": "x"}
    if allowed:
        await scene.ok(actor, "cancel_request", **fields)
    else:
        assert await scene.no(actor, "cancel_request", **fields) == ("NOT_OWNER", None)
    await scene.ok(OLGA, "cancel_request", **fields)


# --- dead letters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "ttl_s", "life_ms"),
    [
        (command(), None, HOUR_MS),  # as long as it was to wait before
        (command(), 60.0, 60_000),
        (command(command_type="energy"), None, 300_000),  # never longer than its class may
        (command(command_type="energy"), 300.0, 300_000),
        (command(expires_at=command().created_at + 400 * HOUR_MS), None, 168 * HOUR_MS),
        (pairing(), None, HOUR_MS),
        (pairing(request_type=RequestType.PROXY, proxy_component="pack-01"), None, HOUR_MS),
        (command(target_component="", targets=("module-03",)), None, HOUR_MS),  # it is for the store to refuse
    ],
)
async def test_a_dead_letter_waits_again_for_as_long_as_it_may(
    scene: DeskScene, operation: Operation, ttl_s: float | None, life_ms: int
) -> None:
    operation.status = Status.FAILED
    scene.keep(operation)
    scene.clock.advance(10)
    await scene.ok(OLGA, "requeue", request_id=operation.request_id, **({} if ttl_s is None else {"ttl_s": ttl_s}))
    assert scene.ledger.asked == [("requeue", operation.request_id, life_ms, "olga")]


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        (command(command_type="energy"), "EXPIRY_OUT_OF_RANGE"),
        (command(command_type="forgotten"), "UNKNOWN_COMMAND"),
        (command(command_type="service"), "NOT_CAPABLE"),
        (command(command_type="safety"), "NOT_ALLOWED"),
        (command(target_component="gone-01"), "COMPONENT_NOT_FOUND"),
        (command(target_component="now-01"), "COMPONENT_OFFLINE"),
        (pairing(target_component="now-01"), "COMPONENT_OFFLINE"),
        (pairing(request_type=RequestType.PROXY, proxy_component="module-04"), "PROXY_NOT_AUTHORIZED"),
    ],
)
async def test_a_dead_letter_that_would_not_be_queued_now_is_not_queued_again(
    scene: DeskScene, operation: Operation, code: str
) -> None:
    scene.keep(operation)
    scene.roster.offline("now-01")
    assert (await scene.no(OLGA, "requeue", request_id=operation.request_id, ttl_s=301.0))[0] == code
    assert scene.ledger.asked == []


# --- lists ------------------------------------------------------------------------------------------------------------


async def test_dead_letters_are_listed_page_by_page(scene: DeskScene) -> None:
    scene.ledger.page = Page([command()], "further")
    told = await scene.ok(VIEWER, "list_dead_letters", component_id="module-03", page_size=1, cursor="here")
    assert scene.ledger.asked == [("dead_letters", "module-03", 1, "here")]
    assert ([each["request_id"] for each in told["requests"]], told["next_cursor"]) == ([ID], "further")
    scene.ledger.page = Page([], None)
    assert await scene.ok(VIEWER, "list_dead_letters") == {"requests": []}
    assert scene.ledger.asked[-1] == ("dead_letters", None, 50, None)


async def test_a_proxys_queue_is_listed_with_those_it_may_act_for(scene: DeskScene) -> None:
    scene.ledger.page = Page([pairing()], "further")
    told = await scene.ok(VIEWER, "list_proxy_queue", proxy_component="pack-01", page_size=1)
    assert scene.ledger.asked == [("proxy_queue", "pack-01", 1, None)]
    assert told["authorized_targets"] == ["module-03", "module-04"]
    assert ([each["request_id"] for each in told["requests"]], told["next_cursor"]) == ([PAIRING_ID], "further")
    assert await scene.no(VIEWER, "list_proxy_queue", proxy_component="nobody") == (
        "COMPONENT_NOT_FOUND",
        "proxy_component",
    )
    assert scene.ledger.audited == []


@pytest.mark.parametrize("request_name", ["list_dead_letters", "list_proxy_queue", "get_history"])
@pytest.mark.parametrize("page_size", [0, 201])
async def test_a_page_has_its_bounds(scene: DeskScene, request_name: str, page_size: int) -> None:
    whose = {"proxy_component": "pack-01"} if request_name == "list_proxy_queue" else {}
    assert await scene.no(VIEWER, request_name, page_size=page_size, **whose) == ("INVALID_ARGUMENT", "page_size")
