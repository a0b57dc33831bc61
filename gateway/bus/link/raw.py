"""Raw CAN sockets: opened as we need them, and read in batches with the time at which each frame arrived."""

import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from gateway.bus.link.filters import pack
from gateway.bus.link.recvmmsg import SO_RXQ_OVFL, SO_TIMESTAMPNS, Batches
from gateway.bus.wire import Filter, Frame
from gateway.clock import Clock

SO_RCVBUFFORCE: Final = 33
CAN_RAW_ERR_FILTER: Final = 2
CAN_RAW_FD_FRAMES: Final = 5
CLOCK_SLACK_S: Final = 0.001  # both clocks are not read in the same instant

OpenSocket = Callable[[str, Sequence[Filter], int, int], socket.socket]


def open_raw(
    channel: str, filters: Sequence[Filter], error_classes: int, buffer_bytes: int, *, fd: bool = False
) -> socket.socket:
    """Return a raw CAN socket bound to interface `channel`, with time stamps and a count of drops. Raises OSError.

    `fd`: whether it carries frames of CAN FD, too.
    """
    sock = socket.socket(socket.AF_CAN, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.CAN_RAW)
    try:
        sock.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, pack(filters))
        sock.setsockopt(socket.SOL_CAN_RAW, CAN_RAW_ERR_FILTER, error_classes)
        sock.setsockopt(socket.SOL_CAN_RAW, CAN_RAW_FD_FRAMES, int(fd))
        prepare(sock, buffer_bytes)
        sock.bind((channel,))
    except BaseException:
        sock.close()
        raise
    return sock


def prepare(sock: socket.socket, buffer_bytes: int) -> None:
    """Give a datagram socket what `Batches` reads, and room: beyond the system's limit where we may. Raises OSError."""
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer_bytes)
    except PermissionError:  # needs CAP_NET_ADMIN
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)


class LaneReader:
    """Reads one socket and tells when each frame arrived, by the kernel's stamps on the monotonic clock.

    Whatever is read arrived after the socket was last seen empty and before now: that bounds the arrival when the
    wall clock was set, or the machine slept, between a stamp and its reading. `fd`: as `Batches` wants it.
    """

    def __init__(self, sock: socket.socket, slots: int, clock: Clock, *, fd: bool = False) -> None:
        self.sock = sock
        self._batches = Batches(sock, slots, fd=fd)
        self._clock = clock
        self._empty_at = clock.monotonic()
        self._dropped = 0

    def read(self) -> list[Frame]:
        """Return the next batch; fewer frames than slots means that the socket is empty. Raises OSError."""
        now = self._clock.monotonic()
        frames = self._batches.read(now - time.time())
        earliest, latest = self._empty_at - CLOCK_SLACK_S, now + CLOCK_SLACK_S
        if frames and not earliest <= frames[0][2] <= frames[-1][2] <= latest:
            frames = [(can_id, data, min(max(at, self._empty_at), now)) for can_id, data, at in frames]
        if len(frames) < self._batches.slots:
            self._empty_at = now
        return frames

    def let_in(self, filters: Sequence[Filter]) -> None:
        """Receive what matches any of `filters`, and nothing else, from now on. Raises OSError."""
        self.sock.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, pack(filters))

    def newly_dropped(self) -> int:
        """Return how many frames the kernel dropped since this was last asked."""
        dropped, self._dropped = self._batches.dropped - self._dropped, self._batches.dropped
        return dropped & 0xFFFF_FFFF
