"""emergency_open: opens the contactors at once, whatever flows."""

from gateway.bus.commands.base import SWITCHES, NoArguments, OpcodeCommand
from gateway.guards import SafetyClass
from gateway.ports import CommandSpec


class EmergencyOpen(OpcodeCommand[NoArguments]):
    """No arguments."""

    spec = CommandSpec("emergency_open", SafetyClass.SAFE_DIRECTION)
    kinds = SWITCHES
    opcode = 0x2F
