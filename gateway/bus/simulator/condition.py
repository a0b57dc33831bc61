"""What a simulated device is in, beside its pairing: its contactors, a fault, and what was leased to it."""

from typing import Final

from gateway.bus.exchange.protocol import Contactor
from gateway.bus.simulator import commands
from gateway.bus.simulator.commands import Words

LEASE_S: Final = 60.0  # a device lets go of limits and balancing after this
_CONTACTOR_AFTER: Final = {
    commands.PRECHARGE: Contactor.PRE_CHARGE,
    commands.CONTACTOR_CLOSE: Contactor.CLOSED,
    commands.CONTACTOR_OPEN: Contactor.OPEN,
    commands.EMERGENCY_OPEN: Contactor.OPEN,
}
_UNDER_LOAD: Final = frozenset({Contactor.PRE_CHARGE, Contactor.CLOSED})


class Condition:
    """The state that commands and faults change. `contactor`: as its heartbeat tells it."""

    def __init__(self, contactor: int) -> None:
        self.contactor = contactor
        self.fault = False
        self.in_boot_loader = False
        self._limits: tuple[Words, float] | None = None
        self._balancing_until = 0.0

    def boot(self, *, into_loader: bool = False) -> None:
        """Contactors fall open, leases end; a fault stays, and so do contacts that are welded."""
        self.contactor = Contactor.OPEN if self.contactor in _UNDER_LOAD else self.contactor
        self.in_boot_loader = into_loader
        self._limits, self._balancing_until = None, 0.0

    def break_down(self) -> None:
        """Have a fault, which opens the contactors."""
        self.fault = True
        self.contactor = Contactor.OPEN if self.contactor in _UNDER_LOAD else self.contactor

    def objects_to(self, opcode: int) -> bool:
        """Whether it must not do that as it is now."""
        under_load = self.contactor in _UNDER_LOAD
        return (self.fault and opcode in commands.NOT_WITH_A_FAULT) or (under_load and opcode in commands.OPEN_ONLY)

    def take_effect(self, opcode: int, words: Words, now: float) -> None:
        """Do what a command says to contactors, fault and leases."""
        if self.contactor != Contactor.WELDED:
            self.contactor = _CONTACTOR_AFTER.get(opcode, self.contactor)
        if opcode == commands.CLEAR_FAULT:
            self.fault = False
        elif opcode == commands.SET_LIMITS:
            self._limits = words, now + LEASE_S
        elif opcode == commands.BALANCING:
            self._balancing_until = now + LEASE_S if words[0] else 0.0

    def is_balancing(self, now: float) -> bool:
        """Whether it was told to, less than a lease ago."""
        return now < self._balancing_until

    def limits(self, now: float) -> Words | None:
        """Return the limits it was given less than a lease ago, charge and discharge in 0.1 A; None: its own."""
        return self._limits[0] if self._limits is not None and now < self._limits[1] else None
