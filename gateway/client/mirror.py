"""What the retained topics say, kept as live maps. No IO, no clock.

Any of it may come twice, late, or from a connection of the gateway that has long been replaced: what is older than what
is known never takes its place.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from gateway.payloads import GatewayOffline, GatewayOnline, PresenceState, QueueState
from gateway.presence import Presence

S = TypeVar("S", PresenceState, QueueState)


@dataclass(frozen=True, slots=True)
class ComponentPresence:
    """Whether a component is heard. `told`: what the gateway said last; `current`: whether that still holds."""

    told: PresenceState
    current: bool

    @property
    def presence(self) -> Presence:
        """What is known now: UNKNOWN where nobody can tell, as the gateway or the way to it is gone."""
        return self.told.presence if self.current else Presence.UNKNOWN

    @property
    def online(self) -> bool:
        """Whether it is ONLINE, and that is sure."""
        return self.presence is Presence.ONLINE


class Mirror:
    """The gateway, its components and their queues, as of the last messages."""

    def __init__(self) -> None:
        self.gateway: GatewayOnline | GatewayOffline | None = None
        self.presence: Mapping[str, ComponentPresence] = _Presences(self)
        self._queues: dict[str, QueueState] = {}
        self.queues: Mapping[str, QueueState] = MappingProxyType(self._queues)
        self._presences: dict[str, PresenceState] = {}
        self._birth: GatewayOnline | None = None
        self._heard = False  # the gateway's state, since we are connected

    @property
    def in_touch(self) -> bool:
        """Whether what is known holds now: we have a connection to the broker, and the gateway has one."""
        return self._heard and isinstance(self.gateway, GatewayOnline)

    @property
    def complete(self) -> bool:
        """Whether the gateway's state is known, and the presence of every component that it named."""
        return self._heard and (not isinstance(self.gateway, GatewayOnline) or self._presences.keys() >= self._named())

    @property
    def newest_seq(self) -> int:
        """The newest event that any state reflects; 0: none that we know of."""
        seqs = (told.as_of_seq for states in (self._presences, self._queues) for told in states.values())
        return max(seqs, default=0)

    def lost_touch(self) -> None:
        """Our connection to the broker is gone: whatever happens now, we do not hear of it."""
        self._heard = False

    def take_state(self, told: GatewayOnline | GatewayOffline) -> bool:
        """Take in what the gateway's own topic says. Returns whether the gateway is there anew.

        A Will or birth that is older than the newest birth is about a connection that is no more.
        """
        birth = self._birth
        replaced = _has_replaced(birth, told)
        if birth is not None and not replaced and (told.epoch, told.session) < (birth.epoch, birth.session):
            return False
        self.gateway, self._heard = told, True
        if isinstance(told, GatewayOffline) or told == birth:
            return False
        self._birth = told
        for states in (self._presences, self._queues):
            for component_id in [each for each in states if replaced or each not in told.components]:
                del states[component_id]
        return True

    def take_presence(self, component_id: str, told: PresenceState | None) -> None:
        """Take in what a component's presence topic says; None: it was cleared, the component is no more."""
        _take(self._presences, component_id, told)

    def take_queue(self, component_id: str, told: QueueState | None) -> None:
        """Take in what a component's queue topic says; None: it was cleared, the component is no more."""
        _take(self._queues, component_id, told)

    def _named(self) -> frozenset[str]:
        return frozenset() if self._birth is None else frozenset(self._birth.components)


class _Presences(Mapping[str, ComponentPresence]):
    """A view: what is told of each component, AND whether the gateway is in touch."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    def __getitem__(self, component_id: str) -> ComponentPresence:
        return ComponentPresence(self._mirror._presences[component_id], self._mirror.in_touch)  # noqa: SLF001 - its view

    def __iter__(self) -> Iterator[str]:
        return iter(self._mirror._presences)  # noqa: SLF001 - its view

    def __len__(self) -> int:
        return len(self._mirror._presences)  # noqa: SLF001 - its view

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{name}: {each.presence}' for name, each in self.items())}}}"


def _has_replaced(birth: GatewayOnline | None, told: GatewayOnline | GatewayOffline) -> bool:
    """Whether the gateway was born after `birth` and yet counts from an earlier epoch: it has a new database."""
    return (
        birth is not None
        and isinstance(told, GatewayOnline)
        and told.epoch <= birth.epoch
        and told.started_at > birth.started_at
    )


def _take(states: dict[str, S], component_id: str, told: S | None) -> None:
    known = states.get(component_id)
    if told is None:
        states.pop(component_id, None)
    elif known is None or (told.epoch, told.as_of_seq) >= (known.epoch, known.as_of_seq):
        states[component_id] = told
