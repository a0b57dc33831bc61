"""What the parts of the composition share."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.bus.dbc import load
from gateway.bus.described import Described
from gateway.bus.described.compiling import described_of
from gateway.bus.foreign.listening import listenings_of
from gateway.bus.foreign.watch import Listening
from gateway.bus.frames import Codec, codecs_of
from gateway.bus.link import Link
from gateway.bus.monitor import Monitor
from gateway.clock import SystemClock
from gateway.component import Registry
from gateway.ports import ComponentRow, Registration
from gateway.queue.store import SqliteStore
from gateway.settings import PresenceSection, Settings


@dataclass(frozen=True, slots=True)
class Recalled:
    """What the last run left: the live part of components, changed parameters, who was adopted, what was cut off."""

    rows: Mapping[str, ComponentRow]
    parameters: Mapping[str, Any]
    registrations: Sequence[Registration]
    interrupted: int


@dataclass(frozen=True, slots=True)
class Gateway:
    """What more than one part of the composition needs. `monitors` are added once they can be told whom to tell."""

    settings: Settings
    clock: SystemClock
    rng: random.Random
    registry: Registry
    store: SqliteStore
    links: Mapping[str, Link]
    monitors: list[Monitor]

    def codecs(self, bus: str) -> Mapping[str, Codec]:
        """Return the messages of a bus."""
        return codecs_of(next(section.dbc for section in self.settings.bus if section.name == bus))

    def listenings(self, bus: str) -> Mapping[str, Listening]:
        """Return how the components of others on a bus are heard. Raises ConfigError with every problem."""
        here = [section for section in self.settings.component if section.bus == bus and section.heartbeat is not None]
        if not here:
            return {}
        dbcs = next(section.dbc for section in self.settings.bus if section.name == bus)
        return listenings_of(here, [load(path).by_name for path in dbcs])

    def described(self) -> list[Described]:
        """Return the command types that the configuration describes. Raises ConfigError with every problem."""
        dbcs = {section.name: section.dbc for section in self.settings.bus}
        return described_of(self.settings.command, self.settings.component, dbcs)

    def presence_settings(self, component_id: str) -> PresenceSection:
        """Return the presence settings of a component: its own over the general ones."""
        defaults = self.settings.presence
        own = (section for section in self.settings.component if section.id == component_id)
        return next((section.presence(defaults) for section in own), defaults)

    @property
    def config_hash(self) -> str:
        """16 hexadecimal digits that change with the configuration; it holds no secrets, only where they lie."""
        return hashlib.sha256(self.settings.model_dump_json().encode()).hexdigest()[:16]
