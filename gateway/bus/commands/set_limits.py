"""set_limits: how much current may flow in and out. A lease: the device lets go unless told again."""

from typing import Annotated, Final

from pydantic import Field

from gateway.bus.commands.base import SWITCHES, Arguments, OpcodeCommand
from gateway.guards import SafetyClass
from gateway.ports import CommandSpec

STEP_A: Final = 0.1
MOST_A: Final = 6553.5  # what a word of steps holds

Current = Annotated[float, Field(ge=0, le=MOST_A, multiple_of=STEP_A, allow_inf_nan=False)]


class SetLimitsArguments(Arguments):
    """`charge_a`, `discharge_a`: at most so many ampere, in steps of 0.1."""

    charge_a: Current
    discharge_a: Current


class SetLimits(OpcodeCommand[SetLimitsArguments]):
    """Arg0 = charge, Arg1 = discharge, in steps."""

    spec = CommandSpec("set_limits", SafetyClass.ENERGY)
    arguments = SetLimitsArguments
    kinds = SWITCHES
    opcode = 0x04

    def words(self, arguments: SetLimitsArguments) -> tuple[int, int]:
        """Return Arg0 and Arg1."""
        return round(arguments.charge_a / STEP_A), round(arguments.discharge_a / STEP_A)
