"""To which components a command may go: those that are named or selected, and what stands in their way."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from gateway import requests as ask
from gateway.access import Actor, Role
from gateway.api.desk import Desk, wrong
from gateway.component import Component, QueueMode
from gateway.errors import Code, Refusal
from gateway.guards import unfit
from gateway.operation import Strategy
from gateway.ports import CommandSpec, ComponentRow, Reader
from gateway.routing import Candidate, Place, plan


class Addressee(NamedTuple):
    """A component that was named or selected. `obstacle`: why it cannot take the command; None: it can."""

    component: Component
    obstacle: Refusal | None


def may_queue(actor: Actor) -> bool:
    """Whether an actor may queue at all; one who may not can still make plans."""
    return actor.may(Role.TECHNICIAN) or actor.may(Role.BACKEND)


def addressees(desk: Desk, actor: Actor, model: ask.QueueCommand, spec: CommandSpec) -> list[Addressee]:
    """Return whom a command is for, in the order named or that of the registry.

    Raises Refusal COMPONENT_NOT_FOUND, NOT_ALLOWED, NOT_OWNER for one that is named, INVALID_ARGUMENT for a selector
    that matches too many.
    """
    found = _named(desk, actor, model) if model.selector is None else _selected(desk, actor, model.selector)
    return [Addressee(component, obstacle(desk, component, spec)) for component in found]


def _named(desk: Desk, actor: Actor, model: ask.QueueCommand) -> list[Component]:
    if model.targets is None:
        found = [desk.known(model.target_component or "", "target_component")]
    else:
        found = [desk.known(each, f"targets.{n}") for n, each in enumerate(model.targets)]
    if may_queue(actor):
        for component in found:
            desk.check_touch(actor, component)
    return found


def _selected(desk: Desk, actor: Actor, selector: ask.Selector) -> list[Component]:
    everywhere = not may_queue(actor)
    found = [
        component
        for component in desk.registry
        if component.configured
        and _matches(desk, component, selector)
        and (everywhere or desk.may_queue_for(actor, component))
    ]
    if len(found) > ask.TARGETS_MAX:
        raise wrong("selector", f"matches {len(found)} components, and a command may have {ask.TARGETS_MAX} targets")
    return found


def _matches(desk: Desk, component: Component, selector: ask.Selector) -> bool:
    return (
        selector.kind in {None, component.kind}
        and selector.parent in {None, component.parent}
        and selector.bus in {None, component.bus}
        and (selector.capability is None or desk.commands.capable(selector.capability, component))
    )


def obstacle(desk: Desk, component: Component, spec: CommandSpec) -> Refusal | None:
    """Return why a component cannot take a command at this moment."""
    name = component.component_id
    if not desk.commands.capable(spec.name, component):
        return Refusal(Code.NOT_CAPABLE, f"{name} does not take {spec.name}.")
    online = desk.is_online(component)
    if component.queue_mode is QueueMode.PASS_THROUGH and not online:
        return not_passing(component)
    if not spec.guard.fresh:
        return None
    if not online:
        return Refusal(Code.COMPONENT_OFFLINE, f"{name} is not online, and {spec.name} does not wait.")
    why = unfit(desk.roster.sighting(name).vitals, mends=spec.mends)
    return None if why is None else Refusal(Code.PRECONDITION_FAILED, f"{name}: {why}.")


def not_passing(component: Component) -> Refusal:
    """Return the refusal of a component that takes work only while it is here."""
    return Refusal(Code.COMPONENT_OFFLINE, f"{component.component_id} takes work only while it is online.")


async def places(desk: Desk, model: ask.QueueCommand, found: Sequence[Addressee], *, told: bool = False) -> list[Place]:
    """Return the plan of a command. `told`: somebody reads it, so that how busy each is matters in any case."""
    strategy = Strategy(model.chosen_strategy)
    in_turn = strategy is Strategy.FAILOVER and model.selector is not None
    by_load = strategy is Strategy.OPTIMAL or in_turn  # a selector gives no order
    if not (by_load or told):
        return plan([_candidate(desk, each) for each in found], by_load=False)

    def look(reader: Reader) -> tuple[Mapping[str, int], dict[str, ComponentRow]]:
        return reader.depths(), {row.component_id: row for row in reader.components()}

    waiting, rows = await desk.store.read(look)
    return plan([_weighed(desk, _candidate(desk, each), waiting, rows) for each in found], by_load=by_load)


def _candidate(desk: Desk, addressee: Addressee) -> Candidate:
    component_id = addressee.component.component_id
    return Candidate(component_id, desk.roster.sighting(component_id).presence, addressee.obstacle)


def _weighed(
    desk: Desk, candidate: Candidate, waiting: Mapping[str, int], rows: Mapping[str, ComponentRow]
) -> Candidate:
    component_id = candidate.component_id
    load, row = desk.drains.load(component_id), rows.get(component_id)
    return replace(
        candidate,
        waiting=waiting.get(component_id, 0),
        in_flight=load.in_flight,
        average_ms=load.times.average_ms,
        failure_rate=load.times.failure_rate,
        expected_return=None if row is None else row.expected_return,
    )
