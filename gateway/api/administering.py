"""Requests that change the gateway itself."""

from pydantic import ValidationError

from gateway import requests as ask
from gateway.api.desk import Answer, Asked, Desk, ok
from gateway.event import GATEWAY, Event
from gateway.ports import Tx
from gateway.settings import Parameters


async def get_params(desk: Desk, _: Asked, __: ask.GetParams) -> Answer:
    return ok({"params": desk.parameters.model_dump()})


async def set_params(desk: Desk, asked: Asked, model: ask.SetParams) -> Answer:
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
