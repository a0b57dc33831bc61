"""Commands for one component that share a conflict_key: which of them are in each other's way."""

from collections.abc import Sequence

from gateway.errors import Code, Refusal
from gateway.operation import ConflictPolicy, Operation, Status


def superseded(operation: Operation, rivals: Sequence[Operation], policy: ConflictPolicy) -> list[Operation]:
    """Return those of `rivals` that an operation takes the place of; what it waits for is none of them.

    `rivals`: the operations for its target with its conflict_key that wait or run.

    Raises:
        Refusal: PRECONDITION_FAILED where the policy lets it wait behind none.
    """
    if policy is ConflictPolicy.REJECT and rivals:
        told = f"{rivals[0].request_id} has conflict_key {operation.conflict_key} for {operation.target_component}"
        details = {"request_id": rivals[0].request_id, "component_id": operation.target_component}
        raise Refusal(Code.PRECONDITION_FAILED, f"{told} and is {rivals[0].status}.", details=details)
    if policy is not ConflictPolicy.SUPERSEDE:
        return []
    return [each for each in rivals if each.status is Status.QUEUED and each.request_id not in operation.depends_on]
