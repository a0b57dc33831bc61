"""The record of a pairing request or command, and its place in the order of processing."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final

from gateway.clock import rfc3339
from gateway.operation.words import (
    FIRST,
    Delivery,
    Kind,
    Mode,
    Priority,
    QueueType,
    Reach,
    RequestType,
    Settlement,
    Status,
    Strategy,
)


@dataclass(slots=True)
class Operation:
    """One pairing request or command. Times in ms since the epoch; `None`: not so far."""

    request_id: str
    kind: Kind
    target_component: str
    creator: str
    created_at: int
    expires_at: int
    priority: Priority = Priority.NORMAL
    status: Status = Status.QUEUED
    delivery: Delivery = Delivery.AT_LEAST_ONCE
    # Pairing
    initiator_component: str | None = None
    request_type: RequestType | None = None
    proxy_component: str | None = None
    # Command
    command_type: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float | None = None
    strategy: Strategy | None = None
    targets: tuple[str, ...] = ()  # of a routed parent, in their order; it has no target_component ("")
    parent_id: str | None = None  # of a child
    aggregation: Mapping[str, Any] | None = None  # of a parent: {policy, n?}
    barrier: bool = False  # of a parent: its children start once all targets are online, or never
    depends_on: tuple[str, ...] = ()
    conflict_key: str | None = None
    pass_through: bool = False  # it was for a component that was here; it fails instead of waiting
    arms: bool = False  # it is done in two exchanges, arm and execute, and takes two sequence numbers
    # What the drain keeps
    urgency: int = 0  # its class of order; 0: that of its priority
    rank: int = 0  # its place within that class, before age; an operator reorders by it
    reach: Reach = Reach.SETTLED
    blocked: int = 0  # how many things must happen first: dependencies not completed, a barrier, an earlier target
    retry_count: int = 0
    not_before: int = 0
    waits_for: str | None = None  # a component that must come back first (an absent initiator)
    sequence: int | None = None  # CmdSeq or TxnId with the carrier, given with the first claim
    partner_sequence: int | None = None  # TxnId with the initiator; CmdSeq of what executes after arming
    bound_serial: int | None = None  # serial number of the target when this was queued, where known
    resumes: bool = False  # it may have been carried out already: its device is asked again first, before it forgets
    progress: str | None = None  # "confirming" once a pairing may have taken effect
    started_at: int | None = None
    finished_at: int | None = None
    reached: dict[str, int] = field(default_factory=dict)  # status -> when it was last reached; PROCESSING: first
    result: Mapping[str, Any] | None = None
    last_error: Mapping[str, Any] | None = None
    cancellation_reason: str | None = None
    discarded_at: int | None = None  # when an operator took it off the list of dead letters
    settlement: Settlement | None = None  # of its hold; None: nothing is held, or it has not ended
    release_reason: str | None = None  # why the hold is let go; None: it is captured
    settled_at: int | None = None
    settlement_ref: str | None = None
    # What the caller said and the gateway only keeps
    idempotency_key: str | None = None
    asked: bytes | None = None  # digest of the request that asked for it; the gateway may have chosen what it left open
    metadata: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    source_ref: str | None = None
    title: str | None = None
    description: str | None = None
    expected_duration_s: float | None = None
    hold_ref: str | None = None
    hold_amount: float | None = None

    @property
    def carrier(self) -> str:
        """The component that is spoken to: the proxy of a PROXY request, else the target; "" for a parent: nobody."""
        if self.proxy_component is None or self.request_type is not RequestType.PROXY:
            return self.target_component
        return self.proxy_component

    @property
    def emergency(self) -> bool:
        """Whether this skips flap damping, settle delay and MANUAL drain mode."""
        return self.request_type is RequestType.EMERGENCY or self.reach is Reach.EMERGENCY

    @property
    def routed(self) -> bool:
        """Whether it is a parent: carried out by its children, never by itself."""
        return bool(self.targets)

    @property
    def queue(self) -> QueueType:
        """Which of the three queues shows it."""
        if self.request_type is RequestType.PROXY:
            return QueueType.PROXY
        urgent = self.emergency or self.priority >= Priority.HIGH
        return QueueType.PRIORITY if urgent else QueueType.STANDARD

    def payload(self) -> dict[str, Any]:
        """Return the record as replies and events spell it; absent values are left out."""
        told: dict[str, Any] = {
            "request_id": self.request_id,
            "kind": str(self.kind),
            "target_component": self.target_component,
            "priority": _PRIORITY_NAMES[self.priority],
            "status": str(self.status),
            "creator": self.creator,
            "created_at": rfc3339(self.created_at),
            "expires_at": rfc3339(self.expires_at),
            "retry_count": self.retry_count,
            "delivery": str(self.delivery),
            "metadata": dict(self.metadata),
        }
        if self.kind is Kind.COMMAND:
            told["command_type"] = self.command_type
            told["arguments"] = dict(self.arguments)
        if self.targets:
            del told["target_component"]
            told |= {"targets": list(self.targets), "barrier": self.barrier}
        if self.depends_on:
            told["depends_on"] = list(self.depends_on)
        if self.pass_through:
            told["pass_through"] = True
        values = _OPTIONAL_VALUES(self)
        if values != _NO_OPTIONAL:  # most have none, and every request is told of
            for name, value in zip(_OPTIONAL, values, strict=True):
                if value is not None:
                    told[name] = str(value) if isinstance(value, StrEnum) else value
        times = _TIMES_VALUES(self)
        if any(times):
            told |= {name: rfc3339(at) for name, at in zip(_OPTIONAL_TIMES, times, strict=True) if at}
        for status, at in self.reached.items():
            told[f"{status.lower()}_at"] = rfc3339(at)
        return told

    def summary(self) -> dict[str, Any]:
        """Return what the events after `request_queued` tell of it; absent values are left out."""
        told: dict[str, Any] = {
            "request_id": self.request_id,
            "kind": str(self.kind),
            "component_id": self.target_component,
            "status": str(self.status),
            "priority": _PRIORITY_NAMES[self.priority],
            "retry_count": self.retry_count,
        }
        values = zip(_TOLD_LATER, _TOLD_LATER_VALUES(self), strict=True)
        told |= {name: value for name, value in values if value is not None}
        if self.not_before:
            told["not_before"] = rfc3339(self.not_before)
        if self.targets:
            del told["component_id"]
        return told

    def content_digest(self) -> bytes:
        """Return SHA-256 of what the caller asked for: equal for a repeat of the same request, whenever it comes."""
        if self.asked is not None:
            return self.asked
        asked = {name: getattr(self, name) for name in _CONTENT}
        asked["ttl_ms"] = self.expires_at - self.created_at
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).digest()


_PRIORITY_NAMES: Final = {each: each.name for each in Priority}  # a tenth of the time of `name` itself
_OPTIONAL: Final = (
    "initiator_component",
    "request_type",
    "proxy_component",
    "timeout_s",
    "strategy",
    "parent_id",
    "aggregation",
    "conflict_key",
    "waits_for",
    "result",
    "last_error",
    "cancellation_reason",
    "idempotency_key",
    "source",
    "source_ref",
    "title",
    "description",
    "expected_duration_s",
    "hold_ref",
    "hold_amount",
    "settlement",
    "release_reason",
    "settlement_ref",
)
_OPTIONAL_TIMES: Final = ("not_before", "started_at", "finished_at", "settled_at", "discarded_at")
_TOLD_LATER: Final = (
    "command_type",
    "initiator_component",
    "proxy_component",
    "waits_for",
    "result",
    "last_error",
    "cancellation_reason",
    "source_ref",
    "parent_id",
    "hold_ref",
    "hold_amount",
    "settlement",
    "release_reason",
    "settlement_ref",
)
_CONTENT: Final = (
    "kind",
    "target_component",
    "priority",
    "delivery",
    "initiator_component",
    "request_type",
    "proxy_component",
    "command_type",
    "arguments",
    "timeout_s",
    "strategy",
    "targets",
    "aggregation",
    "barrier",
    "depends_on",
    "conflict_key",
    "metadata",
    "source",
    "source_ref",
    "title",
    "description",
    "expected_duration_s",
    "hold_ref",
    "hold_amount",
)
_OPTIONAL_VALUES: Final = attrgetter(*_OPTIONAL)
_NO_OPTIONAL: Final = (None,) * len(_OPTIONAL)
_TIMES_VALUES: Final = attrgetter(*_OPTIONAL_TIMES)
_TOLD_LATER_VALUES: Final = attrgetter(*_TOLD_LATER)
_VALUES: Final = attrgetter(*(each.name for each in fields(Operation)))


def copied(operation: Operation) -> Operation:
    """Return a copy; its maps are shared, so replace them and never change them."""
    return Operation(*_VALUES(operation))  # a tenth of the time of dataclasses.replace


def urgency_of(priority: Priority, mode: Mode, *, first: bool = False) -> int:
    """Return the class of order of an operation queued in `mode`. `first`: before all others in every mode."""
    if first:
        return FIRST
    return int(Priority.LOW if mode is Mode.FIFO else priority)


def order_class(operation: Operation) -> tuple[bool, bool, int]:
    """Sort key of what is worked off by age: proxy requests last; what resumes first, then urgency."""
    urgency = operation.urgency or operation.priority
    return operation.request_type is RequestType.PROXY, not operation.resumes, -urgency


def order_key(operation: Operation) -> tuple[bool, bool, int, int, int, str]:
    """Sort key of the order of processing: the class, then rank, age, id."""
    return (*order_class(operation), operation.rank, operation.created_at, operation.request_id)
