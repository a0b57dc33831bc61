"""Requests about what is queued already: drain, cancel, order, dead letters, settlement."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gateway.requests.base import Model, Name, Paged, PriorityName, RequestId, Text
from gateway.requests.queuing import TARGETS_MAX


def _different(ids: list[str]) -> list[str]:
    if len(set(ids)) < len(ids):
        raise ValueError("must differ from each other")
    return ids


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


class ProcessOfflineQueue(Model):
    """Work a component's queue off now. `wait`: answer when done, not at once."""

    component_id: Name
    max_operations: Annotated[int, Field(ge=1, le=10_000)] | None = None
    process_proxy_queue: bool = False
    wait: bool = True


class CancelRequest(Model):
    """Take an operation that still waits out of its queue."""

    request_id: RequestId
    cancellation_reason: Text = ""


class ListDeadLetters(Paged):
    """List FAILED and ABANDONED operations that nobody has discarded, the latest first."""

    component_id: Name | None = None


class Requeue(Model):
    """Try a dead letter again. `ttl_s`: how long it may wait; its range depends on its class and on parameters."""

    request_id: RequestId
    ttl_s: float | None = None


class Discard(Model):
    """Take an operation off the list of dead letters."""

    request_id: RequestId
    reason: Text = ""


class SetPriority(Model):
    """Change the priority of an operation that waits."""

    request_id: RequestId
    priority: PriorityName


class ReorderQueue(Model):
    """Put operations that wait for a component first, in this order, within their priorities."""

    component_id: Name
    request_ids: Annotated[list[RequestId], Field(min_length=1, max_length=TARGETS_MAX), AfterValidator(_different)]


class Settle(Model):
    """Confirm what became of the hold of an operation that has ended."""

    request_id: RequestId
    outcome: Literal["CAPTURED", "RELEASED"]
    settlement_ref: Annotated[Text, AfterValidator(_filled)]
