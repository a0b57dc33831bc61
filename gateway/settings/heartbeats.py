"""How a component of somebody else's make is heard: `heartbeat` of a component's section.

Four ways: messages of a DBC by name, an id that is written down, CANopen's heartbeat, whatever a J1939 address sends.
Counter and checksum are signals of the one message that is named; several messages are only listened for.
"""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, model_validator

from gateway.settings.base import FROZEN, hexadecimal

MOST_MESSAGES: Final = 64
LAST_STANDARD: Final = 0x7FF
LAST_EXTENDED: Final = 0x1FFF_FFFF
BYTE: Final = 0xFF

CanId = Annotated[int, Field(ge=0, le=LAST_EXTENDED)]
Byte = Annotated[int, Field(ge=0, le=BYTE)]
SignalName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
_ALLOWED: Final = {  # type -> the keys it may have beside it
    "dbc": {"message", "any_of", "node_signal", "counter", "counter_max", "crc", "profile", "data_id"},
    "raw": {"id", "mask", "extended"},
    "canopen": {"node"},
    "j1939": {"node", "name"},
}
_TOGETHER: Final = (("counter_max", "counter"), ("crc", "profile"), ("profile", "crc"), ("data_id", "profile"))
_OF_ONE_MESSAGE: Final = ("node_signal", "counter", "crc")


class HeartbeatSection(BaseModel):
    """How one component is heard.

    `any_of`: several messages: heard if any is; lost once it is silent for longer than any single one of them explains.
    `node_signal`: the signal that holds the component's `node`, where several share a message. `mask`: the bits of `id`
    that count; the others hold the component's `node`, where it has one. `name`: the 64-bit NAME of a J1939 device,
    which is then found at whatever address it claims.
    """

    model_config = FROZEN

    type: Literal["dbc", "raw", "canopen", "j1939"]
    message: SignalName | None = None
    any_of: Annotated[list[SignalName], Field(min_length=2, max_length=MOST_MESSAGES)] | None = None
    node_signal: SignalName | None = None
    counter: SignalName | None = None
    counter_max: Annotated[int, Field(ge=1, le=0xFFFF)] | None = None
    crc: SignalName | None = None
    profile: Literal["E2E_P01", "E2E_P02", "E2E_P05", "XOR8", "SUM8"] | None = None
    data_id: (
        Annotated[int, Field(ge=0, le=0xFFFF)] | Annotated[list[Byte], Field(min_length=16, max_length=16)] | None
    ) = None
    id: CanId | None = None
    mask: CanId | None = None
    extended: bool = False
    node: Annotated[int, Field(ge=0, le=253)] | None = None
    name: Annotated[int, BeforeValidator(hexadecimal), Field(gt=0, lt=1 << 64)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> "HeartbeatSection":
        """Keys must fit the type, and each other."""
        said = self.model_fields_set - {"type"}
        strange = sorted(said - _ALLOWED[self.type])
        if strange:
            raise ValueError(f'{strange[0]} has no meaning for type "{self.type}"')
        needed = _NEEDED[self.type]
        if needed and len([key for key in needed if getattr(self, key) is not None]) != 1:
            raise ValueError(f'type "{self.type}" needs {" or ".join(needed)}')
        for key, other in _TOGETHER:
            if getattr(self, key) is not None and getattr(self, other) is None:
                raise ValueError(f"{key} needs {other} beside it")
        if self.any_of is not None and any(getattr(self, key) for key in _OF_ONE_MESSAGE):
            raise ValueError("node_signal, counter and crc are signals of one message, not of any_of")
        self._check_data_id()
        if self.id is not None and self.id > LAST_STANDARD and not self.extended:
            raise ValueError("id has more than 11 bits: say extended = true")
        return self

    def _check_data_id(self) -> None:
        """Profile 2 has one byte, or one for each counter; all others have one number."""
        if isinstance(self.data_id, list) and (self.profile != "E2E_P02" or self.counter is None):
            raise ValueError("data_id is a list only for profile E2E_P02 with a counter")
        if self.profile == "E2E_P02" and isinstance(self.data_id, int) and self.data_id > BYTE:
            raise ValueError("data_id of profile E2E_P02 is at most 255")


_NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "dbc": ("message", "any_of"),
    "raw": ("id",),
    "canopen": (),
    "j1939": (),
}
