"""The turn of one component: ask who it is, then claim, attempt and finish until there is a reason to stop."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from gateway.clock import Clock
from gateway.component import DrainMode, Registry
from gateway.operation import Action, Mode, Operation, Outcome, Reach, Verdict, judge
from gateway.ports import Roster, Sighting, Store
from gateway.queue.drain.attempt import Attempts
from gateway.queue.drain.errand import Errand, queue_processed
from gateway.queue.drain.load import Loads
from gateway.queue.drain.manual import ManualDrains
from gateway.queue.drain.obstacle import is_asleep
from gateway.queue.drain.patience import Alarm, write
from gateway.queue.drain.probe import Probe
from gateway.queue.drain.schedule import BATCH, Lane, Schedule, Standing
from gateway.queue.drain.step import Ended, Step, Terms, take_step
from gateway.settings import Parameters

TURN: Final = 10  # operations after which a component lets others have its place, if they wait
PROBE_AGAIN_S: Final = 10.0  # after a probe without an answer
PAUSE_S: Final = 1.0  # after an attempt that could not begin, and before a look at work that is held up
SLEEPER_PAUSE_S: Final = 10.0  # likewise with a component that sleeps: what keeps it from us ends nobody's sleep
FLAP_LOOK_S: Final = 5.0  # between two looks whether a flapping component has calmed down
RECHECK_S: Final = 60.0  # at most until the next look at a retry: wall time may have been set


class Turns:
    """Gives components their turns. `alarm` is rung when the schedule has changed."""

    def __init__(
        self,
        *,
        store: Store,
        roster: Roster,
        registry: Registry,
        parameters: Callable[[], Parameters],
        clock: Clock,
        schedule: Schedule,
        attempts: Attempts,
        probe: Probe,
        manual: ManualDrains,
        loads: Loads,
        alarm: Alarm,
        mode: Mode,
    ) -> None:
        self._store = store
        self._roster = roster
        self._registry = registry
        self._parameters = parameters
        self._clock = clock
        self._schedule = schedule
        self._attempts = attempts
        self._probe = probe
        self._manual = manual
        self._loads = loads
        self._alarm = alarm
        self._in_batches = mode is Mode.BATCH
        self.active = 0  # operations that are PROCESSING
        self.ends: Counter[str] = Counter()  # attempts by the action they ended in

    async def turn(self, lane: Lane) -> None:
        """Work a component's queue off as far as it goes now."""
        try:
            await self._work_off(lane)
        finally:
            self._schedule.ended(lane)
            self._alarm.ring()

    def send(self, errand: Errand) -> None:
        """Send a drain that was asked for to the next carrier it has to visit; where there is none, it has ended."""
        while errand.stops:
            component = self._registry.get(errand.stops.popleft())
            if component is not None and component.configured:
                lane = self._schedule.lane(component.component_id, component.bus)
                lane.errands.append(errand)
                lane.held = 0.0  # somebody asks: no pause holds it
                lane.wake(self._clock.monotonic())
                self._alarm.ring()
                return
        assert errand.drain_id is not None
        self._manual.end(errand.drain_id)

    async def _work_off(self, lane: Lane) -> None:
        ended: Ended | None = None
        taken = 0
        while True:
            if ended is None:
                await self._ask(lane)
            now, errand = self._clock.monotonic(), lane.errand
            over = self._must_yield(taken, now)
            waits = over or (now < lane.batch_due and not errand.automatic and not errand.exhausted)
            terms = None if over else self._terms(lane, errand, now)
            step = await self._step(lane, ended, terms, closing=None if waits or errand.stops else errand)
            ended = None
            if step.operation is not None:
                taken += 1
                ended = await self._attempt(lane, errand, step.operation)
            elif waits:
                return lane.wake(max(now, lane.batch_due))
            elif errand.automatic:
                lane.automatic = Errand(lane.component_id)
                return self._rest(lane, step.due, asked_at=now)
            else:
                self.send(lane.errands.popleft())

    def _must_yield(self, taken: int, now: float) -> bool:
        """Whether a component that has taken so many operations lets others have its place."""
        if taken >= (BATCH if self._in_batches else TURN) and self._schedule.crowded(now):
            return True
        return self._schedule.overfull(self._parameters().max_concurrent_operations)

    async def _ask(self, lane: Lane) -> None:
        """Ask the component for its serial number, where that is due and has not been done since it was away."""
        sighting, now = self._sighting(lane), self._clock.monotonic()
        if lane.standing is not Standing.ASK or not sighting.ready or now < lane.held:
            return
        if now < self._quiet_until(lane, sighting, now) and not lane.urgent:
            return
        component = self._registry.get(lane.component_id)
        if component is not None and not component.probe:
            lane.standing = Standing.FIT
            return
        doubts = lane.doubts
        serial = await self._probe.ask(lane.component_id, self._parameters().processing_timeout_s)
        standing = None if serial is None else await self._probe.answer(lane.component_id, serial)
        if lane.doubts != doubts:
            return  # it was away or booted meanwhile: the answer is an old one
        if standing is not None:
            lane.standing = standing
        elif self._sighting(lane).ready:
            lane.hold(self._clock.monotonic() + PROBE_AGAIN_S)
            await self._probe.no_answer(lane.component_id)

    def _terms(self, lane: Lane, errand: Errand, now: float) -> Terms | None:
        """Return what may be claimed for `errand` now; None: nothing."""
        reach = None if now < lane.held or errand.exhausted else self._reach(lane, errand, now)
        if reach is None:
            return None
        if errand.component_id != lane.component_id:
            return Terms(lane.component_id, proxy=True, reach=reach, target=errand.component_id)
        proxy = errand.automatic and self._parameters().enable_proxy_processing
        return Terms(lane.component_id, proxy=proxy, reach=reach)

    def _reach(self, lane: Lane, errand: Errand, now: float) -> Reach | None:
        """Return what the component can be given now, as it is and for whom it is asked; None: nothing."""
        sighting = self._sighting(lane)
        reserved = now < self._quiet_until(lane, sighting, now) or (errand.automatic and self._by_hand(lane))
        if is_asleep(sighting):
            return None if reserved or self._probe.is_stranger(lane.component_id) else Reach.SLEEPING
        if lane.standing is not Standing.FIT or not sighting.ready:
            return None
        return Reach.EMERGENCY if reserved else Reach.SETTLED

    async def _step(self, lane: Lane, ended: Ended | None, terms: Terms | None, *, closing: Errand | None) -> Step:
        """Write how the last attempt ended and what comes next. `closing`: the drain that ends if nothing does."""
        told = closing if closing is not None and closing.told else None
        if ended is None and terms is None and told is None:
            return Step()
        if terms is not None:
            lane.due, lane.urgent = None, False  # what is queued from here on wakes it anew
        now, now_ms = self._clock.monotonic(), self._clock.wall_ms()
        end = None
        if told is not None:
            end = partial(queue_processed, told, now, now_ms, time_trusted=self._clock.trusted())
        step = await write(self._store, partial(take_step, now_ms=now_ms, ended=ended, terms=terms, closing=end))
        self.active += (step.operation is not None) - (ended is not None)
        if self._in_batches and step.operation is not None and not step.operation.emergency:
            lane.take_into_batch(now)
        return step

    async def _attempt(self, lane: Lane, errand: Errand, operation: Operation) -> Ended:
        began = self._clock.monotonic()
        errand.take(began)
        self._loads.begin(lane.component_id)
        outcome, sent = await self._attempts.carry_out(operation)
        if outcome.waits_for is not None and self._is_ready(outcome.waits_for):
            outcome = replace(outcome, waits_for=None)  # it is back already: no return would end the waiting
        verdict = self._judge(operation, outcome, sent=sent)
        took_ms = (self._clock.monotonic() - began) * 1000
        self._loads.end(lane.component_id, took_ms, verdict.action)
        lane.urgent = lane.urgent or (operation.emergency and verdict.action is Action.RELEASE)
        errand.count(verdict.action)
        self.ends[verdict.action.value] += 1
        if verdict.action is Action.RELEASE and verdict.waits_for is None:
            self._pause(lane)
        return Ended(operation, verdict, outcome)

    def _judge(self, operation: Operation, outcome: Outcome, *, sent: bool) -> Verdict:
        parameters = self._parameters()
        return judge(
            operation,
            outcome,
            sent=sent,
            now_ms=self._clock.wall_ms(),
            max_retries=parameters.max_retry_attempts if parameters.enable_retry else 0,
        )

    def _pause(self, lane: Lane) -> None:
        """What hindered an operation would hinder the next one, too."""
        sighting, now = self._sighting(lane), self._clock.monotonic()
        if is_asleep(sighting):
            lane.hold(now + SLEEPER_PAUSE_S)
        elif sighting.ready and lane.standing is Standing.FIT:
            lane.hold(now + PAUSE_S)

    def _rest(self, lane: Lane, due_ms: int | None, asked_at: float) -> None:
        """Say when the component wants its next turn, as far as that is known.

        `due_ms`: when work of its is due. `asked_at`: when it was decided what to ask for; by now it may be given more.
        """
        sighting, now = self._sighting(lane), self._clock.monotonic()
        if not (sighting.ready or is_asleep(sighting)) or lane.standing is Standing.STRANGER:
            return  # its return wakes it
        quiet_until = self._quiet_until(lane, sighting, asked_at)
        if asked_at < quiet_until or (sighting.ready and lane.standing is Standing.ASK):
            lane.wake(now if lane.urgent and sighting.ready else quiet_until)
        if due_ms is not None:
            delay_s = (due_ms - self._clock.wall_ms()) / 1000
            lane.wake(now + (min(delay_s, RECHECK_S) if delay_s > 0 else PAUSE_S))

    def _quiet_until(self, lane: Lane, sighting: Sighting, now: float) -> float:
        """Return until when (s, monotonic) only EMERGENCY work may disturb the component."""
        if sighting.flapping:
            return now + FLAP_LOOK_S
        return max(0.0 if lane.errands else lane.settled, lane.batch_due)

    def _by_hand(self, lane: Lane) -> bool:
        component = self._registry.get(lane.component_id)
        return component is not None and component.drain_mode is DrainMode.MANUAL

    def _sighting(self, lane: Lane) -> Sighting:
        return self._roster.sighting(lane.component_id)

    def _is_ready(self, component_id: str) -> bool:
        return self._roster.sighting(component_id).ready
