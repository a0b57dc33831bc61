"""What all payloads share: frozen models, and the types of their values.

What a gateway of another version says beyond a model is kept under its own name: nobody's parser breaks when a field
is added. A field that may be null always comes; one with a default is left out where there is nothing to say.
"""

from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, WithJsonSchema

from gateway.errors import Code

TIME_SCHEMA: Final = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
}

Time = Annotated[AwareDatetime, WithJsonSchema(TIME_SCHEMA)]  # RFC 3339 in UTC, with milliseconds
Serial = Annotated[str, Field(pattern="^0x[0-9A-F]{16}$")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Milliseconds = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Seq = Annotated[int, Field(ge=1)]
# Codes may be added: a reader takes any text, the schema names those there are.
ErrorCode = Annotated[str, WithJsonSchema({"type": "string", "enum": [str(code) for code in Code]})]


class Told(BaseModel):
    """A map that the gateway sends."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        use_attribute_docstrings=True,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )
