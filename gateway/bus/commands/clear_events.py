"""clear_events: empties the device's own list of events."""

from gateway.bus.commands.base import NoArguments, OpcodeCommand
from gateway.guards import SafetyClass
from gateway.ports import CommandSpec


class ClearEvents(OpcodeCommand[NoArguments]):
    """No arguments."""

    spec = CommandSpec("clear_events", SafetyClass.HARMLESS)
    opcode = 0x09
