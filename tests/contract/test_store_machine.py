"""The store beside a plain list that says what it must hold, with restarts between any two steps."""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.errors import Code, Refusal
from gateway.operation import (
    Action,
    Delivery,
    Ending,
    Operation,
    Outcome,
    Priority,
    RequestType,
    Status,
    Verdict,
)
from gateway.ports import QueueStatus, Reader, Tx
from gateway.settings import Parameters
from tests.doubles import FakeClock
from tests.store_scene import StoreScene, scene

TARGETS = ("module-01", "pack-01")
BOUNDS = Parameters(max_requests_per_component=4, max_queue_depth=7)
LIFE_S = 10
WAITED_FOR = "pack-09"

FINISHES = {  # action -> status after it
    Action.COMPLETE: Status.COMPLETED,
    Action.FAIL: Status.FAILED,
    Action.RETRY: Status.QUEUED,
    Action.RELEASE: Status.QUEUED,
    Action.ABANDON: Status.ABANDONED,
}


@dataclass
class Model:
    """What one operation must be."""

    operation: Operation
    status: Status = Status.QUEUED
    not_before: int = 0
    waits: bool = False
    retries: int = 0
    resumes: bool = False  # it may have been carried out already
    sequence: int | None = None
    current: Operation | None = None

    @property
    def key(self) -> tuple[bool, bool, int, int, str]:
        told = self.operation
        proxy = told.request_type is RequestType.PROXY
        return proxy, not self.resumes, -int(told.priority), told.created_at, told.request_id

    @property
    def carrier(self) -> str:
        return self.operation.proxy_component or self.operation.target_component


def queue_statuses(reader: Reader) -> list[QueueStatus]:
    return [reader.queue_status(target) for target in TARGETS]


def next_expiry(reader: Reader) -> int | None:
    return reader.next_expiry()


