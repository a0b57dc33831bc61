"""A frame's signals by the names of its message: physical values as plain numbers, whatever the frame holds."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cantools.database.can.message import Message

Value = int | float | str


def decode(message: "Message", data: bytes, *, names: bool = False, raw: bool = False) -> Mapping[str, Value]:
    """Return the physical values of the signals that a frame shows; of a short frame, those that are there.

    `names`: where a value has a name, that. `raw`: as they travel, without scale and offset. Empty: the frame fits
    nothing its message may be, as where its multiplexer has a value that no signal is for.
    """
    from cantools.database.errors import DecodeError  # noqa: PLC0415 - half a second on a slow board

    try:
        values = message.decode(data, decode_choices=names, scaling=not raw, allow_truncated=True)
    except (DecodeError, ValueError):
        return {}
    if not isinstance(values, dict):  # a container of other messages, which has no signals of its own
        return {}
    # A value with a name is an object of cantools that nothing can hash or write down.
    return {name: value if isinstance(value, int | float) else str(value) for name, value in values.items()}
