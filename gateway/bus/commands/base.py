"""What a command type is: a name with its class, a model of its arguments, and how a device is told."""

from typing import Annotated, ClassVar, Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from gateway.bus.exchange.device import Device
from gateway.component import Component, ComponentKind
from gateway.operation import Outcome
from gateway.ports import CommandSpec

Word = Annotated[int, Field(ge=0, le=0xFFFF)]


class Arguments(BaseModel):
    """Arguments of a command: strict, and a misspelt one must not pass silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NoArguments(Arguments):
    """A command that takes none."""


A = TypeVar("A", bound=Arguments)


class Command(Generic[A]):
    """A command type. A subclass that has a `spec` is in the catalogue."""

    spec: ClassVar[CommandSpec]
    arguments: ClassVar[type[Arguments]] = NoArguments
    kinds: ClassVar[frozenset[ComponentKind]] = frozenset(ComponentKind)  # that take it by default

    def is_for(self, component: Component) -> bool:
        """Whether a component takes it: as its capabilities say, else as its kind does."""
        if component.foreign:
            return False
        if component.capabilities:
            return self.spec.name in component.capabilities
        return component.kind in self.kinds

    async def carry_out(self, device: Device, arguments: A) -> Outcome:
        """Tell the device, read its answer. Raises ExchangeEnded or LinkDown, which end the attempt."""
        raise NotImplementedError


SWITCHES: Final = frozenset({ComponentKind.PACK, ComponentKind.OTHER})  # kinds that have contactors


class OpcodeCommand(Command[A]):
    """A command that is one CMD_REQ with two words, done when the device says so."""

    opcode: ClassVar[int]

    def words(self, arguments: A) -> tuple[int, int]:  # noqa: ARG002 - most types have none
        """Return Arg0 and Arg1."""
        return 0, 0

    async def carry_out(self, device: Device, arguments: A) -> Outcome:
        """Give the command and wait for its final answer."""
        return await device.command(self.opcode, self.words(arguments))


class ArmedCommand(OpcodeCommand[A]):
    """A command of two exchanges: the device arms it and gives a token; the token executes it, once and soon."""

    async def carry_out(self, device: Device, arguments: A) -> Outcome:
        """Arm, then execute."""
        return await device.arm_and_execute(self.opcode, self.words(arguments))
