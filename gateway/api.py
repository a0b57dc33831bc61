"""Every request the outside may make: fields in, a result or a coded refusal out, the same over every transport.

`REQUESTS` says which there are and who may ask; each method of `Api` below it answers one. A change is one transaction
with its event, its audit entry and the memory of the call.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from gateway import requests as ask
from gateway.access import Actor, Role
from gateway.clock import Clock, rfc3339
from gateway.component import Component, QueueMode, Registry
from gateway.errors import Code, Refusal
from gateway.event import GATEWAY, Event
from gateway.ids import RequestIds
from gateway.operation import Delivery, Kind, Operation, Priority, QueueType, RequestType, Status
from gateway.ports import AuditEntry, Call, Commands, Drains, Health, Reader, Roster, Store, Tx
from gateway.presence import Presence
from gateway.settings import Parameters
from gateway.views import component_view, offline_view, queue_view

log = logging.getLogger(__name__)

Answer = dict[str, Any]
HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Verb:
    """One request: its model, the roles of which an actor needs one, and whether it changes anything."""

    model: type[BaseModel]
    roles: tuple[Role, ...]
    changes: bool = False


_QUEUING: Final = (Role.TECHNICIAN, Role.BACKEND)
REQUESTS: Final[Mapping[str, Verb]] = {
    "queue_pairing_request": Verb(ask.QueuePairingRequest, _QUEUING, changes=True),
    "queue_command": Verb(ask.QueueCommand, _QUEUING, changes=True),
    "process_offline_queue": Verb(ask.ProcessOfflineQueue, (Role.TECHNICIAN,), changes=True),
    "cancel_request": Verb(ask.CancelRequest, _QUEUING, changes=True),
    "get_queued_requests": Verb(ask.GetQueuedRequests, (Role.VIEWER,)),
    "get_request_status": Verb(ask.GetRequestStatus, (Role.VIEWER,)),
    "get_presence": Verb(ask.GetPresence, (Role.VIEWER,)),
    "get_health": Verb(ask.GetHealth, (Role.VIEWER,)),
    "get_params": Verb(ask.GetParams, (Role.VIEWER,)),
    "set_params": Verb(ask.SetParams, (Role.ADMIN,), changes=True),
}


class Tuning:
    """The parameters in force: what the configuration says first, then what `set_params` said last."""

    def __init__(self, first: Parameters, changed: Mapping[str, Any]) -> None:
        known = {name: value for name, value in changed.items() if name in Parameters.model_fields}
        self.current = Parameters.model_validate({**first.model_dump(), **known})

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


class Api:
    """Answers requests. One instance, on the loop; it holds no state but the calls under way."""

    def __init__(
        self,
        *,
        store: Store,
        registry: Registry,
        roster: Roster,
        commands: Commands,
        drains: Drains,
        health: Health,
        tuning: Tuning,
        clock: Clock,
    ) -> None:
        self._store = store
        self._registry = registry
        self._roster = roster
        self._commands = commands
        self._drains = drains
        self._health = health
        self._tuning = tuning
        self._clock = clock
        self._ids = RequestIds()
        self._under_way: set[tuple[str, str]] = set()

    async def call(self, actor: Actor, request: str, fields: Mapping[str, Any], call: Call | None = None) -> Answer:
        """Answer one request: {"ok": True, "result": …} or {"ok": False, "error": …}; never raises for bad input.

        What it changed is committed when it returns, together with the memory of `call`: a repeat gets this answer.
        """
        asked = Asked(actor, request, fields, call, self._clock.wall_ms())
        verb = REQUESTS.get(request)
        if verb is None:
            return _refused(Refusal(Code.UNKNOWN_COMMAND, f"There is no request {request[:64]!r}."))
        try:
            return await (self._change(asked, verb) if verb.changes else self._answer(asked, verb))
        except Refusal as no:
            return _refused(no)
        except Exception:
            log.exception("request %s of %s failed", request, actor.name)
            return _refused(Refusal(Code.INTERNAL))

    async def _change(self, asked: Asked, verb: Verb) -> Answer:
        """Answer a request that changes something: once, even if it comes again; refusals are audited too."""
        call = asked.call
        if call is None:
            return await self._audited(asked, verb)
        key = call.actor, call.call_id
        if key in self._under_way:
            raise Refusal(Code.REPLAYED, "The same request is being answered at this moment.")
        self._under_way.add(key)
        try:
            known = await self._store.read(lambda reader: reader.remembered(*key, asked.now_ms))
            if known is None:
                return await self._audited(asked, verb)
            digest, answer = known
            if digest != call.digest:
                raise Refusal(Code.REPLAYED, "This id was used for another request.")
            return answer
        finally:
            self._under_way.discard(key)

    async def _audited(self, asked: Asked, verb: Verb) -> Answer:
        try:
            return await self._answer(asked, verb)
        except Refusal as no:
            answer = _refused(no)
            code = no.code

        def refuse(tx: Tx) -> None:
            tx.audit(asked.audit(_subject(asked.fields), code), asked.now_ms)
            if asked.call is not None:
                tx.remember(asked.call, answer)

        await self._store.write(refuse)
        return answer

    async def _answer(self, asked: Asked, verb: Verb) -> Answer:
        if not any(asked.actor.may(role) for role in verb.roles):
            raise Refusal(Code.NOT_AUTHORIZED, f"{asked.request} needs the role {verb.roles[0]}.")
        model = ask.validated(verb.model, asked.fields)
        handler: Callable[[Asked, Any], Awaitable[Answer]] = getattr(self, f"_{asked.request}")
        return await handler(asked, model)

    async def _commit(self, asked: Asked, subject: str, effect: Callable[[Tx], Answer]) -> Answer:
        """Do `effect` in one transaction with its audit entry and the memory of the call; return the answer."""

        def job(tx: Tx) -> Answer:
            answer = {"ok": True, "result": effect(tx)}
            tx.audit(asked.audit(subject), asked.now_ms)
            if asked.call is not None:
                tx.remember(asked.call, answer)
            return answer

        return await self._store.write(job)

    # --- queuing ----------------------------------------------------------------------------------------------------

    async def _queue_pairing_request(self, asked: Asked, model: ask.QueuePairingRequest) -> Answer:
        initiator = self._known(model.initiator_component, "initiator_component")
        target = self._known(model.target_component, "target_component")
        if not (asked.actor.may(Role.BACKEND) or asked.actor.may_touch(initiator)):
            raise Refusal(Code.NOT_OWNER, f"{initiator.component_id} is not yours.")
        if initiator.bus != target.bus:
            raise _wrong("target_component", f"{target.component_id} is not on bus {initiator.bus} of its initiator")
        kind = RequestType(model.request_type)
        if kind is RequestType.EMERGENCY and not asked.actor.may(Role.OPERATOR):
            raise Refusal(Code.NOT_AUTHORIZED, "EMERGENCY needs the role operator.")
        if kind is RequestType.PROXY:
            self._check_proxy(model.proxy_component or "", target)
        if not self._is_online(initiator):
            raise Refusal(Code.INITIATOR_OFFLINE, f"{initiator.component_id} is not online.")
        ttl_s = model.ttl_s if model.expiry_hours is None else model.expiry_hours * HOUR_S
        operation = Operation(
            request_id=self._ids.new("req", asked.now_ms),
            kind=Kind.PAIRING,
            target_component=target.component_id,
            creator=asked.actor.name,
            created_at=asked.now_ms,
            expires_at=self._expiry(asked.now_ms, ttl_s, None),
            priority=Priority.CRITICAL if kind is RequestType.EMERGENCY else Priority[model.priority],
            delivery=Delivery(model.delivery or Delivery.AT_LEAST_ONCE),
            initiator_component=initiator.component_id,
            request_type=kind,
            proxy_component=model.proxy_component,
            bound_serial=target.serial,
            **model.kept(),
        )
        return await self._enqueue(asked, operation)

    def _check_proxy(self, proxy_component: str, target: Component) -> None:
        proxy = self._known(proxy_component, "proxy_component")
        if not self._registry.check_authorization(proxy.component_id, target.component_id):
            raise Refusal(Code.PROXY_NOT_AUTHORIZED, f"{proxy.component_id} may not act for {target.component_id}.")
        if target.serial is None:
            raise Refusal(Code.PRECONDITION_FAILED, f"The serial number of {target.component_id} is not known yet.")
        if proxy.bus != target.bus:
            raise _wrong("proxy_component", f"{proxy.component_id} is not on bus {target.bus}")

    async def _queue_command(self, asked: Asked, model: ask.QueueCommand) -> Answer:
        spec = self._commands.spec(model.command_type)
        if spec is None:
            raise Refusal(Code.UNKNOWN_COMMAND, f"There is no command type {model.command_type!r}.")
        arguments = self._commands.validate(model.command_type, model.arguments)
        target = self._known(model.target_component, "target_component")
        if not (asked.actor.may(Role.BACKEND) or asked.actor.may_touch(target)):
            raise Refusal(Code.NOT_OWNER, f"{target.component_id} is not yours.")
        if not self._is_capable(target, model.command_type):
            raise Refusal(Code.NOT_CAPABLE, f"{target.component_id} does not take {model.command_type}.")
        operation = Operation(
            request_id=self._ids.new("cmd", asked.now_ms),
            kind=Kind.COMMAND,
            target_component=target.component_id,
            creator=asked.actor.name,
            created_at=asked.now_ms,
            expires_at=self._expiry(asked.now_ms, model.ttl_s, spec.ttl_s),
            priority=Priority[model.priority],
            delivery=Delivery(model.delivery or spec.delivery),
            command_type=model.command_type,
            arguments=arguments,
            timeout_s=model.timeout_s,
            bound_serial=target.serial,
            **model.kept(),
        )
        return await self._enqueue(asked, operation)

    def _is_capable(self, target: Component, command_type: str) -> bool:
        if target.capabilities:
            return command_type in target.capabilities
        return self._commands.capable(command_type, target.kind)

    async def _enqueue(self, asked: Asked, operation: Operation) -> Answer:
        parameters = self._tuning.current
        carrier = self._known(operation.carrier, "proxy_component")
        if carrier.queue_mode is QueueMode.PASS_THROUGH and not self._is_online(carrier):
            raise Refusal(Code.COMPONENT_OFFLINE, f"{carrier.component_id} takes work only while it is online.")

        def effect(tx: Tx) -> Answer:
            stored = tx.enqueue(operation, parameters)  # an earlier one, where the idempotency key says so
            return {"request": stored.payload(), "queue_position": tx.queue_position(stored)}

        return await self._commit(asked, operation.target_component, effect)

    def _expiry(self, now_ms: int, ttl_s: float | None, default_s: float | None) -> int:
        """Return when an operation queued now ends. Raises Refusal EXPIRY_OUT_OF_RANGE."""
        longest_s = self._tuning.current.max_queue_time_hours * HOUR_S
        if ttl_s is None:
            ttl_s = longest_s if default_s is None else min(default_s, longest_s)
        if not 0 < ttl_s <= longest_s:
            asked, longest = f"{ttl_s / HOUR_S:g} h", f"{longest_s / HOUR_S:g} h"
            raise Refusal(Code.EXPIRY_OUT_OF_RANGE, f"{asked} is not above 0 and within {longest}.")
        return now_ms + max(1, round(ttl_s * 1000))

    async def _cancel_request(self, asked: Asked, model: ask.CancelRequest) -> Answer:
        reason = model.cancellation_reason.strip()
        if not reason:
            raise Refusal(Code.REASON_REQUIRED)

        def effect(tx: Tx) -> Answer:
            operation = _found(tx, model.request_id)
            if not self._may_cancel(asked.actor, operation):
                raise Refusal(Code.NOT_OWNER, "Its creator, the component's owner or an operator may cancel it.")
            return {"request": tx.cancel(model.request_id, reason, asked.actor.name, asked.now_ms).payload()}

        return await self._commit(asked, model.request_id, effect)

    def _may_cancel(self, actor: Actor, operation: Operation) -> bool:
        if actor.name == operation.creator or actor.may(Role.OPERATOR):
            return True
        owned = self._registry.get(operation.initiator_component or operation.target_component)
        return owned is not None and actor.may_touch(owned)

    # --- draining ---------------------------------------------------------------------------------------------------

    async def _process_offline_queue(self, asked: Asked, model: ask.ProcessOfflineQueue) -> Answer:
        component = self._known(model.component_id, "component_id")
        if not asked.actor.may_touch(component):
            raise Refusal(Code.NOT_OWNER, f"{component.component_id} is not yours.")
        await self._check_drain(component, proxies=model.process_proxy_queue)
        drain_id = self._drains.begin(
            component.component_id,
            max_operations=model.max_operations or self._tuning.current.max_batch_processing_size,
            process_proxy_queue=model.process_proxy_queue,
        )
        if not model.wait:
            return await self._commit(asked, component.component_id, lambda _: {"accepted": True, "drain_id": drain_id})
        report = await self._drains.finished(drain_id)
        result = {name: getattr(report, name) for name in report.__slots__}
        return await self._commit(asked, component.component_id, lambda _: result)

    async def _check_drain(self, component: Component, *, proxies: bool) -> None:
        """Raise Refusal NOTHING_PENDING or COMPONENT_OFFLINE where a drain could do nothing."""

        def waiting(reader: Reader) -> tuple[int, set[str]]:
            page = reader.operations(
                component_id=component.component_id,
                queue_type=QueueType.PROXY,
                status=Status.QUEUED,
                page_size=ask.PAGE_MAX,
                cursor=None,
            )
            status = reader.queue_status(component.component_id)
            own = status.standard_queue_size + status.priority_queue_size
            return own, {operation.carrier for operation in page.operations}

        own, carriers = await self._store.read(waiting)
        if not own and not (proxies and carriers):
            raise Refusal(Code.NOTHING_PENDING, f"The queue of {component.component_id} is empty.")
        reachable = {component.component_id} | (carriers if proxies else set())
        if not any(self._roster.sighting(carrier).presence is Presence.ONLINE for carrier in reachable):
            raise Refusal(Code.COMPONENT_OFFLINE, f"{component.component_id} is not online.")

    # --- looking ----------------------------------------------------------------------------------------------------

    async def _get_queued_requests(self, _: Asked, model: ask.GetQueuedRequests) -> Answer:
        component = self._known(model.component_id, "component_id") if model.component_id else None

        def look(reader: Reader) -> Answer:
            page = reader.operations(
                component_id=model.component_id,
                queue_type=QueueType(model.queue_type),
                status=Status(model.status_filter) if model.status_filter else None,
                page_size=model.page_size,
                cursor=model.cursor,
            )
            result: Answer = {"requests": [operation.payload() for operation in page.operations]}
            if component is not None:
                accepts = component.accepts_proxy
                result["queue_status"] = queue_view(reader.queue_status(component.component_id))
                result["offline_operation"] = offline_view(
                    reader.offline_operation(component.component_id, accepts_proxy=accepts)
                )
            if page.next_cursor is not None:
                result["next_cursor"] = page.next_cursor
            return result

        return _ok(await self._store.read(look))

    async def _get_request_status(self, _: Asked, model: ask.GetRequestStatus) -> Answer:
        def look(reader: Reader) -> Answer:
            operation = _found(reader, model.request_id)
            position = reader.queue_position(operation)
            return {"request": operation.payload(), "queue_position": position, "children": []}

        return _ok(await self._store.read(look))

    async def _get_presence(self, _: Asked, model: ask.GetPresence) -> Answer:
        if model.component_id is not None:
            component = self._registry.get(model.component_id)
            if component is None:
                raise _stranger(model.component_id)
            chosen = [component]
        else:
            chosen = list(self._registry)
        rows = {row.component_id: row for row in await self._store.read(lambda reader: reader.components())}
        views = [
            component_view(component, self._roster.sighting(component.component_id), rows.get(component.component_id))
            for component in chosen
        ]
        return _ok({"components": views})

    async def _get_health(self, asked: Asked, _: ask.GetHealth) -> Answer:
        load = await self._store.read(lambda reader: reader.load(asked.now_ms))
        buses, upstream = self._health.buses(), self._health.upstream()
        heard = all(bus["state"] == bus["heard"] == "UP" for bus in buses)
        well = heard and upstream.get("connected", True)
        return _ok(
            {
                "healthy": well,
                "queue_depth": load.queue_depth,
                "active_operations": self._drains.active,
                "attempts": self._drains.counters(),
                "average_wait_ms": load.average_wait_ms,
                "average_processing_ms": load.average_processing_ms,
                "failure_rate": load.failure_rate,
                "buses": buses,
                "upstream": upstream,
                "timestamp": rfc3339(asked.now_ms),
            }
        )

    # --- parameters -------------------------------------------------------------------------------------------------

    async def _get_params(self, _: Asked, __: ask.GetParams) -> Answer:
        return _ok({"params": self._tuning.current.model_dump()})

    async def _set_params(self, asked: Asked, model: ask.SetParams) -> Answer:
        try:
            changed = Parameters.model_validate({**self._tuning.current.model_dump(), **model.params})
        except ValidationError as why:
            raise ask.invalid_argument(why, Parameters.model_fields) from why

        def effect(tx: Tx) -> Answer:
            tx.set_parameters(model.params)
            attributes = {"params": dict(model.params), "actor": asked.actor.name}
            tx.emit(Event("params_changed", GATEWAY, asked.now_ms, attributes, self._clock.trusted()))
            return {"params": changed.model_dump()}

        answer = await self._commit(asked, GATEWAY, effect)
        self._tuning.change(model.params)
        return answer

    def _is_online(self, component: Component) -> bool:
        return self._roster.sighting(component.component_id).presence is Presence.ONLINE

    def _known(self, component_id: str, field: str) -> Component:
        """Return a component that may be commanded. Raises Refusal COMPONENT_NOT_FOUND, NOT_ALLOWED."""
        component = self._registry.get(component_id)
        if component is None:
            raise _stranger(component_id, field)
        if not component.configured:
            raise Refusal(Code.NOT_ALLOWED, f"{component_id} was only discovered; add it to the configuration.")
        return component


def _ok(result: Answer) -> Answer:
    return {"ok": True, "result": result}


def _refused(no: Refusal) -> Answer:
    return {"ok": False, "error": no.payload()}


def _wrong(field: str, why: str) -> Refusal:
    return Refusal(Code.INVALID_ARGUMENT, f"{field}: {why}.", details={"field": field})


def _stranger(component_id: str, field: str = "component_id") -> Refusal:
    return Refusal(Code.COMPONENT_NOT_FOUND, f"There is no component {component_id}.", details={"field": field})


def _found(reader: Reader, request_id: str) -> Operation:
    operation = reader.operation(request_id)
    if operation is None:
        raise Refusal(Code.REQUEST_NOT_FOUND, f"There is no request {request_id}.")
    return operation


def _subject(fields: Mapping[str, Any]) -> str:
    """Return what a refused request was about, for the audit: an id if it named one, shortened."""
    for name in ("request_id", "component_id", "target_component"):
        value = fields.get(name)
        if isinstance(value, str):
            return value[:64]
    return GATEWAY
