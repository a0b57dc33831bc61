"""What a SocketCAN error frame says about the bus. Source: Linux, include/uapi/linux/can/error.h."""

from typing import Final

from gateway.bus.wire import Condition

CONTROLLER: Final = 0x004
BUS_OFF: Final = 0x040
RESTARTED: Final = 0x100
CLASSES: Final = CONTROLLER | BUS_OFF | RESTARTED  # the classes worth subscribing to

_RX_OVERFLOW: Final = 0x01  # these four: data[1] of class CONTROLLER
_WARNING: Final = 0x0C
_PASSIVE: Final = 0x30
_ACTIVE: Final = 0x40
_CONTROLLER_STATUS: Final = 1  # position in the data


def condition_told_by(can_id: int, data: bytes) -> Condition | None:
    """Return the condition that an error frame announces, or None where it announces none."""
    if can_id & BUS_OFF:
        return Condition.BUS_OFF
    if can_id & RESTARTED:
        return Condition.UP
    if not can_id & CONTROLLER or len(data) <= _CONTROLLER_STATUS:
        return None
    status = data[_CONTROLLER_STATUS]
    if status & _PASSIVE:
        return Condition.ERROR_PASSIVE
    if status & _RX_OVERFLOW:
        return Condition.OVERFLOW
    return Condition.UP if status & (_WARNING | _ACTIVE) else None
