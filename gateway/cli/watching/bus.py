"""The traffic of one CAN bus, decoded: our messages by component, others by the bus's own databases, the rest raw."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.bus.dbc import load
from gateway.bus.dbc.decoding import Value, decode
from gateway.bus.frames import Codec, codecs_of, dbc_path
from gateway.bus.link import Link
from gateway.bus.wire import EXTENDED, EXTENDED_MASK, BusEvent, Filter, Frame, Lane
from gateway.cli.render import text
from gateway.cli.watching.screen import Screen
from gateway.clock import Clock
from gateway.errors import ConfigError
from gateway.settings import BusSection, Settings

if TYPE_CHECKING:
    from cantools.database.can.message import Message

WITHIN_ONE_PROCESS: Final = "virtual"
EVERYTHING: Final = Filter(0, 0)
_HIDDEN: Final = frozenset({"E2E_CRC"})  # in a line for people


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame that a database describes.

    `component`, `node`: whose it is, where it is a message of ours; `sound`: its length, CRC and counter are right.
    """

    message: str
    values: Mapping[str, Value]
    component: str | None = None
    node: int | None = None
    sound: bool = True


class Dictionary:
    """Knows the messages of a bus: ours, for every node, and those of its own databases. Raises ConfigError."""

    def __init__(self, settings: Settings, bus: BusSection) -> None:
        self._codecs = {codec.can_id: codec for codec in codecs_of(bus.dbc).values()}
        self._shifts = {codec.node_shift for codec in self._codecs.values()}
        self._ours: dict[str, Message] = dict(load(dbc_path()).by_name)
        self._others: dict[int, Message] = {}
        for path in bus.dbc:
            self._ours.update(load(path).by_name)
            self._others.update(load(path).by_id)
        ours = (each for each in settings.component if each.bus == bus.name and each.heartbeat is None)
        self._names = {each.node: each.id for each in ours}

    def read(self, can_id: int, data: bytes) -> Decoded | None:
        """Return what a frame says; None: nobody has told what its id means, or it does not fit that."""
        codec = self._codec(can_id)
        if codec is not None:
            node = codec.node_of(can_id)
            values = decode(self._ours[codec.name], data, names=True)
            return Decoded(codec.name, values, self._names.get(node), node, codec.is_valid(node, data))
        message = self._others.get(can_id)
        values = {} if message is None else decode(message, data, names=True)
        return Decoded(message.name, values) if message is not None and values else None

    def _codec(self, can_id: int) -> Codec | None:
        found = (self._codecs.get(can_id & ~(0xFF << shift)) for shift in self._shifts)
        return next((codec for codec in found if codec is not None), None)


class Spectator:
    """Shows the frames of a bus; `component`: only those of one."""

    def __init__(self, bus: str, words: Dictionary, screen: Screen, clock: Clock, component: str | None) -> None:
        self._bus = bus
        self._words = words
        self._screen = screen
        self._clock = clock
        self._component = component

    def take(self, frames: Sequence[Frame]) -> None:
        """Show some frames; they carry the machine's own time, and are shown in the wall's."""
        ahead_s = self._clock.wall_ms() / 1000 - self._clock.monotonic()
        for can_id, data, at in frames:
            decoded = self._words.read(can_id, data)
            if self._component is None or (decoded is not None and decoded.component == self._component):
                self._show(can_id, data, decoded, round((at + ahead_s) * 1000))

    def condition(self, event: BusEvent) -> None:
        """Tell of a change of the bus itself."""
        self._screen.note(f"{self._bus} {event.condition}" + (f": {event.detail}" if event.detail else ""))

    def _show(self, can_id: int, data: bytes, decoded: Decoded | None, at_ms: int) -> None:
        spelled = f"{can_id & EXTENDED_MASK:08X}" if can_id & EXTENDED else f"{can_id:03X}"
        line = f"{self._bus}  {spelled:>8}  "
        record: dict[str, Any] = {"bus": self._bus, "id": spelled, "data": data.hex()}
        if decoded is None:
            self._screen.show(f"{line}[{len(data)}]  {data.hex(' ').upper()}", record, at_ms)
            return
        whose = decoded.component or ("" if decoded.node is None else f"node 0x{decoded.node:02X}")
        values = "  ".join(f"{name}={text(value)}" for name, value in decoded.values.items() if name not in _HIDDEN)
        hurt = "" if decoded.sound else f"  ({data.hex(' ').upper()}: length, CRC or counter wrong)"
        record |= {"message": decoded.message, "component": decoded.component, "node": decoded.node}
        record |= {"valid": decoded.sound, "signals": decoded.values}
        self._screen.show(f"{line}{decoded.message}  {whose:<12}  {values}{hurt}", record, at_ms)


async def spectate(settings: Settings, bus: str, screen: Screen, clock: Clock, component: str | None) -> None:
    """Show what is said on a bus, for ever; it is opened again whenever it is lost. Raises ConfigError."""
    section = next((each for each in settings.bus if each.name == bus), None)
    if section is None:
        raise ConfigError([f"there is no bus {bus}; there are: {', '.join(each.name for each in settings.bus)}"])
    if section.interface == WITHIN_ONE_PROCESS:
        raise ConfigError([f"bus {bus}: nobody outside the gateway's own process hears a virtual bus"])
    link = Link(section.name, section, clock, random.Random())  # noqa: S311 - spreads retries
    spectator = Spectator(bus, Dictionary(settings, section), screen, clock, component)
    link.listen(Lane.ANSWERS, [EVERYTHING], spectator.take)
    link.watch(spectator.condition)
    await asyncio.create_task(link.run(), name=f"link {bus}")
