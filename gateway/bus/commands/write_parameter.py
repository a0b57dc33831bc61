"""write_parameter: sets one of the device's parameters."""

from gateway.bus.commands.base import Arguments, OpcodeCommand, Word, service


class WriteParameterArguments(Arguments):
    """`id`: the number of the parameter; `value`: what it is set to."""

    id: Word
    value: Word


class WriteParameter(OpcodeCommand[WriteParameterArguments]):
    """Arg0 = id, Arg1 = value."""

    spec = service("write_parameter")
    arguments = WriteParameterArguments
    opcode = 0x03

    def words(self, arguments: WriteParameterArguments) -> tuple[int, int]:
        """Return Arg0 and Arg1."""
        return arguments.id, arguments.value
