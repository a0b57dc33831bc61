"""precharge: charges the bus behind the contactors, before they close."""

from gateway.bus.commands.base import SWITCHES, ArmedCommand, NoArguments
from gateway.guards import SafetyClass
from gateway.ports import CommandSpec


class Precharge(ArmedCommand[NoArguments]):
    """No arguments."""

    spec = CommandSpec("precharge", SafetyClass.SAFETY, arms=True, timeout_s=6.0)
    kinds = SWITCHES
    opcode = 0x20
