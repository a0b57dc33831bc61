"""Components that stand in no configuration: discovered on a bus, or adopted by an administrator since."""

from collections.abc import Iterable

from gateway.component import UNOWNED, Component, Registry
from gateway.ports import Registration


def component_of(registration: Registration) -> Component:
    """Return the registry record. Only one that has an owner, so that was adopted, may be commanded."""
    return Component(
        component_id=registration.component_id,
        kind=registration.kind,
        bus=registration.bus,
        node=registration.node,
        parent=registration.parent,
        owner=registration.owner,
        configured=registration.owner != UNOWNED,
    )


def merge(registry: Registry, registrations: Iterable[Registration], buses: Iterable[str]) -> list[Registration]:
    """Add what earlier runs have registered to what is configured, which goes before: id and place are taken there.

    Adopted ones go before discovered ones at the same place. `buses`: those there are. Returns what had to be left out.
    """
    known, left = set(buses), []
    for each in sorted(registrations, key=lambda registration: registration.owner != UNOWNED):
        if each.bus not in known or _is_configured(registry, each):
            left.append(each)
        else:
            registry.add(component_of(each))
    return left


def _is_configured(registry: Registry, registration: Registration) -> bool:
    found = registry.get(registration.component_id), registry.at(registration.bus, registration.node)
    return any(component is not None and component.configured for component in found)
