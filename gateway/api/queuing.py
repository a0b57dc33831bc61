"""How work is put in the queue, and the request for a pairing."""

import hashlib
import json
from collections.abc import Sequence

from gateway import requests as ask
from gateway.access import Role
from gateway.api.desk import HOUR_S, Answer, Asked, Desk, wrong
from gateway.api.targeting import not_passing
from gateway.component import Component, QueueMode
from gateway.errors import Code, Refusal
from gateway.operation import ConflictPolicy, Delivery, Kind, Operation, Priority, RequestType
from gateway.ports import Tx


async def queue_pairing_request(desk: Desk, asked: Asked, model: ask.QueuePairingRequest) -> Answer:
    """Queue the pairing of a target with an initiator that is here."""
    again = await repeated(desk, asked, model)
    return again or await _queue_pairing(desk, asked, model)


async def _queue_pairing(desk: Desk, asked: Asked, model: ask.QueuePairingRequest) -> Answer:
    initiator = desk.known(model.initiator_component, "initiator_component")
    target = desk.known(model.target_component, "target_component")
    desk.check_touch(asked.actor, initiator)
    for each in (initiator, target):
        if each.foreign:
            raise Refusal(Code.NOT_CAPABLE, f"{each.component_id} does not speak the protocol of pairings.")
    if initiator.bus != target.bus:
        raise wrong("target_component", f"{target.component_id} is not on bus {initiator.bus} of its initiator")
    kind = RequestType(model.request_type)
    emergency = kind is RequestType.EMERGENCY
    if emergency and not asked.actor.may(Role.OPERATOR):
        raise Refusal(Code.NOT_AUTHORIZED, "EMERGENCY needs the role operator.")
    carrier = target if model.proxy_component is None else proxy_for(desk, model.proxy_component, target)
    if not desk.is_online(initiator):
        raise Refusal(Code.INITIATOR_OFFLINE, f"{initiator.component_id} is not online.")
    operation = Operation(
        request_id=desk.ids.new("req", asked.now_ms),
        kind=Kind.PAIRING,
        target_component=target.component_id,
        creator=asked.actor.name,
        created_at=asked.now_ms,
        expires_at=desk.expiry(
            asked.now_ms, model.ttl_s if model.expiry_hours is None else model.expiry_hours * HOUR_S
        ),
        priority=Priority.CRITICAL if emergency else Priority[model.priority],
        delivery=Delivery(model.delivery or Delivery.AT_LEAST_ONCE),
        initiator_component=initiator.component_id,
        request_type=kind,
        proxy_component=model.proxy_component,
        bound_serial=target.serial,
        pass_through=passes_through(desk, carrier),
        asked=content(asked, model),
        **model.kept(),
    )
    return await enqueue(desk, asked, operation)


def proxy_for(desk: Desk, proxy_component: str, target: Component) -> Component:
    """Return the proxy that is to act for a target. Raises Refusal where it may not, or cannot."""
    proxy = desk.known(proxy_component, "proxy_component")
    if not desk.registry.check_authorization(proxy.component_id, target.component_id):
        raise Refusal(Code.PROXY_NOT_AUTHORIZED, f"{proxy.component_id} may not act for {target.component_id}.")
    if target.serial is None:
        raise Refusal(Code.PRECONDITION_FAILED, f"The serial number of {target.component_id} is not known yet.")
    if proxy.bus != target.bus:
        raise wrong("proxy_component", f"{proxy.component_id} is not on bus {target.bus}")
    return proxy


def passes_through(desk: Desk, carrier: Component) -> bool:
    """Whether work for a component is done at once or not at all. Raises Refusal COMPONENT_OFFLINE: not at all."""
    if carrier.queue_mode is QueueMode.QUEUE:
        return False
    if not desk.is_online(carrier):
        raise not_passing(carrier)
    return True


def content(asked: Asked, model: ask.Queuing) -> bytes | None:
    """Return SHA-256 of what is asked, by which a repeat is known; None: it has no idempotency key."""
    if model.idempotency_key is None:
        return None
    # What is as by default is left out: a later version may know more fields, and the key outlives an update.
    asked_for = model.model_dump(exclude={"idempotency_key"}, exclude_defaults=True)
    spelt = json.dumps([asked.request, asked_for], sort_keys=True)
    return hashlib.sha256(spelt.encode()).digest()


async def enqueue(
    desk: Desk,
    asked: Asked,
    operation: Operation,
    children: Sequence[Operation] = (),
    conflict_policy: ConflictPolicy = ConflictPolicy.QUEUE,
) -> Answer:
    """Store an operation with its children; answer with it, or with the one that the idempotency key names."""
    parameters = desk.parameters

    def effect(tx: Tx) -> Answer:
        return _told(tx, tx.enqueue(operation, parameters, conflict_policy=conflict_policy, children=children))

    return await desk.commit(asked, None, effect)


async def repeated(desk: Desk, asked: Asked, model: ask.Queuing) -> Answer | None:
    """Answer with what an earlier request queued that had the same idempotency key; None: there was none.

    This comes before everything else that may be in the way by now: who repeats a request has not heard the answer.
    """
    key, digest = model.idempotency_key, content(asked, model)
    if key is None or digest is None:
        return None
    earlier = await desk.store.read(lambda reader: reader.repeated(asked.actor.name, key, digest))
    if earlier is None:
        return None
    return await desk.commit(asked, None, lambda tx: _told(tx, earlier))


def _told(tx: Tx, stored: Operation) -> Answer:
    result: Answer = {"request": stored.payload(), "queue_position": tx.queue_position(stored)}
    if stored.kind is Kind.COMMAND:
        family = tx.children(stored.request_id) if stored.routed else []
        result["children"] = [child.request_id for child in family]
    return result
