"""The ids of the gateway: what a name may look like, and how an operation gets its own."""

import re
from typing import Final

from ulid import ULID

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"  # component_id, gateway_id, actor: one MQTT topic level
CALL_ID_PATTERN: Final = r"^[A-Za-z0-9_-]{8,64}$"  # a caller's own id of one request
REQUEST_ID_PATTERN: Final = r"^(req|cmd)_[0-9A-HJKMNP-TV-Z]{26}$"

_NAME = re.compile(NAME_PATTERN)


def is_name(text: str) -> bool:
    """Whether `text` may name a component, a gateway or an actor."""
    return _NAME.fullmatch(text) is not None


class RequestIds:
    """Makes request ids that sort by the time they were made, within one millisecond too."""

    def __init__(self) -> None:
        self._last = 0

    def new(self, prefix: str, now_ms: int) -> str:
        """Return `prefix` ("req" or "cmd") + "_" + ULID of `now_ms`; always above the one before."""
        value = int(ULID.from_timestamp(now_ms))
        # Same millisecond, or the clock stepped back: count on from the last, so that order by id is order of arrival.
        value = value if value > self._last else self._last + 1
        self._last = value
        return f"{prefix}_{ULID.from_int(value)}"
