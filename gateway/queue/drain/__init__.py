"""Works the queues off: one operation per component at a time, several components at once, in the order of processing.

A component gets a turn when it has come back and settled, when work for it arrives while it is here, when a retry is
due, or when somebody asks. `Schedule` shares the turns out, `Turns` fills them, `Attempts` speaks to the devices,
`take_step` writes, `Expiry` clears away what has waited too long, `Passing` what was not to wait at all; `Barriers`
knows what waits for several components at once, and `Loads` how busy each is. Here they are tied together.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Final

from gateway.clock import Clock
from gateway.component import Registry
from gateway.errors import Code, Refusal
from gateway.event import Event
from gateway.operation import Mode, Operation, Reach, RequestType
from gateway.ports import (
    Commands,
    ComponentLoad,
    DrainReport,
    ExchangeTimes,
    Executor,
    Reader,
    Roster,
    Store,
    Tx,
)
from gateway.queue.drain.attempt import Attempts
from gateway.queue.drain.barrier import Barriers
from gateway.queue.drain.expiry import Expiry
from gateway.queue.drain.load import Loads
from gateway.queue.drain.manual import ManualDrains
from gateway.queue.drain.obstacle import is_asleep
from gateway.queue.drain.passing import Passing
from gateway.queue.drain.patience import Alarm, write
from gateway.queue.drain.probe import Probe
from gateway.queue.drain.schedule import Lane, Schedule
from gateway.queue.drain.turn import Turns
from gateway.settings import Parameters, PresenceSection


class Drain:
    """All drains of the gateway; implements `gateway.ports.Drains`.

    `presence`: the presence settings of a component, by its id. `parameters`: those in force. `mode`: how many
    operations a component takes together. `pinned`: components whose serial number the configuration gives; another
    device in their place is never spoken to. `learned`: told of components whose serial number has become known.
    """

    def __init__(
        self,
        *,
        store: Store,
        roster: Roster,
        executor: Executor,
        registry: Registry,
        commands: Commands,
        presence: Callable[[str], PresenceSection],
        parameters: Callable[[], Parameters],
        clock: Clock,
        rng: random.Random,
        mode: Mode = Mode.PRIORITY,
        pinned: Collection[str] = (),
        learned: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._roster = roster
        self._registry = registry
        self._commands = commands
        self._presence = presence
        self._parameters = parameters
        self._clock = clock
        self._rng = rng
        self._schedule = Schedule()
        self._alarm = Alarm()  # the schedule has changed
        self._manual = ManualDrains(clock)
        self._loads = Loads()
        self._expiry = Expiry(store=store, parameters=parameters, clock=clock)
        self._passing = Passing(store=store, roster=roster, registry=registry, clock=clock)
        self._probe = Probe(
            store=store, executor=executor, registry=registry, clock=clock, pinned=pinned, learned=learned
        )
        self._attempts = Attempts(
            store=store,
            roster=roster,
            executor=executor,
            registry=registry,
            commands=commands,
            parameters=parameters,
            clock=clock,
        )
        self._turns = Turns(
            store=store,
            roster=roster,
            registry=registry,
            parameters=parameters,
            clock=clock,
            schedule=self._schedule,
            attempts=self._attempts,
            probe=self._probe,
            manual=self._manual,
            loads=self._loads,
            alarm=self._alarm,
            mode=mode,
        )
        self._returned: set[str] = set()  # components back whose return is not stored yet
        self._returns = Alarm()
        self._barriers = Barriers(roster, self._returns.ring)
        self._hearing: Final[Mapping[str, Callable[[Event], None]]] = {
            "request_queued": self._queued,
            "request_retried": self._retried,
            "request_cancelled": self._barriers.ended,
            "request_expired": self._barriers.ended,
            "request_failed": self._barriers.ended,
            "params_changed": self._params_changed,
            "component_offline": lambda event: self._went_away(event.subject),
            "bus_down": self._bus_down,
            "component_online": self._flapped,
            "component_restarted": self._flapped,
        }
        store.subscribe(self._committed)

    async def run(self) -> None:
        """Drain until cancelled. An attempt under way then stays PROCESSING: the next start decides about it."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._welcome(), name="drain: returns")
                tasks.create_task(self._expiry.run(), name="drain: expiry")
                tasks.create_task(self._passing.run(), name="drain: what was to pass through")
                while True:
                    now = self._clock.monotonic()
                    for lane in self._schedule.take(now, self._parameters().max_concurrent_operations):
                        tasks.create_task(self._turns.turn(lane), name=f"drain: {lane.component_id}")
                    due = self._schedule.next_due(now)
                    await self._alarm.wait(None if due is None else due - now)
        finally:
            self._manual.end_all()

    def ready(self, component_id: str, restarted: bool = False) -> None:  # noqa: FBT001, FBT002 - called back by position
        """A component is here: it came back, was heard for the first time, or booted (`restarted`)."""
        lane = self._lane(component_id)
        if lane is None:
            return
        settings = self._presence(component_id)
        settle_ms = settings.settle_ms + self._rng.uniform(0, settings.settle_jitter_ms)
        lane.returned(self._clock.monotonic() + settle_ms / 1000)
        self._probe.forget(component_id)
        if restarted:
            self._attempts.restarted(component_id)
        else:
            self._attempts.went_away(component_id)
        self._returned.add(component_id)
        self._returns.ring()

    def begin(self, component_id: str, *, max_operations: int, process_proxy_queue: bool, held: bool = False) -> str:
        """Start a drain that somebody asks for, or hold it until its `release`; returns its id.

        Raises Refusal COMPONENT_NOT_FOUND, and RATE_LIMITED where too many are under way.
        """
        component = self._registry.get(component_id)
        if component is None or not component.configured:
            raise Refusal(Code.COMPONENT_NOT_FOUND, f"There is no component {component_id[:64]!r}.")
        proxies = sorted(component.proxies) if process_proxy_queue else []
        drain_id, errand = self._manual.begin(component_id, max_operations, proxies)
        if not held:
            self._turns.send(errand)
        return drain_id

    def release(self, drain_id: str, *, go: bool) -> None:
        """Let a drain that is held go, or end it undone."""
        if go:
            self._turns.send(self._manual.errand(drain_id))
        else:
            self._manual.end(drain_id)

    async def finished(self, drain_id: str) -> DrainReport:
        """Wait for the end of a drain. Raises Refusal REQUEST_NOT_FOUND where none of that id is known (any more)."""
        return await self._manual.finished(drain_id)

    def load(self, component_id: str) -> ComponentLoad:
        """Return how busy a component is, as far as its drains know."""
        return self._loads.of(component_id)

    @property
    def active(self) -> int:
        """How many operations are PROCESSING."""
        return self._turns.active

    def counters(self) -> dict[str, int]:
        """Return how many attempts ended in which action since the start, and how many `broken` by our own fault."""
        return {**self._turns.ends, "broken": self._attempts.broken}

    async def _welcome(self) -> None:
        """Store who is back, and what may start together, so that it is due; then wake whoever has work."""
        await self._take_up()
        while True:
            await self._returns.wait(None)
            returned, opened = sorted(self._returned), self._barriers.open()
            self._returned.clear()
            if not returned and not opened:
                continue
            now_ms = self._clock.wall_ms()
            welcome = partial(_welcomed, returned=returned, parents=list(opened), now_ms=now_ms)
            carriers, urgent = await write(self._store, welcome)
            for component_id in urgent:
                self._wake(component_id, urgent=True)
            for component_id in (*returned, *carriers, *chain.from_iterable(opened.values())):
                self._wake(component_id)

    async def _take_up(self) -> None:
        """Learn what the last run left: closed barriers, how long exchanges took, work for those that sleep."""
        asleep = [
            each.component_id for each in self._registry if each.configured and self._is_asleep(each.component_id)
        ]
        found = await self._store.read(partial(_found, asleep=asleep, now_ms=self._clock.wall_ms()))
        self._barriers.learn(found.barriers)
        self._loads.seed(found.times)
        for component_id in found.to_wake:
            self._wake(component_id)
        self._returns.ring()

    def _committed(self, events: Sequence[Event]) -> None:
        for event in events:
            hear = self._hearing.get(event.type)
            if hear is not None:
                hear(event)
            if event.wakes:
                urgent = self._is_urgent(event)
                for carrier in event.wakes:
                    self._wake(carrier, urgent=urgent)

    def _is_urgent(self, event: Event) -> bool:
        """Whether EMERGENCY work may be due now: what it tells of is such, and so may be what waited for that."""
        told = event.attributes.get("request", event.attributes)
        spec = self._commands.spec(told.get("command_type", ""))
        return told.get("request_type") == RequestType.EMERGENCY or (spec is not None and spec.reach is Reach.EMERGENCY)

    def _queued(self, event: Event) -> None:
        self._expiry.heard(event)
        self._barriers.queued(event)
        self._passing.doubt(event.subject)

    def _retried(self, event: Event) -> None:
        self._expiry.heard(event)
        self._passing.doubt(event.subject)

    def _went_away(self, component_id: str) -> None:
        self._attempts.went_away(component_id)
        self._passing.doubt(component_id)
        lane = self._lane(component_id)
        if lane is not None:
            lane.doubt()
            if self._is_asleep(component_id):
                self._wake(component_id)

    def _bus_down(self, event: Event) -> None:
        for component_id in event.attributes["components"]:
            self._went_away(component_id)

    def _flapped(self, event: Event) -> None:
        """Take one that comes and goes for ready, too: EMERGENCY work does not wait until it has calmed down."""
        if self._lane(event.subject) is not None:
            sighting = self._roster.sighting(event.subject)
            if sighting.ready and sighting.flapping:
                self.ready(event.subject, event.type == "component_restarted")

    def _params_changed(self, event: Event) -> None:
        self._expiry.heard(event)
        for lane in self._schedule:
            self._wake(lane.component_id)

    def _wake(self, component_id: str, *, urgent: bool = False) -> None:
        """Let a component that is here, or sleeps, have a turn; the return of one that is away will wake it."""
        lane = self._lane(component_id)
        if lane is None:
            return
        sighting = self._roster.sighting(component_id)
        if not sighting.ready and not is_asleep(sighting):
            return
        now = self._clock.monotonic()
        lane.urgent = lane.urgent or urgent
        lane.wake(now if urgent else max(now, lane.settled))
        self._alarm.ring()

    def _is_asleep(self, component_id: str) -> bool:
        return is_asleep(self._roster.sighting(component_id))

    def _lane(self, component_id: str) -> Lane | None:
        """Return the lane of a component that work may be carried to."""
        component = self._registry.get(component_id)
        if component is None or not component.configured:
            return None
        return self._schedule.lane(component_id, component.bus)


@dataclass(frozen=True, slots=True)
class _Found:
    """What the last run left."""

    barriers: Sequence[Operation]
    times: Mapping[str, ExchangeTimes]
    to_wake: Sequence[str]


def _found(reader: Reader, *, asleep: Sequence[str], now_ms: int) -> _Found:
    """Read what the last run left. `asleep`: whoever sleeps; `to_wake` are those whom something was queued to wake."""
    to_wake = [each for each in asleep if reader.next_due(each, now_ms, reach=Reach.SLEEPING) is not None]
    return _Found(reader.barriers(), reader.exchange_times(), to_wake)


def _welcomed(tx: Tx, *, returned: Sequence[str], parents: Sequence[str], now_ms: int) -> tuple[set[str], list[str]]:
    """Store that components are back. Returns whose work waited for one of them, and who has EMERGENCY work."""
    carriers = {carrier for component_id in returned for carrier in tx.returned(component_id)}
    for parent_id in parents:
        tx.open_barrier(parent_id, now_ms)
    urgent = [each for each in returned if tx.next_due(each, now_ms, reach=Reach.EMERGENCY) is not None]
    return carriers, urgent
