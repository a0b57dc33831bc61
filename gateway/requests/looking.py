"""Requests that only look: at queues and components as they are, and at what has been."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gateway.requests.base import Model, Name, Paged, RequestId, StatusName, Text, Time


class GetQueuedRequests(Paged):
    """List operations, of one component or of all, in the order of processing."""

    component_id: Name | None = None
    queue_type: Literal["STANDARD", "PRIORITY", "PROXY", "ALL"] = "ALL"
    status_filter: StatusName | None = None


class GetRequestStatus(Model):
    """Look at one operation."""

    request_id: RequestId


class GetPresence(Model):
    """See who is there: one component or all."""

    component_id: Name | None = None


class GetHealth(Model):
    """See how the gateway is."""


class ListProxyQueue(Paged):
    """List what a proxy is to do for others, and for whom it may act."""

    proxy_component: Name


class GetMetrics(Model):
    """See what ended in the last hour or day, or between two times: how much, how fast, how well."""

    window: Literal["HOUR", "DAY"] | None = None
    from_: Annotated[Time | None, Field(alias="from")] = None
    to: Time | None = None
    by: Literal["status", "type"] | None = None

    @model_validator(mode="after")
    def _names_one_span(self) -> Self:
        if (self.window is None) == (self.from_ is None) or (self.from_ is None) != (self.to is None):
            raise ValueError("give window, or from and to")
        return self


class GetHistory(Paged):
    """List operations, live and archived, the newest first; times are those of their creation."""

    creator: Name | None = None
    component_id: Name | None = None
    command_type: Text | None = None
    status: StatusName | None = None
    from_: Annotated[Time | None, Field(alias="from")] = None
    to: Time | None = None


class GetAudit(Paged):
    """Read the audit chain."""

    from_seq: Annotated[int, Field(ge=1)] | None = None


class VerifyAudit(Model):
    """Check the whole audit chain."""


class Replay(Model):
    """Have stored events published again."""

    from_seq: Annotated[int, Field(ge=1)]
    to_seq: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.to_seq < self.from_seq:
            raise ValueError("to_seq must not be before from_seq")
        return self
