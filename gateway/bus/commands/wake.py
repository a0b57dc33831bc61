"""wake: ends the device's sleep."""

from gateway.bus.commands.base import NoArguments, OpcodeCommand, service


class Wake(OpcodeCommand[NoArguments]):
    """No arguments."""

    spec = service("wake")
    opcode = 0x07
