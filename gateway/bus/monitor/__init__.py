"""The monitor of one bus: hears heartbeats, gives verdicts on silence, and tells whoever keeps and uses them.

What it finds goes to the `sink` at once and in order: one call holds what belongs in one transaction. The sink must
neither block nor await. `on_ready` is called after it, when a component can be spoken to: after its return, when one
that was restored as ONLINE is heard again, after a boot (its answers are forgotten then), and when a flapping one has
settled.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from gateway.bus.foreign.ears import Ears
from gateway.bus.foreign.few import few
from gateway.bus.foreign.rhythm import Beat
from gateway.bus.foreign.watch import ForeignWatch, Listening
from gateway.bus.frames import Codec
from gateway.bus.monitor.discovery import KINDS, Strangers
from gateway.bus.monitor.health import Blame, BusHealth, Observer
from gateway.bus.monitor.heartbeat import Heartbeats, NodeWatch
from gateway.bus.monitor.notices import Notices, OnReady, Sink, is_usable
from gateway.bus.monitor.restore import Means, watch_for
from gateway.bus.monitor.speakers import speaker
from gateway.bus.watch import Watch
from gateway.bus.wire import BusEvent, Condition, Filter, Frame, Lane, Wire
from gateway.clock import Clock
from gateway.component import Component
from gateway.ports import ComponentRow, Sighting
from gateway.presence import Finding, Presence, Reason, State
from gateway.settings import PresenceSection

log = logging.getLogger(__name__)

MOST_FILTERS: Final = 256  # for components of others: half of what a socket takes, since it serves others, too
TICK_S: Final = 0.25  # how often to look even if nothing is due: so a stall of ours is always noticed
_NEVER: Final = float("inf")


def suspended_s() -> float:
    """Return how long this machine has been suspended since it booted: Linux's monotonic clock stands still then."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()


