"""What a command type is: a name with its class, a model of its arguments, and how a device is told."""

from typing import Annotated, ClassVar, Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from gateway.bus.exchange.device import Device
from gateway.component import ComponentKind
from gateway.operation import Outcome
from gateway.ports import CommandSpec

HARMLESS_TTL_S: Final = 24 * 3600.0
SERVICE_TTL_S: Final = 3600.0

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

    async def carry_out(self, device: Device, arguments: A) -> Outcome:
        """Tell the device, read its answer. Raises ExchangeEnded or LinkDown, which end the attempt."""
        raise NotImplementedError


class OpcodeCommand(Command[A]):
    """A command that is one CMD_REQ with two words, done when the device says so."""

    opcode: ClassVar[int]

    def words(self, arguments: A) -> tuple[int, int]:  # noqa: ARG002 - most types have none
        """Return Arg0 and Arg1."""
        return 0, 0

    async def carry_out(self, device: Device, arguments: A) -> Outcome:
        """Give the command and wait for its final answer."""
        return await device.command(self.opcode, self.words(arguments))


def harmless(name: str, timeout_s: float = 2.0) -> CommandSpec:
    """Describe a type that may be retried freely."""
    return CommandSpec(name, "harmless", HARMLESS_TTL_S, timeout_s)


def service(name: str, timeout_s: float = 2.0, *, survives_boot: bool = False) -> CommandSpec:
    """Describe a type that changes a device in a way service people want."""
    return CommandSpec(name, "service", SERVICE_TTL_S, timeout_s, survives_boot=survives_boot)
