"""Requests that only look: at queues and components as they are, and at what has been."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from gateway.clock import parse_rfc3339
from gateway.requests.base import Model, Name, Paged, RequestId, Seq, StatusName, Text, Time

REPLAY_MAX: Final = 10_000  # events


class Spanned(Model):
    """A span of time: `to` is no longer in it."""

    from_: Annotated[Time | None, Field(alias="from")] = None
    """From then on."""
    to: Time | None = None
    """Until then, which is no longer counted."""

    @field_validator("to")
    @classmethod
    def _comes_after_from(cls, to: str | None, told: ValidationInfo) -> str | None:
        begin = told.data.get("from_")
        if to is not None and begin is not None and parse_rfc3339(to) <= parse_rfc3339(begin):
            raise ValueError("must be after from")
        return to

    @property
    def from_ms(self) -> int | None:
        """Where it begins, ms since the epoch."""
        return None if self.from_ is None else parse_rfc3339(self.from_)

    @property
    def to_ms(self) -> int | None:
        """Where it ends, ms since the epoch."""
        return None if self.to is None else parse_rfc3339(self.to)


class GetQueuedRequests(Paged):
    """List operations, of one component or of all, in the order of processing."""

    component_id: Name | None = None
    """For whom; left out: for all."""
    queue_type: Literal["STANDARD", "PRIORITY", "PROXY", "ALL"] = "ALL"
    """PROXY: what a proxy carries out. PRIORITY: of the rest HIGH, CRITICAL and emergencies."""
    status_filter: StatusName | None = None
    """Only those; left out: QUEUED and PROCESSING."""


class GetRequestStatus(Model):
    """Look at one operation."""

    request_id: RequestId


class GetPresence(Model):
    """See who is there: one component or all."""

    component_id: Name | None = None
    """Whom; left out: all."""


class GetHealth(Model):
    """See how the gateway is."""


class ListProxyQueue(Paged):
    """List what a proxy is to do for others, and for whom it may act."""

    proxy_component: Name


class GetMetrics(Spanned):
    """See what ended in the last hour or day, or between two times: how much, how fast, how well."""

    window: Literal["HOUR", "DAY"] | None = None
    """The last hour or day; or from and to."""
    by: Literal["status", "type"] | None = None
    """Break it down by how they ended, or by command type and request type."""

    @model_validator(mode="after")
    def _names_one_span(self) -> Self:
        if (self.window is None) == (self.from_ is None) or (self.from_ is None) != (self.to is None):
            raise ValueError("give window, or from and to")
        return self


class GetHistory(Paged, Spanned):
    """List operations, live and archived, the newest first; times are those of their creation."""

    creator: Name | None = None
    """Only those that this actor asked for."""
    component_id: Name | None = None
    """Only those with this target."""
    command_type: Text | None = None
    status: StatusName | None = None


class GetAudit(Paged):
    """Read the audit chain."""

    from_seq: Seq | None = None
    """From this row on; left out: from the first."""


class VerifyAudit(Model):
    """Check the whole audit chain."""


class Replay(Model):
    """Have stored events published again: those from one seq to another, both included."""

    from_seq: Seq
    to_seq: Seq

    @field_validator("to_seq")
    @classmethod
    def _makes_a_range(cls, to_seq: int, told: ValidationInfo) -> int:
        from_seq = told.data.get("from_seq", to_seq)
        if to_seq < from_seq:
            raise ValueError("must not be below from_seq")
        if to_seq - from_seq >= REPLAY_MAX:
            raise ValueError(f"makes more than {REPLAY_MAX} events")
        return to_seq
