"""balancing: the device evens out its cells, or stops doing so. A lease: it lets go unless told again."""

from gateway.bus.commands.base import Arguments, OpcodeCommand, Word
from gateway.component import ComponentKind
from gateway.guards import SafetyClass
from gateway.ports import CommandSpec


class BalancingArguments(Arguments):
    """`on`: whether; `threshold_mv`: from which difference between cells on, 0: the device's own."""

    on: bool
    threshold_mv: Word = 0


class Balancing(OpcodeCommand[BalancingArguments]):
    """Arg0 = on, Arg1 = threshold."""

    spec = CommandSpec("balancing", SafetyClass.ENERGY)
    arguments = BalancingArguments
    kinds = frozenset({ComponentKind.PACK, ComponentKind.MODULE})  # what has cells
    opcode = 0x10

    def words(self, arguments: BalancingArguments) -> tuple[int, int]:
        """Return Arg0 and Arg1."""
        return int(arguments.on), arguments.threshold_mv
