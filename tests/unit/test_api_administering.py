"""What an administrator and an operator change of the gateway itself: parameters, clock, marks, the registry."""

from typing import Any

import pytest

from gateway.access import Actor
from gateway.clock import rfc3339
from gateway.component import ComponentKind
from gateway.ports import Registration
from gateway.presence import Presence
from tests.api_scene import ANNA, CLOUD, OLGA, OWNER, ROOT, VIEWER
from tests.doubles_api import HOUR_MS, DeskScene

STRANGER = "can0-module-a7"  # at node 0xA7, discovered
ADOPT = {"component_id": "module-07", "bus": "can0", "node": 0xA7, "kind": "MODULE", "owner": "fleet-north"}
MARK = {"component_id": "module-03", "reason": "in the workshop"}


@pytest.fixture
def scene() -> DeskScene:
    return DeskScene()


@pytest.mark.parametrize(
    ("request_name", "actor", "fields"),
    [
        *(("mark_offline", actor, MARK) for actor in (VIEWER, ANNA, CLOUD)),
        *(("mark_online", actor, MARK) for actor in (VIEWER, ANNA, CLOUD)),
        *(("confirm_clock", actor, {}) for actor in (VIEWER, ANNA, CLOUD)),
        *(("adopt_component", actor, ADOPT) for actor in (VIEWER, ANNA, CLOUD, OLGA)),
        *(("set_params", actor, {"params": {"enable_retry": False}}) for actor in (VIEWER, ANNA, CLOUD, OLGA)),
    ],
)
async def test_who_has_not_the_role_is_refused_and_that_is_audited(
    scene: DeskScene, request_name: str, actor: Actor, fields: dict[str, Any]
) -> None:
    assert await scene.no(actor, request_name, **fields) == ("NOT_AUTHORIZED", None)
    subject = fields.get("component_id", "gateway")
    assert scene.last_audit() == (actor.name, request_name, subject, "refused", "NOT_AUTHORIZED")
    assert (scene.ledger.asked, scene.watches.marked, scene.watches.added) == ([], [], [])


# --- parameters -------------------------------------------------------------------------------------------------------


async def test_parameters_are_changed_told_audited_and_in_force(scene: DeskScene) -> None:
    told = await scene.ok(ROOT, "set_params", params={"max_retry_attempts": 5})
    assert told["params"]["max_retry_attempts"] == 5
    assert scene.ledger.asked == [("set_parameters", {"max_retry_attempts": 5})]
    (event,) = scene.ledger.events
    assert (event.type, event.attributes) == ("params_changed", {"params": {"max_retry_attempts": 5}, "actor": "root"})
    assert scene.last_audit() == ("root", "set_params", "gateway", "accepted", None)
    assert (await scene.ok(VIEWER, "get_params"))["params"] == told["params"]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"max_retry_attempts": 21}, "max_retry_attempts"),
        ({"max_retry_attempts": "5"}, "max_retry_attempts"),
        ({"max_bus_load": 0.0}, "max_bus_load"),
        ({"max_retries": 1}, "max_retries"),
        ({}, "params"),
    ],
)
async def test_parameters_out_of_range_change_nothing(scene: DeskScene, params: dict[str, Any], field: str) -> None:
    assert await scene.no(ROOT, "set_params", params=params) == ("INVALID_ARGUMENT", field)
    assert scene.ledger.asked == []


async def test_parameters_that_cannot_be_kept_are_not_in_force(scene: DeskScene) -> None:
    before = scene.tuning.current
    scene.store.full = True
    assert await scene.no(ROOT, "set_params", params={"max_retry_attempts": 5}) == ("STORAGE_FULL", None)
    assert scene.tuning.current == before


# --- the clock --------------------------------------------------------------------------------------------------------


async def test_an_operator_confirms_the_time_the_machine_shows(scene: DeskScene) -> None:
    scene.clock.is_trusted = False
    told = await scene.ok(OLGA, "confirm_clock")
    assert told == {"timestamp": rfc3339(scene.clock.wall)}
    assert scene.clock.is_trusted
    assert scene.last_audit() == ("olga", "confirm_clock", "gateway", "accepted", None)


async def test_a_confirmation_that_cannot_be_audited_is_none(scene: DeskScene) -> None:
    scene.clock.is_trusted = False
    scene.store.full = True
    assert await scene.no(OLGA, "confirm_clock") == ("STORAGE_FULL", None)
    assert not scene.clock.is_trusted


