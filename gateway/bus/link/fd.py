"""Data that may be longer than a classical frame holds: what CAN FD has room for."""

from typing import Final

from gateway.bus.wire import CLASSIC_BYTES
from gateway.errors import LinkDown

LENGTHS: Final = (12, 16, 20, 24, 32, 48, 64)  # bytes, beyond those of a classical frame


def on_the_wire(data: bytes, *, fd: bool, bus: str) -> bytes:
    """Return `data` as a frame can hold it: beyond 8 bytes with zeros up to a length that CAN FD has.

    Raises LinkDown where the bus carries no such frame. `fd`: whether it carries CAN FD.
    """
    if len(data) <= CLASSIC_BYTES:
        return data
    if not fd:
        raise LinkDown(f"{bus} carries no CAN FD: {len(data)} bytes are too many for a frame")
    length = next((length for length in LENGTHS if length >= len(data)), None)
    if length is None:
        raise LinkDown(f"{bus}: {len(data)} bytes are too many for a frame of CAN FD")
    return data.ljust(length, b"\0")
