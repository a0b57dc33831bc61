"""The kernel's word for its clock, as an NTP client gives it: adjtimex(2)."""

import ctypes
import os
import struct

ADJ_MAXERROR, ADJ_STATUS = 0x0004, 0x0010
STA_UNSYNC = 0x40
TIMEX = struct.Struct("@IlllliI200x")  # modes, offset, frequency, maxerror, esterror, status and the rest


def keep(*, kept: bool) -> None:
    """Say that somebody keeps the clock, or nobody does. Raises OSError."""
    timex = TIMEX.pack(ADJ_MAXERROR | ADJ_STATUS, 0, 0, 0, 0, 0 if kept else STA_UNSYNC, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(ctypes.create_string_buffer(timex)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
