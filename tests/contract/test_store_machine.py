"""The store beside plain lists that say what it must hold, with restarts between any two steps."""

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.errors import Code, Refusal
from gateway.operation import (
    FIRST,
    Action,
    Delivery,
    Ending,
    Mode,
    Operation,
    Outcome,
    Priority,
    Reach,
    RequestType,
    Settlement,
    Status,
    Verdict,
)
from gateway.ports import Reader, Tx
from gateway.settings import Parameters
from tests.doubles import FakeClock
from tests.store_model import AFTER, Entry, Model
from tests.store_scene import StoreScene, scene

TARGETS = ("module-01", "pack-01")
BOUNDS = Parameters(max_requests_per_component=3, max_queue_depth=5, alert_queue_size=2)
LIFE_S = 10
WAITED_FOR = "pack-09"
PRIORITIES = st.sampled_from([Priority.NORMAL, *Priority])


class SpoiledError(Exception):
    """What a job raises to be undone."""


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.runner = asyncio.Runner()
        self.before: StoreScene | None = None
        self.model = Model(self.clock, BOUNDS)
        self.epoch = 0
        self._open()

    def _open(self) -> None:
        self.opened = AsyncExitStack()
        path = Path(self.folder.name) / "queue.db"
        entered = self.opened.enter_async_context(scene(path, self.clock, mode=self.model.mode))
        self.scene = self.runner.run(entered)
        if self.before is not None:
            self.scene.ids = self.before.ids  # ids are never given twice
        self.before = self.scene
        assert self.scene.store.epoch == self.epoch + 1
        self.epoch = self.scene.store.epoch

    def teardown(self) -> None:
        self.runner.run(self.opened.aclose())
        self.runner.close()
        self.folder.cleanup()

    def _write(self, job: Callable[[Tx], Any], *, refused: Code | None = None) -> Any:
        """Run a job; or see it refused, with no event told of it."""
        if refused is None:
            return self.runner.run(self.scene.store.write(job))
        with pytest.raises(Refusal) as why:
            self.runner.run(self.scene.store.write(job))
        assert why.value.code is refused
        return None

    def _new(self, target: str, priority: Priority, shape: str, **told: Any) -> Operation:
        told["expires_at"] = self.clock.wall_ms() + LIFE_S * 1000
        if shape == "open":
            return self.scene.command(target, urgency=FIRST, reach=Reach.EMERGENCY, **told)
        if shape == "wake":
            return self.scene.command(target, priority=priority, reach=Reach.SLEEPING, **told)
        if shape == "armed":
            return self.scene.command(target, priority=priority, arms=True, delivery=Delivery.AT_MOST_ONCE, **told)
        if shape == "command":
            return self.scene.command(target, priority=priority, **told)
        urgent = shape == "EMERGENCY"
        told["priority"] = Priority.CRITICAL if urgent else priority
        told["proxy_component"] = "pack-01" if shape == "PROXY" else None
        return self.scene.pairing(target, request_type=RequestType[shape], **told)

    # --- steps --------------------------------------------------------------------------------------------------------

    @rule(
        to=st.sampled_from(TARGETS),
        priority=PRIORITIES,
        shape=st.sampled_from(["command", "command", "STANDARD", "PROXY", "EMERGENCY", "open", "wake", "armed"]),
        hold=st.sampled_from([None, "h-1"]),
        older_ms=st.sampled_from([0, 0, 5]),
    )
    def enqueue(self, to: str, priority: Priority, shape: str, hold: str | None, older_ms: int) -> None:
        operation = self._new(to, priority, shape, hold_ref=hold)
        operation.created_at -= older_ms  # the clock stepped back
        if not self.model.has_room(operation):
            self._write(lambda tx: tx.enqueue(operation, BOUNDS), refused=Code.QUEUE_FULL)
            return
        self._write(lambda tx: tx.enqueue(operation, BOUNDS))
        entry = self.model.enqueue(operation)
        told = next(event for event in reversed(self.scene.events) if event.type == "request_queued")
        assert told.attributes["queue_position"] == self.model.place(entry)
        assert told.wakes == (entry.carrier,)

    @rule(
        carrier=st.sampled_from(TARGETS),
        proxy=st.booleans(),
        reach=st.sampled_from([Reach.SETTLED, Reach.SETTLED, *Reach]),
        only_for=st.sampled_from([None, None, *TARGETS]),
    )
    def claim(self, carrier: str, proxy: bool, reach: Reach, only_for: str | None) -> None:
        options: dict[str, Any] = {"proxy": proxy, "reach": reach, "target": only_for}
        entry, as_oldest = self.model.next(carrier, **options)
        got = self.runner.run(self.scene.claim(carrier, **options))
        assert (got and got.request_id) == (entry and entry.id)
        if got is None or entry is None:
            return
        held = self.model.numbers_held(entry)
        assert got.sequence not in held
        assert not got.arms or got.partner_sequence not in held | {got.sequence}
        two_sided = got.initiator_component is not None and not entry.is_proxy
        assert (got.partner_sequence is not None) == (two_sided or got.arms)
        assert entry.numbers in {(None, None), (got.sequence, got.partner_sequence)}
        self.model.claim(got, entry, reach, as_oldest=as_oldest)

    @precondition(lambda self: self.model.running())
    @rule(pick=st.randoms(use_true_random=False), action=st.sampled_from(list(AFTER)), waits=st.booleans())
    def finish(self, pick: Random, action: Action, waits: bool) -> None:
        entry = pick.choice(self.model.running())
        not_before = self.clock.wall_ms() + 2000 if action is Action.RETRY else 0
        waits = waits and action is Action.RELEASE
        verdict = {"not_before": not_before, "waits_for": WAITED_FOR if waits else None}
        current = entry.current
        assert current is not None
        done = self.runner.run(self.scene.finish(current, action, Outcome(Ending.UNANSWERED), **verdict))
        self.model.finish(entry, action, not_before=not_before, waits=waits)
        assert (done.status, done.retry_count) == (entry.status, entry.retries)
        again = Verdict(Action.COMPLETE), Outcome(Ending.DONE), self.clock.wall_ms()
        self._write(lambda tx: tx.finish(current, *again), refused=Code.INVALID_STATE_TRANSITION)

    @precondition(lambda self: self.model.entries)
    @rule(pick=st.randoms(use_true_random=False), rejects=st.booleans())
    def end_before_it_begins(self, pick: Random, rejects: bool) -> None:
        entry = pick.choice(self.model.entries)
        now, refused = self.clock.wall_ms(), Outcome(Ending.REFUSED, code=Code.SERIAL_MISMATCH)
        waits = entry.status is Status.QUEUED
        code = None if waits else Code.INVALID_STATE_TRANSITION
        if rejects:
            self._write(lambda tx: tx.reject(entry.id, refused, now), refused=code)
        else:
            self._write(lambda tx: tx.cancel(entry.id, "no longer needed", "tech-anna", now), refused=code)
        if waits:
            self.model.end(entry, Status.FAILED if rejects else Status.CANCELLED)

    @rule(limit=st.sampled_from([1, 100]))
    def expire(self, limit: int) -> None:
        now, over = self.clock.wall_ms(), self.model.over(limit)
        expired = self._write(lambda tx: tx.expire(now, limit))
        assert [each.request_id for each in expired] == [entry.id for entry in over]
        for entry in over:
            self.model.end(entry, Status.EXPIRED)

    @precondition(lambda self: self.model.entries)
    @rule(pick=st.randoms(use_true_random=False))
    def requeue(self, pick: Random) -> None:
        entry = pick.choice([each for each in self.model.entries if each.dead] or self.model.entries)
        now = self.clock.wall_ms()
        until = now + LIFE_S * 1000
        settled = entry.settlement in {Settlement.CAPTURED, Settlement.RELEASED}
        code = None
        if not entry.dead or settled:
            code = Code.INVALID_STATE_TRANSITION
        elif not self.model.has_room(entry.operation):
            code = Code.QUEUE_FULL
        again = self._write(lambda tx: tx.requeue(entry.id, until, BOUNDS, "op-otto", now), refused=code)
        if code is None:
            self.model.requeue(entry, until)
            assert (again.retry_count, again.expires_at, again.progress) == (0, until, None)

    @precondition(lambda self: self.model.entries)
    @rule(pick=st.randoms(use_true_random=False))
    def discard(self, pick: Random) -> None:
        entry = pick.choice([each for each in self.model.entries if each.dead] or self.model.entries)
        now = self.clock.wall_ms()
        code = None if entry.dead and not entry.discarded else Code.INVALID_STATE_TRANSITION
        self._write(lambda tx: tx.discard(entry.id, "seen", "op-otto", now), refused=code)
        if code is None:
            entry.discarded = True
            self.model.told += 1

    @precondition(lambda self: self.model.entries)
    @rule(pick=st.randoms(use_true_random=False), outcome=st.sampled_from(Settlement), ref=st.sampled_from("ab"))
    def settle(self, pick: Random, outcome: Settlement, ref: str) -> None:
        entry = pick.choice([each for each in self.model.entries if each.settlement] or self.model.entries)
        now = self.clock.wall_ms()
        due = Settlement.CAPTURED if entry.release_reason is None else Settlement.RELEASED
        repeats = (entry.settlement, entry.settlement_ref) == (outcome, ref)
        fits = entry.settlement is Settlement.PENDING and outcome is due
        code = None if fits or repeats else Code.INVALID_STATE_TRANSITION
        self._write(lambda tx: tx.settle(entry.id, outcome, ref, "erp", now), refused=code)
        if fits:
            entry.settlement, entry.settlement_ref = outcome, ref
            self.model.told += 1

    @precondition(lambda self: self.model.entries)
    @rule(pick=st.randoms(use_true_random=False), priority=PRIORITIES)
    def set_priority(self, pick: Random, priority: Priority) -> None:
        entry = pick.choice(self.model.queued() or self.model.entries)
        now = self.clock.wall_ms()
        code = None
        if entry.status is not Status.QUEUED:
            code = Code.INVALID_STATE_TRANSITION
        elif entry.reach is Reach.EMERGENCY and priority is not entry.priority:
            code = Code.PRECONDITION_FAILED
        self._write(lambda tx: tx.set_priority(entry.id, priority, "op-otto", now), refused=code)
        if code is None:
            self.model.give(entry, priority)

    @rule(pick=st.randoms(use_true_random=False), component=st.sampled_from(TARGETS), count=st.integers(1, 3))
    def reorder(self, pick: Random, component: str, count: int) -> None:
        there = [entry for entry in self.model.queued() if component in {entry.target, entry.carrier}]
        front = pick.sample(there, min(count, len(there)))
        ids, now = [entry.id for entry in front], self.clock.wall_ms()
        placed = self._write(lambda tx: tx.reorder(component, ids, "op-otto", now))
        assert [each.request_id for each in placed] == ids
        self.model.place_first(front)

    @rule()
    def the_one_waited_for_returns(self) -> None:
        waiting = [entry for entry in self.model.queued() if entry.waits]
        assert self._write(lambda tx: tx.returned(WAITED_FOR)) == sorted({entry.carrier for entry in waiting})
        for entry in waiting:
            entry.waits = False

    @rule(seconds=st.sampled_from([0.001, 1, 1.999, 2, 8, 9.999, 10]))  # land exactly on the limits, too
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(trusted=st.booleans())
    def trust_the_clock(self, trusted: bool) -> None:
        self.clock.is_trusted = trusted

    @rule(carrier=st.sampled_from(TARGETS), reads=st.booleans(), neighbour=st.booleans())
    def a_job_that_raises_leaves_no_trace(self, carrier: str, reads: bool, neighbour: bool) -> None:
        spoiled, sound = self._new(carrier, Priority.HIGH, "command"), self._new(carrier, Priority.LOW, "command")
        neighbour = neighbour and self.model.has_room(sound)

        def job(tx: Tx) -> None:
            now = self.clock.wall_ms()
            tx.enqueue(spoiled, Parameters(max_requests_per_component=BOUNDS.max_requests_per_component + 1))
            tx.set_priority(spoiled.request_id, Priority.CRITICAL, "op-otto", now)
            if reads:
                taken = tx.claim(carrier, now, proxy=True)
                if taken is not None:
                    tx.finish(taken, Verdict(Action.FAIL), Outcome(Ending.REFUSED), now)
                    tx.requeue(taken.request_id, now + 1, Parameters(), "op-otto", now)
            raise SpoiledError

        async def both() -> None:
            with_it = self.scene.store.write(lambda tx: tx.enqueue(sound, BOUNDS)) if neighbour else asyncio.sleep(0)
            results = await asyncio.gather(with_it, self.scene.store.write(job), return_exceptions=True)
            assert isinstance(results[1], SpoiledError)
            assert not isinstance(results[0], BaseException)

        if self.model.depth(carrier) <= BOUNDS.max_requests_per_component - neighbour:
            self.runner.run(both())
            if neighbour:
                self.model.enqueue(sound)

    @rule(recover=st.booleans(), mode=st.sampled_from([None, None, *Mode]))
    def restart(self, recover: bool, mode: Mode | None) -> None:
        self.runner.run(self.opened.aclose())
        self.model.restart(mode or self.model.mode)
        self._open()
        if recover:
            now = self.clock.wall_ms()
            found = self._write(lambda tx: tx.recover(now))
            assert {each.request_id for each in found} == {entry.id for entry in self.model.recover()}

    # --- what must always hold ------------------------------------------------------------------------------------

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        model = self.model

        def look(reader: Reader) -> None:
            for entry in model.entries:
                found = reader.operation(entry.id)
                assert found is not None
                assert _seen(found) == _expected(entry)
                assert reader.queue_position(found) == (model.place(entry) if entry.status is Status.QUEUED else None)
            assert reader.depths() == {target: model.depth(target) for target in model.targets()}
            assert reader.next_expiry() == min((entry.expires_at for entry in model.queued()), default=None)
            for carrier in TARGETS:
                first = [entry.id for entry in model.in_order() if entry.carrier == carrier][:3]
                assert [each.request_id for each in reader.front(carrier, 3)] == first

        self.runner.run(self.scene.store.read(look))

    @invariant()
    def the_list_is_in_the_order_of_processing(self) -> None:
        page = self.runner.run(self.scene.page(page_size=200, status=Status.QUEUED))
        assert [each.request_id for each in page.operations] == [entry.id for entry in self.model.in_order()]

    @invariant()
    def events_are_numbered_without_a_gap(self) -> None:
        events = self.runner.run(self.scene.stored_events())
        assert [event.seq for event in events] == list(range(1, self.model.told + 1))
        heard = [(event.seq, event.type, event.attributes) for event in self.scene.events]
        assert heard == [(each.seq, each.type, each.attributes) for each in events[len(events) - len(heard) :]]

    @invariant()
    def one_component_has_at_most_one_in_the_works(self) -> None:
        running = self.model.running()
        assert len({entry.carrier for entry in running}) == len(running)
        assert len({entry.target for entry in running}) == len(running)


def _seen(found: Operation) -> tuple[Any, ...]:
    held = (found.settlement, found.release_reason, found.settlement_ref)
    state = (found.status, found.priority, found.rank, found.not_before, found.waits_for is not None, found.retry_count)
    return (*state, found.resumes, found.expires_at, found.discarded_at is not None, *held)


def _expected(entry: Entry) -> tuple[Any, ...]:
    held = (entry.settlement, entry.release_reason, entry.settlement_ref)
    state = (entry.status, entry.priority, entry.rank, entry.not_before, entry.waits, entry.retries)
    return (*state, entry.resumes, entry.expires_at, entry.discarded, *held)


StoreMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestStoreMachine = pytest.mark.timeout(600)(StoreMachine.TestCase)  # to make a failure small takes a while
