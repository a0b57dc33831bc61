"""One signal of a message, read without the rest of it: a shift, a mask and what makes a value of that.

Says what `decoding.decode` says of that signal, values with names included, but as plain numbers that anything can
write down: without the noise of floats, and nothing where there is no number.
"""

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cantools.database.can.message import Message
    from cantools.database.can.signal import Signal

Value = int | float | str
Shows = Callable[[bytes], bool]

_FLOATS: Final = {length: struct.Struct(f"<{code}") for length, code in ((16, "e"), (32, "f"), (64, "d"))}
_LARGEST: Final = 1 << 63  # beyond it not every reader of MessagePack or JSON has an integer
_MOST_DIGITS: Final = 15


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a signal stands. `at`: bits before it, counted as its byte order does."""

    at: int
    length: int
    little: bool

    def raw(self, data: bytes) -> int | None:
        """Return its bits as a number; None where the data are too short."""
        after = 8 * len(data) - self.at - self.length
        if after < 0:
            return None
        if self.little:
            return int.from_bytes(data, "little") >> self.at & (1 << self.length) - 1
        return int.from_bytes(data, "big") >> after & (1 << self.length) - 1


def _place(signal: "Signal") -> _Place:
    if signal.byte_order == "little_endian":
        return _Place(signal.start, signal.length, little=True)
    byte, bit = divmod(signal.start, 8)  # that of its highest bit
    return _Place(8 * byte + 7 - bit, signal.length, little=False)


def shown(message: "Message", signal: "Signal") -> Shows | None:
    """Return what tells whether data show a signal; None: always, where they are long enough.

    Raises ValueError where that is not to be found out.
    """
    conditions = list(_conditions(message, signal))
    if not conditions:
        return None
    return lambda data: all(place.raw(data) in wanted for place, wanted in conditions)


def _conditions(message: "Message", signal: "Signal") -> Iterator[tuple[_Place, frozenset[int]]]:
    """Yield the multiplexers above a signal, each with the values it must have."""
    while signal.multiplexer_signal is not None:
        above = _multiplexer(message, signal.multiplexer_signal)
        yield _place(above), frozenset(signal.multiplexer_ids or ())
        signal = above


def _multiplexer(message: "Message", name: str) -> "Signal":
    """Return the multiplexer that `name` means; in files with long names it may be cut off after 32 characters."""
    found = [each for each in message.signals if each.is_multiplexer and each.name.startswith(name)]
    exact = [each for each in found if each.name == name] or found
    if len(exact) != 1:
        raise ValueError(f"message {message.name} has no multiplexer {name}")
    return exact[0]


def reader(signal: "Signal") -> Callable[[bytes], Value | None]:
    """Return what reads a signal from data that show it; None where they are too short, or hold no number."""
    place, number, scaled, digits = _place(signal), _number(signal), signal.raw_to_scaled, _digits(signal)

    def read(data: bytes) -> Value | None:
        raw = place.raw(data)
        found = None if raw is None else number(raw)
        if found is None or not math.isfinite(found):
            return None
        value: Any = scaled(found, decode_choices=True)
        if isinstance(value, float):
            return _finite(value, digits)
        if isinstance(value, int):
            return value if -_LARGEST <= value < _LARGEST else float(value)
        return str(value)  # a value with a name is an object of cantools that nothing can write down

    return read


def _number(signal: "Signal") -> Callable[[int], int | float]:
    """Return what makes a number of a signal's bits."""
    length = signal.length
    if signal.is_float:
        packed = _FLOATS[length]
        return lambda raw: float(packed.unpack(raw.to_bytes(packed.size, "little"))[0])
    if signal.is_signed:
        sign = 1 << length - 1
        return lambda raw: (raw ^ sign) - sign
    return lambda raw: raw


def _finite(value: float, digits: int | None) -> float | None:
    if not math.isfinite(value):
        return None
    return value if digits is None else round(value, digits)


def _digits(signal: "Signal") -> int | None:
    """Return how many decimals the values of a signal have; None: more than a float can tell from noise."""
    exponents = [Decimal(repr(part)).as_tuple().exponent for part in (signal.scale, signal.offset)]
    digits = max(0, *(-each for each in exponents if isinstance(each, int)))
    return None if signal.is_float or digits > _MOST_DIGITS else digits
