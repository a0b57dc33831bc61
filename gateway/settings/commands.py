"""A command type of somebody else's make: a `[[command]]` table.

Two ways: messages of the bus's databases (a request, and the response that settles it), or one service of UDS over
ISO-TP. Where a value may be the caller's, "{name}" puts the argument of that name there.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
    model_validator,
)

from gateway.guards import SafetyClass
from gateway.ids import NAME_PATTERN
from gateway.settings.base import FROZEN
from gateway.settings.heartbeats import LAST_STANDARD, CanId, SignalName

MOST_COMMANDS: Final = 200
MOST_PARTS: Final = 64  # arguments, signals, parts of data: a frame holds no more
MOST_DATA: Final = 1024  # bytes of one constant part
NODE: Final = "node"  # a placeholder of ours: the node of the component that is meant
ARGUMENT_PATTERN: Final = r"^[a-z][a-z0-9_]{0,63}$"

Finite = Annotated[float, Field(allow_inf_nan=False)]
Bound = Annotated[StrictInt | StrictFloat, Field(allow_inf_nan=False)]
Value = Bound | StrictStr  # a number, the name that the database gives one, or "{argument}"
Values = Annotated[dict[SignalName, Value], Field(max_length=MOST_PARTS)]
Alternatives = Annotated[
    dict[SignalName, Annotated[list[Value], Field(min_length=1, max_length=256)]], Field(max_length=MOST_PARTS)
]
Word = Annotated[int, Field(ge=0, le=0xFFFF)]


def _hex(text: str) -> str:
    """Return hexadecimal digits as capitals without spaces. Raises ValueError for what is none."""
    try:
        data = bytes.fromhex(text)
    except ValueError:
        raise ValueError(f'"{text}" is no list of hexadecimal bytes') from None
    if not 0 < len(data) <= MOST_DATA:
        raise ValueError(f"must be 1 to {MOST_DATA} bytes")
    return data.hex().upper()


def _argument(name: str) -> str:
    if name == NODE or hasattr(BaseModel, name):
        raise ValueError(f'"{name}" is taken: choose another name')
    return name


ArgumentName = Annotated[str, StringConstraints(pattern=ARGUMENT_PATTERN), AfterValidator(_argument)]
HexText = Annotated[str, AfterValidator(_hex)]


class _Table(BaseModel):
    model_config = FROZEN


class ArgumentSection(_Table):
    """What a caller may say: a number from `min` to `max`. `default`: where he says nothing; None: he must."""

    type: Literal["integer", "number"]
    min: Bound
    max: Bound
    default: Bound | None = None

    @model_validator(mode="after")
    def _fits(self) -> "ArgumentSection":
        said = [each for each in (self.min, self.max, self.default) if each is not None]
        if self.type == "integer" and not all(isinstance(each, int) for each in said):
            raise ValueError("min, max and default of an integer are whole numbers")
        if not self.min <= (self.min if self.default is None else self.default) <= self.max:
            raise ValueError("min, default and max must rise in this order")
        return self


class RequestSection(_Table):
    """The message that is sent. Signals that are not named have their start value, else raw 0."""

    message: SignalName
    signals: Values = {}


class ResponseSection(_Table):
    """The message that settles it.

    `match`: what a frame must say to be the answer. Of one that is: `pending`: it is waited on; `ok`: it was done;
    `declined`: not now, worth another try; anything else is a refusal. `result`: the signal that was asked for.
    """

    message: SignalName
    match: Values = {}
    ok: Alternatives = {}
    pending: Alternatives = {}
    declined: Alternatives = {}
    result: SignalName | None = None

    @model_validator(mode="after")
    def _fits(self) -> "ResponseSection":
        if self.declined and not self.ok:
            raise ValueError("declined needs ok beside it: without it every answer is a success")
        return self


class DataSection(_Table):
    """An argument as `bytes` bytes, the highest first: (argument - offset) / scale, rounded."""

    argument: ArgumentName
    bytes: Annotated[int, Field(ge=1, le=8)]
    signed: bool = False
    scale: Annotated[Finite, Field(gt=0)] = 1.0
    offset: Finite = 0.0


class SecuritySection(_Table):
    """How a device is unlocked first. `hook`: "module:function", which makes the key; `parameters` are handed to it."""

    level: Annotated[int, Field(ge=1, le=0x7D)]
    hook: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", max_length=256)]
    parameters: dict[str, Any] = {}

    @model_validator(mode="after")
    def _fits(self) -> "SecuritySection":
        if self.level % 2 == 0:
            raise ValueError("level is the odd number that asks for the seed")
        return self


class UdsSection(_Table):
    """One service of UDS, asked of one ECU. `session`: which is entered first; `padding`: fills frames to 8 bytes."""

    request_id: CanId
    response_id: CanId
    extended: bool = False
    padding: Annotated[int, Field(ge=0, le=0xFF)] = 0xCC
    session: Annotated[int, Field(ge=1, le=0x7F)] | None = None
    security: SecuritySection | None = None
    service: Literal["read_data", "write_data", "routine", "io_control"]
    did: Word | None = None
    routine: Word | None = None
    control: Literal["start", "stop", "results", "return", "reset", "freeze", "adjust"] | None = None
    data: Annotated[list[HexText | DataSection], Field(max_length=MOST_PARTS)] = []

    @model_validator(mode="after")
    def _fits(self) -> "UdsSection":
        """Keys must fit the service, and ids each other."""
        needed, allowed = _SERVICES[self.service]
        for key in sorted(_OF_SERVICE):
            given = bool(self.data) if key == "data" else getattr(self, key) is not None
            if given and key not in needed | allowed:
                raise ValueError(f'{key} has no meaning for service "{self.service}"')
            if not given and key in needed:
                raise ValueError(f'service "{self.service}" needs {key}')
        if self.control is not None and self.control not in _CONTROLS[self.service]:
            raise ValueError(f"control must be one of {', '.join(_CONTROLS[self.service])}")
        if self.request_id == self.response_id:
            raise ValueError("request_id and response_id must differ")
        if max(self.request_id, self.response_id) > LAST_STANDARD and not self.extended:
            raise ValueError("an id has more than 11 bits: say extended = true")
        return self


_OF_SERVICE: Final = frozenset({"did", "routine", "control", "data"})
_SERVICES: Final[dict[str, tuple[frozenset[str], frozenset[str]]]] = {  # the keys it needs, and those it may have
    "read_data": (frozenset({"did"}), frozenset()),
    "write_data": (frozenset({"did", "data"}), frozenset()),
    "routine": (frozenset({"routine", "control"}), frozenset({"data"})),
    "io_control": (frozenset({"did", "control"}), frozenset({"data"})),
}
_CONTROLS: Final[dict[str, tuple[str, ...]]] = {
    "routine": ("start", "stop", "results"),
    "io_control": ("return", "reset", "freeze", "adjust"),
}
_UNANSWERED: Final = frozenset({SafetyClass.HARMLESS, SafetyClass.SERVICE})


class CommandSection(_Table):
    """One command type. `timeout_s`: to the final answer; without `response` it is done when it was sent."""

    name: Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
    safety_class: SafetyClass
    components: Annotated[list[str], Field(min_length=1, max_length=1000)]
    arguments: Annotated[dict[ArgumentName, ArgumentSection], Field(max_length=MOST_PARTS)] = {}
    timeout_s: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 2.0
    request: RequestSection | None = None
    response: ResponseSection | None = None
    uds: UdsSection | None = None

    @model_validator(mode="after")
    def _fits(self) -> "CommandSection":
        """One way to say it, and a class that a component of others can satisfy."""
        if (self.request is None) == (self.uds is None):
            raise ValueError("needs request or uds, and not both")
        if self.uds is not None and self.response is not None:
            raise ValueError("response belongs to request: a service of UDS has its own")
        if self.safety_class is SafetyClass.SAFETY:
            raise ValueError('safety_class "safety" is for components that can be armed, which speak our protocol')
        if self.uds is None and self.response is None and self.safety_class not in _UNANSWERED:
            raise ValueError(f'safety_class "{self.safety_class}" needs a response: nobody would know what was done')
        return self
