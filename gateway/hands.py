"""What the machine's clocks show, and whether the kernel vouches for them. Source: clock_gettime(2), adjtimex(2)."""

import ctypes
import time
from typing import Final, Protocol

Reading = tuple[int, int]  # ms: wall time, boot time

_STA_UNSYNC: Final = 0x40  # in timex.status: nobody keeps this clock


class Hands(Protocol):
    """The hands of the clocks, as they stand."""

    def monotonic(self) -> float:
        """Seconds since some start; stands still while the machine is suspended."""
        ...

    def look(self) -> Reading:
        """Wall time and boot time: milliseconds since the epoch, and since the machine booted, suspended or not.

        Whoever sets the clock moves the first; nobody moves the second.
        """
        ...

    def synchronised(self) -> bool:
        """Whether something keeps wall time right at this moment: NTP, PTP, a receiver."""
        ...


class MachineHands:
    """Those of this machine."""

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def look(self) -> Reading:
        """Milliseconds of CLOCK_REALTIME and CLOCK_BOOTTIME."""
        return time.time_ns() // 1_000_000, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def synchronised(self) -> bool:
        """Whether the kernel's clock is disciplined; False where we may not ask."""
        state = _Timex()
        try:
            answer = int(_libc.adjtimex(ctypes.byref(state)))
        except AttributeError:  # a C library without it
            return False
        return answer >= 0 and not state.status & _STA_UNSYNC


class _Timex(ctypes.Structure):
    """The beginning of struct timex, and room for the rest of it. `modes` 0: only asks."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


_libc: Final = ctypes.CDLL(None)
