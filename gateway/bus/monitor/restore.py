"""How a component is watched when a process begins: what the store remembers, and what that is worth now."""

from collections.abc import Mapping
from typing import Final

from gateway.bus.frames import Codec
from gateway.bus.monitor.heartbeat import Watch
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


def watch_for(
    component: Component,
    section: PresenceSection,
    codecs: Mapping[str, Codec],
    row: ComponentRow | None,
    clock: Clock,
) -> Watch:
    """Make the watch of one component, as `row` left it. A discovered component is never missing."""
    codec = codecs[HEARTBEATS[component.kind]]
    policy = Policy.of(section, cycle_ms=codec.cycle_ms, max_delta=codec.max_delta, expected=component.configured)
    now = clock.monotonic()
    state, reason = origin(row)
    watch = Watch(component, codec, policy, now, (state, reason))
    if row is None:
        watch.since_ms = clock.wall_ms()
        return watch
    watch.since_ms, watch.last_seen_ms, watch.evidence = row.since, row.last_seen, row.evidence
    if state is State.ASLEEP:  # wall time may have been set meanwhile: never more than the limit, never less than none
        watch.since = now - min(max(0.0, (clock.wall_ms() - row.since) / 1000), SLEEP_LIMIT_S)
    return watch


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
