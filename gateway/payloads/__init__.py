"""Models of everything the gateway says: states, events, results. What is published is checked against them in tests.

The gateway itself builds plain maps: these models are for those who read them, and for the schemas in docs/.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from gateway import requests as ask
from gateway.payloads.attributes import DrainReport as DrainReport
from gateway.payloads.base import Told as Told
from gateway.payloads.events import ATTRIBUTES as ATTRIBUTES
from gateway.payloads.events import EVENTS as EVENTS
from gateway.payloads.events import Event as Event
from gateway.payloads.events import read_event as read_event
from gateway.payloads.health import Health as Health
from gateway.payloads.operations import Operation as Operation
from gateway.payloads.operations import OperationSummary as OperationSummary
from gateway.payloads.replies import REPLY as REPLY
from gateway.payloads.replies import Accepted as Accepted
from gateway.payloads.replies import Error as Error
from gateway.payloads.replies import Refused as Refused
from gateway.payloads.results import AuditCheck as AuditCheck
from gateway.payloads.results import AuditPage as AuditPage
from gateway.payloads.results import Component as Component
from gateway.payloads.results import Components as Components
from gateway.payloads.results import DrainAccepted as DrainAccepted
from gateway.payloads.results import Metrics as Metrics
from gateway.payloads.results import MovedRequest as MovedRequest
from gateway.payloads.results import OneComponent as OneComponent
from gateway.payloads.results import OneRequest as OneRequest
from gateway.payloads.results import Page as Page
from gateway.payloads.results import Params as Params
from gateway.payloads.results import Plan as Plan
from gateway.payloads.results import ProxyPage as ProxyPage
from gateway.payloads.results import QueuedCommand as QueuedCommand
from gateway.payloads.results import QueuedPairing as QueuedPairing
from gateway.payloads.results import QueuePage as QueuePage
from gateway.payloads.results import Reordered as Reordered
from gateway.payloads.results import Replayed as Replayed
from gateway.payloads.results import RequestStatus as RequestStatus
from gateway.payloads.results import Timestamp as Timestamp
from gateway.payloads.states import GATEWAY_STATE as GATEWAY_STATE
from gateway.payloads.states import GatewayOffline as GatewayOffline
from gateway.payloads.states import GatewayOnline as GatewayOnline
from gateway.payloads.states import PresenceState as PresenceState
from gateway.payloads.states import QueueState as QueueState
from gateway.payloads.states import Telemetry as Telemetry


class Contract(NamedTuple):
    """What one request takes, and what it is answered with."""

    request: type[ask.Model]
    result: type[Told]
    at_once: type[Told] | None = None  # the result where the caller does not wait for the work to be done


CONTRACTS: Final[Mapping[str, Contract]] = {
    "queue_pairing_request": Contract(ask.QueuePairingRequest, QueuedPairing),
    "queue_command": Contract(ask.QueueCommand, QueuedCommand),
    "route_command": Contract(ask.RouteCommand, Plan),
    "process_offline_queue": Contract(ask.ProcessOfflineQueue, DrainReport, DrainAccepted),
    "cancel_request": Contract(ask.CancelRequest, OneRequest),
    "get_queued_requests": Contract(ask.GetQueuedRequests, QueuePage),
    "get_request_status": Contract(ask.GetRequestStatus, RequestStatus),
    "list_proxy_queue": Contract(ask.ListProxyQueue, ProxyPage),
    "list_dead_letters": Contract(ask.ListDeadLetters, Page),
    "requeue": Contract(ask.Requeue, OneRequest),
    "discard": Contract(ask.Discard, OneRequest),
    "set_priority": Contract(ask.SetPriority, MovedRequest),
    "reorder_queue": Contract(ask.ReorderQueue, Reordered),
    "settle": Contract(ask.Settle, OneRequest),
    "mark_offline": Contract(ask.MarkOffline, OneComponent),
    "mark_online": Contract(ask.MarkOnline, OneComponent),
    "adopt_component": Contract(ask.AdoptComponent, OneComponent),
    "confirm_clock": Contract(ask.ConfirmClock, Timestamp),
    "get_presence": Contract(ask.GetPresence, Components),
    "get_params": Contract(ask.GetParams, Params),
    "set_params": Contract(ask.SetParams, Params),
    "get_health": Contract(ask.GetHealth, Health),
    "get_metrics": Contract(ask.GetMetrics, Metrics),
    "get_history": Contract(ask.GetHistory, Page),
    "get_audit": Contract(ask.GetAudit, AuditPage),
    "verify_audit": Contract(ask.VerifyAudit, AuditCheck),
    "replay": Contract(ask.Replay, Replayed),
}
