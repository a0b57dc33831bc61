"""Many CAN frames in one system call: Linux's recvmmsg by ctypes, on buffers made once.

A frame costs an eighth of what one `recvmsg` each would. The layouts are those of linux/can.h (struct can_frame) and
the C library (struct mmsghdr, cmsghdr, timespec), for 64-bit and 32-bit machines.
"""

import ctypes
import errno
import os
import socket
import struct
from typing import Final

from gateway.bus.wire import CLASSIC_BYTES, Frame

FRAME: Final = struct.Struct("=IB3x8s")  # struct can_frame: can_id, length, padding, data
FD_FRAME: Final = struct.Struct("=IBB2x64s")  # struct canfd_frame: can_id, length, flags, reserved, data
_SLOT: Final = struct.Struct("=IB3x64s")  # of either kind; what a classical frame does not fill is left over
FD_BYTES: Final = 64
SO_RXQ_OVFL: Final = 40
_WIDE: Final = struct.calcsize("@P") == 8  # noqa: PLR2004 - bytes of a pointer on a 64-bit machine
SO_TIMESTAMPNS: Final = 35 if _WIDE else 64  # 64 gives 64-bit seconds to 32-bit machines, too

_HEADER: Final = struct.calcsize("@Nii")  # struct cmsghdr: length, level, type
_CONTROL_BYTES: Final = 64  # a slot's control messages: time stamp, then dropped frames
_STAMP: Final = struct.Struct(f"={_HEADER}xqq{_CONTROL_BYTES - _HEADER - 16}x")  # seconds, nanoseconds
_DROPS_AT: Final = _HEADER + 16 + _HEADER  # the count stands behind its own header, behind the stamp
_DROPS: Final = struct.Struct("=I")
_NOTHING_NOW: Final = frozenset({errno.EAGAIN, errno.EINTR})


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _MsgHdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.POINTER(_IoVec)),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _MmsgHdr(ctypes.Structure):
    _fields_ = (("message", _MsgHdr), ("received", ctypes.c_uint32))


class Batches:
    """Reads batches of up to `slots` frames from a socket that has SO_TIMESTAMPNS and SO_RXQ_OVFL set.

    `fd`: whether frames of CAN FD come among the others; only the socket can say that they may.
    `dropped`: frames the kernel had to drop for want of room, as known with the last frame read (wraps at 2^32).
    """

    def __init__(self, sock: socket.socket, slots: int, *, fd: bool = False) -> None:
        self.slots = slots
        self.dropped = 0
        self._frame = _SLOT if fd else FRAME
        self._full = FD_BYTES if fd else CLASSIC_BYTES
        size = self._frame.size
        self._fd = sock.fileno()
        self._recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg
        frames = ctypes.create_string_buffer(size * slots)
        control = ctypes.create_string_buffer(_CONTROL_BYTES * slots)
        self._frames, self._control = memoryview(frames), memoryview(control)
        self._iov = (_IoVec * slots)()
        self._headers = (_MmsgHdr * slots)()
        for n, (iov, slot) in enumerate(zip(self._iov, self._headers, strict=True)):
            header = slot.message
            iov.base, iov.length = ctypes.addressof(frames) + size * n, size
            header.iov, header.iov_length = ctypes.pointer(iov), 1
            header.control, header.control_length = ctypes.addressof(control) + _CONTROL_BYTES * n, _CONTROL_BYTES
        self._fresh = bytes(self._headers)  # the kernel shortens control_length: it is set anew before each call

    def read(self, to_monotonic: float) -> list[Frame]:
        """Return the frames that wait, at most `slots`, with their arrival; none where none waits.

        `to_monotonic`: what turns the kernel's wall time into the time of arrival, s. Raises OSError.
        """
        ctypes.memmove(self._headers, self._fresh, len(self._fresh))
        count = self._recvmmsg(self._fd, self._headers, self.slots, socket.MSG_DONTWAIT, None)
        if count < 0 and (code := ctypes.get_errno()) not in _NOTHING_NOW:
            raise OSError(code, os.strerror(code))
        if count <= 0:
            return []
        self._note_drops(count - 1)
        stamps = _STAMP.iter_unpack(self._control[: count * _CONTROL_BYTES])
        frames, full = self._frame.iter_unpack(self._frames[: count * self._frame.size]), self._full
        return [
            (can_id, data if length == full else data[:length], seconds + nanoseconds * 1e-9 + to_monotonic)
            for (can_id, length, data), (seconds, nanoseconds) in zip(frames, stamps, strict=True)
        ]

    def _note_drops(self, last: int) -> None:
        if self._headers[last].message.control_length >= _DROPS_AT + _DROPS.size:  # told only once there are any
            (self.dropped,) = _DROPS.unpack_from(self._control, last * _CONTROL_BYTES + _DROPS_AT)
