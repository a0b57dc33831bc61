"""sleep: the device falls asleep, for some seconds or until it is woken."""

from typing import Annotated, Final

from pydantic import Field

from gateway.bus.commands.base import Arguments, OpcodeCommand
from gateway.guards import SafetyClass
from gateway.ports import CommandSpec

UNTIL_WOKEN: Final = 0xFFFF


class SleepArguments(Arguments):
    """`seconds`: how long; None: until it is woken."""

    seconds: Annotated[int, Field(ge=0, le=0xFFFE)] | None = None


class Sleep(OpcodeCommand[SleepArguments]):
    """Arg0 = seconds."""

    spec = CommandSpec("sleep", SafetyClass.SERVICE)
    arguments = SleepArguments
    opcode = 0x06

    def words(self, arguments: SleepArguments) -> tuple[int, int]:
        """Return Arg0 and Arg1."""
        return UNTIL_WOKEN if arguments.seconds is None else arguments.seconds, 0
