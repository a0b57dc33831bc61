"""Who is there: what the bus tells of components, and what may be told to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from gateway.component import Component
from gateway.event import Event
from gateway.presence import Presence, Reason


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the bus knows of a component at this moment.

    `ready`: heard by this process often enough to be spoken to (a component restored as ONLINE is not ready before it
    was heard again). `last_valid`, `deadline`: s, monotonic. `vitals`: what its last heartbeat said (pack_state or
    module_state, contactor_state, fault, pair_state, boot_count, parent_pack …), empty where nothing is decoded.
    """

    presence: Presence
    reason: str | None
    ready: bool
    since_ms: int
    last_seen_ms: int | None
    last_valid: float | None
    deadline: float | None
    flapping: bool = False
    evidence: Mapping[str, Any] = field(default_factory=dict)
    vitals: Mapping[str, int] = field(default_factory=dict)


UNSEEN: Final = Sighting(
    Presence.UNKNOWN,
    str(Reason.NEVER_HEARD),
    ready=False,
    since_ms=0,
    last_seen_ms=None,
    last_valid=None,
    deadline=None,
)


class Roster(Protocol):
    """Who is there, live. Answers from memory; costs nothing."""

    def sighting(self, component_id: str) -> Sighting:
        """Return what is known of a component; of one that nobody watches, as when it is configured no more: UNSEEN."""
        ...


class Watches(Protocol):
    """Those who watch the components, as far as they take orders."""

    def mark(self, component_id: str, presence: Presence, expected_return: int | None = None) -> None:
        """Hold a component for ONLINE or OFFLINE, reason `marked`, until there is evidence to the contrary.

        Stored and told like any other change. Raises KeyError for a stranger.
        """
        ...

    def add(self, component: Component) -> None:
        """Watch one more component, or one that has changed its record."""
        ...


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """One thing the monitor noticed, to be stored as one row change and one event.

    `event`: component_online, component_offline, component_missing, component_restarted, component_degraded,
    component_flapping, component_babbling or component_replaced; None where bus_down, in the same transaction, names
    the component. `presence`, `reason` are those after it. `evidence` and `attributes` go into the event. Times are ms
    since the epoch. `expected_return`: as an operator said; None: nobody did. `time_trusted`: whether `at` was, when
    it was read.
    """

    component_id: str
    event: str | None
    at: int
    presence: Presence
    reason: str | None
    since: int
    last_seen: int | None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    expected_return: int | None = None
    time_trusted: bool = True


Notice = PresenceChange | Event
"""What a monitor has to tell. What it tells in one call belongs in one transaction."""


@dataclass(frozen=True, slots=True)
class ComponentRow:
    """The live part of a component as the store keeps it."""

    component_id: str
    presence: Presence
    reason: str | None
    since: int
    last_seen: int | None
    expected_return: int | None
    serial: int | None
    evidence: Mapping[str, Any]
