"""contactor_close: closes the contactors."""

from gateway.bus.commands.base import SWITCHES, ArmedCommand, NoArguments
from gateway.guards import SafetyClass
from gateway.ports import CommandSpec


class ContactorClose(ArmedCommand[NoArguments]):
    """No arguments."""

    spec = CommandSpec("contactor_close", SafetyClass.SAFETY, arms=True, timeout_s=4.0)
    kinds = SWITCHES
    opcode = 0x21
