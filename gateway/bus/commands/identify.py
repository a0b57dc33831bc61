"""identify: the device shows itself (light, buzzer) for some seconds."""

from typing import Annotated

from pydantic import Field

from gateway.bus.commands.base import Arguments, OpcodeCommand, harmless


class IdentifyArguments(Arguments):
    """`seconds`: how long it shows itself."""

    seconds: Annotated[int, Field(ge=1, le=255)] = 10


class Identify(OpcodeCommand[IdentifyArguments]):
    """Arg0 = seconds."""

    spec = harmless("identify")
    arguments = IdentifyArguments
    opcode = 0x01

    def words(self, arguments: IdentifyArguments) -> tuple[int, int]:
        """Return Arg0 and Arg1."""
        return arguments.seconds, 0
