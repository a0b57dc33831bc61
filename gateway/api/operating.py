"""Requests about operations that are queued already."""

from gateway import requests as ask
from gateway.access import Actor, Role
from gateway.api.desk import Answer, Asked, Desk, found
from gateway.errors import Code, Refusal
from gateway.operation import Operation
from gateway.ports import Tx


async def cancel_request(desk: Desk, asked: Asked, model: ask.CancelRequest) -> Answer:
    reason = model.cancellation_reason.strip()
    if not reason:
        raise Refusal(Code.REASON_REQUIRED)

    def effect(tx: Tx) -> Answer:
        operation = found(tx, model.request_id)
        if not _may_cancel(desk, asked.actor, operation):
            raise Refusal(Code.NOT_OWNER, "Its creator, the component's owner or an operator may cancel it.")
        return {"request": tx.cancel(model.request_id, reason, asked.actor.name, asked.now_ms).payload()}

    return await desk.commit(asked, model.request_id, effect)


def _may_cancel(desk: Desk, actor: Actor, operation: Operation) -> bool:
    if actor.name == operation.creator or actor.may(Role.OPERATOR):
        return True
    owned = desk.registry.get(operation.initiator_component or operation.target_component)
    return owned is not None and actor.may_touch(owned)
