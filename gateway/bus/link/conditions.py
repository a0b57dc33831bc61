"""What SocketCAN error frames say: of the bus, and of the controller. Source: Linux, include/uapi/linux/can/error.h."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from gateway.bus.wire import Condition

CONTROLLER: Final = 0x004
BUS_OFF: Final = 0x040
RESTARTED: Final = 0x100
COUNTERS: Final = 0x200  # the error counters stand in the frame; older drivers give them without saying so
CLASSES: Final = 0x1FFF_FFFF  # to subscribe to every class

_CLASS_NAMES: Final[Mapping[int, str]] = {
    0x001: "transmit_timeout",
    0x002: "arbitration_lost",
    0x008: "protocol_violation",
    0x010: "transceiver",
    0x020: "no_acknowledgement",
    BUS_OFF: "bus_off",
    0x080: "bus_error",
    RESTARTED: "restarted",
}
_STATUS_NAMES: Final[Mapping[int, str]] = {  # data[1] of class CONTROLLER
    0x01: "receive_overflow",
    0x02: "transmit_overflow",
    0x04: "receive_warning",
    0x08: "transmit_warning",
    0x10: "receive_passive",
    0x20: "transmit_passive",
    0x40: "active",
}
ERROR_NAMES: Final = (*_CLASS_NAMES.values(), *_STATUS_NAMES.values())
_STATUS_AT: Final = 1
_COUNTERS_AT: Final = 6  # of transmitting, then of receiving
_LENGTH: Final = 8

_RX_OVERFLOW: Final = 0x01
_WARNING: Final = 0x0C
_PASSIVE: Final = 0x30
_ACTIVE: Final = 0x40

OFTEN_S: Final = 10.0  # a bus that goes off twice within this time is sick
BELIEVED_AFTER_S: Final = 5.0  # and counts as on again once it has stayed on so long
LATE_S: Final = 0.1  # a driver may hand on for so long what it had received before its bus went off


class ControllerState(StrEnum):
    """How a controller confines its errors: passive, it may not disturb others; off, it takes no part in the bus."""

    ACTIVE = "active"
    WARNING = "warning"
    PASSIVE = "passive"
    BUS_OFF = "bus_off"


CONDITIONS: Final[Mapping[ControllerState, Condition]] = {
    ControllerState.ACTIVE: Condition.UP,
    ControllerState.WARNING: Condition.UP,
    ControllerState.PASSIVE: Condition.ERROR_PASSIVE,
    ControllerState.BUS_OFF: Condition.BUS_OFF,
}


def state_told_by(can_id: int, data: bytes) -> ControllerState | None:
    """Return the state of the controller that an error frame announces, or None where it announces none."""
    if can_id & BUS_OFF:
        return ControllerState.BUS_OFF
    if can_id & RESTARTED:
        return ControllerState.ACTIVE
    status = _status(can_id, data)
    if status & _PASSIVE:
        return ControllerState.PASSIVE
    if status & _WARNING:
        return ControllerState.WARNING
    return ControllerState.ACTIVE if status & _ACTIVE else None


def condition_told_by(can_id: int, data: bytes) -> Condition | None:
    """Return the condition of the bus that an error frame announces, or None where it announces none."""
    state = state_told_by(can_id, data)
    overflowed = bool(_status(can_id, data) & _RX_OVERFLOW)
    if overflowed and state not in {ControllerState.BUS_OFF, ControllerState.PASSIVE}:
        return Condition.OVERFLOW
    return None if state is None else CONDITIONS[state]


def _status(can_id: int, data: bytes) -> int:
    return data[_STATUS_AT] if can_id & CONTROLLER and len(data) > _STATUS_AT else 0


class Controller:
    """What the controller of a bus has told of itself so far.

    Attributes:
        errors: how often each of ERROR_NAMES was told.
        state: None where nothing was told.
        transmit_errors, receive_errors: its error counters, as last told; None where they never were.
    """

    def __init__(self) -> None:
        self.errors: dict[str, int] = {}
        self.state: ControllerState | None = None
        self.transmit_errors: int | None = None
        self.receive_errors: int | None = None

    def note(self, can_id: int, data: bytes) -> None:
        """Take an error frame."""
        self._count(_CLASS_NAMES, can_id)
        self._count(_STATUS_NAMES, _status(can_id, data))
        state = state_told_by(can_id, data)
        self.state = state or self.state
        if len(data) == _LENGTH:
            counters = data[_COUNTERS_AT], data[_COUNTERS_AT + 1]
            if can_id & COUNTERS or (state is not None and any(counters)):
                self.transmit_errors, self.receive_errors = counters
            elif state is ControllerState.ACTIVE:  # so they are other than they were
                self.transmit_errors = self.receive_errors = None

    def tell(self, state: ControllerState, transmit_errors: int | None, receive_errors: int | None) -> None:
        """Note what is known of it otherwise."""
        self.state, self.transmit_errors, self.receive_errors = state, transmit_errors, receive_errors

    def stats(self) -> dict[str, Any]:
        """Return {controller, transmit_error_counter, receive_error_counter, errors} for get_health."""
        return {
            "controller": self.state and str(self.state),
            "transmit_error_counter": self.transmit_errors,
            "receive_error_counter": self.receive_errors,
            "errors": dict(self.errors),
        }

    def _count(self, names: Mapping[int, str], bits: int) -> None:
        for bit, name in names.items():
            if bits & bit:
                self.errors[name] = self.errors.get(name, 0) + 1

    def words(self) -> str:
        """Say how it is: "the controller is passive (128 errors sending, 0 receiving)". Empty where it told nothing."""
        if self.state is None:
            return ""
        told = f"the controller is {self.state.replace('_', ' ')}"
        if self.transmit_errors is None:
            return told
        return f"{told} ({self.transmit_errors} errors sending, {self.receive_errors} receiving)"


class BusOff:
    """When a bus that was off is on again. One that goes off again and again is not told of each time. Times: s."""

    def __init__(self) -> None:
        self._off_at = float("-inf")
        self._on_since: float | None = float("-inf")
        self._is_sick = False

    def off(self, at: float) -> None:
        """Note that the controller went off, or says so again."""
        if self._on_since is not None:
            self._is_sick = at - self._off_at < OFTEN_S
        self._off_at, self._on_since = at, None

    def restarted(self, at: float) -> None:
        """Note that the controller takes part again."""
        if self._on_since is None:
            self._on_since = at

    def heard(self, at: float) -> None:
        """Note a frame: whatever comes later than the end proves a beginning."""
        if at > self._off_at + LATE_S:
            self.restarted(at)

    def is_over(self, now: float) -> bool:
        """Whether the bus may be believed to be on."""
        return self._on_since is not None and now - self._on_since >= (BELIEVED_AFTER_S if self._is_sick else 0.0)
