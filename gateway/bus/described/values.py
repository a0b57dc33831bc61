"""Values in a description: a number, a name that the database gives one, or the place of an argument."""

import re
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field, create_model

from gateway.bus.commands.base import Arguments
from gateway.settings.commands import ArgumentSection, DataSection, Value

if TYPE_CHECKING:
    from cantools.database.can.signal import Signal

_PLACE: Final = re.compile(r"\{(\w+)\}")
_FLOATS: Final = {16: struct.Struct("<e"), 32: struct.Struct("<f"), 64: struct.Struct("<d")}  # by length in bits

Raw = int | float
Known = Mapping[str, Raw]


def argument_of(value: Value) -> str | None:
    """Return the name of the argument whose place this is; None: it stands for itself."""
    found = _PLACE.fullmatch(value) if isinstance(value, str) else None
    return None if found is None else found[1]


def model_of(name: str, arguments: Mapping[str, ArgumentSection]) -> type[Arguments]:
    """Return the model of what a caller may say."""
    fields: dict[str, Any] = {}
    for key, told in arguments.items():
        number: Any = int if told.type == "integer" else float
        default = ... if told.default is None else number(told.default)
        fields[key] = (Annotated[number, Field(ge=told.min, le=told.max)], default)  # NaN is in no range
    return create_model(f"Arguments of {name}", __base__=Arguments, **fields)


def extremes(arguments: Mapping[str, ArgumentSection]) -> tuple[Known, Known]:
    """Return the least and the greatest of every argument: what can be said with both can be said with all between."""
    return {key: told.min for key, told in arguments.items()}, {key: told.max for key, told in arguments.items()}


def raw_of(signal: "Signal", value: Value) -> Raw:
    """Return a value as it travels. Raises ValueError where the signal cannot say it."""
    if isinstance(value, str):
        try:
            return signal.choice_to_number(value)
        except KeyError:
            raise ValueError(f'{signal.name} has no value called "{value}"') from None
    for bound, beyond in ((signal.minimum, "below"), (signal.maximum, "above")):
        if bound is not None and (value < bound if beyond == "below" else value > bound):
            raise ValueError(f"{signal.name}: {value:g} is {beyond} {bound:g}, which the database allows")
    raw: Raw = signal.scaled_to_raw(value)
    if signal.is_float:
        return _as_float(signal, raw)
    lowest, past = (-(1 << signal.length - 1), 1 << signal.length - 1) if signal.is_signed else (0, 1 << signal.length)
    if not lowest <= raw < past:
        raise ValueError(f"{signal.name}: {value:g} does not fit into its {signal.length} bits")
    return raw


def _as_float(signal: "Signal", raw: Raw) -> float:
    """Return a number as the bits of a signal can say it."""
    packed = _FLOATS[signal.length]
    try:
        return float(packed.unpack(packed.pack(raw))[0])
    except OverflowError:
        raise ValueError(f"{signal.name}: {raw:g} does not fit into its {signal.length} bits") from None


def resolved(value: Value, known: Known) -> Value:
    """Return a value with the argument in its place."""
    argument = argument_of(value)
    return value if argument is None else known[argument]


def bytes_of(part: "DataSection | str", known: Known) -> bytes:
    """Return a part of UDS data. Raises ValueError where an argument does not fit."""
    if isinstance(part, str):
        return bytes.fromhex(part)
    value = known[part.argument]
    try:
        return round((value - part.offset) / part.scale).to_bytes(part.bytes, "big", signed=part.signed)
    except OverflowError:
        raise ValueError(f"{part.argument}: {value:g} does not fit into {part.bytes} bytes") from None
