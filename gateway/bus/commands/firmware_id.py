"""firmware_id: which firmware the device runs, in the result's data."""

from gateway.bus.commands.base import NoArguments, OpcodeCommand
from gateway.guards import SafetyClass
from gateway.ports import CommandSpec


class FirmwareId(OpcodeCommand[NoArguments]):
    """No arguments."""

    spec = CommandSpec("firmware_id", SafetyClass.HARMLESS)
    opcode = 0x08
