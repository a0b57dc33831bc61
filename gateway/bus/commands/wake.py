"""wake: ends the device's sleep."""

from gateway.bus.commands.base import NoArguments, OpcodeCommand
from gateway.guards import SafetyClass
from gateway.ports import CommandSpec


class Wake(OpcodeCommand[NoArguments]):
    """No arguments."""

    spec = CommandSpec("wake", SafetyClass.SERVICE, wakes=True)
    opcode = 0x07
