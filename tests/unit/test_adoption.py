from gateway.adoption import component_of, merge
from gateway.component import Component, ComponentKind, Registry
from gateway.ports import Registration

MODULE = ComponentKind.MODULE
CONFIGURED = Component("module-03", MODULE, "can0", 3, owner="fleet-north")


def test_only_what_was_adopted_may_be_commanded() -> None:
    discovered = component_of(Registration("can0-module-07", MODULE, "can0", 7))
    adopted = component_of(Registration("module-07", MODULE, "can0", 7, "fleet-north", "pack-01"))
    assert (discovered.configured, discovered.owner) == (False, "")
    assert (adopted.configured, adopted.owner, adopted.parent) == (True, "fleet-north", "pack-01")


def test_what_earlier_runs_have_registered_is_known_again() -> None:
    registry = Registry([CONFIGURED])
    seven = Registration("module-07", MODULE, "can0", 7, "fleet-north")
    eight = Registration("can0-module-08", MODULE, "can0", 8)
    assert merge(registry, [eight, seven], ["can0"]) == []
    assert {component.component_id for component in registry} == {"module-03", "module-07", "can0-module-08"}


def test_the_configuration_goes_before_what_was_registered() -> None:
    registry = Registry([CONFIGURED])
    same_id = Registration("module-03", MODULE, "can0", 9, "fleet-south")
    same_place = Registration("module-33", MODULE, "can0", 3, "fleet-south")
    no_bus = Registration("module-44", MODULE, "can4", 4, "fleet-south")
    assert merge(registry, [same_id, same_place, no_bus], ["can0"]) == [same_id, same_place, no_bus]
    assert list(registry) == [CONFIGURED]


def test_at_one_place_what_was_adopted_goes_before_what_was_discovered() -> None:
    adopted = Registration("module-07", MODULE, "can0", 7, "fleet-north")
    discovered = Registration("can0-module-07", MODULE, "can0", 7)
    for order in ([adopted, discovered], [discovered, adopted]):
        registry = Registry()
        assert merge(registry, order, ["can0"]) == []
        assert [component.component_id for component in registry] == ["module-07"]
