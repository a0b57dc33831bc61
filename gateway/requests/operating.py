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
    """How many at most; left out: the parameter max_batch_processing_size."""
    process_proxy_queue: bool = False
    """Also what a proxy carries out for it."""
    wait: bool = True
    """Answer when it is done; else at once, with a drain_id."""


class CancelRequest(Model):
    """Take an operation that still waits out of its queue."""

    request_id: RequestId
    cancellation_reason: Text = ""
    """Why; not empty."""


class ListDeadLetters(Paged):
    """List FAILED and ABANDONED operations that nobody has discarded, the latest first."""

    component_id: Name | None = None
    """For whom; left out: for all."""


class Requeue(Model):
    """Try a dead letter again. `ttl_s`: how long it may wait; its range depends on its class and on parameters."""

    request_id: RequestId
    ttl_s: float | None = None
    """Seconds that it may wait now; left out: as long as it was to wait before."""


class Discard(Model):
    """Take an operation off the list of dead letters."""

    request_id: RequestId
    reason: Text = ""
    """Why; not empty."""


class SetPriority(Model):
    """Change the priority of an operation that waits."""

    request_id: RequestId
    priority: PriorityName


class ReorderQueue(Model):
    """Put operations that wait for a component first, in this order, within their priorities."""

    component_id: Name
    """Whose queue: their target, or the proxy that carries them out."""
    request_ids: Annotated[list[RequestId], Field(min_length=1, max_length=TARGETS_MAX), AfterValidator(_different)]
    """What is to come first, in this order, within their priorities."""


class Settle(Model):
    """Confirm what became of the hold of an operation that has ended."""

    request_id: RequestId
    outcome: Literal["CAPTURED", "RELEASED"]
    """CAPTURED after COMPLETED, RELEASED after any other end."""
    settlement_ref: Annotated[Text, AfterValidator(_filled)]
    """The backend's reference of the settlement; not empty."""
