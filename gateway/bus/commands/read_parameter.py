"""read_parameter: the value of one of the device's parameters, in the result's data."""

from gateway.bus.commands.base import Arguments, OpcodeCommand, Word
from gateway.guards import SafetyClass
from gateway.ports import CommandSpec


class ReadParameterArguments(Arguments):
    """`id`: the number of the parameter."""

    id: Word


class ReadParameter(OpcodeCommand[ReadParameterArguments]):
    """Arg0 = id."""

    spec = CommandSpec("read_parameter", SafetyClass.HARMLESS)
    arguments = ReadParameterArguments
    opcode = 0x02

    def words(self, arguments: ReadParameterArguments) -> tuple[int, int]:
        """Return Arg0 and Arg1."""
        return arguments.id, 0
