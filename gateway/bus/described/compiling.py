"""From the tables of the configuration to what can be carried out: everything that may be wrong is found here."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.bus.commands import Catalogue
from gateway.bus.dbc import load
from gateway.bus.described import Described
from gateway.bus.described.messages import MessageWay, Request, Response
from gateway.bus.described.values import Known, argument_of, extremes, model_of
from gateway.bus.foreign.listening import listening_of
from gateway.bus.frames import codecs_of
from gateway.bus.wire import EXTENDED_MASK
from gateway.errors import ConfigError
from gateway.ports import CommandSpec
from gateway.settings import CommandSection, ComponentSection
from gateway.settings.commands import NODE, DataSection, UdsSection, Value

if TYPE_CHECKING:
    from cantools.database.can.message import Message

    from gateway.bus.described.uds import UdsWay
    from gateway.bus.wire import Filter

NEEDS_EXTRA: Final = "uds needs what is not installed: pip install 'bms-gateway[uds]'"


def described_of(
    commands: Iterable[CommandSection], components: Iterable[ComponentSection], dbcs: Mapping[str, Sequence[Path]]
) -> list[Described]:
    """Return the command types that are described. Raises ConfigError with every problem.

    `components`: of the gateway; `dbcs`: the databases of each bus. Who a command names must be among them.
    """
    made: list[Described] = []
    problems: list[str] = []
    by_id = {component.id: component for component in components}
    workshop = _Workshop(dbcs, by_id.values())
    for command in commands:
        try:
            made.append(workshop.make(command, [by_id[name] for name in dict.fromkeys(command.components)]))
        except (ValueError, ConfigError) as why:
            found = why.problems if isinstance(why, ConfigError) else [str(why)]
            problems += [f"command {command.name}: {problem}" for problem in found]
    if problems:
        raise ConfigError(problems)
    return made


class _Workshop:
    """Makes command types. What it reads of a bus it reads once."""

    def __init__(self, dbcs: Mapping[str, Sequence[Path]], components: Collection[ComponentSection]) -> None:
        self._dbcs = dbcs
        self._components = components
        self._taken = {command.spec.name for command in Catalogue()}
        self._messages: dict[str, Mapping[str, Message]] = {}
        self._ours: dict[str, tuple[Filter, ...]] = {}
        self._heard: dict[str, Sequence[tuple[str, Filter]]] = {}

    def make(self, command: CommandSection, components: Sequence[ComponentSection]) -> Described:
        """Make a command type. Raises ValueError, ConfigError."""
        if command.name in self._taken:
            raise ValueError("the gateway has a command type of its own of that name")
        _check_arguments(command)
        ways = {component.id: self._way(command, component) for component in components}
        spec = CommandSpec(command.name, command.safety_class, command.timeout_s)
        return Described(spec, model_of(command.name, command.arguments), ways)

    def _way(self, command: CommandSection, component: ComponentSection) -> "MessageWay | UdsWay":
        way = self._by_messages(command, component) if command.uds is None else _by_uds(command.uds)
        for known in extremes(command.arguments):
            way.check(known)
        self._check_id(component.bus, way.request_id)
        return way

    def _by_messages(self, command: CommandSection, component: ComponentSection) -> MessageWay:
        assert command.request is not None
        own: Known = {} if component.node is None else {NODE: component.node}
        if not own and NODE in _places(command):
            raise ValueError(f"{{node}} needs the node of {component.id}")
        request = Request.of(command.request, self._message(component.bus, command.request.message))
        response = None
        if command.response is not None:
            response = Response.of(command.response, self._message(component.bus, command.response.message))
        return MessageWay(request, response, own)

    def _message(self, bus: str, name: str) -> "Message":
        messages = self._messages_of(bus)
        message = messages.get(name)
        if message is None:
            close = difflib.get_close_matches(name, messages, n=1)
            hint = f'; did you mean "{close[0]}"?' if close else ""
            raise ValueError(f'the databases of bus {bus} have no message "{name}"{hint}')
        return message

    def _messages_of(self, bus: str) -> "Mapping[str, Message]":
        if bus not in self._messages:
            found: dict[str, Message] = {}
            for path in self._dbcs[bus]:
                found |= load(path).by_name
            self._messages[bus] = found
        return self._messages[bus]

    def _check_id(self, bus: str, request_id: int) -> None:
        """Refuse an id that is not ours to ask under.

        What our own protocol says is said by our own commands, with their guards; and what a component is heard by is
        no sign of its life when we send it.
        """
        if bus not in self._ours:
            self._ours[bus] = tuple(codec.filter for codec in codecs_of(self._dbcs[bus]).values())
        if any(request_id & wanted.mask == wanted.can_id for wanted in self._ours[bus]):
            raise ValueError(f"id {request_id & EXTENDED_MASK:#x} is one of the gateway's own protocol")
        if bus not in self._heard:
            self._heard[bus] = tuple(self._heard_on(bus))
        for component_id, own in self._heard[bus]:
            if request_id & own.mask == own.can_id & own.mask:
                raise ValueError(f"id {request_id & EXTENDED_MASK:#x} is one by which {component_id} is heard")

    def _heard_on(self, bus: str) -> "Iterator[tuple[str, Filter]]":
        """Yield by which frames the components of others on a bus are heard, each with the component."""
        for component in self._components:
            if component.bus == bus and component.heartbeat is not None:
                with suppress(ConfigError):  # whoever listens tells of it
                    listening = listening_of(component.heartbeat, component.node, self._messages_of(bus))
                    yield from ((component.id, own) for own in listening.owned)


def _by_uds(section: UdsSection) -> "UdsWay":
    try:
        from gateway.bus.described.uds import UdsWay  # noqa: PLC0415 - what it needs is an extra
    except ImportError as why:
        raise ValueError(NEEDS_EXTRA) from why
    return UdsWay.of(section)


def _check_arguments(command: CommandSection) -> None:
    """Every place must be that of an argument, and every argument must have one."""
    places = _places(command)
    unknown = sorted(places - command.arguments.keys() - {NODE})
    if unknown:
        raise ValueError(f"there is no argument {unknown[0]}")
    idle = sorted(command.arguments.keys() - places)
    if idle:
        raise ValueError(f"argument {idle[0]} is used nowhere")


def _places(command: CommandSection) -> set[str]:
    values: list[Value] = []
    if command.request is not None:
        values += command.request.signals.values()
    if command.response is not None:
        values += command.response.match.values()
        for alternatives in (command.response.ok, command.response.pending, command.response.declined):
            values += [value for each in alternatives.values() for value in each]
    named = {argument_of(value) for value in values} - {None}
    data = command.uds.data if command.uds is not None else []
    return {name for name in named if name} | {part.argument for part in data if isinstance(part, DataSection)}
