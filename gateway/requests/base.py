"""What all requests share: strict models, the types of their fields, and how a wrong one is told."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from gateway import wording
from gateway.clock import parse_rfc3339, rfc3339
from gateway.errors import Code, Refusal
from gateway.ids import NAME_PATTERN, REQUEST_ID_PATTERN

PAGE_MAX: Final = 200
METADATA_MAX: Final = 32
PLACE_MAX: Final = 64  # of a key that is told back: one that we do not know may be as long as the request

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
RequestId = Annotated[str, StringConstraints(pattern=REQUEST_ID_PATTERN)]
Text = Annotated[str, StringConstraints(max_length=256)]
LongText = Annotated[str, StringConstraints(max_length=2000)]
Seq = Annotated[int, Field(ge=1, lt=1 << 63)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PriorityName = Literal["LOW", "NORMAL", "HIGH", "CRITICAL"]
StatusName = Literal["QUEUED", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED", "EXPIRED", "ABANDONED"]


def _time(text: str) -> str:
    rfc3339(parse_rfc3339(text))  # one that could not be told again is none, either
    return text


Time = Annotated[  # RFC 3339 with its offset
    str, StringConstraints(max_length=40), AfterValidator(_time), Field(json_schema_extra={"format": "date-time"})
]


class Model(BaseModel):
    """A request: strict types, no unknown fields. What stands below a field is told in its schema."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Paged(Model):
    """A list that comes in pages: `cursor` is the `next_cursor` of the page before."""

    page_size: Annotated[int, Field(ge=1, le=PAGE_MAX)] = 50
    """How many at most."""
    cursor: Annotated[str, StringConstraints(max_length=512)] | None = None
    """The next_cursor of the page before, with the same filters."""


M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], fields: Mapping[str, Any]) -> M:
    """Return `fields` as `model`. Raises Refusal INVALID_ARGUMENT that names the first field that is wrong."""
    try:
        return model.model_validate(fields)
    except ValidationError as why:
        raise invalid_argument(why, [field.alias or name for name, field in model.model_fields.items()]) from why


def invalid_argument(why: ValidationError, known: Iterable[str] = ()) -> Refusal:
    """Return the refusal that names the first wrong field of a validation. `known`: the fields there are."""
    error = why.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part)[:PLACE_MAX] for part in error["loc"])
    said = wording.phrase(error, known)
    if not place:  # it is about several fields, and names them
        return Refusal(Code.INVALID_ARGUMENT, f"{said}.", details={"field": "request"})
    return Refusal(Code.INVALID_ARGUMENT, f"{place}: {said}.", details={"field": place})
