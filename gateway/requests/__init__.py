"""What the outside may ask for: one model a request, strict, unknown fields refused.

The models know shapes and ranges; whether something exists or is allowed is for `gateway.api`.
"""

from gateway.requests.administering import AdoptComponent as AdoptComponent
from gateway.requests.administering import ConfirmClock as ConfirmClock
from gateway.requests.administering import GetParams as GetParams
from gateway.requests.administering import MarkOffline as MarkOffline
from gateway.requests.administering import MarkOnline as MarkOnline
from gateway.requests.administering import SetParams as SetParams
from gateway.requests.base import METADATA_MAX as METADATA_MAX
from gateway.requests.base import PAGE_MAX as PAGE_MAX
from gateway.requests.base import Model as Model
from gateway.requests.base import Paged as Paged
from gateway.requests.base import invalid_argument as invalid_argument
from gateway.requests.base import validated as validated
from gateway.requests.looking import GetAudit as GetAudit
from gateway.requests.looking import GetHealth as GetHealth
from gateway.requests.looking import GetHistory as GetHistory
from gateway.requests.looking import GetMetrics as GetMetrics
from gateway.requests.looking import GetPresence as GetPresence
from gateway.requests.looking import GetQueuedRequests as GetQueuedRequests
from gateway.requests.looking import GetRequestStatus as GetRequestStatus
from gateway.requests.looking import ListProxyQueue as ListProxyQueue
from gateway.requests.looking import Replay as Replay
from gateway.requests.looking import VerifyAudit as VerifyAudit
from gateway.requests.operating import CancelRequest as CancelRequest
from gateway.requests.operating import Discard as Discard
from gateway.requests.operating import ListDeadLetters as ListDeadLetters
from gateway.requests.operating import ProcessOfflineQueue as ProcessOfflineQueue
from gateway.requests.operating import ReorderQueue as ReorderQueue
from gateway.requests.operating import Requeue as Requeue
from gateway.requests.operating import SetPriority as SetPriority
from gateway.requests.operating import Settle as Settle
from gateway.requests.queuing import DEPENDENCIES_MAX as DEPENDENCIES_MAX
from gateway.requests.queuing import TARGETS_MAX as TARGETS_MAX
from gateway.requests.queuing import Aggregation as Aggregation
from gateway.requests.queuing import QueueCommand as QueueCommand
from gateway.requests.queuing import QueuePairingRequest as QueuePairingRequest
from gateway.requests.queuing import Queuing as Queuing
from gateway.requests.queuing import RouteCommand as RouteCommand
from gateway.requests.queuing import Selector as Selector
