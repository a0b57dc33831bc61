"""Pairing requests and commands as replies and events tell of them."""

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.operation import Delivery, Kind, RequestType, Settlement, Status, Strategy
from gateway.payloads.base import Count, ErrorCode, Serial, Time, Told
from gateway.requests.base import PriorityName

ReleaseReason = Literal["FAILED", "DEPENDENCY_FAILED", "ABANDONED", "CANCELLED", "SUPERSEDED", "EXPIRED"]
Policy = Literal["ALL", "ANY", "QUORUM"]


class OperationError(Told):
    """Why an operation failed, or failed last."""

    code: ErrorCode
    message: str
    """What went wrong, for people."""
    device_status: int | None = None
    """The status with which the component said no."""


class PairingResult(Told):
    """What a pairing found out about its target."""

    serial: Serial
    """Serial number: 0x and 16 hexadecimal digits."""
    pair_epoch: Count
    """How often the target has been paired."""
    firmware_version: Count
    device_type: Count
    hw_revision: Count
    authenticated: bool
    """Whether the target has proved that it knows its key."""


class CommandResult(Told):
    """What a component answered to a command."""

    result_code: Count
    """0: done."""
    data: int | float
    """What was asked for: a parameter, a firmware, a signal in its unit; 0 where it is no number."""
    data_hex: str | None = None
    """What an ECU answered over UDS, in hexadecimal digits."""
    answered: Literal[False] | None = None
    """False: it was sent, and the component answers no such command."""


class ChildOutcome(Told):
    """How one target of a routed command stands."""

    request_id: str
    component_id: str
    status: Status
    result: CommandResult | None = None
    last_error: OperationError | None = None


class RoutedResult(Told):
    """How a routed command ended: by the ends of its children."""

    policy: Policy
    """Which of its children had to succeed."""
    succeeded: Count
    failed: Count
    """Children that ended otherwise than COMPLETED."""
    children: list[ChildOutcome]
    """In the order of its targets."""


Result = PairingResult | CommandResult | RoutedResult


class AggregationRule(Told):
    """When a routed command has succeeded."""

    policy: Policy
    n: Annotated[int, Field(ge=1)] | None = None
    """With QUORUM: how many of its children must succeed."""


class Operation(Told):
    """The whole record of a pairing request or command."""

    request_id: str
    """req_ (a pairing) or cmd_ (a command) and a ULID."""
    kind: Kind
    target_component: str | None = None
    """Who is to be paired or to carry it out; a routed command has targets instead."""
    priority: PriorityName
    status: Status
    creator: str
    """The actor who asked for it."""
    created_at: Time
    expires_at: Time
    """Until when it may wait."""
    retry_count: Count
    """Counted retries so far."""
    delivery: Delivery
    metadata: dict[str, str]
    """As the caller gave it."""
    initiator_component: str | None = None
    """Of a pairing: with whom."""
    request_type: RequestType | None = None
    """Of a pairing."""
    proxy_component: str | None = None
    """Of a PROXY pairing: who is asked in the target's place."""
    command_type: str | None = None
    """Of a command."""
    arguments: dict[str, Any] | None = None
    """Of a command, with their defaults."""
    timeout_s: float | None = None
    """Seconds to the final answer of the component."""
    strategy: Strategy | None = None
    """How its targets were found."""
    targets: list[str] | None = None
    """Of a routed command, in order."""
    barrier: bool | None = None
    """Of a routed command: its children begin together, or never."""
    aggregation: AggregationRule | None = None
    """Of a routed command."""
    parent_id: str | None = None
    """Of a child: the request_id of the routed command."""
    depends_on: list[str] | None = None
    """request_ids that must be COMPLETED first."""
    conflict_key: str | None = None
    pass_through: Literal[True] | None = None
    """It was for a component that takes work only while it is online."""
    not_before: Time | None = None
    """When it is tried again."""
    waits_for: str | None = None
    """The component that must come back first."""
    started_at: Time | None = None
    """When it was last begun."""
    finished_at: Time | None = None
    """When it came to its end."""
    queued_at: Time | None = None
    """When it last went back to the queue."""
    processing_at: Time | None = None
    """When it was first begun, where it went back to the queue since."""
    completed_at: Time | None = None
    failed_at: Time | None = None
    cancelled_at: Time | None = None
    expired_at: Time | None = None
    abandoned_at: Time | None = None
    discarded_at: Time | None = None
    """When an operator took it off the list of dead letters."""
    result: Result | None = None
    last_error: OperationError | None = None
    cancellation_reason: str | None = None
    idempotency_key: str | None = None
    source: str | None = None
    """Which system asked."""
    source_ref: str | None = None
    """The caller's own reference."""
    title: str | None = None
    description: str | None = None
    expected_duration_s: float | None = None
    """Seconds, as the caller expects."""
    hold_ref: str | None = None
    """A hold in a ledger of the caller's."""
    hold_amount: float | None = None
    """In the unit of that ledger."""
    settlement: Settlement | None = None
    """Of its hold, once it has ended: PENDING until the backend has settled it."""
    release_reason: ReleaseReason | None = None
    """Why its hold is to be released; left out: it is to be captured."""
    settled_at: Time | None = None
    settlement_ref: str | None = None
    """The backend's reference of the settlement."""


class OperationSummary(Told):
    """An operation as the events after request_queued tell of it."""

    request_id: str
    kind: Kind
    component_id: str | None = None
    """Its target; a routed command has several, and names none here."""
    status: Status
    priority: PriorityName
    retry_count: Count
    command_type: str | None = None
    initiator_component: str | None = None
    proxy_component: str | None = None
    waits_for: str | None = None
    """The component that must come back first."""
    not_before: Time | None = None
    """When it is tried again."""
    result: Result | None = None
    last_error: OperationError | None = None
    cancellation_reason: str | None = None
    source_ref: str | None = None
    """The caller's own reference."""
    parent_id: str | None = None
    """Of a child: the request_id of the routed command."""
    hold_ref: str | None = None
    hold_amount: float | None = None
    settlement: Settlement | None = None
    release_reason: ReleaseReason | None = None
    settlement_ref: str | None = None
