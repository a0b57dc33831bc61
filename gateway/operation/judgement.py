"""What the end of an attempt means for the operation."""

from collections.abc import Mapping
from typing import Final

from gateway.operation.lifecycle import Action, Ending, Outcome, Verdict
from gateway.operation.record import Operation
from gateway.operation.words import Delivery, Kind

RETRY_BASE_MS: Final[Mapping[Kind, int]] = {Kind.PAIRING: 60_000, Kind.COMMAND: 1_000}


def judge(operation: Operation, outcome: Outcome, *, sent: bool, now_ms: int, max_retries: int) -> Verdict:
    """Decide what becomes of a PROCESSING operation after an attempt.

    `sent`: whether its first frame may have left. `max_retries`: retries allowed in all; 0 switches retrying off.
    """
    ending = outcome.ending
    if ending is Ending.DONE:
        return Verdict(Action.COMPLETE)
    once = operation.delivery is Delivery.AT_MOST_ONCE and sent
    if ending is Ending.REFUSED or (ending is Ending.NOT_STARTED and operation.pass_through and not once):
        return Verdict(Action.FAIL)
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