# --- marks ------------------------------------------------------------------------------------------------------------


async def test_a_component_is_held_for_offline_until_it_is_expected_back(scene: DeskScene) -> None:
    back = scene.clock.wall + HOUR_MS
    told = (await scene.ok(OLGA, "mark_offline", **MARK, expected_return=rfc3339(back)))["component"]
    assert (told["presence"], told["reason"], told["ready"]) == ("OFFLINE", "marked", False)
    assert told["evidence"]["rule"] == "marked"
    assert (told["since"], told["expected_return"]) == (rfc3339(scene.clock.wall), rfc3339(back))
    assert scene.watches.marked == [("module-03", Presence.OFFLINE, back)]
    assert scene.last_audit() == ("olga", "mark_offline", "module-03", "accepted", None)


async def test_a_component_that_is_not_heard_is_held_for_online(scene: DeskScene) -> None:
    scene.roster.offline("module-03")
    scene.clock.advance(60)
    told = (await scene.ok(OLGA, "mark_online", **MARK))["component"]
    assert (told["presence"], told["reason"], told["ready"]) == ("ONLINE", "marked", True)
    assert (told["since"], told["expected_return"]) == (rfc3339(scene.clock.wall), None)
    assert scene.watches.marked == [("module-03", Presence.ONLINE, None)]


async def test_a_component_that_is_heard_needs_no_mark_to_be_online(scene: DeskScene) -> None:
    since = scene.clock.wall
    scene.clock.advance(60)
    told = (await scene.ok(OLGA, "mark_online", **MARK))["component"]
    assert (told["presence"], told["reason"], told["since"]) == ("ONLINE", None, rfc3339(since))


async def test_one_that_is_offline_already_is_so_since_then(scene: DeskScene) -> None:
    scene.roster.offline("module-03")
    since = scene.clock.wall
    scene.clock.advance(60)
    told = (await scene.ok(OLGA, "mark_offline", **MARK))["component"]
    assert (told["reason"], told["since"]) == ("marked", rfc3339(since))


@pytest.mark.parametrize(
    ("request_name", "fields", "code", "field"),
    [
        ("mark_offline", {"reason": " "}, "REASON_REQUIRED", None),
        ("mark_online", {"reason": ""}, "REASON_REQUIRED", None),
        ("mark_online", {"component_id": "nobody"}, "COMPONENT_NOT_FOUND", "component_id"),
        ("mark_offline", {"component_id": "nobody"}, "COMPONENT_NOT_FOUND", "component_id"),
        ("mark_offline", {"expected_return": "2001-01-01T00:00:00Z"}, "INVALID_ARGUMENT", "expected_return"),
        ("mark_offline", {"expected_return": "tomorrow"}, "INVALID_ARGUMENT", "expected_return"),
        ("mark_online", {"expected_return": "2101-01-01T00:00:00Z"}, "INVALID_ARGUMENT", "expected_return"),
    ],
)
async def test_a_mark_that_cannot_be_is_refused(
    scene: DeskScene, request_name: str, fields: dict[str, Any], code: str, field: str | None
) -> None:
    assert await scene.no(OLGA, request_name, **MARK | fields) == (code, field)
    assert scene.watches.marked == []


async def test_a_mark_that_cannot_be_audited_is_none(scene: DeskScene) -> None:
    scene.store.full = True
    assert await scene.no(OLGA, "mark_offline", **MARK) == ("STORAGE_FULL", None)
    assert scene.watches.marked == []


# --- adoption ---------------------------------------------------------------------------------------------------------


async def test_a_node_that_was_discovered_is_adopted_under_a_name_and_an_owner(scene: DeskScene) -> None:
    scene.ledger.registered.append(Registration(STRANGER, ComponentKind.MODULE, "can0", 0xA7))
    told = (await scene.ok(ROOT, "adopt_component", **ADOPT, parent="pack-01"))["component"]
    assert (told["component_id"], told["owner"], told["parent"]) == ("module-07", "fleet-north", "pack-01")
    assert (told["presence"], told["reason"]) == ("UNKNOWN", "never_heard")
    wanted = Registration("module-07", ComponentKind.MODULE, "can0", 0xA7, "fleet-north", "pack-01")
    assert scene.ledger.asked == [("register", wanted)]
    (added,) = scene.watches.added
    assert scene.registry.at("can0", 0xA7) is added
    assert added.configured
    assert STRANGER not in scene.registry
    assert scene.upstream.touched == ["module-07", STRANGER]
    assert scene.last_audit() == ("root", "adopt_component", "module-07", "accepted", None)


