"""What every request finds when it is answered: the parts of the gateway, and the rules that many requests share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.access import Actor, Role
from gateway.clock import Clock
from gateway.component import Component, Registry
from gateway.errors import Code, Refusal
from gateway.ids import RequestIds
from gateway.operation import Operation
from gateway.ports import (
    AuditEntry,
    Call,
    Commands,
    Drains,
    Health,
    Reader,
    Roster,
    Store,
    Timekeeper,
    Tx,
    Upstream,
    Watches,
)
from gateway.presence import Presence
from gateway.settings import Parameters, PresenceSection

Answer = dict[str, Any]

HOUR_S: Final = 3600


class Tuning:
    """The parameters in force: what the configuration says first, then what `set_params` said last."""

    def __init__(self, first: Parameters, changed: Mapping[str, Any]) -> None:
        known = {name: value for name, value in changed.items() if name in Parameters.model_fields}
        self.current = Parameters.model_validate({**first.model_dump(), **known})

    def read(self) -> Parameters:
        """Return the parameters in force."""
        return self.current

    def change(self, params: Mapping[str, Any]) -> None:
        """Put changed parameters in force, beside those that changed meanwhile."""
        self.current = Parameters.model_validate({**self.current.model_dump(), **params})


@dataclass(frozen=True, slots=True)
class Asked:
    """One request on its way through: who asks for what, and how to remember the answer."""

    actor: Actor
    request: str
    fields: Mapping[str, Any]
    call: Call | None
    now_ms: int

    def audit(self, subject: str, code: Code | None = None) -> AuditEntry:
        """Return the audit entry of this request's end."""
        outcome = "accepted" if code is None else "refused"
        return AuditEntry(self.actor.name, self.actor.transport, self.request, subject, outcome, code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The parts of the gateway that answer.

    `safety_commands`: those the configuration allows. `presence`: the presence settings of a component, by its id.
    """

    store: Store
    registry: Registry
    roster: Roster
    watches: Watches
    commands: Commands
    drains: Drains
    health: Health
    upstream: Upstream
    timekeeper: Timekeeper
    tuning: Tuning
    clock: Clock
    safety_commands: frozenset[str] = frozenset()
    presence: Callable[[str], PresenceSection] = lambda _: PresenceSection()
    ids: RequestIds = field(default_factory=RequestIds)

    @property
    def parameters(self) -> Parameters:
        """The parameters in force."""
        return self.tuning.current

    async def commit(self, asked: Asked, subject: str | None, effect: Callable[[Tx], Answer]) -> Answer:
        """Do `effect` in one transaction with its audit entry and the memory of the call; return the answer.

        `subject`: what it is done to, for the audit; None: the operation that stands as `request` in the result.
        """

        def job(tx: Tx) -> Answer:
            result = effect(tx)
            answer = ok(result)
            tx.audit(asked.audit(subject or result["request"]["request_id"]), asked.now_ms)
            if asked.call is not None:
                tx.remember(asked.call, answer)
            return answer

        return await self.store.write(job)

    def is_online(self, component: Component) -> bool:
        """Whether a component is heard."""
        return self.roster.sighting(component.component_id).presence is Presence.ONLINE

    def known(self, component_id: str, field: str) -> Component:
        """Return a component that may be commanded. Raises Refusal COMPONENT_NOT_FOUND, NOT_ALLOWED."""
        component = self.registry.get(component_id)
        if component is None:
            raise stranger(component_id, field)
        if not component.configured:
            raise Refusal(Code.NOT_ALLOWED, f"{component_id} was only discovered; adopt it or configure it.")
        return component

    def expiry(
        self, now_ms: int, ttl_s: float | None, *, usual_s: float | None = None, most_s: float | None = None
    ) -> int:
        """Return when an operation queued now ends, ms. `usual_s`: where nobody says; `most_s`: beside the parameter.

        Raises Refusal EXPIRY_OUT_OF_RANGE.
        """
        longest_s = self.parameters.max_queue_time_hours * HOUR_S
        if most_s is not None:
            longest_s = min(longest_s, most_s)
        if ttl_s is None:
            ttl_s = longest_s if usual_s is None else min(usual_s, longest_s)
        if not 0 < ttl_s <= longest_s:
            raise Refusal(Code.EXPIRY_OUT_OF_RANGE, f"{ttl_s:.12g} s is not above 0 and within {longest_s:.12g} s.")
        return now_ms + max(1, round(ttl_s * 1000))

    def check_touch(self, actor: Actor, component: Component) -> None:
        """Raise Refusal NOT_OWNER unless `actor` may queue for `component`."""
        if not self.may_queue_for(actor, component):
            raise Refusal(Code.NOT_OWNER, f"{component.component_id} is not yours.")

    def may_queue_for(self, actor: Actor, component: Component) -> bool:
        """Whether `actor` may queue for `component`: a backend for any, others for what they may touch."""
        return actor.may(Role.BACKEND) or actor.may_touch(component)


def ok(result: Answer) -> Answer:
    """Return the answer that says yes."""
    return {"ok": True, "result": result}


def refused(no: Refusal) -> Answer:
    """Return the answer that says no."""
    return {"ok": False, "error": no.payload()}


def wrong(field: str, why: str) -> Refusal:
    """Return the refusal of one field."""
    return Refusal(Code.INVALID_ARGUMENT, f"{field}: {why}.", details={"field": field})


def stranger(component_id: str, field: str = "component_id") -> Refusal:
    """Return the refusal of a component that does not exist."""
    return Refusal(Code.COMPONENT_NOT_FOUND, f"There is no component {component_id}.", details={"field": field})


def found(reader: Reader, request_id: str) -> Operation:
    """Return an operation. Raises Refusal REQUEST_NOT_FOUND."""
    operation = reader.operation(request_id)
    if operation is None:
        raise Refusal(Code.REQUEST_NOT_FOUND, f"There is no request {request_id}.")
    return operation
