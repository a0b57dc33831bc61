"""write_parameter: sets one of the device's parameters."""

from gateway.bus.commands.base import Arguments, OpcodeCommand, Word
from gateway.guards import SafetyClass
from gateway.ports import CommandSpec


class WriteParameterArguments(Arguments):
    """`id`: the number of the parameter; `value`: what it is set to."""

    id: Word
    value: Word


class WriteParameter(OpcodeCommand[WriteParameterArguments]):
    """Arg0 = id, Arg1 = value."""

    spec = CommandSpec("write_parameter", SafetyClass.SERVICE)
    arguments = WriteParameterArguments
    opcode = 0x03

    def words(self, arguments: WriteParameterArguments) -> tuple[int, int]:
        """Return Arg0 and Arg1."""
        return arguments.id, arguments.value
