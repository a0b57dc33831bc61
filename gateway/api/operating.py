"""Requests about operations that are queued already, and about those that have failed."""

from gateway import requests as ask
from gateway.access import Actor, Role
from gateway.api.commanding import permitted
from gateway.api.desk import Answer, Asked, Desk, found, ok
from gateway.api.queuing import passes_through, proxy_for
from gateway.api.targeting import obstacle
from gateway.errors import Code, Refusal
from gateway.operation import Operation, Priority, Settlement
from gateway.ports import Tx
from gateway.views import page_view


async def cancel_request(desk: Desk, asked: Asked, model: ask.CancelRequest) -> Answer:
    """Take an operation that still waits out of its queue."""
    reason = given(model.cancellation_reason)

    def effect(tx: Tx) -> Answer:
        operation = found(tx, model.request_id)
        if not _may_cancel(desk, asked.actor, operation):
            raise Refusal(Code.NOT_OWNER, "Its creator, the component's owner or an operator may cancel it.")
        return {"request": tx.cancel(model.request_id, reason, asked.actor.name, asked.now_ms).payload()}

    return await desk.commit(asked, model.request_id, effect)


def _may_cancel(desk: Desk, actor: Actor, operation: Operation) -> bool:
    """Whether `actor` created an operation, may act on all it is about, or is an operator."""
    if actor.name == operation.creator or actor.may(Role.OPERATOR):
        return True
    ids = operation.targets or (operation.initiator_component or operation.target_component,)
    about = [desk.registry.get(component_id) for component_id in ids]
    return all(component is not None and actor.may_touch(component) for component in about)


async def list_proxy_queue(desk: Desk, _: Asked, model: ask.ListProxyQueue) -> Answer:
    """List what a proxy is to do for others, and for whom it may act."""
    proxy = desk.known(model.proxy_component, "proxy_component").component_id
    size, cursor = model.page_size, model.cursor
    page = await desk.store.read(lambda reader: reader.proxy_queue(proxy, page_size=size, cursor=cursor))
    ids = sorted(component.component_id for component in desk.registry)
    authorized = [component_id for component_id in ids if desk.registry.check_authorization(proxy, component_id)]
    return ok({**page_view(page), "authorized_targets": authorized})


async def list_dead_letters(desk: Desk, _: Asked, model: ask.ListDeadLetters) -> Answer:
    """List what failed or was abandoned and waits for somebody to look at it."""
    whose, size, cursor = model.component_id, model.page_size, model.cursor
    page = await desk.store.read(lambda reader: reader.dead_letters(component_id=whose, page_size=size, cursor=cursor))
    return ok(page_view(page))


async def requeue(desk: Desk, asked: Asked, model: ask.Requeue) -> Answer:
    """Let a dead letter wait again: for as long as it was to wait before, where nobody says otherwise."""
    operation = await desk.store.read(lambda reader: found(reader, model.request_id))
    most_s = None if operation.routed else _check_fit(desk, operation)
    usual_s = (operation.expires_at - operation.created_at) / 1000
    expires_at = desk.expiry(asked.now_ms, model.ttl_s, usual_s=usual_s, most_s=most_s)
    parameters = desk.parameters

    def effect(tx: Tx) -> Answer:
        queued = tx.requeue(model.request_id, expires_at, parameters, asked.actor.name, asked.now_ms)
        return {"request": queued.payload()}

    return await desk.commit(asked, model.request_id, effect)


def _check_fit(desk: Desk, operation: Operation) -> float | None:
    """Return how long an operation may wait at most, s; None: as long as any other.

    Raises Refusal where a new one like it would not be queued.
    """
    target = desk.known(operation.target_component, "target_component")
    if operation.command_type is None:
        proxy = operation.proxy_component
        passes_through(desk, target if proxy is None else proxy_for(desk, proxy, target))
        return None
    spec = permitted(desk, operation.command_type)
    why_not = obstacle(desk, target, spec)
    if why_not is not None:
        raise why_not
    return spec.guard.most_s


async def discard(desk: Desk, asked: Asked, model: ask.Discard) -> Answer:
    """Take an operation off the list of dead letters."""
    reason = given(model.reason)

    def effect(tx: Tx) -> Answer:
        return {"request": tx.discard(model.request_id, reason, asked.actor.name, asked.now_ms).payload()}

    return await desk.commit(asked, model.request_id, effect)


async def set_priority(desk: Desk, asked: Asked, model: ask.SetPriority) -> Answer:
    """Change the priority of an operation that waits."""
    priority = Priority[model.priority]

    def effect(tx: Tx) -> Answer:
        operation = tx.set_priority(model.request_id, priority, asked.actor.name, asked.now_ms)
        return {"request": operation.payload(), "queue_position": tx.queue_position(operation)}

    return await desk.commit(asked, model.request_id, effect)


async def reorder_queue(desk: Desk, asked: Asked, model: ask.ReorderQueue) -> Answer:
    """Put operations that wait for a component first, in this order, within their priorities."""
    component = desk.known(model.component_id, "component_id")

    def effect(tx: Tx) -> Answer:
        moved = tx.reorder(component.component_id, model.request_ids, asked.actor.name, asked.now_ms)
        return {"requests": [operation.payload() for operation in moved]}

    return await desk.commit(asked, component.component_id, effect)


async def settle(desk: Desk, asked: Asked, model: ask.Settle) -> Answer:
    """Confirm what became of the hold of an operation that has ended."""
    outcome = Settlement(model.outcome)

    def effect(tx: Tx) -> Answer:
        settled = tx.settle(model.request_id, outcome, model.settlement_ref, asked.actor.name, asked.now_ms)
        return {"request": settled.payload()}

    return await desk.commit(asked, model.request_id, effect)


def given(reason: str) -> str:
    """Return a reason without the space around it. Raises Refusal REASON_REQUIRED where nothing is left."""
    bare = reason.strip()
    if not bare:
        raise Refusal(Code.REASON_REQUIRED)
    return bare
