"""Linux's broadcast manager: the kernel watches CAN ids and tells who falls silent, and who is heard again.

Nothing else is told: a frame that comes in time costs no wake-up. The kernel looks at no content (the mask it is given
is zero), so it knows neither counters nor checksums, and what finds no room in the socket is lost. The layouts are
those of linux/can/bcm.h, for 64-bit and 32-bit machines.
"""

import math
import socket
import struct
from typing import Final, NamedTuple

from gateway.bus.link.raw import prepare

RX_SETUP: Final = 5
RX_TIMEOUT: Final = 11
RX_CHANGED: Final = 12
SETTIMER: Final = 0x001
STARTTIMER: Final = 0x002
RX_ANNOUNCE_RESUME: Final = 0x100  # after a silence the next frame is told, whatever it says
SO_MEMINFO: Final = 55
MOST: Final = 4096  # messages at one reading

_EDGES: Final = SETTIMER | STARTTIMER | RX_ANNOUNCE_RESUME
_FRAME: Final = struct.Struct("=IB3x8x")  # struct can_frame; its data is the mask: no bit of a frame counts
_MESSAGE_BYTES: Final = 128  # a head and a frame, and some room
_MEMINFO: Final = struct.Struct("=9I")  # SK_MEMINFO_VARS
_DROPS: Final = 8  # SK_MEMINFO_DROPS
_MICROSECONDS: Final = 1_000_000


def head_of(*, wide: bool) -> struct.Struct:
    """Return the layout of struct bcm_msg_head, up to the frames behind it. `wide`: of a 64-bit machine.

    Fields: opcode, flags, count, two intervals of seconds and microseconds (`long` each), CAN id, number of frames.
    """
    return struct.Struct("=3I4x4q2I" if wide else "=3I4i2I4x")


HEAD: Final = head_of(wide=struct.calcsize("@l") == 8)  # noqa: PLR2004 - bytes of a `long` on a 64-bit machine


class Edge(NamedTuple):
    """What the kernel tells of an id (SocketCAN's spelling): it is `silent`, or heard again."""

    can_id: int
    silent: bool


def pack(can_id: int, silence_s: float, head: struct.Struct = HEAD) -> bytes:
    """Return the order to watch an id: to tell when it has been silent for `silence_s`, and when it comes again."""
    seconds, microseconds = divmod(math.ceil(silence_s * _MICROSECONDS), _MICROSECONDS)
    order = head.pack(RX_SETUP, _EDGES, 0, seconds, microseconds, 0, 0, can_id, 1)
    return order + _FRAME.pack(can_id, 0)


def unpack(message: bytes, head: struct.Struct = HEAD) -> Edge | None:
    """Return what a message of the kernel tells; None: nothing that was asked."""
    if len(message) < head.size:
        return None
    opcode, *_, can_id, _frames = head.unpack_from(message)
    return Edge(can_id, opcode == RX_TIMEOUT) if opcode in {RX_TIMEOUT, RX_CHANGED} else None


class BroadcastManager:
    """A socket of the broadcast manager on interface `channel`; what it watches ends with it. Raises OSError."""

    def __init__(self, channel: str, buffer_bytes: int) -> None:
        self.sock = socket.socket(socket.AF_CAN, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.CAN_BCM)
        self._lost = 0
        try:
            prepare(self.sock, buffer_bytes)
            self.sock.connect((channel,))
        except BaseException:
            self.sock.close()
            raise

    def watch(self, can_id: int, silence_s: float) -> None:
        """Watch an id from now on, or anew: it is told as heard with its next frame. Raises OSError."""
        self.sock.send(pack(can_id, silence_s))

    def read(self) -> list[Edge]:
        """Return what the kernel has told since this was last called, at most MOST. Raises OSError."""
        edges: list[Edge] = []
        while len(edges) < MOST:
            try:
                edge = unpack(self.sock.recv(_MESSAGE_BYTES))
            except BlockingIOError:
                break
            if edge is not None:
                edges.append(edge)
        return edges

    def newly_lost(self) -> int:
        """Return how many messages have found no room since this was last called. Raises OSError."""
        dropped: int = _MEMINFO.unpack(self.sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size))[_DROPS]
        lost, self._lost = dropped - self._lost, dropped
        return lost & 0xFFFF_FFFF

    def close(self) -> None:
        """Watch nobody any more."""
        self.sock.close()
