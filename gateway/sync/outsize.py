"""Messages that a broker does not take because of their size, and hangs up instead of saying so.

Under 3.1.1 every broker does; mosquitto with a message_size_limit answers with a code that MQTT 5 does not know there.
What is under way then is sent again on the next connection, and ends that one, too.
"""

from collections.abc import Callable, Hashable
from typing import Any, Final

from gateway.errors import LinkDown
from gateway.sync.loss import Cause, LinkLost

MAY_BE_TOO_LARGE: Final = frozenset({Cause.CLOSED, Cause.PROTOCOL_ERROR, Cause.PACKET_TOO_LARGE})
SMALL_BYTES: Final = (
    4096  # every broker takes that much: a connection lost with less under way was lost for another reason
)
BELIEVED_AFTER: Final = 3  # connections in a row lost with the same reply under way
BELIEVED_FOR_S: Final = 3600.0


class Outsize:
    """How long a reply may be, learned from what arrived and from connections that were lost. `now`: s, monotonic."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._channel: Any = None
        self._under_way: dict[Hashable, int] = {}  # bytes of the replies sent over that channel
        self._largest = 0  # that ever arrived
        self._suspect: tuple[Hashable, int] = (None, 0)  # and how many connections in a row were lost with it
        self._limit: tuple[int, float] | None = None  # bytes, and until when it is believed

    def refuses(self, size: int) -> bool:
        """Whether a reply of `size` bytes would only end the connection."""
        if self._limit is not None and self._limit[1] <= self._now():
            self._limit = None
        return self._limit is not None and size >= self._limit[0]

    def sending(self, channel: object, key: Hashable, size: int) -> None:
        """Note that the reply to `key` leaves by `channel`."""
        if channel is not self._channel:
            self._channel, self._under_way = channel, {}
        self._under_way[key] = size

    def arrived(self, key: Hashable) -> None:
        """Note that the broker took it."""
        size = self._under_way.pop(key, 0)
        self._largest = max(self._largest, size)
        if key == self._suspect[0]:
            self._suspect = None, 0

    def lost(self, channel: object, key: Hashable, why: LinkDown) -> None:
        """Note that the connection was lost before. Of all that was under way the largest is to blame, if any is."""
        if channel is not self._channel or not (isinstance(why, LinkLost) and why.cause in MAY_BE_TOO_LARGE):
            return
        size = self._under_way.get(key, 0)
        if size < max(SMALL_BYTES, *self._under_way.values()) or size <= self._largest:
            return
        times = self._suspect[1] + 1 if self._suspect[0] == key else 1
        self._suspect = key, times
        if times >= BELIEVED_AFTER:
            self._limit, self._suspect = (size, self._now() + BELIEVED_FOR_S), (None, 0)
