"""clear_fault: has the device forget a fault whose cause is gone."""

from gateway.bus.commands.base import ArmedCommand, NoArguments
from gateway.guards import SafetyClass
from gateway.ports import CommandSpec


class ClearFault(ArmedCommand[NoArguments]):
    """No arguments."""

    spec = CommandSpec("clear_fault", SafetyClass.SAFETY, arms=True, timeout_s=4.0, mends=True)
    opcode = 0x23
