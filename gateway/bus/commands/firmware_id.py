"""firmware_id: which firmware the device runs, in the result's data."""

from gateway.bus.commands.base import NoArguments, OpcodeCommand, harmless


class FirmwareId(OpcodeCommand[NoArguments]):
    """No arguments."""

    spec = harmless("firmware_id")
    opcode = 0x08
