"""The command types: one small file each. Adding a type is adding a file to this package; nothing else names it.

Types of other makers' devices are described in the configuration, see `gateway.bus.described`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gateway import wording
from gateway.bus.commands.base import Arguments, Command
from gateway.component import Component
from gateway.errors import Code, MisuseError, Refusal
from gateway.ports import CommandSpec

if TYPE_CHECKING:
    from gateway.bus.described import Described


class Catalogue:
    """All command types: `gateway.ports.Commands`. Iterating yields those of this package."""

    def __init__(self, described: Iterable["Described"] = ()) -> None:
        self._own = {command.spec.name: command for command in _discover(__name__, __path__)}
        self._commands: dict[str, Command[Any] | Described] = {**self._own}
        for command in described:
            if command.spec.name in self._commands:
                raise MisuseError(f"two command types are called {command.spec.name}")
            self._commands[command.spec.name] = command

    def __iter__(self) -> Iterator[Command[Any]]:
        return iter(self._own.values())

    def spec(self, command_type: str) -> CommandSpec | None:
        """Return what the queue must know of a type, or None."""
        command = self._commands.get(command_type)
        return None if command is None else command.spec

    def validate(self, command_type: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments with their defaults.

        Raises Refusal UNKNOWN_COMMAND, or INVALID_ARGUMENT that names the field.
        """
        return self.parse(command_type, arguments)[1].model_dump()

    def capable(self, command_type: str, component: Component) -> bool:
        """Whether a component takes the type."""
        command = self._commands.get(command_type)
        return command is not None and command.is_for(component)

    def parse(self, command_type: str, arguments: Mapping[str, Any]) -> "tuple[Command[Any] | Described, Arguments]":
        """Return a type and its arguments as its model. Raises as `validate` does."""
        command = self._commands.get(command_type)
        if command is None:
            raise Refusal(Code.UNKNOWN_COMMAND, f"There is no command type {command_type!r}.")
        try:
            return command, command.arguments.model_validate(dict(arguments))
        except ValidationError as why:
            first = why.errors()[0]
            field = ".".join(str(part) for part in ("arguments", *first["loc"]))
            what = wording.phrase(first, command.arguments.model_fields)
            raise Refusal(Code.INVALID_ARGUMENT, f"{field}: {what}.", details={"field": field}) from why


def _discover(package: str, path: Sequence[str]) -> Iterator[Command[Any]]:
    """Make one of every command class that a module of the package defines."""
    seen: set[str] = set()
    for module in iter_modules(path):
        for thing in vars(import_module(f"{package}.{module.name}")).values():
            if isinstance(thing, type) and issubclass(thing, Command) and "spec" in vars(thing):
                if thing.spec.name in seen:
                    raise MisuseError(f"two command types are called {thing.spec.name}")
                seen.add(thing.spec.name)
                yield thing()
