"""From the names of signals in the configuration to the messages of a bus in which they stand."""

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.bus.dbc import can_id_of, load
from gateway.bus.dbc.extraction import Shows, reader, shown
from gateway.bus.frames import codecs_of, dbc_path
from gateway.bus.monitor.restore import HEARTBEATS
from gateway.component import Component
from gateway.errors import ConfigError
from gateway.settings import SignalSection
from gateway.telemetry import Signal

if TYPE_CHECKING:
    from cantools.database.can.message import Message
    from cantools.database.can.signal import Signal as Described

Valid = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Signals of one component that stand in the same data: in one message, under the same values of multiplexers.

    `shown`: which data of that message hold them; None: all. `valid`: which may be believed; None: all.
    """

    component_id: str
    can_id: int
    shown: Shows | None
    valid: Valid | None
    signals: list[Signal]


@dataclass(frozen=True, slots=True)
class _Found:
    """A signal of a message, and how the message travels."""

    message: "Message"
    described: "Described"
    can_id: int
    valid: Valid | None

    @property
    def full_name(self) -> str:
        return f"{self.message.name}.{self.described.name}"

    @property
    def place(self) -> tuple[int, str | None, tuple[int, ...]]:
        """What signals that stand in the same data have in common."""
        return self.can_id, self.described.multiplexer_signal, tuple(self.described.multiplexer_ids or ())


Index = Mapping[str, Sequence[_Found]]  # by name of the signal, and by Message.Signal


class _Bus:
    """The messages of one bus: ours, which components send under ids of their own, and those of others."""

    def __init__(self, dbcs: Sequence[Path]) -> None:
        self._codecs = codecs_of(dbcs)
        messages: dict[str, Message] = {}
        for path in (dbc_path(), *dbcs):
            messages |= load(path).by_name
        self._ours = {name: messages[name] for name in self._codecs}
        foreign = (message for name, message in messages.items() if name not in self._codecs)
        self._foreign = _index(
            _Found(each, signal, can_id_of(each), None) for each in foreign for signal in each.signals
        )

    def find(self, component: Component, name: str) -> _Found:
        """Return the signal that `name` means. Raises ValueError where that is none, or one of several."""
        own = self._own(component)
        found = [*own.get(name, ()), *self._foreign.get(name, ())]
        if not found:
            close = difflib.get_close_matches(name, {**own, **self._foreign}, n=1)
            hint = f'; did you mean "{close[0]}"?' if close else ""
            raise ValueError(f'has no signal "{name}"{hint}')
        if len(found) > 1:
            names = " or ".join(f'"{each.full_name}"' for each in found)
            raise ValueError(f'"{name}" stands in more than one message; write {names}')
        return found[0]

    def _own(self, component: Component) -> Index:
        """Return the signals of the heartbeat that a component of ours sends."""
        if component.foreign:
            return {}
        codec, node = self._codecs[HEARTBEATS[component.kind]], component.address
        message, can_id, valid = self._ours[codec.name], codec.id_for(node), partial(codec.is_valid, node)
        return _index(_Found(message, signal, can_id, valid) for signal in message.signals)


def _index(found: Iterable[_Found]) -> Index:
    index: dict[str, list[_Found]] = defaultdict(list)
    for each in found:
        index[each.described.name].append(each)
        index[each.full_name].append(each)
    return index


def resolve(
    signals: Iterable[SignalSection], components: Mapping[str, Component], dbcs: Mapping[str, Sequence[Path]]
) -> Mapping[str, Sequence[Wanted]]:
    """Return what is wanted of each bus. `dbcs`: the databases of a bus beside ours.

    A component that is not among `components` is passed over: that is told where the configuration is read. Raises
    ConfigError with every name that means nothing, or more than one thing.
    """
    problems: list[str] = []
    buses: dict[str, _Bus] = {}
    wanted: dict[str, dict[object, Wanted]] = defaultdict(dict)
    for each in signals:
        component = components.get(each.component)
        if component is None:
            continue
        if component.bus not in buses:
            buses[component.bus] = _Bus(dbcs[component.bus])
        try:
            found = buses[component.bus].find(component, each.signal)
            shows = shown(found.message, found.described)
        except ValueError as why:
            problems.append(f"telemetry.signals: {each.component}: {why}")
            continue
        fresh = Wanted(each.component, found.can_id, shows, found.valid, [])
        group = wanted[component.bus].setdefault((each.component, found.place), fresh)
        group.signals.append(Signal(each.signal, reader(found.described), each.deadband, each.min_interval_s))
    if problems:
        raise ConfigError(problems)
    return {bus: list(groups.values()) for bus, groups in wanted.items()}