class Monitor:
    """Presence of all components of one bus.

    Args:
        wire: where the frames come from; the monitor subscribes itself. It must tell the condition UP when it is.
        components: those of this bus, each with its presence settings.
        codecs: our messages, by name.
        listenings: how components of others are heard, by component_id.
        clock: both clocks; the monotonic one is that of the frames' arrival times.
        rows: what the store remembers, by component_id.
        sink: takes what is to be stored.
        on_ready: told a component_id that can be spoken to, and whether it has booted.
        suspended: how long the machine has been suspended in all, s.
        known_nodes: strangers that were told of in an earlier life, and are not to be told of again.
        sleep_until: waits for a time of the monotonic clock, where that is not the machine's.
    """

    def __init__(
        self,
        *,
        wire: Wire,
        components: Iterable[tuple[Component, PresenceSection]],
        codecs: Mapping[str, Codec],
        clock: Clock,
        rows: Mapping[str, ComponentRow],
        sink: Sink,
        on_ready: OnReady,
        suspended: Callable[[], float] = suspended_s,
        known_nodes: Collection[int] = (),
        listenings: Mapping[str, Listening] | None = None,
        sleep_until: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self.name = wire.name
        self._sleep_until = sleep_until or self._sleep
        self._wire, self._clock, self._suspended = wire, clock, suspended
        self._means = Means({name: codecs[name] for name in KINDS}, listenings or {})
        self._health = BusHealth(clock.monotonic())
        self._observer = Observer(suspended())
        self._notices = Notices(wire.name, self._health, clock, sink, on_ready)
        self._ears = Ears(self._unusual_voice)
        self._heartbeats = Heartbeats(self._unusual, self._unknown, self._ears.find)
        self._strangers = Strangers(self._means.codecs.values(), known_nodes)
        self._watches: dict[str, Watch] = {}
        self._frames = self._invalid = 0
        self._tick_s, self._tick_at = TICK_S, clock.monotonic()
        for component, section in components:
            self.add(component, section, rows.get(component.component_id))
        self._listened = self._filters()
        wire.listen(Lane.PRESENCE, self._listened, self.receive)
        wire.watch(self.bus_event)

    # --- whom it watches --------------------------------------------------------------------------------------------

    def add(self, component: Component, section: PresenceSection, row: ComponentRow | None = None) -> None:
        """Watch one more component, at the start or later; or one whose record has changed.

        Whoever was watched at its node before is so no more. What is known of a component that stays where it is stays.
        """
        watch = watch_for(component, section, self._means, row, self._clock)
        before = self._watches.get(component.component_id)
        if before is not None and before.listens_as(watch):
            before.component, before.policy = component, watch.policy
            return
        self.drop(component.component_id)
        for other in [each for each in self._watches.values() if each.listens_as(watch)]:
            self.drop(other.component.component_id)
        self._watches[component.component_id] = watch
        if isinstance(watch, NodeWatch):
            self._heartbeats.by_id[watch.can_id] = watch
        elif isinstance(watch, ForeignWatch):
            self._ears.add(watch)
        shortest_s = min(watch.window_s, watch.policy.offline_after_min_s)  # of those it may yet learn
        self._tick_s = min(self._tick_s, shortest_s / 2)  # a deadline that is set now is seen before it is due
        if is_usable(watch):
            self._notices.note(watch, (), was_usable=False)

    def drop(self, component_id: str) -> None:
        """Watch a component no more, if it was watched."""
        watch = self._watches.pop(component_id, None)
        if isinstance(watch, NodeWatch):
            del self._heartbeats.by_id[watch.can_id]
        elif isinstance(watch, ForeignWatch):
            self._ears.drop(watch)

    def _filters(self, resting: Collection[str] = ()) -> list[Filter]:
        """Return what to listen for: all nodes of ours that may come, and whatever the others say."""
        ours = [codec.filter for codec in self._means.codecs.values()]
        awake = (listening for name, listening in self._means.listenings.items() if name not in resting)
        theirs = (each for listening in awake for each in listening.filters)
        return ours + few(theirs, MOST_FILTERS)

    def rest(self, component_ids: Collection[str]) -> None:
        """Listen for these components of others no more, until this is called again: somebody else does."""
        before, self._listened = self._listened, self._filters(component_ids)
        self._wire.relisten(Lane.PRESENCE, before, self._listened)

    @property
    def foreign(self) -> Mapping[str, ForeignWatch]:
        """The components of others, by component_id."""
        return {name: watch for name, watch in self._watches.items() if isinstance(watch, ForeignWatch)}

    def mark(self, component_id: str, presence: Presence, expected_return: int | None = None) -> None:
        """Hold a component for ONLINE or OFFLINE until there is evidence to the contrary. Raises KeyError.

        `expected_return`: ms since the epoch, of one that is OFFLINE.
        """
        watch, now = self._watches[component_id], self._clock.monotonic()
        was_usable = is_usable(watch)
        found = watch.mark(presence, now)
        self._notices.note(watch, found, was_usable=was_usable, expected_return=expected_return)
        self._notices.flush()

    # --- what others ask --------------------------------------------------------------------------------------------

    def __contains__(self, component_id: object) -> bool:
        return component_id in self._watches

    def sighting(self, component_id: str) -> Sighting:
        """Return what is known of a component. Raises KeyError for a stranger."""
        watch = self._watches[component_id]
        return Sighting(
            presence=watch.presence,
            reason=watch.reason and str(watch.reason),
            ready=watch.ready,
            since_ms=watch.since_ms,
            last_seen_ms=self._notices.last_seen_ms(watch),
            last_valid=watch.last_valid,
            deadline=watch.deadline if self._health.is_heard else None,
            flapping=watch.flaps.is_held,
            evidence=watch.evidence,
            vitals=watch.vitals,
        )

    def speaker(self, can_id: int) -> str | None:
        """Return the component that is heard by frames of `can_id`, if it is one."""
        return speaker(can_id, self._watches.values())

    def stats(self) -> dict[str, Any]:
        """Return the figures of this bus for get_health.

        `heard`: the bus's condition, or SILENT. `off_period`: components that do not keep the period declared for them.
        """
        watches = self._watches.values()
        return {
            "heard": self._health.state,
            "frames_judged": self._frames,
            "invalid": self._invalid,
            "strangers": self._strangers.heard,
            "components": len(self._watches),
            "online": sum(watch.presence is Presence.ONLINE for watch in watches),
            "flapping": sum(watch.flaps.is_held for watch in watches),
            "babbling": sum(watch.babbling for watch in watches),
            "observer_troubles": self._observer.troubles,
            "off_period": [name for name, watch in self._watches.items() if watch.period.differs],
        }

    # --- what comes in ----------------------------------------------------------------------------------------------

    def receive(self, frames: Sequence[Frame]) -> None:
        """Take a batch of frames from the wire."""
        if not frames:
            return
        if self._health.revive(frames[-1][2]):
            self._bus_up(frames[0][2])
        self._frames += len(frames)
        if self._health.down_since is not None:  # what came in before that, and is read only now, brings nobody back
            frames = [frame for frame in frames if frame[2] > self._health.down_since]
        self._heartbeats.read(frames)
        self._notices.flush()

    def _unusual(self, watch: NodeWatch, data: bytes, at: float) -> None:
        was_usable, differed = is_usable(watch), watch.period.differs
        self._judged(watch, watch.judge(data, at), was_usable=was_usable, differed=differed)
        self._invalid += watch.data is not data

    def _unusual_voice(self, watch: ForeignWatch, beat: Beat, data: bytes, at: float) -> None:
        was_usable, differed, errors = is_usable(watch), watch.period.differs, watch.errors
        self._judged(watch, watch.judge(beat, data, at), was_usable=was_usable, differed=differed)
        self._invalid += watch.errors > errors

    def _judged(self, watch: Watch, found: Sequence[Finding], *, was_usable: bool, differed: bool) -> None:
        self._notices.note(watch, found, was_usable=was_usable)
        if watch.period.differs and not differed:
            told = (watch.component.component_id, *watch.off_period)
            log.warning("%s speaks every %.3f s by its declaration, every %.3f s by its frames", *told)

    def _unknown(self, frame: Frame) -> None:
        stranger = self._strangers.hear(frame)
        if stranger is None:
            return
        node, kind = stranger.node, stranger.kind
        if any(isinstance(watch, NodeWatch) and watch.component.node == node for watch in self._watches.values()):
            log.warning("%s: node %d sends %s, which its kind does not", self.name, node, stranger.message)
            return
        component_id = f"{self.name[:48]}-{kind.lower()}-{node:02x}"
        while component_id in self._watches:  # somebody was adopted under this name and has moved since
            component_id += ".new"
        attributes = {"component_id": component_id, "node": node, "kind": str(kind), "message": stranger.message}
        self._notices.tell("component_discovered", frame[2], attributes, component_id)

    def bus_event(self, event: BusEvent) -> None:
        """Take a change of the bus's condition."""
        if event.condition is Condition.OVERFLOW:
            self._troubled("overflow", event.at, {"detail": event.detail})
        elif self._health.take(event.condition, event.at) and self._health.is_heard:
            self._bus_up(event.at)
        elif not self._health.is_heard:
            self._bus_down(event.at, event.detail)
        self._notices.flush()

    # --- verdicts ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look whenever something is due, for ever."""
        planned = self._clock.monotonic()
        while True:
            await self._sleep_until(planned)
            planned = self.look(planned)

    async def _sleep(self, until: float) -> None:
        await asyncio.sleep(max(0.0, until - self._clock.monotonic()))

    def look(self, planned: float) -> float:
        """Give the verdicts that are due. `planned`: when this look was to be. Returns when to look next."""
        now = self._clock.monotonic()
        trouble = self._observer.trouble(planned, now, self._suspended())
        if trouble is not None:
            self._wire.read_now()  # what waited meanwhile has its own arrival times
            cause, length_s = trouble
            self._troubled(cause, now, {"duration_ms": round(length_s * 1000)})
        if now >= self._tick_at:
            self._tick(now)
        look_again_at = self._judge_silence(now) if self._health.is_heard else _NEVER
        self._notices.flush()
        return min(look_again_at, self._tick_at, self._next_deadline(now))

    def _tick(self, now: float) -> None:
        """Look at what can wait a little: frames of others, the pace of each component, the end of holds."""
        self._tick_at = now + self._tick_s
        if self._health.sample(self._wire.frames_received(), self._frames, now) and self._health.revive(now):
            self._bus_up(now)
        for watch in self._watches.values():
            was_usable = is_usable(watch)
            self._notices.note(watch, watch.pace(now) + watch.release(now), was_usable=was_usable)

    def _judge_silence(self, now: float) -> float:
        """Judge all whose deadline has passed. Returns when to look again where it is too early to tell."""
        if not self._due(now):
            return _NEVER
        self._wire.read_now()
        self._health.sample(self._wire.frames_received(), self._frames, now)
        due = self._due(now)
        if any(watch.state is State.ONLINE for watch in due):
            online = [watch for watch in self._watches.values() if watch.state is State.ONLINE]
            shortest_s = min(watch.period.seconds or watch.window_s for watch in online)
            blame = self._health.blame(now, len(online), shortest_s)
            if blame is Blame.NOT_YET:
                return self._health.quiet_limit(shortest_s)
            if blame is Blame.BUS:
                self._health.is_silent = True
                self._bus_down(now, "no frame from anybody")
                return _NEVER
        for watch in due:
            self._notices.note(watch, watch.elapse(now), was_usable=is_usable(watch))
        return _NEVER

    def _due(self, now: float) -> list[Watch]:
        return [watch for watch in self._watches.values() if (watch.deadline or _NEVER) <= now]

    def _next_deadline(self, now: float) -> float:
        deadlines = (watch.deadline or _NEVER for watch in self._watches.values())
        return min((deadline for deadline in deadlines if deadline > now), default=_NEVER)

    def _bus_down(self, at: float, detail: str) -> None:
        """Tell of the bus once, and of its components with it."""
        if self._health.down_since is not None:
            return
        self._health.down_since = at
        online = [watch for watch in self._watches.values() if watch.presence is Presence.ONLINE]
        found = [(watch, watch.bus_down(at)) for watch in online]
        names = [watch.component.component_id for watch in online if watch.reason is Reason.BUS_DOWN]
        log.warning("%s: down: %s; %d components with it", self.name, detail or self._health.state, len(names))
        self._notices.tell("bus_down", at, {"bus_state": self._health.state, "detail": detail, "components": names})
        for watch, findings in found:
            self._notices.note(watch, findings, was_usable=True)

    def _bus_up(self, at: float) -> None:
        """Begin to wait for everybody anew; tell of it where the bus was told to be down."""
        for watch in self._watches.values():
            watch.bus_up(at)
        down_since, self._health.down_since = self._health.down_since, None
        if down_since is not None:
            down_ms = round((at - down_since) * 1000)
            log.info("%s: up again after %d ms", self.name, down_ms)
            self._notices.tell("bus_up", at, {"bus_state": self._health.state, "down_ms": down_ms})

    def _troubled(self, cause: str, at: float, facts: Mapping[str, Any]) -> None:
        """We could not listen: nobody's silence counts until it has lasted anew."""
        for watch in self._watches.values():
            watch.gap(at)
        if self._observer.may_report(cause, at):
            log.warning("%s: we could not listen (%s): %s", self.name, cause, dict(facts))
            self._notices.tell("observer_degraded", at, {"cause": cause, **facts})
