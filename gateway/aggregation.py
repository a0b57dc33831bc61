"""When a routed command has succeeded or failed, and how that is told: from its children, and from nothing else."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import Code
from gateway.operation import FINAL, Action, Ending, Operation, Outcome, Status, Strategy

ALL: Final = "ALL"
ANY: Final = "ANY"
_CODE_WITHOUT_ERROR: Final = {Status.EXPIRED: Code.REQUEST_EXPIRED}


@dataclass(frozen=True, slots=True)
class Tally:
    """How the children of one parent stand. `failed`: those that ended otherwise than COMPLETED."""

    total: int
    succeeded: int
    failed: int

    @property
    def pending(self) -> int:
        """How many have not ended."""
        return self.total - self.succeeded - self.failed

    @classmethod
    def of(cls, counts: Mapping[Status, int]) -> "Tally":
        """Return the tally of children of which so many have each status."""
        failed = sum(count for status, count in counts.items() if status in FINAL and status is not Status.COMPLETED)
        return cls(sum(counts.values()), counts.get(Status.COMPLETED, 0), failed)


def policy(parent: Operation) -> str:
    """Return ALL, ANY or QUORUM. Targets that stand in for each other are always ANY."""
    if parent.strategy is Strategy.FAILOVER:
        return ANY
    return str((parent.aggregation or {}).get("policy", ALL))


def needed(parent: Operation) -> int:
    """Return how many children must be COMPLETED for the parent to be."""
    chosen = policy(parent)
    if chosen == ALL:
        return len(parent.targets)
    return 1 if chosen == ANY else int((parent.aggregation or {})["n"])


def decide(parent: Operation, tally: Tally) -> bool | None:
    """Return whether a parent has succeeded (True) or failed (False); None while that is open.

    One that never began is open as long as any child may begin; one that is being cancelled, until no child runs.
    """
    if parent.status is Status.QUEUED or parent.cancellation_reason is not None:
        return None if tally.pending else tally.succeeded >= needed(parent)
    if tally.succeeded >= needed(parent):
        return True
    return None if tally.succeeded + tally.pending >= needed(parent) else False


def ending(parent: Operation, children: Sequence[Operation], *, succeeded: bool) -> tuple[Action, Outcome]:
    """Return how a parent ends that is decided as `succeeded`. `children`: all of them, in the order of its targets."""
    tally = Tally.of(Counter(child.status for child in children))
    result = {
        "policy": policy(parent),
        "succeeded": tally.succeeded,
        "failed": tally.failed,
        "children": [child_of_result(child) for child in children],
    }
    if succeeded:
        return Action.COMPLETE, Outcome(Ending.DONE, result)
    action = Action.FAIL if parent.status is Status.PROCESSING else _never_begun(children)
    if action in {Action.EXPIRE, Action.CANCEL}:
        return action, Outcome(Ending.NOT_STARTED, result)
    code, told = _first_failure(children)
    message = f"{tally.succeeded} of {tally.total} succeeded, {needed(parent)} had to; {told}"
    return action, Outcome(Ending.REFUSED, result, code, message)


def child_of_result(child: Operation) -> dict[str, Any]:
    """Return how a child is listed: {request_id, component_id, status, result?, last_error?}."""
    told: dict[str, Any] = {
        "request_id": child.request_id,
        "component_id": child.target_component,
        "status": str(child.status),
    }
    if child.result is not None:
        told["result"] = dict(child.result)
    if child.last_error is not None:
        told["last_error"] = dict(child.last_error)
    return told


def _never_begun(children: Sequence[Operation]) -> Action:
    """Return how a parent ends none of whose children ever began; in which order they ended makes no difference."""
    if any(_code(child) == Code.DEPENDENCY_FAILED for child in children):
        return Action.ORPHAN
    if any(child.status is Status.EXPIRED for child in children):
        return Action.EXPIRE
    if children and all(child.status is Status.CANCELLED for child in children):
        return Action.CANCEL
    return Action.REJECT


def _first_failure(children: Sequence[Operation]) -> tuple[Code, str]:
    """Return the code and a sentence about the first target that failed; one with an error says more than others."""
    failed = [child for child in children if child.status in FINAL and child.status is not Status.COMPLETED]
    if not failed:  # there are fewer children than there were: their rows are lost
        return Code.OUTCOME_UNKNOWN, "of the others nothing is known."
    first = next((child for child in failed if child.last_error is not None), failed[0])
    code, told = _code(first), f"{first.target_component}: {first.status}"
    if code is None:
        return _CODE_WITHOUT_ERROR.get(first.status, Code.PRECONDITION_FAILED), f"{told}."
    return code, f"{told}, {code}."


def _code(child: Operation) -> Code | None:
    return None if child.last_error is None else Code(child.last_error["code"])
