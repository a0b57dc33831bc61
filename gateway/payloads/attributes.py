"""The attributes of events: a model for each type, named as the type is."""

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.component import ComponentKind
from gateway.payloads.base import Count, Seq, Serial, Time, Told
from gateway.payloads.operations import ChildOutcome, Operation, OperationSummary
from gateway.payloads.states import Evidence, TimeOrNull
from gateway.presence import Presence, Reason
from gateway.requests.base import PriorityName


class PresenceChanged(Told):
    """What is known of a component from now on."""

    presence: Presence
    reason: Reason | None
    """Why it is not ONLINE; marked: an operator said so."""
    since: Time
    last_seen: Time | None
    """Its last valid heartbeat."""
    evidence: Evidence
    expected_return: TimeOrNull = None
    """Of one that is OFFLINE: when it should be back; null: nobody knows."""


class ComponentOnline(PresenceChanged):
    """A component is heard."""


class ComponentOffline(PresenceChanged):
    """A component is heard no more."""


class ComponentMissing(PresenceChanged):
    """A component is configured, and was not heard since its bus is up."""


class ComponentRestarted(PresenceChanged):
    """A component has booted: its boot count is another."""


class ComponentDegraded(PresenceChanged):
    """There are errors in a component's heartbeats."""


class ComponentFlapping(PresenceChanged):
    """A component comes and goes too often: from now on its changes are held back."""


class ComponentBabbling(PresenceChanged):
    """A component sends far more heartbeats than its period promises."""


class ComponentUnresponsive(Told):
    """A component is heard and does not answer when it is asked for its serial number."""


class ComponentReplaced(Told):
    """Another device sits at a component's address."""

    old: Serial
    new: Serial


class ComponentDiscovered(Told):
    """A node is heard that is in no configuration."""

    bus: str
    component_id: str
    """The name it is given."""
    node: Count
    kind: ComponentKind
    message: str
    """The heartbeat by which it was known, as the DBC names it."""


class RequestQueued(Told):
    """An operation waits."""

    request: Operation
    queue_position: Annotated[int, Field(ge=1)] | None
    """1 is next; null: it does not wait itself."""
    actor: str | None = None
    """Who queued it again, where it was a dead letter."""
    children: list[str] | None = None
    """Of a routed command: the request_ids of its children, in the order of its targets."""


class RequestStarted(OperationSummary):
    """An operation was begun."""


class RequestCompleted(OperationSummary):
    """An operation was carried out."""


class RequestFailed(OperationSummary):
    """An operation failed for good."""


class RequestExpired(OperationSummary):
    """An operation has waited for longer than it may."""


class RequestAbandoned(OperationSummary):
    """An operation has ended, and nobody can know whether it was carried out."""


class RequestRetried(OperationSummary):
    """An operation waits again."""

    counted: bool
    """Whether this try counts; one that never began, or that lost its component, does not."""


class RequestCancelled(OperationSummary):
    """An operation was taken out of its queue."""

    actor: str | None = None
    """Who cancelled it; left out: the gateway did."""


class RequestSettled(OperationSummary):
    """The backend has settled the hold of an operation."""

    actor: str


class RequestDiscarded(OperationSummary):
    """An operator has taken a dead letter off the list."""

    actor: str
    reason: str


class RequestProgress(Told):
    """A child of a routed command has ended."""

    request_id: str
    """Of the routed command."""
    child: ChildOutcome
    succeeded: Count
    failed: Count
    """Children that ended otherwise than COMPLETED."""
    pending: Count


class QueueReordered(Told):
    """Operations have changed their place."""

    request_ids: list[str]
    """Those that changed their place, in their order."""
    actor: str
    component_id: str | None = None
    """Left out where a routed command got another priority."""
    priority: PriorityName | None = None
    """The new one, after set_priority."""


class DrainReport(Told):
    """What a drain did."""

    component_id: str
    requests_processed: Count
    successful: Count
    failed: Count
    processing_time_ms: Count
    """Milliseconds from its first operation to its end."""


class QueueProcessed(DrainReport):
    """A drain has ended."""


class QueueAlert(Told):
    """Somebody should look."""

    alert: Literal["LARGE", "STALE", "STORAGE", "SAFE_DIRECTION_EXPIRED"]
    component_id: str | None = None
    """Of all but STORAGE."""
    queue_size: Count | None = None
    """LARGE: how much waits."""
    oldest_request: Time | None = None
    """STALE: when the oldest was queued."""
    alert_oldest_hours: float | None = None
    """STALE: the parameter."""
    used_bytes: Count | None = None
    """STORAGE: of the database."""
    max_bytes: Count | None = None
    """STORAGE: its bound."""
    request_id: str | None = None
    """SAFE_DIRECTION_EXPIRED: what did not arrive in time."""
    command_type: str | None = None
    """SAFE_DIRECTION_EXPIRED."""


class PositionNotice(Told):
    """An operation has moved up to place 3 or 1."""

    request_id: str
    component_id: str
    position: Literal[1, 3]


class BusDown(Told):
    """A bus cannot be heard."""

    bus: str
    bus_state: str
    """DOWN, GONE, BUS_OFF or SILENT."""
    detail: str
    components: list[str]
    """Those that were ONLINE and are OFFLINE now, reason bus_down, without an event of their own."""


class BusUp(Told):
    """A bus can be heard again."""

    bus: str
    bus_state: str
    """UP or ERROR_PASSIVE."""
    down_ms: Count
    """Milliseconds that it was down."""


class ObserverDegraded(Told):
    """The gateway could not listen: nobody's silence counts."""

    bus: str
    cause: Literal["stall", "suspend", "overflow"]
    duration_ms: Count | None = None
    """Of a stall or suspend, in milliseconds."""
    detail: str | None = None
    """Of an overflow."""


class DatabaseSalvaged(Told):
    """The database was damaged; what could be read of it was kept."""

    set_aside: str
    """The file that was damaged."""
    salvaged: dict[str, Count]
    """Rows by table."""
    damaged: list[str]
    """Tables that could not be read whole."""


class EventsDropped(Told):
    """The outbox was full: these events will not be sent."""

    count: Count
    types: dict[str, Count]
    """How many of each type."""
    ranges: list[Annotated[list[Seq], Field(min_length=2, max_length=2)]]
    """[first seq, last seq], both included: what lies there and has not come will not."""


class ParamsChanged(Told):
    """Parameters have changed."""

    params: dict[str, Any]
    """Those that changed, with their new values."""
    actor: str


class GatewayStarted(Told):
    """The gateway has started."""

    epoch: Count
    version: str
    config_hash: str
    interrupted: Count
    """Operations that its last stop cut off."""


class GatewayStopping(Told):
    """The gateway stops."""

    epoch: Count
