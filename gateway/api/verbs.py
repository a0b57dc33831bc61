"""The requests there are: who may ask, what for, and what answers. One table, the same over every transport."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from gateway import requests as ask
from gateway.access import Role
from gateway.api import administering, commanding, draining, looking, looking_back, operating, queuing
from gateway.api.desk import Answer, Asked, Desk


@dataclass(frozen=True, slots=True)
class Verb:
    """One request: its model, what answers it, the roles of which an actor needs one, whether it changes anything."""

    model: type[BaseModel]
    handler: Callable[[Desk, Asked, Any], Awaitable[Answer]]
    roles: tuple[Role, ...] = (Role.VIEWER,)
    changes: bool = False


def _change(model: type[BaseModel], handler: Callable[[Desk, Asked, Any], Awaitable[Answer]], *roles: Role) -> Verb:
    return Verb(model, handler, roles, changes=True)


_QUEUING: Final = (Role.TECHNICIAN, Role.BACKEND)
REQUESTS: Final[Mapping[str, Verb]] = {
    "queue_pairing_request": _change(ask.QueuePairingRequest, queuing.queue_pairing_request, *_QUEUING),
    "queue_command": _change(ask.QueueCommand, commanding.queue_command, *_QUEUING),
    "route_command": Verb(ask.RouteCommand, commanding.route_command),
    "process_offline_queue": _change(ask.ProcessOfflineQueue, draining.process_offline_queue, Role.TECHNICIAN),
    "cancel_request": _change(ask.CancelRequest, operating.cancel_request, *_QUEUING),
    "get_queued_requests": Verb(ask.GetQueuedRequests, looking.get_queued_requests),
    "get_request_status": Verb(ask.GetRequestStatus, looking.get_request_status),
    "list_proxy_queue": Verb(ask.ListProxyQueue, operating.list_proxy_queue),
    "list_dead_letters": Verb(ask.ListDeadLetters, operating.list_dead_letters),
    "requeue": _change(ask.Requeue, operating.requeue, Role.OPERATOR),
    "discard": _change(ask.Discard, operating.discard, Role.OPERATOR),
    "set_priority": _change(ask.SetPriority, operating.set_priority, Role.OPERATOR),
    "reorder_queue": _change(ask.ReorderQueue, operating.reorder_queue, Role.OPERATOR),
    "settle": _change(ask.Settle, operating.settle, Role.BACKEND),
    "mark_offline": _change(ask.MarkOffline, administering.mark_offline, Role.OPERATOR),
    "mark_online": _change(ask.MarkOnline, administering.mark_online, Role.OPERATOR),
    "adopt_component": _change(ask.AdoptComponent, administering.adopt_component, Role.ADMIN),
    "confirm_clock": _change(ask.ConfirmClock, administering.confirm_clock, Role.OPERATOR),
    "get_presence": Verb(ask.GetPresence, looking.get_presence),
    "get_params": Verb(ask.GetParams, administering.get_params),
    "set_params": _change(ask.SetParams, administering.set_params, Role.ADMIN),
    "get_health": Verb(ask.GetHealth, looking.get_health),
    "get_metrics": Verb(ask.GetMetrics, looking_back.get_metrics),
    "get_history": Verb(ask.GetHistory, looking_back.get_history),
    "get_audit": Verb(ask.GetAudit, looking_back.get_audit, (Role.ADMIN,)),
    "verify_audit": Verb(ask.VerifyAudit, looking_back.verify_audit, (Role.ADMIN,)),
    "replay": Verb(ask.Replay, looking_back.replay, (Role.VIEWER, Role.BACKEND)),
}
