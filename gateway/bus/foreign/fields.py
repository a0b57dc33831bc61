"""Where a number stands in a frame, without asking the database of messages again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from cantools.database.can.signal import Signal

_BYTE: int = 8


@dataclass(frozen=True, slots=True)
class Field:
    """An unsigned number of `length` bits. `at`: how many bits are below it (little-endian), or before it (big)."""

    at: int
    length: int
    little: bool

    @classmethod
    def of(cls, signal: "Signal") -> Self:
        """Return where a signal of a database stands. Raises ValueError for one that is no plain number."""
        if signal.is_float or signal.multiplexer_ids:
            raise ValueError(f"{signal.name} is no plain integer of every frame")
        if signal.byte_order == "little_endian":
            return cls(signal.start, signal.length, little=True)
        byte, bit = divmod(signal.start, _BYTE)  # the start bit is its highest
        return cls(byte * _BYTE + _BYTE - 1 - bit, signal.length, little=False)

    @property
    def end(self) -> int:
        """How many bytes a frame needs to hold it."""
        return -(-(self.at + self.length) // _BYTE)

    @property
    def place(self) -> range | None:
        """The bytes it fills; None where it does not fill whole ones."""
        if self.at % _BYTE or self.length % _BYTE:
            return None
        return range(self.at // _BYTE, (self.at + self.length) // _BYTE)

    def reader(self) -> Callable[[bytes], int]:
        """Return what reads it from a frame long enough, as `read` does, at the least cost."""
        byte, before = divmod(self.at, _BYTE)
        if before + self.length > _BYTE:
            return self.read
        shift = before if self.little else _BYTE - before - self.length
        mask = (1 << self.length) - 1
        return lambda data: data[byte] >> shift & mask

    def read(self, data: bytes) -> int:
        """Return its value. The frame must be long enough."""
        mask = (1 << self.length) - 1
        if self.little:
            return int.from_bytes(data, "little") >> self.at & mask
        return int.from_bytes(data, "big") >> (len(data) * _BYTE - self.at - self.length) & mask
