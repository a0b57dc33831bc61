"""Families and dependencies beside plain rules about them, with restarts between any two steps."""

import asyncio
import copy
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.errors import Code, Refusal
from gateway.operation import FINAL, Action, ConflictPolicy, Operation, Status, Strategy
from gateway.ports import Reader, Tx
from tests.doubles import FakeClock
from tests.family_scene import FAILURE, cancel, expire, family, of_type, reject, requeue
from tests.store_scene import PARAMETERS, StoreScene, scene

TARGETS = ("module-01", "module-02", "module-03")
LIFE_MS = 6000
PENDING = {Status.QUEUED, Status.PROCESSING}
FINISHES = {
    Action.COMPLETE: Status.COMPLETED,
    Action.FAIL: Status.FAILED,
    Action.RETRY: Status.QUEUED,
    Action.RELEASE: Status.QUEUED,
    Action.ABANDON: Status.ABANDONED,
}
BROKEN = {Status.FAILED, Status.CANCELLED, Status.ABANDONED}


@dataclass
class Model:
    """What one operation must be. `held`: by its own family. `ends`: how often it ended."""

    operation: Operation
    waits: set[str]
    held: bool = False
    children: list["Model"] = field(default_factory=list)
    status: Status = Status.QUEUED
    expires_at: int = 0
    orphaned: bool = False
    resumes: bool = False
    cancelling: bool = False
    ends: int = 0
    current: Operation | None = None

    @property
    def id(self) -> str:
        return self.operation.request_id

    @property
    def ended(self) -> bool:
        return self.status in FINAL

    def end(self, status: Status) -> None:
        self.status = status
        self.waits, self.held = set(), False
        self.ends += 1

    def decided(self) -> Status | None:
        """What a parent is to be by the words of its policy; None: that is open."""
        statuses = [child.status for child in self.children]
        if self.status is Status.QUEUED:
            return None if PENDING & set(statuses) else self._never_begun(statuses)
        told = self.operation.aggregation or {}
        done, open_ = statuses.count(Status.COMPLETED), sum(status in PENDING for status in statuses)
        needed = {"ALL": len(statuses), "ANY": 1}.get(told["policy"]) or told["n"]
        if self.operation.strategy is Strategy.FAILOVER:
            needed = 1
        if self.cancelling and open_:
            return None
        if done >= needed:
            return Status.COMPLETED
        return Status.FAILED if done + open_ < needed else None

    def _never_begun(self, statuses: list[Status]) -> Status:
        if any(child.orphaned for child in self.children):
            return Status.FAILED
        if Status.EXPIRED in statuses:
            return Status.EXPIRED
        return Status.CANCELLED if set(statuses) == {Status.CANCELLED} else Status.FAILED


class World:
    """All operations, and the rules that must hold among them."""

    def __init__(self) -> None:
        self.all: dict[str, Model] = {}

    def add(self, *models: Model) -> None:
        self.all |= {model.id: model for model in models}

    def with_status(self, *wanted: Status) -> list[Model]:
        return [model for model in self.all.values() if model.status in wanted and not model.children]

    @property
    def parents(self) -> list[Model]:
        return [model for model in self.all.values() if model.children]

    def parent_of(self, child: Model) -> Model | None:
        return self.all.get(child.operation.parent_id or "")

    def settle(self) -> None:
        """Apply the rules until none of them has anything to say."""
        while self._depend() or any(self._lead(parent) for parent in self.parents if not parent.ended):
            pass

    def _depend(self) -> bool:
        changed = False
        for model in self.with_status(Status.QUEUED):
            ends = {each: self.all[each].status for each in model.waits if self.all[each].ended}
            model.waits -= ends.keys()
            if set(ends.values()) - {Status.COMPLETED}:
                model.end(Status.FAILED)
                model.orphaned = True
            changed = changed or bool(ends)
        return changed

    def _lead(self, parent: Model) -> bool:
        waiting = [child for child in parent.children if child.status is Status.QUEUED]
        if (decision := parent.decided()) is not None:
            parent.end(decision)
            if decision is Status.COMPLETED and parent.operation.strategy is Strategy.FAILOVER:
                _cancel(waiting)
            return True
        if parent.operation.strategy is Strategy.FAILOVER:
            first = next(child for child in parent.children if not child.ended)
            first.held, changed = False, first.held
            return changed
        broken = any(child.status in BROKEN for child in parent.children)
        if parent.operation.barrier and parent.status is Status.QUEUED and broken:
            _cancel(waiting)
            return bool(waiting)
        return False