class SpoiledError(Exception):
    """What a job raises to be undone."""


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.runner = asyncio.Runner()
        self.ids: StoreScene | None = None
        self.models: list[Model] = []
        self.event_count = 0
        self.epoch = 0
        self.opened = AsyncExitStack()
        self._open()

    def _open(self) -> None:
        self.opened = AsyncExitStack()
        path = Path(self.folder.name) / "queue.db"
        before = self.ids
        self.scene = self.runner.run(self.opened.enter_async_context(scene(path, self.clock)))
        if before is not None:
            self.scene.ids = before.ids  # ids are never given twice
        self.ids = self.scene
        assert self.scene.store.epoch == self.epoch + 1
        self.epoch = self.scene.store.epoch

    def teardown(self) -> None:
        self.runner.run(self.opened.aclose())
        self.runner.close()
        self.folder.cleanup()

    def _in(self, status: Status) -> list[Model]:
        return [model for model in self.models if model.status is status]

    def _busy(self, model: Model) -> bool:
        running = self._in(Status.PROCESSING)
        return any(
            other.carrier == model.carrier or other.operation.target_component == model.operation.target_component
            for other in running
        )

    def _due(self, carrier: str, *, proxy: bool, emergency_only: bool, target: str | None) -> list[Model]:
        now = self.clock.wall_ms()
        return sorted(
            (
                model
                for model in self._in(Status.QUEUED)
                if model.carrier == carrier
                and (proxy or model.operation.request_type is not RequestType.PROXY)
                and (not emergency_only or model.operation.emergency)
                and target in {None, model.operation.target_component}
                and model.not_before <= now
                and not model.waits
                and (model.operation.expires_at > now or not self.clock.trusted())
                and not self._busy(model)
            ),
            key=lambda model: model.key,
        )

    def _new(self, target: str, priority: Priority, shape: str) -> Operation:
        life: dict[str, Any] = {"expires_at": self.clock.wall_ms() + LIFE_S * 1000}
        if shape == "command":
            once = Delivery.AT_MOST_ONCE if priority is Priority.LOW else Delivery.AT_LEAST_ONCE
            return self.scene.command(target, priority=priority, delivery=once, **life)
        made = self.scene.pairing(target, priority=priority, request_type=RequestType[shape])
        made.expires_at = life["expires_at"]
        made.proxy_component = "pack-01" if shape == "PROXY" else None
        return made

    # --- steps --------------------------------------------------------------------------------------------------------

    @rule(
        to=st.sampled_from(TARGETS),
        priority=st.sampled_from([Priority.NORMAL, *Priority]),
        shape=st.sampled_from(["command", "STANDARD", "PROXY", "EMERGENCY"]),
        older_ms=st.sampled_from([0, 0, 5]),
    )
    def enqueue(self, to: str, priority: Priority, shape: str, older_ms: int) -> None:
        operation = self._new(to, priority, shape)
        operation.created_at -= older_ms  # the clock stepped back
        queued = self._in(Status.QUEUED)
        here = [model for model in queued if model.operation.target_component == to]
        if len(here) >= 4 or len(queued) >= 7:
            with pytest.raises(Refusal) as refused:
                self.runner.run(self.scene.enqueue(operation, BOUNDS))
            assert refused.value.code is Code.QUEUE_FULL
            return
        self.runner.run(self.scene.enqueue(operation, BOUNDS))
        model = Model(operation)
        self.models.append(model)
        self.event_count += 1
        ahead = [other for other in self._in(Status.QUEUED) if other.carrier == model.carrier]
        told = self.scene.events[-1]
        assert told.attributes["queue_position"] == sorted(other.key for other in ahead).index(model.key) + 1

    @rule(
        carrier=st.sampled_from(TARGETS),
        proxy=st.booleans(),
        emergency_only=st.sampled_from([False, False, True]),
        only_for=st.sampled_from([None, None, *TARGETS]),
    )
    def claim(self, carrier: str, proxy: bool, emergency_only: bool, only_for: str | None) -> None:
        options: dict[str, Any] = {"proxy": proxy, "emergency_only": emergency_only, "target": only_for}
        due = self._due(carrier, **options)
        got = self.runner.run(self.scene.claim(carrier, **options))
        assert (got and got.request_id) == (due[0].operation.request_id if due else None)
        if got is None:
            return
        model = due[0]
        held = {
            other.sequence
            for other in self.models
            if other is not model and other.carrier == carrier and other.status in {Status.QUEUED, Status.PROCESSING}
            and other.operation.kind is got.kind
        }  # fmt: skip
        assert got.sequence not in held
        assert model.sequence in {None, got.sequence}
        assert (got.partner_sequence is not None) == (got.initiator_component is not None and not model.key[0])
        model.status, model.current, model.sequence = Status.PROCESSING, got, got.sequence
        self.event_count += 1

    @precondition(lambda self: self._in(Status.PROCESSING))
    @rule(pick=st.randoms(use_true_random=False), action=st.sampled_from(list(FINISHES)), waits=st.booleans())
    def finish(self, pick, action: Action, waits: bool) -> None:
        model = pick.choice(self._in(Status.PROCESSING))
        model.not_before = self.clock.wall_ms() + 2000 if action is Action.RETRY else 0
        model.waits = action is Action.RELEASE and waits
        verdict = {"not_before": model.not_before, "waits_for": WAITED_FOR if model.waits else None}
        assert model.current is not None
        done = self.runner.run(self.scene.finish(model.current, action, Outcome(Ending.UNANSWERED), **verdict))
        model.status = FINISHES[action]
        model.retries += action is Action.RETRY
        model.resumes = model.status is Status.QUEUED
        assert (done.status, done.retry_count) == (model.status, model.retries)
        self.event_count += 1
        with pytest.raises(Refusal) as refused:  # the same end a second time
            self.runner.run(self.scene.finish(model.current, action))
        assert refused.value.code is Code.INVALID_STATE_TRANSITION

    @precondition(lambda self: self.models)
    @rule(pick=st.randoms(use_true_random=False))
    def cancel(self, pick) -> None:
        model = pick.choice(self.models)
        told = (model.operation.request_id, "no longer needed", "tech-anna", self.clock.wall_ms())
        if model.status is Status.QUEUED:
            self.runner.run(self.scene.store.write(lambda tx: tx.cancel(*told)))
            model.status = Status.CANCELLED
            self.event_count += 1
            return
        with pytest.raises(Refusal) as refused:
            self.runner.run(self.scene.store.write(lambda tx: tx.cancel(*told)))
        assert refused.value.code is Code.INVALID_STATE_TRANSITION

    @rule(limit=st.sampled_from([1, 100]))
    def expire(self, limit: int) -> None:
        now = self.clock.wall_ms()
        over = [model for model in self._in(Status.QUEUED) if model.operation.expires_at <= now]
        over.sort(key=lambda model: (model.operation.expires_at, *model.key[-2:]))
        over = over[:limit] if self.clock.trusted() else []
        expired = self.runner.run(self.scene.store.write(lambda tx: tx.expire(now, limit)))
        assert [each.request_id for each in expired] == [model.operation.request_id for model in over]
        for model in over:
            model.status = Status.EXPIRED
        self.event_count += len(over)

    @rule()
    def the_one_waited_for_returns(self) -> None:
        carriers = self.runner.run(self.scene.store.write(lambda tx: tx.returned(WAITED_FOR)))
        waiting = [model for model in self._in(Status.QUEUED) if model.waits]
        assert carriers == sorted({model.carrier for model in waiting})
        for model in waiting:
            model.waits = False

    @rule(seconds=st.sampled_from([0.001, 1, 1.999, 2, 8, 9.999, 10]))  # land exactly on the limits, too
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(trusted=st.booleans())
    def trust_the_clock(self, trusted: bool) -> None:
        self.clock.is_trusted = trusted

    @rule(carrier=st.sampled_from(TARGETS), reads=st.booleans(), neighbour=st.booleans())
    def a_job_that_raises_leaves_no_trace(self, carrier: str, reads: bool, neighbour: bool) -> None:
        spoiled, sound = self.scene.command(carrier), self.scene.command(carrier)
        roomy = Parameters()

        def job(tx: Tx) -> None:
            now = self.clock.wall_ms()
            tx.enqueue(spoiled, roomy)
            if reads:
                taken = tx.claim(carrier, now, proxy=True)
                if taken is not None:
                    tx.finish(taken, Verdict(Action.FAIL), Outcome(Ending.REFUSED), now)
                tx.enqueue(self.scene.command(carrier), roomy)
            raise SpoiledError

        async def both() -> None:
            with_it = self.scene.store.write(lambda tx: tx.enqueue(sound, roomy)) if neighbour else asyncio.sleep(0)
            results = await asyncio.gather(with_it, self.scene.store.write(job), return_exceptions=True)
            assert isinstance(results[1], SpoiledError)
            assert not isinstance(results[0], BaseException)

        self.runner.run(both())
        if neighbour:
            self.models.append(Model(sound))
            self.event_count += 1

    @rule(recover=st.booleans())
    def restart(self, recover: bool) -> None:
        self.runner.run(self.opened.aclose())
        self._open()
        if not recover:
            return
        now = self.clock.wall_ms()
        found = self.runner.run(self.scene.store.write(lambda tx: tx.recover(now)))
        running = self._in(Status.PROCESSING)
        assert {each.request_id for each in found} == {model.operation.request_id for model in running}
        for model in self._in(Status.QUEUED) + running:
            model.waits = False
        for model in running:
            once = model.operation.delivery is Delivery.AT_MOST_ONCE
            model.status = Status.ABANDONED if once else Status.QUEUED
            model.not_before, model.resumes = 0, not once
        self.event_count += len(found)

    # --- what must always hold ------------------------------------------------------------------------------------

    @invariant()
    def statuses_are_those_of_the_model(self) -> None:
        pending = {
            model.operation.request_id: model.status
            for model in self.models
            if model.status in {Status.QUEUED, Status.PROCESSING}
        }
        assert self.runner.run(self.scene.statuses()) == pending

    @invariant()
    def the_list_is_in_the_order_of_processing(self) -> None:
        page = self.runner.run(self.scene.page(page_size=200, status=Status.QUEUED))
        listed = [operation.request_id for operation in page.operations]
        assert listed == [model.key[-1] for model in sorted(self._in(Status.QUEUED), key=lambda model: model.key)]

    @invariant()
    def events_are_numbered_without_a_gap(self) -> None:
        events = self.runner.run(self.scene.stored_events())
        assert [event.seq for event in events] == list(range(1, self.event_count + 1))
        heard = self.scene.events
        assert heard == events[len(events) - len(heard) :]

    @invariant()
    def the_counters_are_those_of_the_table(self) -> None:
        queued = self._in(Status.QUEUED)
        for target, status in zip(TARGETS, self.runner.run(self.scene.store.read(queue_statuses)), strict=True):
            sizes = status.standard_queue_size + status.priority_queue_size + status.proxy_queue_size
            assert sizes == sum(model.operation.target_component == target for model in queued)

    @invariant()
    def one_component_has_at_most_one_in_the_works(self) -> None:
        running = self._in(Status.PROCESSING)
        assert len({model.carrier for model in running}) == len(running)
        assert len({model.operation.target_component for model in running}) == len(running)

    @invariant()
    def the_next_dates_are_known(self) -> None:
        queued = self._in(Status.QUEUED)
        expiry = self.runner.run(self.scene.store.read(next_expiry))
        assert expiry == min((model.operation.expires_at for model in queued), default=None)


StoreMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestStoreMachine = StoreMachine.TestCase
