"""Every request there is as a method: fields by their names, results as models.

What is left out is left to the gateway: its own defaults are in force. `within_s`: how long to wait for the answer,
after which the request has no effect any more; left out, as long as the client says.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict, TypeVar, Unpack, overload

from pydantic import ValidationError

from gateway import payloads as told
from gateway.errors import PeerError
from gateway.requests.base import PriorityName, StatusName

Kind = Literal["PACK", "MODULE", "OTHER"]
QueueName = Literal["STANDARD", "PRIORITY", "PROXY", "ALL"]
Time = datetime | str  # with its offset from UTC
R = TypeVar("R", bound=told.Told)


class Common(TypedDict, total=False):
    """What may be said of anything queued."""

    priority: PriorityName
    ttl_s: float | None
    idempotency_key: str | None
    delivery: Literal["AT_LEAST_ONCE", "AT_MOST_ONCE"] | None
    metadata: Mapping[str, str]
    source: str | None
    source_ref: str | None
    title: str | None
    description: str | None
    expected_duration_s: float | None
    hold_ref: str | None
    hold_amount: float | None


class Selector(TypedDict, total=False):
    """Which components: all that match every field given."""

    kind: Kind
    parent: str
    bus: str
    capability: str


class Aggregation(TypedDict, total=False):
    """When a broadcast has succeeded. `n`: with QUORUM."""

    policy: Literal["ALL", "ANY", "QUORUM"]
    n: int


class Routing(Common, total=False):
    """What may be said of any command."""

    arguments: Mapping[str, Any]
    target_component: str | None
    targets: Sequence[str] | None
    selector: Selector | None
    strategy: Literal["DIRECT", "BROADCAST", "OPTIMAL", "FAILOVER"] | None
    aggregation: Aggregation | None
    barrier: bool
    depends_on: Sequence[str]
    conflict_key: str | None
    conflict_policy: Literal["QUEUE", "REJECT", "SUPERSEDE"] | None
    timeout_s: float | None


class Verbs(ABC):
    """The requests. All of them raise `Refusal` and `NoAnswer`."""

    @abstractmethod
    async def request(self, request: str, /, *, within_s: float | None = None, **fields: Any) -> dict[str, Any]:
        """Ask for anything by its name; returns the result as it comes."""

    async def queue_pairing(
        self,
        initiator_component: str,
        target_component: str,
        *,
        request_type: Literal["STANDARD", "PROXY", "EMERGENCY"] | None = None,
        proxy_component: str | None = None,
        expiry_hours: float | None = None,
        within_s: float | None = None,
        **common: Unpack[Common],
    ) -> told.QueuedPairing:
        """Pair a target with an initiator, now or when the target is back."""
        fields = {
            "initiator_component": initiator_component,
            "target_component": target_component,
            "request_type": request_type,
            "proxy_component": proxy_component,
            "expiry_hours": expiry_hours,
        }
        return await self._ask(told.QueuedPairing, "queue_pairing_request", within_s, **fields, **common)

    async def queue_command(
        self, command_type: str, *, within_s: float | None = None, **routing: Unpack[Routing]
    ) -> told.QueuedCommand:
        """Have components carry out a command, now or when they are back.

        For whom: one of `target_component`, `targets`, `selector`. `timeout_s` is the component's, to its final answer.
        """
        return await self._ask(told.QueuedCommand, "queue_command", within_s, command_type=command_type, **routing)

    async def route_command(
        self, command_type: str, *, within_s: float | None = None, **routing: Unpack[Routing]
    ) -> told.Plan:
        """See what `queue_command` would do, and why."""
        return await self._ask(told.Plan, "route_command", within_s, command_type=command_type, **routing)

    @overload
    async def drain(
        self,
        component_id: str,
        *,
        max_operations: int | None = None,
        process_proxy_queue: bool = False,
        wait: Literal[True] = True,
        within_s: float | None = None,
    ) -> told.DrainReport: ...
    @overload
    async def drain(
        self,
        component_id: str,
        *,
        max_operations: int | None = None,
        process_proxy_queue: bool = False,
        wait: Literal[False],
        within_s: float | None = None,
    ) -> told.DrainAccepted: ...
    async def drain(
        self,
        component_id: str,
        *,
        max_operations: int | None = None,
        process_proxy_queue: bool = False,
        wait: bool = True,
        within_s: float | None = None,
    ) -> told.DrainReport | told.DrainAccepted:
        """Work a component's queue off now. With `wait` false the answer comes at once, and the end as an event."""
        return await self._ask(
            told.DrainReport if wait else told.DrainAccepted,
            "process_offline_queue",
            within_s,
            component_id=component_id,
            max_operations=max_operations,
            process_proxy_queue=process_proxy_queue,
            wait=wait,
        )

    async def cancel(
        self, request_id: str, cancellation_reason: str, *, within_s: float | None = None
    ) -> told.OneRequest:
        """Take an operation that still waits out of its queue."""
        return await self._ask(
            told.OneRequest,
            "cancel_request",
            within_s,
            request_id=request_id,
            cancellation_reason=cancellation_reason,
        )

    async def queue(
        self,
        component_id: str | None = None,
        *,
        queue_type: QueueName | None = None,
        status_filter: StatusName | None = None,
        page_size: int | None = None,
        cursor: str | None = None,
        within_s: float | None = None,
    ) -> told.QueuePage:
        """List operations, of one component or of all, in the order of processing."""
        return await self._ask(
            told.QueuePage,
            "get_queued_requests",
            within_s,
            component_id=component_id,
            queue_type=queue_type,
            status_filter=status_filter,
            page_size=page_size,
            cursor=cursor,
        )

    async def request_status(self, request_id: str, *, within_s: float | None = None) -> told.RequestStatus:
        """Look at one operation, whether it waits, runs or has ended."""
        return await self._ask(told.RequestStatus, "get_request_status", within_s, request_id=request_id)

    async def proxy_queue(
        self,
        proxy_component: str,
        *,
        page_size: int | None = None,
        cursor: str | None = None,
        within_s: float | None = None,
    ) -> told.ProxyPage:
        """List what a proxy is to do for others, and for whom it may act."""
        page = {"page_size": page_size, "cursor": cursor}
        return await self._ask(told.ProxyPage, "list_proxy_queue", within_s, proxy_component=proxy_component, **page)

    async def dead_letters(
        self,
        component_id: str | None = None,
        *,
        page_size: int | None = None,
        cursor: str | None = None,
        within_s: float | None = None,
    ) -> told.Page:
        """List FAILED and ABANDONED operations that nobody has discarded, the latest first."""
        page = {"page_size": page_size, "cursor": cursor}
        return await self._ask(told.Page, "list_dead_letters", within_s, component_id=component_id, **page)

    async def requeue(
        self, request_id: str, *, ttl_s: float | None = None, within_s: float | None = None
    ) -> told.OneRequest:
        """Try a dead letter again."""
        return await self._ask(told.OneRequest, "requeue", within_s, request_id=request_id, ttl_s=ttl_s)

    async def discard(self, request_id: str, reason: str, *, within_s: float | None = None) -> told.OneRequest:
        """Take an operation off the list of dead letters."""
        return await self._ask(told.OneRequest, "discard", within_s, request_id=request_id, reason=reason)

    async def set_priority(
        self, request_id: str, priority: PriorityName, *, within_s: float | None = None
    ) -> told.MovedRequest:
        """Change the priority of an operation that waits."""
        return await self._ask(told.MovedRequest, "set_priority", within_s, request_id=request_id, priority=priority)

    async def reorder(
        self, component_id: str, request_ids: Sequence[str], *, within_s: float | None = None
    ) -> told.Reordered:
        """Put operations that wait for a component first, in this order, within their priorities."""
        return await self._ask(
            told.Reordered, "reorder_queue", within_s, component_id=component_id, request_ids=list(request_ids)
        )

    async def settle(
        self,
        request_id: str,
        outcome: Literal["CAPTURED", "RELEASED"],
        settlement_ref: str,
        *,
        within_s: float | None = None,
    ) -> told.OneRequest:
        """Confirm what became of the hold of an operation that has ended."""
        fields = {"request_id": request_id, "outcome": outcome, "settlement_ref": settlement_ref}
        return await self._ask(told.OneRequest, "settle", within_s, **fields)

    async def mark_offline(
        self, component_id: str, reason: str, *, expected_return: Time | None = None, within_s: float | None = None
    ) -> told.OneComponent:
        """Hold a component for OFFLINE until there is evidence to the contrary."""
        fields = {"component_id": component_id, "reason": reason, "expected_return": expected_return}
        return await self._ask(told.OneComponent, "mark_offline", within_s, **fields)

    async def mark_online(self, component_id: str, reason: str, *, within_s: float | None = None) -> told.OneComponent:
        """Hold a component for ONLINE until there is evidence to the contrary."""
        return await self._ask(told.OneComponent, "mark_online", within_s, component_id=component_id, reason=reason)

    async def adopt(
        self,
        component_id: str,
        *,
        bus: str,
        node: int,
        kind: Kind,
        owner: str,
        parent: str | None = None,
        within_s: float | None = None,
    ) -> told.OneComponent:
        """Take a discovered node into the registry, under a name and an owner of ours."""
        place = {"component_id": component_id, "bus": bus, "node": node}
        return await self._ask(
            told.OneComponent, "adopt_component", within_s, **place, kind=kind, owner=owner, parent=parent
        )

    async def confirm_clock(self, *, within_s: float | None = None) -> told.Timestamp:
        """Say that the gateway's wall time is right as it is."""
        return await self._ask(told.Timestamp, "confirm_clock", within_s)

    async def components(self, component_id: str | None = None, *, within_s: float | None = None) -> told.Components:
        """Read registry and presence of one component or of all. `presence` has the live part without asking."""
        return await self._ask(told.Components, "get_presence", within_s, component_id=component_id)

    async def params(self, *, within_s: float | None = None) -> told.Params:
        """Read the parameters in force."""
        return await self._ask(told.Params, "get_params", within_s)

    async def set_params(self, params: Mapping[str, Any], *, within_s: float | None = None) -> told.Params:
        """Change parameters from now on, and for every later start."""
        return await self._ask(told.Params, "set_params", within_s, params=dict(params))

    async def health(self, *, within_s: float | None = None) -> told.Health:
        """See how the gateway is."""
        return await self._ask(told.Health, "get_health", within_s)

    async def metrics(
        self,
        *,
        window: Literal["HOUR", "DAY"] | None = None,
        from_: Time | None = None,
        to: Time | None = None,
        by: Literal["status", "type"] | None = None,
        within_s: float | None = None,
    ) -> told.Metrics:
        """See what ended in the last hour or day, or from one time to another: how much, how fast, how well."""
        return await self._ask(told.Metrics, "get_metrics", within_s, window=window, from_=from_, to=to, by=by)

    async def history(
        self,
        *,
        creator: str | None = None,
        component_id: str | None = None,
        command_type: str | None = None,
        status: StatusName | None = None,
        from_: Time | None = None,
        to: Time | None = None,
        page_size: int | None = None,
        cursor: str | None = None,
        within_s: float | None = None,
    ) -> told.Page:
        """List operations, live and archived, the newest first; times are those of their creation."""
        whose = {"creator": creator, "component_id": component_id, "command_type": command_type, "status": status}
        page = {"from_": from_, "to": to, "page_size": page_size, "cursor": cursor}
        return await self._ask(told.Page, "get_history", within_s, **whose, **page)

    async def audit(
        self,
        *,
        from_seq: int | None = None,
        page_size: int | None = None,
        cursor: str | None = None,
        within_s: float | None = None,
    ) -> told.AuditPage:
        """Read the audit chain."""
        page = {"page_size": page_size, "cursor": cursor}
        return await self._ask(told.AuditPage, "get_audit", within_s, from_seq=from_seq, **page)

    async def verify_audit(self, *, within_s: float | None = None) -> told.AuditCheck:
        """Check the whole audit chain."""
        return await self._ask(told.AuditCheck, "verify_audit", within_s)

    async def replay(self, from_seq: int, to_seq: int, *, within_s: float | None = None) -> told.Replayed:
        """Have stored events published again, for all who listen. `events` does so by itself."""
        return await self._ask(told.Replayed, "replay", within_s, from_seq=from_seq, to_seq=to_seq)

    async def _ask(self, result: type[R], request: str, within_s: float | None, **fields: Any) -> R:
        answer = await self.request(request, within_s=within_s, **fields)
        try:
            return result.model_validate(answer)
        except ValidationError as why:
            raise PeerError(f"{request}: the answer is not what it should be: {why}") from why
