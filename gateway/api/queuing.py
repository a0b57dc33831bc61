"""Requests that queue work: pairing requests and commands."""

from typing import Final

from gateway import requests as ask
from gateway.access import Role
from gateway.api.desk import Answer, Asked, Desk, wrong
from gateway.component import Component, QueueMode
from gateway.errors import Code, Refusal
from gateway.operation import Delivery, Kind, Operation, Priority, RequestType
from gateway.ports import Tx

HOUR_S: Final = 3600


async def queue_pairing_request(desk: Desk, asked: Asked, model: ask.QueuePairingRequest) -> Answer:
    """Queue the pairing of a target with an initiator that is here."""
    initiator = desk.known(model.initiator_component, "initiator_component")
    target = desk.known(model.target_component, "target_component")
    desk.check_touch(asked.actor, initiator)
    if initiator.bus != target.bus:
        raise wrong("target_component", f"{target.component_id} is not on bus {initiator.bus} of its initiator")
    kind = RequestType(model.request_type)
    if kind is RequestType.EMERGENCY and not asked.actor.may(Role.OPERATOR):
        raise Refusal(Code.NOT_AUTHORIZED, "EMERGENCY needs the role operator.")
    if kind is RequestType.PROXY:
        _check_proxy(desk, model.proxy_component or "", target)
    if not desk.is_online(initiator):
        raise Refusal(Code.INITIATOR_OFFLINE, f"{initiator.component_id} is not online.")
    ttl_s = model.ttl_s if model.expiry_hours is None else model.expiry_hours * HOUR_S
    operation = Operation(
        request_id=desk.ids.new("req", asked.now_ms),
        kind=Kind.PAIRING,
        target_component=target.component_id,
        creator=asked.actor.name,
        created_at=asked.now_ms,
        expires_at=_expiry(desk, asked.now_ms, ttl_s, None),
        priority=Priority.CRITICAL if kind is RequestType.EMERGENCY else Priority[model.priority],
        delivery=Delivery(model.delivery or Delivery.AT_LEAST_ONCE),
        initiator_component=initiator.component_id,
        request_type=kind,
        proxy_component=model.proxy_component,
        bound_serial=target.serial,
        **model.kept(),
    )
    return await _enqueue(desk, asked, operation)


def _check_proxy(desk: Desk, proxy_component: str, target: Component) -> None:
    proxy = desk.known(proxy_component, "proxy_component")
    if not desk.registry.check_authorization(proxy.component_id, target.component_id):
        raise Refusal(Code.PROXY_NOT_AUTHORIZED, f"{proxy.component_id} may not act for {target.component_id}.")
    if target.serial is None:
        raise Refusal(Code.PRECONDITION_FAILED, f"The serial number of {target.component_id} is not known yet.")
    if proxy.bus != target.bus:
        raise wrong("proxy_component", f"{proxy.component_id} is not on bus {target.bus}")


async def queue_command(desk: Desk, asked: Asked, model: ask.QueueCommand) -> Answer:
    """Queue a command for one component."""
    spec = desk.commands.spec(model.command_type)
    if spec is None:
        raise Refusal(Code.UNKNOWN_COMMAND, f"There is no command type {model.command_type!r}.")
    arguments = desk.commands.validate(model.command_type, model.arguments)
    target = desk.known(model.target_component or "", "target_component")
    desk.check_touch(asked.actor, target)
    if not _is_capable(desk, target, model.command_type):
        raise Refusal(Code.NOT_CAPABLE, f"{target.component_id} does not take {model.command_type}.")
    operation = Operation(
        request_id=desk.ids.new("cmd", asked.now_ms),
        kind=Kind.COMMAND,
        target_component=target.component_id,
        creator=asked.actor.name,
        created_at=asked.now_ms,
        expires_at=_expiry(desk, asked.now_ms, model.ttl_s, spec.guard.ttl_s),
        priority=Priority[model.priority],
        delivery=Delivery(model.delivery or spec.guard.delivery),
        command_type=model.command_type,
        arguments=arguments,
        timeout_s=model.timeout_s,
        bound_serial=target.serial,
        **model.kept(),
    )
    return await _enqueue(desk, asked, operation)


def _is_capable(desk: Desk, target: Component, command_type: str) -> bool:
    if target.capabilities:
        return command_type in target.capabilities
    return desk.commands.capable(command_type, target.kind)


async def _enqueue(desk: Desk, asked: Asked, operation: Operation) -> Answer:
    parameters = desk.parameters
    carrier = desk.known(operation.carrier, "proxy_component")
    if carrier.queue_mode is QueueMode.PASS_THROUGH and not desk.is_online(carrier):
        raise Refusal(Code.COMPONENT_OFFLINE, f"{carrier.component_id} takes work only while it is online.")

    def effect(tx: Tx) -> Answer:
        stored = tx.enqueue(operation, parameters)  # an earlier one, where the idempotency key says so
        return {"request": stored.payload(), "queue_position": tx.queue_position(stored)}

    return await desk.commit(asked, operation.target_component, effect)


def _expiry(desk: Desk, now_ms: int, ttl_s: float | None, default_s: float | None) -> int:
    """Return when an operation queued now ends. Raises Refusal EXPIRY_OUT_OF_RANGE."""
    longest_s = desk.parameters.max_queue_time_hours * HOUR_S
    if ttl_s is None:
        ttl_s = longest_s if default_s is None else min(default_s, longest_s)
    if not 0 < ttl_s <= longest_s:
        asked, longest = f"{ttl_s / HOUR_S:g} h", f"{longest_s / HOUR_S:g} h"
        raise Refusal(Code.EXPIRY_OUT_OF_RANGE, f"{asked} is not above 0 and within {longest}.")
    return now_ms + max(1, round(ttl_s * 1000))
