"""identify: the device shows itself (light, buzzer) for some seconds."""

from typing import Annotated

from pydantic import Field

from gateway.bus.commands.base import Arguments, OpcodeCommand
from gateway.guards import SafetyClass
from gateway.ports import CommandSpec


class IdentifyArguments(Arguments):
    """`seconds`: how long it shows itself."""

    seconds: Annotated[int, Field(ge=1, le=255)] = 10


class Identify(OpcodeCommand[IdentifyArguments]):
    """Arg0 = seconds."""

    spec = CommandSpec("identify", SafetyClass.HARMLESS)
    arguments = IdentifyArguments
    opcode = 0x01

    def words(self, arguments: IdentifyArguments) -> tuple[int, int]:
        """Return Arg0 and Arg1."""
        return arguments.seconds, 0
