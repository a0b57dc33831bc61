"""What may happen to an operation: one table, and what each step does to the record.

Everything here is pure: the time is an argument, the store remembers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, Final

from gateway.errors import CODES, Code, Refusal
from gateway.operation.record import Operation, copied
from gateway.operation.words import FINAL, Settlement, Status


class Action(StrEnum):
    """What may be done to an operation."""

    CLAIM = "claim"  # the drain takes it
    COMPLETE = "complete"  # it was carried out
    FAIL = "fail"  # attempts used up, or a refusal that will not change
    RETRY = "retry"  # again later; counted
    RELEASE = "release"  # again later; not counted: the component was lost, or it never began
    ABANDON = "abandon"  # its outcome cannot be known
    CANCEL = "cancel"
    SUPERSEDE = "supersede"  # a newer command with the same conflict_key takes its place
    EXPIRE = "expire"
    REJECT = "reject"  # it can never run: its device was replaced, or has gone again
    ORPHAN = "orphan"  # what it depends on ended otherwise than COMPLETED
    REQUEUE = "requeue"  # an operator tries a dead letter again


TRANSITIONS: Final[Mapping[tuple[Status, Action], Status]] = {  # all of the lifecycle; anything else is refused
    (Status.QUEUED, Action.CLAIM): Status.PROCESSING,
    (Status.QUEUED, Action.CANCEL): Status.CANCELLED,
    (Status.QUEUED, Action.SUPERSEDE): Status.CANCELLED,
    (Status.QUEUED, Action.EXPIRE): Status.EXPIRED,
    (Status.QUEUED, Action.REJECT): Status.FAILED,
    (Status.QUEUED, Action.ORPHAN): Status.FAILED,
    (Status.PROCESSING, Action.COMPLETE): Status.COMPLETED,
    (Status.PROCESSING, Action.FAIL): Status.FAILED,
    (Status.PROCESSING, Action.RETRY): Status.QUEUED,
    (Status.PROCESSING, Action.RELEASE): Status.QUEUED,
    (Status.PROCESSING, Action.ABANDON): Status.ABANDONED,
    (Status.FAILED, Action.REQUEUE): Status.QUEUED,
    (Status.ABANDONED, Action.REQUEUE): Status.QUEUED,
}

EVENT_OF: Final[Mapping[Action, str]] = {  # the event that tells of each action
    Action.CLAIM: "request_started",
    Action.COMPLETE: "request_completed",
    Action.FAIL: "request_failed",
    Action.RETRY: "request_retried",
    Action.RELEASE: "request_retried",
    Action.ABANDON: "request_abandoned",
    Action.CANCEL: "request_cancelled",
    Action.SUPERSEDE: "request_cancelled",
    Action.EXPIRE: "request_expired",
    Action.REJECT: "request_failed",
    Action.ORPHAN: "request_failed",
    Action.REQUEUE: "request_queued",
}
RELEASE_REASONS: Final[Mapping[Action, str]] = {  # why a hold is let go, by what ended its operation
    Action.FAIL: "FAILED",
    Action.REJECT: "FAILED",
    Action.ORPHAN: "DEPENDENCY_FAILED",
    Action.ABANDON: "ABANDONED",
    Action.CANCEL: "CANCELLED",
    Action.SUPERSEDE: "SUPERSEDED",
    Action.EXPIRE: "EXPIRED",
}
DEAD: Final = frozenset({Status.FAILED, Status.ABANDONED})  # the dead letters, until they are discarded
SETTLED: Final = frozenset({Settlement.CAPTURED, Settlement.RELEASED})


def after(status: Status, action: Action) -> Status:
    """Return the status after `action`. Raises Refusal INVALID_STATE_TRANSITION where the table has none."""
    target = TRANSITIONS.get((status, action))
    if target is None:
        raise Refusal(Code.INVALID_STATE_TRANSITION, f"A {status} operation takes no {action.value}.")
    return target


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
    """What an outcome means for the operation: the action, and when and after whose return to try again.

    `expires_at`: the new one of a requeued operation.
    """

    action: Action
    not_before: int = 0
    waits_for: str | None = None
    expires_at: int | None = None


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
    acted = copied(operation)
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
    if action is Action.REQUEUE:
        _begin_anew(operation, verdict, now_ms)
        return
    operation.status = status
    if action is Action.CLAIM:
        operation.started_at = now_ms
        return
    operation.reached = {**operation.reached, str(status): now_ms}
    operation.not_before, operation.waits_for = verdict.not_before, verdict.waits_for
    operation.retry_count += action is Action.RETRY
    again = action is Action.RETRY or action is Action.RELEASE
    if again and operation.started_at is not None:  # the next start takes its place
        operation.reached.setdefault(str(Status.PROCESSING), operation.started_at)
    operation.resumes = again and (outcome is None or outcome.ending in _OPEN)
    operation.cancellation_reason = cancellation_reason
    if status in FINAL:
        operation.finished_at = now_ms
        operation.result = None if outcome is None else outcome.result
        if operation.hold_ref is not None:
            operation.settlement = Settlement.PENDING
            operation.release_reason = RELEASE_REASONS.get(action)
    operation.last_error = None if action is Action.COMPLETE else _error(operation, action, outcome)


def _begin_anew(operation: Operation, verdict: Verdict, now_ms: int) -> None:
    """A dead letter waits again, with all its tries, a new end, and new sequence numbers: it is asked for anew."""
    if operation.settlement in SETTLED:
        raise Refusal(Code.INVALID_STATE_TRANSITION, f"Its hold is {operation.settlement} already.")
    assert verdict.expires_at is not None
    operation.status = Status.QUEUED
    operation.expires_at, operation.not_before, operation.waits_for = verdict.expires_at, 0, None
    operation.retry_count, operation.resumes, operation.progress = 0, False, None
    operation.sequence = operation.partner_sequence = None
    operation.started_at = operation.finished_at = operation.discarded_at = None
    operation.result = operation.last_error = operation.settlement = operation.release_reason = None
    operation.reached = {**operation.reached, str(Status.QUEUED): now_ms}


def settle(operation: Operation, outcome: Settlement, settlement_ref: str, now_ms: int) -> Operation | None:
    """Return the operation with its hold settled as `outcome`; None: it is settled in that very way already.

    Raises Refusal INVALID_STATE_TRANSITION where nothing is owed, the other outcome is, or it was settled otherwise.
    """
    if operation.settlement in SETTLED:
        if (operation.settlement, operation.settlement_ref) == (outcome, settlement_ref):
            return None
        told = f"It was settled as {operation.settlement} with {operation.settlement_ref}."
        raise Refusal(Code.INVALID_STATE_TRANSITION, told)
    if operation.settlement is not Settlement.PENDING:
        raise Refusal(Code.INVALID_STATE_TRANSITION, "No settlement is owed: it has no hold, or has not ended.")
    due = Settlement.CAPTURED if operation.release_reason is None else Settlement.RELEASED
    if outcome is not due:
        raise Refusal(Code.INVALID_STATE_TRANSITION, f"It ended {operation.status}: its hold is to be {due}.")
    settled = copied(operation)
    settled.settlement, settled.settlement_ref, settled.settled_at = outcome, settlement_ref, now_ms
    return settled


def discard(operation: Operation, now_ms: int) -> Operation:
    """Return a dead letter as one that nobody need look at any more. Raises Refusal INVALID_STATE_TRANSITION."""
    if operation.status not in DEAD or operation.discarded_at is not None:
        told = operation.status if operation.discarded_at is None else "discarded already"
        raise Refusal(Code.INVALID_STATE_TRANSITION, f"It is no dead letter: it is {told}.")
    discarded = copied(operation)
    discarded.discarded_at = now_ms
    return discarded


def _error(operation: Operation, action: Action, outcome: Outcome | None) -> Mapping[str, Any] | None:
    told = None if outcome is None else outcome.error()
    if told is None and action is Action.ABANDON:
        return Outcome(Ending.LOST, code=Code.OUTCOME_UNKNOWN).error()
    return told or operation.last_error
