"""Every request the outside may make: fields in, a result or a coded refusal out, the same over every transport.

`REQUESTS` says which there are and who may ask. A change is one transaction with its event, its audit entry and the
memory of the call.
"""

import logging
from collections.abc import Mapping
from typing import Any

from gateway import requests as ask
from gateway.access import Actor
from gateway.api.desk import Answer as Answer
from gateway.api.desk import Asked, refused
from gateway.api.desk import Desk as Desk
from gateway.api.desk import Tuning as Tuning
from gateway.api.rates import Pace, Rates
from gateway.api.verbs import REQUESTS as REQUESTS
from gateway.api.verbs import Verb as Verb
from gateway.errors import Code, Refusal
from gateway.event import GATEWAY
from gateway.operation import Reach, RequestType
from gateway.ports import Call, Commands, Tx

log = logging.getLogger(__name__)


class Api:
    """Answers requests. One instance, on the loop; it holds the calls under way and who asked how often, no more."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._rates = Rates()
        self._under_way: set[tuple[str, str]] = set()

    async def call(self, actor: Actor, request: str, fields: Mapping[str, Any], call: Call | None = None) -> Answer:
        """Answer one request: {"ok": True, "result": …} or {"ok": False, "error": …}; never raises for bad input.

        What it changed is committed when it returns, together with the memory of `call`: a repeat gets this answer.
        """
        asked = Asked(actor, request, fields, call, self._desk.clock.wall_ms())
        verb = REQUESTS.get(request)
        try:
            if verb is not None and verb.changes:
                return await self._change(asked, verb)
            return await self._answer(asked, verb, self._pace(asked))
        except Refusal as no:
            return refused(no)
        except Exception:
            log.exception("request %s of %s failed", request, actor.name)
            return refused(Refusal(Code.INTERNAL))

    async def _change(self, asked: Asked, verb: Verb) -> Answer:
        """Answer a request that changes something: once, even if it comes again; refusals are audited too."""
        call = asked.call
        if call is None:
            return await self._audited(asked, verb)
        key = call.actor, call.call_id
        if key in self._under_way:
            return await self._audited(asked, verb, "The same request is being answered at this moment.")
        self._under_way.add(key)
        try:
            known = await self._desk.store.read(lambda reader: reader.remembered(*key, asked.now_ms))
            if known is None:
                return await self._audited(asked, verb)
            digest, answer = known
            if digest != call.digest:
                return await self._audited(asked, verb, "This id was used for another request.")
            return answer
        finally:
            self._under_way.discard(key)

    async def _audited(self, asked: Asked, verb: Verb, replayed: str = "") -> Answer:
        """Answer a request that was not answered before; a refusal is audited and remembered, like an effect.

        What comes too soon is forgotten, so that it may come again; of a streak of those only the first is audited.
        `replayed`: why its id cannot be answered for; what was remembered under that id stays.
        """
        pace = self._pace(asked)
        try:
            return await self._answer(asked, verb, pace, replayed)
        except Refusal as no:
            answer = refused(no)
            code = no.code

        def refuse(tx: Tx) -> None:
            tx.audit(asked.audit(subject_of(asked.fields), code), asked.now_ms)
            if asked.call is not None and not pace.wait_ms and not replayed:
                tx.remember(asked.call, answer)

        if pace.first or not pace.wait_ms:
            await self._desk.store.write(refuse)
        return answer

    def _pace(self, asked: Asked) -> Pace:
        desk = self._desk
        emergency = _is_emergency(asked, desk.commands)
        per_minute = desk.parameters.requests_per_minute
        return self._rates.take(asked.actor.name, desk.clock.monotonic(), per_minute, emergency=emergency)

    async def _answer(self, asked: Asked, verb: Verb | None, pace: Pace, replayed: str = "") -> Answer:
        if verb is not None and not any(asked.actor.may(role) for role in verb.roles):
            raise Refusal(Code.NOT_AUTHORIZED, f"{asked.request} needs the role {verb.roles[0]}.")
        if pace.wait_ms:
            raise Refusal(Code.RATE_LIMITED, "You ask too often.", retry_after_ms=pace.wait_ms)
        if replayed:
            raise Refusal(Code.REPLAYED, replayed)
        if verb is None:
            raise Refusal(Code.UNKNOWN_COMMAND, f"There is no request {asked.request[:64]!r}.")
        return await verb.handler(self._desk, asked, ask.validated(verb.model, asked.fields))


def _is_emergency(asked: Asked, commands: Commands) -> bool:
    """Whether a request, which nobody has looked at yet, asks for what cannot wait."""
    command_type = asked.fields.get("command_type")
    if asked.request == "queue_command" and isinstance(command_type, str):
        spec = commands.spec(command_type)
        return spec is not None and spec.reach is Reach.EMERGENCY
    return asked.request == "queue_pairing_request" and asked.fields.get("request_type") == RequestType.EMERGENCY


def subject_of(fields: Mapping[str, Any]) -> str:
    """Return what a refused request was about, for the audit: an id if it named one, shortened."""
    for name in ("request_id", "component_id", "target_component"):
        value = fields.get(name)
        if isinstance(value, str):
            return value[:64]
    return GATEWAY
