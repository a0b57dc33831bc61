"""What the outside may ask for: one model a request, strict, unknown fields refused.

The models know shapes and ranges; whether something exists or is allowed is for `api.py`.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from gateway import wording
from gateway.errors import Code, Refusal
from gateway.ids import NAME_PATTERN, REQUEST_ID_PATTERN

PAGE_MAX: Final = 200
METADATA_MAX: Final = 32

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
RequestId = Annotated[str, StringConstraints(pattern=REQUEST_ID_PATTERN)]
Text = Annotated[str, StringConstraints(max_length=256)]
LongText = Annotated[str, StringConstraints(max_length=2000)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PriorityName = Literal["LOW", "NORMAL", "HIGH", "CRITICAL"]
StatusName = Literal["QUEUED", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED", "EXPIRED", "ABANDONED"]


class Model(BaseModel):
    """A request: strict types, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Queuing(Model):
    """The fields common to all that is queued. `ttl_s`: how long it may wait."""

    priority: PriorityName = "NORMAL"
    ttl_s: float | None = None  # its range depends on parameters: see EXPIRY_OUT_OF_RANGE
    idempotency_key: Text | None = None
    delivery: Literal["AT_LEAST_ONCE", "AT_MOST_ONCE"] | None = None
    metadata: Annotated[dict[Text, Text], Field(max_length=METADATA_MAX)] = {}
    source: Text | None = None
    source_ref: Text | None = None
    title: Text | None = None
    description: LongText | None = None
    expected_duration_s: Amount | None = None
    hold_ref: Text | None = None
    hold_amount: Amount | None = None

    def kept(self) -> dict[str, Any]:
        """Return what the gateway only keeps for the caller, as fields of an Operation."""
        return {name: getattr(self, name) for name in _KEPT}


_KEPT: Final = (
    "idempotency_key",
    "metadata",
    "source",
    "source_ref",
    "title",
    "description",
    "expected_duration_s",
    "hold_ref",
    "hold_amount",
)


class QueuePairingRequest(Queuing):
    """Pair a target with an initiator, now or when the target is back. `expiry_hours` or `ttl_s`, not both."""

    initiator_component: Name
    target_component: Name
    request_type: Literal["STANDARD", "PROXY", "EMERGENCY"] = "STANDARD"
    proxy_component: Name | None = None
    expiry_hours: float | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.expiry_hours is not None and self.ttl_s is not None:
            raise ValueError("give expiry_hours or ttl_s, not both")
        if (self.request_type == "PROXY") != (self.proxy_component is not None):
            raise ValueError("proxy_component belongs to request_type PROXY, and to no other")
        if self.initiator_component == self.target_component:
            raise ValueError("target_component must differ from initiator_component")
        return self


class QueueCommand(Queuing):
    """Have one component carry out a command, now or when it is back. `timeout_s`: to the final answer."""

    command_type: Text
    target_component: Name
    arguments: dict[str, Any] = {}
    timeout_s: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] | None = None


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


class GetQueuedRequests(Model):
    """List operations, of one component or of all, in the order of processing."""

    component_id: Name | None = None
    queue_type: Literal["STANDARD", "PRIORITY", "PROXY", "ALL"] = "ALL"
    status_filter: StatusName | None = None
    page_size: Annotated[int, Field(ge=1, le=PAGE_MAX)] = 50
    cursor: Annotated[str, StringConstraints(max_length=512)] | None = None


class GetRequestStatus(Model):
    """Look at one operation."""

    request_id: RequestId


class GetPresence(Model):
    """See who is there: one component or all."""

    component_id: Name | None = None


class GetHealth(Model):
    """See how the gateway is."""


class GetParams(Model):
    """Read the parameters in force."""


class SetParams(Model):
    """Change parameters from now on, and for every later start."""

    params: Annotated[dict[str, Any], Field(min_length=1)]


M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], fields: Mapping[str, Any]) -> M:
    """Return `fields` as `model`. Raises Refusal INVALID_ARGUMENT that names the first field that is wrong."""
    try:
        return model.model_validate(fields)
    except ValidationError as why:
        raise invalid_argument(why, model.model_fields) from why


def invalid_argument(why: ValidationError, known: Iterable[str] = ()) -> Refusal:
    """Return the refusal that names the first wrong field of a validation. `known`: the fields there are."""
    error = why.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in error["loc"]) or "request"
    return Refusal(Code.INVALID_ARGUMENT, f"{place}: {wording.phrase(error, known)}.", details={"field": place})
