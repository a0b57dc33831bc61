import pytest

from gateway.access import Actor, Role
from gateway.component import Component, ComponentKind, Registry

PACK = Component("pack-01", ComponentKind.PACK, "can0", 0x12, owner="fleet-north")
MODULE = Component(
    "module-03", ComponentKind.MODULE, "can0", 0xA3, owner="fleet-north", proxies=frozenset({"pack-01"}), key=b"k" * 16
)
STRANGER = Component("can0-A7", ComponentKind.MODULE, "can0", 0xA7, configured=False)


def test_a_component_is_found_by_its_id_and_by_its_place() -> None:
    registry = Registry([PACK, MODULE])
    assert registry.get("pack-01") is PACK
    assert registry.at("can0", 0xA3) is MODULE
    assert registry.at("can1", 0xA3) is None
    assert registry.get("nobody") is None
    assert "pack-01" in registry
    assert len(registry) == len(list(registry)) == 2


def test_a_serial_number_once_learned_stays_with_the_component() -> None:
    registry = Registry([MODULE])
    registry.learn_serial("module-03", 0xA3)
    found = registry.at("can0", 0xA3)
    assert found is not None
    assert found.serial == 0xA3
    assert found is registry.get("module-03")


def test_a_component_that_comes_to_a_place_takes_it_from_whoever_was_there() -> None:
    registry = Registry([PACK, STRANGER])
    registry.add(Component("module-07", ComponentKind.MODULE, "can0", 0xA7, owner="fleet-north"))
    assert [component.component_id for component in registry] == ["pack-01", "module-07"]
    assert registry.at("can0", 0xA7) is registry.get("module-07")


def test_a_component_that_moves_leaves_its_place() -> None:
    registry = Registry([PACK, MODULE])
    registry.add(Component("module-03", ComponentKind.MODULE, "can1", 0xA4))
    assert registry.at("can0", 0xA3) is None
    assert registry.at("can1", 0xA4) is registry.get("module-03")
    assert len(registry) == 2


@pytest.mark.parametrize(
    ("actor", "target", "action", "allowed"),
    [
        ("pack-01", "module-03", "PROXY", True),
        ("module-03", "pack-01", "PROXY", False),
        ("pack-01", "module-03", "OTHER", False),
        ("nobody", "module-03", "PROXY", False),
        ("pack-01", "nobody", "PROXY", False),
    ],
)
def test_only_a_named_proxy_may_act_for_a_target(actor: str, target: str, action: str, allowed: bool) -> None:
    assert Registry([PACK, MODULE]).check_authorization(actor, target, action) is allowed


def test_a_target_that_accepts_no_proxy_has_none() -> None:
    shy = Component("m", ComponentKind.MODULE, "can0", 1, proxies=frozenset({"pack-01"}), accepts_proxy=False)
    assert not Registry([PACK, shy]).check_authorization("pack-01", "m")


def test_a_discovered_component_is_nobodys_proxy() -> None:
    target = Component("m", ComponentKind.MODULE, "can0", 1, proxies=frozenset({STRANGER.component_id}))
    assert not Registry([STRANGER, target]).check_authorization(STRANGER.component_id, "m")


def test_a_key_never_shows_in_a_log() -> None:
    assert repr(MODULE) == "<module-03 MODULE can0:A3>"


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.VIEWER, {Role.VIEWER}),
        (Role.TECHNICIAN, {Role.VIEWER, Role.TECHNICIAN}),
        (Role.OPERATOR, {Role.VIEWER, Role.TECHNICIAN, Role.OPERATOR}),
        (Role.BACKEND, {Role.VIEWER, Role.BACKEND}),
        (Role.ADMIN, set(Role)),
    ],
)
def test_a_role_may_what_the_roles_below_it_may(role: Role, may: set[Role]) -> None:
    assert {other for other in Role if Actor("a", role).may(other)} == may


def test_components_are_touched_by_owner_by_grant_and_by_operators() -> None:
    assert Actor("fleet-north", Role.TECHNICIAN).may_touch(MODULE)
    assert Actor("anna", Role.TECHNICIAN, frozenset({"module-03"})).may_touch(MODULE)
    assert Actor("anna", Role.TECHNICIAN, frozenset({"*"})).may_touch(MODULE)
    assert Actor("olga", Role.OPERATOR).may_touch(MODULE)
    assert not Actor("anna", Role.TECHNICIAN, frozenset({"module-04"})).may_touch(MODULE)
    assert not Actor("backend", Role.BACKEND).may_touch(MODULE)
