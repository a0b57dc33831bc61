"""What requests are answered with: one model a request, of two for the one that may wait."""

from typing import Annotated, Literal

from pydantic import Field

from gateway.component import ComponentKind, DrainMode, QueueMode
from gateway.payloads.base import Count, ErrorCode, Milliseconds, Seq, Serial, Sha256, Share, Time, Told
from gateway.payloads.operations import Operation
from gateway.payloads.states import Evidence, QueueStatus
from gateway.presence import Presence, Reason

Place = Annotated[int, Field(ge=1)]  # in a queue; 1 is next


class OneRequest(Told):
    """The operation as it is now."""

    request: Operation


class QueuedPairing(OneRequest):
    """The pairing request that was queued, or the one that this repeats."""

    queue_position: Place | None
    """1 is next; null: it does not wait any more."""


class QueuedCommand(QueuedPairing):
    """The command that was queued, or the one that this repeats."""

    children: list[str]
    """Of a routed command: the request_ids of its children, in the order of its targets."""


class PlannedTarget(Told):
    """One line of a plan."""

    component_id: str
    presence: Presence
    capable: bool
    """Whether it takes commands of that type."""
    score: Milliseconds
    """Milliseconds until it should be through with one more, once it is here."""
    rank: Place | None
    """1 is the first; null: it cannot take the command."""
    reason: str
    """For people."""


class Plan(Told):
    """To whom a command would go: those that can take it, in order, then the others."""

    plan: list[PlannedTarget]


class DrainAccepted(Told):
    """A drain will begin; the event queue_processed tells of its end."""

    accepted: Literal[True]
    drain_id: str


class Page(Told):
    """A page of operations."""

    requests: list[Operation]
    next_cursor: str | None = None
    """Where the next page begins; left out: this is the last."""


class OfflineOperation(Told):
    """All that waits for a component."""

    component_id: str
    pending_request_ids: list[str]
    operation_count: Count
    last_seen: Time | None
    expected_return: Time | None
    offline_reason: Reason | None
    accepts_proxy: bool


class QueuePage(Page):
    """A page of what waits and runs."""

    queue_status: QueueStatus | None = None
    """Where one component was asked for."""
    offline_operation: OfflineOperation | None = None
    """Where one component was asked for."""


class ProxyPage(Page):
    """A page of what a proxy is to do for others."""

    authorized_targets: list[str]
    """component_ids that it may act for."""


class RequestStatus(OneRequest):
    """An operation, its place, and its children."""

    queue_position: Place | None
    """1 is next; null: it does not wait itself."""
    children: list[Operation]
    """Of a routed command, in the order of its targets."""
    estimated_processing: Time | None = None
    """When it is likely to be begun; left out: nobody can tell."""


class MovedRequest(OneRequest):
    """An operation with its new priority."""

    queue_position: Place | None
    """1 is next; null: it does not wait itself."""


class Reordered(Told):
    """The operations that were put first, in their order."""

    requests: list[Operation]


class Component(Told):
    """A component: its registry record, and what is known of it at this moment."""

    component_id: str
    kind: ComponentKind
    bus: str
    node: Count | None
    """Its address; null: one of another protocol that has none."""
    parent: str | None
    owner: str | None
    """The actor whose it is; null: nobody's, it was only discovered."""
    serial: Serial | None
    """Serial number: 0x and 16 hexadecimal digits."""
    capabilities: list[str]
    """Command types that it takes; empty: all that its kind takes."""
    proxies: list[str]
    """component_ids that may act for it."""
    accepts_proxy: bool
    queue_mode: QueueMode
    drain_mode: DrainMode
    presence: Presence
    reason: Reason | None
    """Why it is not ONLINE; marked: an operator said so."""
    since: Time
    last_seen: Time | None
    expected_return: Time | None
    ready: bool
    """Whether it can be spoken to."""
    flapping: bool
    evidence: Evidence
    vitals: dict[str, int]
    """Raw values of its last heartbeat, by signal."""


class OneComponent(Told):
    """A component as it is now."""

    component: Component


class Components(Told):
    """Who is there."""

    components: list[Component]


class Params(Told):
    """The parameters in force."""

    params: dict[str, bool | int | float]


class Timestamp(Told):
    """Wall time, trusted from now on."""

    timestamp: Time


class Spread(Told):
    """How durations lie, in milliseconds; null where nothing was measured."""

    mean: Milliseconds | None
    p50: Milliseconds | None
    p95: Milliseconds | None
    p99: Milliseconds | None


class Figures(Told):
    """What ended, how fast and how well."""

    count: Count
    throughput_per_hour: Annotated[float, Field(ge=0)]
    wait_ms: Spread
    """From queued to first begun."""
    processing_ms: Spread
    """From last begun to ended."""
    retries: Count
    failure_rate: Share
    """FAILED and ABANDONED among those and COMPLETED."""


class GroupFigures(Figures):
    """The figures of operations that share a status or type."""

    key: str


class Metrics(Told):
    """The figures of a span of time."""

    from_: Time = Field(alias="from")
    to: Time
    totals: Figures
    groups: list[GroupFigures]


class AuditEntry(Told):
    """One row of the audit chain."""

    seq: Seq
    at: Time
    actor: str
    transport: str
    """mqtt, socket, python, or queue where the gateway acted by itself."""
    action: str
    """The request, or the event of an end."""
    subject: str
    """What it was done to."""
    outcome: str
    """accepted, refused, or the status of an end."""
    code: ErrorCode | None
    """Of the refusal or failure."""
    previous_hash: Sha256
    hash: Sha256


class AuditPage(Told):
    """A page of the audit chain."""

    entries: list[AuditEntry]
    next_cursor: str | None = None
    """Where the next page begins; left out: this is the last."""


class AuditCheck(Told):
    """What a look at the whole audit chain found."""

    entries: Count
    last_seq: Count
    first_broken: Seq | None
    """The seq of the first row that does not fit; null: all do."""
    head: Sha256
    """The last hash."""


class Replayed(Told):
    """Events that were published again."""

    replayed: Count
    """How many the broker took."""
    from_seq: Seq
    to_seq: Seq
    gone: Count
    """How many of them, up to sent_seq, are stored no longer."""
    stored_from: Seq | None
    """The first event from from_seq on that is still stored; null: there is none."""
    sent_seq: Count
    """Events up to here have reached the broker; those after it come by themselves."""
    last_seq: Count
    """The newest event there is."""