def _cancel(models: list[Model]) -> None:
    for model in models:
        model.end(Status.CANCELLED)


class FamilyMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "queue.db"
        self.clock = FakeClock()
        self.runner = asyncio.Runner()
        self.world = World()
        self.opened = AsyncExitStack()
        self.progress: dict[str, int] = {}  # announced ends, of each child
        self.scene: StoreScene = self._open()

    def _open(self) -> StoreScene:
        self.opened = AsyncExitStack()
        return self.runner.run(self.opened.enter_async_context(scene(self.path, self.clock)))

    def teardown(self) -> None:
        self.runner.run(self.opened.aclose())
        self.runner.close()
        self.folder.cleanup()

    def _refused(self, what: Callable[[], object], code: Code) -> None:
        with pytest.raises(Refusal) as no:
            what()
        assert no.value.code is code

    def _due(self, target: str) -> list[Model]:
        now = self.clock.wall_ms()
        waiting = [model for model in self.world.with_status(Status.QUEUED) if not model.waits and not model.held]
        due = [model for model in waiting if model.operation.target_component == target and model.expires_at > now]
        return sorted(due, key=lambda model: (not model.resumes, model.operation.created_at, model.id))

    def _enqueue(self, *models: Model, policy: ConflictPolicy) -> None:
        """Store a command, or a parent and its children, if what it depends on allows it."""
        first = models[0]
        children = [model.operation for model in first.children]
        planned = copy.deepcopy(self.world)
        if policy is ConflictPolicy.SUPERSEDE:
            for rival in planned.with_status(Status.QUEUED):
                same = any(rival.operation.target_component == model.operation.target_component for model in models)
                key = rival.operation.conflict_key
                if same and key and key == first.operation.conflict_key and rival.id not in first.operation.depends_on:
                    rival.end(Status.CANCELLED)
            planned.settle()
        needed = {planned.all[each].status for each in first.operation.depends_on}

        def store() -> None:
            def job(tx: Tx) -> Operation:
                return tx.enqueue(first.operation, PARAMETERS, conflict_policy=policy, children=children)

            self.runner.run(self.scene.store.write(job))

        if needed & (FINAL - {Status.COMPLETED}):
            self._refused(store, Code.DEPENDENCY_FAILED)
            return
        store()
        self.world = planned
        for model in models:
            model.expires_at = model.operation.expires_at
            pending = {each for each in first.operation.depends_on if not planned.all[each].ended}
            model.waits = set() if model.children else pending
        self.world.add(*models)

    def _some_ids(self, pick, count: int) -> tuple[str, ...]:
        known = list(self.world.all)
        return tuple(pick.sample(known, min(count, len(known))))

    # --- steps --------------------------------------------------------------------------------------------------------

    @rule(
        pick=st.randoms(use_true_random=False),
        to=st.sampled_from(TARGETS),
        needs=st.sampled_from([0, 1, 1, 2]),
        supersedes=st.booleans(),
    )
    def enqueue(self, pick, to: str, needs: int, supersedes: bool) -> None:
        policy = ConflictPolicy.SUPERSEDE if supersedes else ConflictPolicy.QUEUE
        told = {"depends_on": self._some_ids(pick, needs), "conflict_key": "limits" if supersedes else None}
        operation = self.scene.command(to, expires_at=self.clock.wall_ms() + LIFE_MS, **told)
        self._enqueue(Model(operation, set()), policy=policy)

    @rule(
        pick=st.randoms(use_true_random=False),
        group=st.sampled_from([TARGETS, TARGETS[:2], TARGETS[1:], TARGETS[:1]]),
        policy=st.sampled_from(["ALL", "ANY", "QUORUM"]),
        shape=st.sampled_from(["plain", "barrier", "failover", "failover"]),
        needs=st.sampled_from([0, 0, 1]),
        keyed=st.booleans(),
    )
    def route(self, pick, group: tuple[str, ...], policy: str, shape: str, needs: int, keyed: bool) -> None:
        aggregation = {"policy": policy, **({"n": min(2, len(group))} if policy == "QUORUM" else {})}
        parent, children = family(
            self.scene,
            group,
            ttl_ms=LIFE_MS,
            aggregation=aggregation,
            strategy=Strategy.FAILOVER if shape == "failover" else Strategy.BROADCAST,
            barrier=shape == "barrier",
            depends_on=self._some_ids(pick, needs),
            conflict_key="limits" if keyed else None,
        )
        models = [Model(child, set()) for child in children]
        for place, model in enumerate(models):
            model.held = shape == "barrier" or (shape == "failover" and place > 0)
        self._enqueue(Model(parent, set(), children=models), *models, policy=ConflictPolicy.QUEUE)

    @rule(to=st.sampled_from(TARGETS))
    def claim(self, to: str) -> None:
        busy = any(model.operation.target_component == to for model in self.world.with_status(Status.PROCESSING))
        due = [] if busy else self._due(to)
        got = self.runner.run(self.scene.claim(to))
        assert (got and got.request_id) == (due[0].id if due else None)
        if got is None:
            return
        due[0].status, due[0].current = Status.PROCESSING, got
        parent = self.world.parent_of(due[0])
        if parent is not None and parent.status is Status.QUEUED:
            parent.status = Status.PROCESSING
        self.world.settle()

    @precondition(lambda self: self.world.with_status(Status.PROCESSING))
    @rule(pick=st.randoms(use_true_random=False), action=st.sampled_from(list(FINISHES)))
    def finish(self, pick, action: Action) -> None:
        model = pick.choice(self.world.with_status(Status.PROCESSING))
        assert model.current is not None
        done = self.runner.run(self.scene.finish(model.current, action, FAILURE))
        self._finished(model, FINISHES[action])
        assert done.status is model.status
        self.world.settle()

    def _finished(self, model: Model, status: Status, *, resumes: bool = False) -> None:
        model.resumes = resumes and status is Status.QUEUED
        if status in FINAL:
            model.end(status)
            return
        model.status = status
        parent = self.world.parent_of(model)
        if parent is not None and parent.cancelling and not parent.ended:
            model.end(Status.CANCELLED)

    @precondition(lambda self: self.world.all)
    @rule(pick=st.randoms(use_true_random=False), only_parents=st.booleans())
    def cancel(self, pick, only_parents: bool) -> None:
        model = pick.choice(
            self.world.parents if only_parents and self.world.parents else list(self.world.all.values())
        )
        running_parent = bool(model.children) and model.status is Status.PROCESSING
        if model.status is not Status.QUEUED and not running_parent:
            self._refused(lambda: self.runner.run(cancel(self.scene, model.id)), Code.INVALID_STATE_TRANSITION)
            return
        self.runner.run(cancel(self.scene, model.id))
        if running_parent:
            model.cancelling = True
        else:
            model.end(Status.CANCELLED)
        _cancel([child for child in model.children if child.status is Status.QUEUED])
        self.world.settle()

    @precondition(lambda self: self.world.with_status(Status.QUEUED))
    @rule(pick=st.randoms(use_true_random=False))
    def reject(self, pick) -> None:
        model = pick.choice(self.world.with_status(Status.QUEUED))
        self.runner.run(reject(self.scene, model.id))
        model.end(Status.FAILED)
        self.world.settle()

    @rule(limit=st.sampled_from([1, 2, 100]))
    def expire(self, limit: int) -> None:
        expired = [each.request_id for each in self.runner.run(expire(self.scene, limit))]
        for request_id in expired:
            over = [each for each in self.world.with_status(Status.QUEUED) if each.expires_at <= self.clock.wall_ms()]
            over.sort(key=lambda model: (model.expires_at, model.operation.created_at, model.id))
            assert over[0].id == request_id
            over[0].end(Status.EXPIRED)
            self.world.settle()
        left = [each for each in self.world.with_status(Status.QUEUED) if each.expires_at <= self.clock.wall_ms()]
        assert len(expired) == limit or not left

    @precondition(lambda self: self.world.with_status(Status.FAILED, Status.ABANDONED))
    @rule(pick=st.randoms(use_true_random=False))
    def requeue(self, pick) -> None:
        model = pick.choice(self.world.with_status(Status.FAILED, Status.ABANDONED))
        needed = [self.world.all[each] for each in model.operation.depends_on]
        if any(each.ended and each.status is not Status.COMPLETED for each in needed):
            self._refused(lambda: self.runner.run(requeue(self.scene, model.id)), Code.DEPENDENCY_FAILED)
            return
        model.expires_at = self.runner.run(requeue(self.scene, model.id)).expires_at
        model.status, model.resumes, model.orphaned = Status.QUEUED, False, False
        model.waits = {each.id for each in needed if not each.ended}

    @precondition(lambda self: self.world.parents)
    @rule(pick=st.randoms(use_true_random=False))
    def open_barrier(self, pick) -> None:
        parent = pick.choice(self.world.parents)
        self.runner.run(self.scene.store.write(lambda tx: tx.open_barrier(parent.id, self.clock.wall_ms())))
        if parent.operation.barrier:
            for child in parent.children:
                child.held = False

    @rule(seconds=st.sampled_from([0.001, 1.999, 2, 3, 6]))  # land exactly on the limits, too
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(pick=st.randoms(use_true_random=False))
    def a_job_that_raises_leaves_no_trace(self, pick) -> None:
        on = self._some_ids(pick, 1)
        live = [each for each in on if self.world.all[each].status in PENDING | {Status.COMPLETED}]
        gone = [model.id for model in self.world.with_status(Status.QUEUED)][:2]

        def job(tx: Tx) -> None:
            now = self.clock.wall_ms()
            parent, children = family(self.scene, depends_on=tuple(live), conflict_key="limits")
            supersede = ConflictPolicy.SUPERSEDE
            tx.enqueue(parent, PARAMETERS, conflict_policy=supersede, children=children)
            for request_id in gone:
                told = tx.operation(request_id)
                if told is not None and told.status is Status.QUEUED:
                    tx.cancel(request_id, "gone", "tech-anna", now)
            tx.claim(TARGETS[0], now)
            tx.expire(now, 2)
            raise LookupError

        with pytest.raises((LookupError, Refusal)):
            self.runner.run(self.scene.store.write(job))

    @rule(recover=st.booleans())
    def restart(self, recover: bool) -> None:
        for event in of_type(self.scene, "request_progress"):
            child = event.attributes["child"]["request_id"]
            self.progress[child] = self.progress.get(child, 0) + 1
        ids = self.scene.ids
        self.runner.run(self.opened.aclose())
        self.scene = self._open()
        self.scene.ids = ids  # none is given twice
        if not recover:
            return
        self.runner.run(self.scene.store.write(lambda tx: tx.recover(self.clock.wall_ms())))
        for model in self.world.with_status(Status.PROCESSING):
            self._finished(model, Status.QUEUED, resumes=True)
        self.world.settle()

    # --- what must always hold ----------------------------------------------------------------------------------------

    @invariant()
    def every_operation_is_what_the_rules_make_it(self) -> None:
        for model, found in self._found(list(self.world.all.values())):
            assert found.status is model.status, model
            assert found.blocked == len(model.waits) + model.held, model

    @invariant()
    def barriers_are_those_of_children_that_are_held(self) -> None:
        barriers = self.runner.run(self.scene.store.read(lambda reader: reader.barriers()))
        closed = [parent for parent in self.world.parents if any(child.held for child in parent.children)]
        assert [each.request_id for each in barriers] == [each.id for each in closed if each.operation.barrier]

    def _found(self, models: list[Model]) -> list[tuple[Model, Operation]]:
        def query(reader: Reader) -> list[Operation | None]:
            return [reader.operation(model.id) for model in models]

        found = self.runner.run(self.scene.store.read(query))
        return [(model, each) for model, each in zip(models, found, strict=True) if each is not None]

    @invariant()
    def nothing_is_kept_of_dependencies_that_are_over(self) -> None:
        db = sqlite3.connect(self.path)
        try:
            rows = set(db.execute("SELECT request_id, depends_on FROM dependency"))
        finally:
            db.close()
        expected = {(model.id, each) for model in self.world.all.values() for each in model.waits}
        held = (model for model in self.world.all.values() if model.held)
        assert rows == expected | {(model.id, model.operation.parent_id) for model in held}

    @invariant()
    def every_end_of_a_child_was_announced_once(self) -> None:
        told = dict(self.progress)
        for event in of_type(self.scene, "request_progress"):
            child = event.attributes["child"]["request_id"]
            told[child] = told.get(child, 0) + 1
            assert event.attributes["pending"] >= 0
        children = [child for parent in self.world.parents for child in parent.children]
        assert told == {child.id: child.ends for child in children if child.ends}

    @invariant()
    def a_decision_lists_every_child(self) -> None:
        told = [each for each in self.world.parents if each.status in FINAL - {Status.CANCELLED}]
        for parent, found in self._found(told):
            listed = [each["request_id"] for each in (found.result or {})["children"]]
            assert listed == [child.id for child in parent.children]


FamilyMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestFamilyMachine = pytest.mark.timeout(600)(FamilyMachine.TestCase)  # to make a failure small takes a while
