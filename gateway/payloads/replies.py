"""Replies: yes with a result, or no with an error."""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from gateway.errors import ErrorClass
from gateway.payloads.base import Count, ErrorCode, Told


class Error(Told):
    """A coded no."""

    code: ErrorCode
    message: str
    """What is wrong and what to do, for people."""
    error_class: ErrorClass = Field(alias="class")
    """Whose turn it is: REFUSED, ask differently; BUSY, ask again later; INTERNAL, report it."""
    retry_after_ms: Count | None = None
    """Milliseconds to wait before asking again."""
    details: dict[str, Any] | None = None
    """field: which one is wrong; or what stands in the way."""


class Accepted(Told):
    """The answer yes."""

    id: str
    """The caller's own id of the request."""
    ok: Literal[True]
    result: dict[str, Any]
    """As the request says."""


class Refused(Told):
    """The answer no."""

    id: str | None
    """The caller's own id of the request; null (control socket alone): it had none that could be read."""
    ok: Literal[False]
    error: Error


Reply = Annotated[Accepted | Refused, Field(discriminator="ok")]
REPLY: TypeAdapter[Accepted | Refused] = TypeAdapter(Reply)
