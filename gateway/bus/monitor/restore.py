"""How a component is watched when a process begins: what the store remembers, and what that is worth now."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.bus.foreign.watch import ForeignWatch, Listening
from gateway.bus.frames import Codec
from gateway.bus.monitor.heartbeat import NodeWatch
from gateway.bus.watch import Watch
from gateway.clock import Clock
from gateway.component import Component, ComponentKind
from gateway.ports import ComponentRow
from gateway.presence import SLEEP_LIMIT_S, Policy, Presence, Reason, State
from gateway.settings import PresenceSection

HEARTBEATS: Final[Mapping[ComponentKind, str]] = {
    ComponentKind.PACK: "HB_PACK",
    ComponentKind.MODULE: "HB_MODULE",
    ComponentKind.OTHER: "HB_MODULE",
}

FOREIGN_DELTA: Final = 3  # how far a counter may jump, as with ours


@dataclass(frozen=True, slots=True)
class Means:
    """By what the components of a bus are heard: our messages by name, and by component_id how others are heard."""

    codecs: Mapping[str, Codec]
    listenings: Mapping[str, Listening] = field(default_factory=dict)


def watch_for(
    component: Component,
    section: PresenceSection,
    means: Means,
    row: ComponentRow | None,
    clock: Clock,
) -> Watch:
    """Make the watch of one component, as `row` left it. A discovered component is never missing."""
    now = clock.monotonic()
    began = origin(row)
    listening = means.listenings.get(component.component_id)
    if listening is None:
        watch: Watch = _node_watch(component, section, means.codecs, now, began)
    else:
        watch = _foreign_watch(component, section, listening, now, began)
    if row is None:
        watch.since_ms = clock.wall_ms()
        return watch
    watch.since_ms, watch.last_seen_ms, watch.evidence = row.since, row.last_seen, row.evidence
    if (
        began[0] is State.ASLEEP
    ):  # wall time may have been set meanwhile: never more than the limit, never less than none
        watch.since = now - min(max(0.0, (clock.wall_ms() - row.since) / 1000), SLEEP_LIMIT_S)
    return watch


def _node_watch(
    component: Component,
    section: PresenceSection,
    codecs: Mapping[str, Codec],
    now: float,
    began: tuple[State, Reason | None],
) -> NodeWatch:
    codec = codecs[HEARTBEATS[component.kind]]
    policy = Policy.of(section, cycle_ms=codec.cycle_ms, max_delta=codec.max_delta, expected=component.configured)
    return NodeWatch(component, codec, policy, now, began)


def _foreign_watch(
    component: Component,
    section: PresenceSection,
    listening: Listening,
    now: float,
    began: tuple[State, Reason | None],
) -> ForeignWatch:
    policy = Policy.of(section, cycle_ms=None, max_delta=FOREIGN_DELTA, expected=True)
    if listening.counter_max is not None:
        policy = replace(policy, counter_modulo=listening.counter_max + 1)
    return ForeignWatch(component, listening, policy, now, began)


def origin(row: ComponentRow | None) -> tuple[State, Reason | None]:
    """Return where a track starts. Stored as ONLINE: that is still told, but it must be heard again to be used.

    An operator's mark is good for one window more.
    """
    if row is None:
        return State.UNKNOWN, Reason.NEVER_HEARD
    reason = Reason(row.reason) if row.reason in set(Reason) else None
    if row.presence is Presence.ONLINE:
        return (State.MARKED, reason) if reason is Reason.MARKED else (State.RESTORED, None)
    if row.presence is Presence.UNKNOWN:
        return (State.MISSING, reason) if reason is Reason.MISSING else (State.UNKNOWN, Reason.NEVER_HEARD)
    if reason is Reason.DECLARED_SLEEP:
        return State.ASLEEP, reason
    return State.OFFLINE, reason or Reason.HEARTBEAT_TIMEOUT
