"""Requests that change the gateway itself: its parameters, its registry, what it holds for true."""

import logging
from dataclasses import replace

from pydantic import ValidationError

from gateway import requests as ask
from gateway.adoption import component_of
from gateway.api.desk import Answer, Asked, Desk, ok, stranger, wrong
from gateway.api.operating import given
from gateway.clock import parse_rfc3339, rfc3339
from gateway.component import UNOWNED, Component, ComponentKind
from gateway.event import GATEWAY, Event
from gateway.ports import UNSEEN, Registration, Sighting, Tx
from gateway.presence import Presence, Reason
from gateway.settings import Parameters
from gateway.views import component_view

log = logging.getLogger(__name__)


async def get_params(desk: Desk, _: Asked, __: ask.GetParams) -> Answer:
    """Read the parameters in force."""
    return ok({"params": desk.parameters.model_dump()})


async def set_params(desk: Desk, asked: Asked, model: ask.SetParams) -> Answer:
    """Change parameters from now on, and for every later start."""
    try:
        changed = Parameters.model_validate({**desk.parameters.model_dump(), **model.params})
    except ValidationError as why:
        raise ask.invalid_argument(why, Parameters.model_fields) from why

    def effect(tx: Tx) -> Answer:
        tx.set_parameters(model.params)
        attributes = {"params": dict(model.params), "actor": asked.actor.name}
        tx.emit(Event("params_changed", GATEWAY, asked.now_ms, attributes, desk.clock.trusted()))
        return {"params": changed.model_dump()}

    answer = await desk.commit(asked, GATEWAY, effect)
    desk.tuning.change(model.params)
    return answer


async def confirm_clock(desk: Desk, asked: Asked, _: ask.ConfirmClock) -> Answer:
    """Trust wall time as it is, though it has jumped."""
    answer = await desk.commit(asked, GATEWAY, lambda _: {"timestamp": rfc3339(desk.timekeeper.shown_ms())})
    desk.timekeeper.confirm()
    return answer


# --- presence ---------------------------------------------------------------------------------------------------------


async def mark_offline(desk: Desk, asked: Asked, model: ask.MarkOffline) -> Answer:
    """Hold a component for OFFLINE until there is evidence to the contrary."""
    expected_return = None if model.expected_return is None else parse_rfc3339(model.expected_return)
    if expected_return is not None and expected_return <= asked.now_ms:
        raise wrong("expected_return", "must be in the future")
    return await _mark(desk, asked, model, Presence.OFFLINE, expected_return)


async def mark_online(desk: Desk, asked: Asked, model: ask.MarkOnline) -> Answer:
    """Hold a component for ONLINE until there is evidence to the contrary."""
    return await _mark(desk, asked, model, Presence.ONLINE, None)


async def _mark(
    desk: Desk,
    asked: Asked,
    model: ask.MarkOffline | ask.MarkOnline,
    presence: Presence,
    expected_return: int | None,
) -> Answer:
    """Mark a component once that is audited, so that whoever is refused has changed nothing."""
    reason = given(model.reason)
    component = desk.registry.get(model.component_id)
    if component is None:
        raise stranger(model.component_id)
    marked = _marked(desk.roster.sighting(component.component_id), presence, asked.now_ms)

    def effect(tx: Tx) -> Answer:
        told = component_view(component, marked, tx.component(component.component_id))
        told["expected_return"] = None if expected_return is None else rfc3339(expected_return)
        return {"component": told}

    answer = await desk.commit(asked, component.component_id, effect)
    log.info("%s is %s by the word of %s: %r", component.component_id, presence, asked.actor.name, reason)
    desk.watches.mark(component.component_id, presence, expected_return)
    return answer


def _marked(seen: Sighting, presence: Presence, now_ms: int) -> Sighting:
    """Return a sighting as it is after a mark. One that is heard needs no word of anybody's to be ONLINE."""
    here = presence is Presence.ONLINE
    if here and seen.ready:
        return seen
    return replace(
        seen,
        presence=presence,
        reason=str(Reason.MARKED),
        ready=here,
        since_ms=seen.since_ms if seen.presence is presence else now_ms,
        flapping=False,
        evidence={**seen.evidence, "rule": "marked"},
    )


# --- the registry -----------------------------------------------------------------------------------------------------


async def adopt_component(desk: Desk, asked: Asked, model: ask.AdoptComponent) -> Answer:
    """Take a node into the registry under a name and an owner of ours, or change one that was taken in so before."""
    wanted = Registration(
        component_id=model.component_id,
        kind=ComponentKind(model.kind),
        bus=model.bus,
        node=model.node,
        owner=model.owner,
        parent=model.parent,
    )
    _check_surroundings(desk, wanted)
    before, there = desk.registry.get(wanted.component_id), desk.registry.at(wanted.bus, wanted.node)
    component = replace(component_of(wanted), serial=None if there is None else there.serial)
    seen = UNSEEN if before is None else desk.roster.sighting(before.component_id)
    seen = replace(seen, since_ms=seen.since_ms or asked.now_ms)

    def effect(tx: Tx) -> Answer:
        _check_free(desk, tx, wanted)
        tx.register(wanted)
        return {"component": component_view(component, seen, tx.component(component.component_id))}

    answer = await desk.commit(asked, component.component_id, effect)
    desk.registry.add(component)
    desk.watches.add(component)
    desk.upstream.touch(component.component_id)
    if there is not None and there.component_id != component.component_id:
        desk.upstream.touch(there.component_id)
    return answer


def _check_surroundings(desk: Desk, wanted: Registration) -> None:
    """Raise Refusal where there is no such bus or parent."""
    buses = sorted(bus["name"] for bus in desk.health.buses())
    if wanted.bus not in buses:
        raise wrong("bus", f"there is none but {', '.join(buses)}")
    if wanted.parent == wanted.component_id:
        raise wrong("parent", "names itself")
    if wanted.parent is not None and wanted.parent not in desk.registry:
        raise stranger(wanted.parent, "parent")


def _check_free(desk: Desk, tx: Tx, wanted: Registration) -> None:
    """Raise Refusal where id or place belong to somebody who was not only discovered, or the id to another node."""
    adopted = {each.component_id: each for each in tx.registrations() if each.owner != UNOWNED}
    before, there = desk.registry.get(wanted.component_id), desk.registry.at(wanted.bus, wanted.node)
    if before is not None and before is not there and not before.configured:
        raise wrong("component_id", f"names what was discovered at node {before.node} of {before.bus}")
    if before is not None and before.configured and not _is_adopted(before, adopted.get(before.component_id)):
        raise wrong("component_id", "is in the configuration, and is changed there")
    holders = {each.component_id for each in adopted.values() if (each.bus, each.node) == (wanted.bus, wanted.node)}
    if there is not None and there.configured:
        holders.add(there.component_id)
    others = sorted(holders - {wanted.component_id})
    if others:
        raise wrong("node", f"{others[0]} is there")


def _is_adopted(component: Component, registration: Registration | None) -> bool:
    """Whether a component is known by its adoption: one that is configured since goes by its configuration."""
    return registration is not None and replace(component, serial=None) == component_of(registration)
