"""Pairing requests and commands: what they are, what may happen to them, and in which order they are worked off.

The lifecycle is one table, `TRANSITIONS`. Everything here is pure: the time is an argument, the store remembers.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum, IntEnum, StrEnum
from operator import attrgetter
from typing import Any, Final

from gateway.clock import rfc3339
from gateway.errors import CODES, Code, Refusal


class Kind(StrEnum):
    """What is queued."""

    PAIRING = "PAIRING"
    COMMAND = "COMMAND"


class RequestType(StrEnum):
    """How a pairing is to be done."""

    STANDARD = "STANDARD"
    PROXY = "PROXY"
    EMERGENCY = "EMERGENCY"


class Priority(IntEnum):
    """The order classes; the number is what the database sorts by."""

    LOW = 1
    NORMAL = 2
    HIGH = 3
    CRITICAL = 4


class Delivery(StrEnum):
    """Whether an operation whose outcome is unknown may be sent again."""

    AT_LEAST_ONCE = "AT_LEAST_ONCE"
    AT_MOST_ONCE = "AT_MOST_ONCE"


class QueueType(StrEnum):
    """The three views over one table, and all of them."""

    STANDARD = "STANDARD"
    PRIORITY = "PRIORITY"
    PROXY = "PROXY"
    ALL = "ALL"


class Status(StrEnum):
    """Where an operation stands."""

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    ABANDONED = "ABANDONED"


class Action(StrEnum):
    """What may be done to an operation."""

    CLAIM = "claim"  # the drain takes it
    COMPLETE = "complete"  # it was carried out
    FAIL = "fail"  # attempts used up, or a refusal that will not change
    RETRY = "retry"  # again later; counted
    RELEASE = "release"  # again later; not counted: the component was lost, or it never began
    ABANDON = "abandon"  # its outcome cannot be known
    CANCEL = "cancel"
    EXPIRE = "expire"
    REJECT = "reject"  # it can never run: a dependency failed, or its device was replaced
    REQUEUE = "requeue"  # an operator tries a dead letter again


TRANSITIONS: Final[Mapping[tuple[Status, Action], Status]] = {  # all of the lifecycle; anything else is refused
    (Status.QUEUED, Action.CLAIM): Status.PROCESSING,
    (Status.QUEUED, Action.CANCEL): Status.CANCELLED,
    (Status.QUEUED, Action.EXPIRE): Status.EXPIRED,
    (Status.QUEUED, Action.REJECT): Status.FAILED,
    (Status.PROCESSING, Action.COMPLETE): Status.COMPLETED,
    (Status.PROCESSING, Action.FAIL): Status.FAILED,
    (Status.PROCESSING, Action.RETRY): Status.QUEUED,
    (Status.PROCESSING, Action.RELEASE): Status.QUEUED,
    (Status.PROCESSING, Action.ABANDON): Status.ABANDONED,
    (Status.FAILED, Action.REQUEUE): Status.QUEUED,
    (Status.ABANDONED, Action.REQUEUE): Status.QUEUED,
}
FINAL: Final = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.EXPIRED, Status.ABANDONED})

EVENT_OF: Final[Mapping[Action, str]] = {  # the event that tells of each action
    Action.CLAIM: "request_started",
    Action.COMPLETE: "request_completed",
    Action.FAIL: "request_failed",
    Action.RETRY: "request_retried",
    Action.RELEASE: "request_retried",
    Action.ABANDON: "request_abandoned",
    Action.CANCEL: "request_cancelled",
    Action.EXPIRE: "request_expired",
    Action.REJECT: "request_failed",
    Action.REQUEUE: "request_queued",
}

RETRY_BASE_MS: Final[Mapping[Kind, int]] = {Kind.PAIRING: 60_000, Kind.COMMAND: 1_000}


def after(status: Status, action: Action) -> Status:
    """Return the status after `action`. Raises Refusal INVALID_STATE_TRANSITION where the table has none."""
    target = TRANSITIONS.get((status, action))
    if target is None:
        raise Refusal(Code.INVALID_STATE_TRANSITION, f"A {status} operation takes no {action.value}.")
    return target


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
    # What the drain keeps
    retry_count: int = 0
    not_before: int = 0
    waits_for: str | None = None  # a component that must come back first (an absent initiator)
    sequence: int | None = None  # CmdSeq or TxnId with the carrier, given with the first claim
    partner_sequence: int | None = None  # TxnId with the initiator
    bound_serial: int | None = None  # serial number of the target when this was queued, where known
    resumes: bool = False  # it may have been carried out already: its device is asked again first, before it forgets
    progress: str | None = None  # "confirming" once a pairing may have taken effect
    started_at: int | None = None
    finished_at: int | None = None
    reached: dict[str, int] = field(default_factory=dict)  # status -> when it was last reached
    result: Mapping[str, Any] | None = None
    last_error: Mapping[str, Any] | None = None
    cancellation_reason: str | None = None
    # What the caller said and the gateway only keeps
    idempotency_key: str | None = None
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
        """The component that is spoken to: the proxy of a PROXY request, else the target."""
        by_proxy = self.request_type is RequestType.PROXY
        return (self.proxy_component if by_proxy else None) or self.target_component

    @property
    def emergency(self) -> bool:
        """Whether this skips flap damping, settle delay and MANUAL drain mode."""
        return self.request_type is RequestType.EMERGENCY

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
        values = _OPTIONAL_VALUES(self)
        if values != _NO_OPTIONAL:  # most have none, and every request is told of
            for name, value in zip(_OPTIONAL, values, strict=True):
                if value is not None:
                    told[name] = str(value) if isinstance(value, StrEnum) else value
        for name, at in zip(_OPTIONAL_TIMES, _TIMES_VALUES(self), strict=True):
            if at:
                told[name] = rfc3339(at)
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
        return told

    def content_digest(self) -> bytes:
        """Return SHA-256 of what the caller asked for: equal for a repeat of the same request, whenever it comes."""
        asked = {name: getattr(self, name) for name in _CONTENT}
        asked["ttl_ms"] = self.expires_at - self.created_at
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).digest()


_PRIORITY_NAMES: Final = {each: each.name for each in Priority}  # a tenth of the time of `name` itself
_OPTIONAL: Final = (
    "initiator_component",
    "request_type",
    "proxy_component",
    "timeout_s",
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
)
_OPTIONAL_TIMES: Final = ("not_before", "started_at", "finished_at")
_TOLD_LATER: Final = (
    "command_type",
    "initiator_component",
    "proxy_component",
    "waits_for",
    "result",
    "last_error",
    "cancellation_reason",
    "source_ref",
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


def order_class(operation: Operation) -> tuple[bool, bool, int]:
    """Sort key of what is worked off by age: proxy requests last; what resumes first, then priority."""
    return operation.request_type is RequestType.PROXY, not operation.resumes, -operation.priority


def order_key(operation: Operation) -> tuple[bool, bool, int, int, str]:
    """Sort key of the order of processing: the class, then age, id."""
    return (*order_class(operation), operation.created_at, operation.request_id)


class Ending(Enum):
    """How one attempt on the bus ended."""

    DONE = "done"
    REFUSED = "refused"  # the device said no and will say no again
    DECLINED = "declined"  # the device said not now
    UNANSWERED = "unanswered"  # no answer in time, though the device is alive
    LOST = "lost"  # the device vanished meanwhile
    NOT_STARTED = "not_started"  # no frame left: initiator away, bus down, transmit queue full


_OPEN: Final = frozenset({Ending.LOST, Ending.UNANSWERED})  # it may have been carried out, for all we know


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt. `waits_for`: the component that must come back before the next try."""

    ending: Ending
    result: Mapping[str, Any] | None = None
    code: Code | None = None
    message: str = ""
    device_status: int | None = None
    waits_for: str | None = None

    def error(self) -> dict[str, Any] | None:
        """Return the `last_error` map {code, message, device_status?}, or None where all went well."""
        if self.code is None:
            return None
        told: dict[str, Any] = {"code": str(self.code), "message": self.message or CODES[self.code].advice}
        if self.device_status is not None:
            told["device_status"] = self.device_status
        return told


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an outcome means for the operation: the action, and when and after whose return to try again."""

    action: Action
    not_before: int = 0
    waits_for: str | None = None


def act(
    operation: Operation,
    verdict: Verdict,
    now_ms: int,
    *,
    outcome: Outcome | None = None,
    cancellation_reason: str | None = None,
) -> Operation:
    """Return the operation as a verdict leaves it; the one given stays as it was.

    Raises Refusal INVALID_STATE_TRANSITION where the table has no such step.
    """
    acted = Operation(*_VALUES(operation))  # a tenth of the time of dataclasses.replace
    apply(acted, verdict, now_ms, outcome=outcome, cancellation_reason=cancellation_reason)
    return acted


def apply(
    operation: Operation,
    verdict: Verdict,
    now_ms: int,
    *,
    outcome: Outcome | None = None,
    cancellation_reason: str | None = None,
) -> None:
    """Change an operation as a verdict says; for who has just read it and shares it with nobody. Raises as `act`."""
    action = verdict.action
    status = after(operation.status, action)
    operation.status = status
    if action is Action.CLAIM:
        operation.started_at = now_ms
        return
    operation.reached = {**operation.reached, str(status): now_ms}
    operation.not_before, operation.waits_for = verdict.not_before, verdict.waits_for
    operation.retry_count += action is Action.RETRY
    again = action is Action.RETRY or action is Action.RELEASE
    operation.resumes = again and (outcome is None or outcome.ending in _OPEN)
    operation.cancellation_reason = cancellation_reason
    if status in FINAL:
        operation.finished_at = now_ms
        operation.result = None if outcome is None else outcome.result
    operation.last_error = None if action is Action.COMPLETE else _error(operation, action, outcome)


def _error(operation: Operation, action: Action, outcome: Outcome | None) -> Mapping[str, Any] | None:
    told = None if outcome is None else outcome.error()
    if told is None and action is Action.ABANDON:
        return Outcome(Ending.LOST, code=Code.OUTCOME_UNKNOWN).error()
    return told or operation.last_error


def judge(operation: Operation, outcome: Outcome, *, sent: bool, now_ms: int, max_retries: int) -> Verdict:
    """Decide what becomes of a PROCESSING operation after an attempt.

    `sent`: whether its first frame may have left. `max_retries`: retries allowed in all; 0 switches retrying off.
    """
    ending = outcome.ending
    if ending is Ending.DONE:
        return Verdict(Action.COMPLETE)
    if ending is Ending.REFUSED:
        return Verdict(Action.FAIL)
    once = operation.delivery is Delivery.AT_MOST_ONCE and sent
    if ending is Ending.NOT_STARTED or ending is Ending.LOST:
        return Verdict(Action.ABANDON) if once else Verdict(Action.RELEASE, waits_for=outcome.waits_for)
    if once:  # it may not be sent again; a declined one is known not to have happened
        return Verdict(Action.FAIL if ending is Ending.DECLINED else Action.ABANDON)
    if operation.retry_count >= max_retries:
        return Verdict(Action.FAIL)
    return Verdict(Action.RETRY, not_before=now_ms + retry_delay_ms(operation.kind, operation.retry_count))


def retry_delay_ms(kind: Kind, retry_count: int) -> int:
    """Return base × 2^retry_count, in ms: pairing 1, 2, 4 … minutes, commands 1, 2, 4 … seconds."""
    return RETRY_BASE_MS[kind] << retry_count


def after_restart(operation: Operation) -> Verdict:
    """Decide what becomes of an operation that a restart finds PROCESSING."""
    once = operation.delivery is Delivery.AT_MOST_ONCE
    return Verdict(Action.ABANDON if once else Action.RELEASE)
