"""clear_events: empties the device's own list of events."""

from gateway.bus.commands.base import NoArguments, OpcodeCommand, harmless


class ClearEvents(OpcodeCommand[NoArguments]):
    """No arguments."""

    spec = harmless("clear_events")
    opcode = 0x09
