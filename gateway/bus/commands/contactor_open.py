"""contactor_open: opens the contactors in an orderly way, load first."""

from gateway.bus.commands.base import SWITCHES, NoArguments, OpcodeCommand
from gateway.guards import SafetyClass
from gateway.ports import CommandSpec


class ContactorOpen(OpcodeCommand[NoArguments]):
    """No arguments."""

    spec = CommandSpec("contactor_open", SafetyClass.SAFE_DIRECTION)
    kinds = SWITCHES
    opcode = 0x22