async def test_what_is_adopted_may_be_commanded_and_is_its_owners(scene: DeskScene) -> None:
    await scene.ok(ROOT, "adopt_component", **ADOPT)
    adopted = scene.desk.known("module-07", "component_id")
    assert OWNER.may_touch(adopted)
    assert not ANNA.may_touch(adopted)


async def test_a_node_may_keep_the_name_under_which_it_was_discovered(scene: DeskScene) -> None:
    told = (await scene.ok(ROOT, "adopt_component", **ADOPT | {"component_id": STRANGER}))["component"]
    assert told["presence"] == "ONLINE"
    assert scene.desk.known(STRANGER, "component_id").owner == "fleet-north"
    assert scene.upstream.touched == [STRANGER]


async def test_a_node_that_was_never_heard_can_be_adopted(scene: DeskScene) -> None:
    await scene.ok(ROOT, "adopt_component", **ADOPT | {"node": 0xB1})
    assert scene.upstream.touched == ["module-07"]


async def test_what_was_adopted_can_be_changed_and_moved(scene: DeskScene) -> None:
    await scene.ok(ROOT, "adopt_component", **ADOPT)
    await scene.ok(ROOT, "adopt_component", **ADOPT | {"owner": "fleet-south"})
    assert scene.desk.known("module-07", "component_id").owner == "fleet-south"
    await scene.ok(ROOT, "adopt_component", **ADOPT | {"node": 0xB1})
    assert scene.registry.at("can0", 0xA7) is None
    assert scene.registry.at("can0", 0xB1) is scene.registry.get("module-07")


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"component_id": "module-03"}, "INVALID_ARGUMENT", "component_id"),  # configured
        ({"node": 0xA3}, "INVALID_ARGUMENT", "node"),  # where module-03 is
        ({"component_id": STRANGER, "node": 0xB1}, "INVALID_ARGUMENT", "component_id"),  # the name of another node
        ({"bus": "can9"}, "INVALID_ARGUMENT", "bus"),
        ({"parent": "nobody"}, "COMPONENT_NOT_FOUND", "parent"),
        ({"parent": "module-07"}, "INVALID_ARGUMENT", "parent"),
        ({"kind": "CHARGER"}, "INVALID_ARGUMENT", "kind"),
        ({"node": 250}, "INVALID_ARGUMENT", "node"),
        ({"owner": ""}, "INVALID_ARGUMENT", "owner"),
        ({"component_id": "a/b"}, "INVALID_ARGUMENT", "component_id"),
    ],
)
async def test_an_adoption_that_contradicts_what_is_known_is_refused(
    scene: DeskScene, fields: dict[str, Any], code: str, field: str
) -> None:
    assert await scene.no(ROOT, "adopt_component", **ADOPT | fields) == (code, field)
    assert (scene.ledger.asked, scene.watches.added, scene.upstream.touched) == ([], [], [])


async def test_two_names_for_one_node_are_one_too_many(scene: DeskScene) -> None:
    await scene.ok(ROOT, "adopt_component", **ADOPT)
    assert await scene.no(ROOT, "adopt_component", **ADOPT | {"component_id": "module-08"}) == (
        "INVALID_ARGUMENT",
        "node",
    )


async def test_what_was_adopted_once_and_is_configured_since_is_changed_in_the_configuration(scene: DeskScene) -> None:
    scene.ledger.registered.append(Registration("module-03", ComponentKind.MODULE, "can0", 0xB1, "fleet-south"))
    before = scene.registry.get("module-03")
    refused = await scene.no(ROOT, "adopt_component", **ADOPT | {"component_id": "module-03", "node": 0xB1})
    assert (refused, scene.registry.get("module-03")) == (("INVALID_ARGUMENT", "component_id"), before)


async def test_a_place_that_somebody_was_given_a_moment_ago_is_taken(scene: DeskScene) -> None:
    """Stored, and not yet in the registry: two administrators at the same time."""
    scene.ledger.registered.append(Registration("module-08", ComponentKind.MODULE, "can0", 0xB1, "fleet-south"))
    assert await scene.no(ROOT, "adopt_component", **ADOPT | {"node": 0xB1}) == ("INVALID_ARGUMENT", "node")
