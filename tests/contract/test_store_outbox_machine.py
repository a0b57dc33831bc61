"""The outbox beside plain sets of numbers: everything is there, or was delivered, or a tombstone explains it."""

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.event import Event
from gateway.importance import IMPORTANCE, Importance
from gateway.ports import Tx
from gateway.queue.store.outbox import OVERHEAD_BYTES, SLACK_PART
from gateway.queue.store.rows import encode
from tests.doubles import FakeClock
from tests.store_scene import StoreScene, scene

BOUND = 4_000
TYPES = ("request_completed", "request_queued", "component_offline", "position_notice")
GROUPS = st.lists(st.tuples(st.sampled_from(TYPES), st.integers(0, 300)), min_size=1, max_size=12)
Told = list[tuple[str, int]]


class SpoiledError(Exception):
    """What a job raises to be undone."""


def bytes_of(event: Event) -> int:
    return len((event.type + event.subject + encode(event.attributes)).encode()) + OVERHEAD_BYTES


def covered(event: Event) -> set[int]:
    return {seq for first, last in event.attributes["ranges"] for seq in range(first, last + 1)}


class OutboxMachine(RuleBasedStateMachine):
    """What was delivered is all that a subscriber has; it is never asked what it thinks of the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.runner = asyncio.Runner()
        self.stored: dict[int, Event] = {}  # after the last step
        self.given: dict[int, tuple[str, Any]] = {}  # type and content of all that ever were
        self.delivered: dict[int, Event] = {}
        self.under_way: list[Event] = []
        self.acknowledged = 0
        self.dropped: set[int] = set()  # while they waited
        self._open()

    def _open(self) -> None:
        self.opened = AsyncExitStack()
        path = Path(self.folder.name) / "queue.db"
        self.scene: StoreScene = self.runner.run(
            self.opened.enter_async_context(scene(path, self.clock, outbox_max_bytes=BOUND))
        )

    def teardown(self) -> None:
        self.runner.run(self.opened.aclose())
        self.runner.close()
        self.folder.cleanup()

    def _job(self, group: Told, *, spoiled: bool = False) -> Callable[[Tx], None]:
        def job(tx: Tx) -> None:
            for kind, length in group:
                tx.emit(Event(kind, "module-03", self.clock.wall_ms(), {"detail": "ü" * length}))
            if spoiled:
                tx.acknowledge(tx.last_seq())
                raise SpoiledError

        return job

    def _did(self, told: Told, *, commits: int = 1) -> None:
        """Compare with what is stored after a step that told so much."""
        before = self.stored
        events = self.runner.run(self.scene.stored_events())
        self.stored = {event.seq: event for event in events}
        heard = [
            (event.type, len(event.attributes["detail"])) for event in self.scene.events if event.subject != "gateway"
        ]
        assert heard == told
        for event in self.scene.events:
            assert event.seq == len(self.given) + 1
            self.given[event.seq] = event.type, dict(event.attributes)
        fresh = {event.seq for event in self.scene.events}
        self.scene.events.clear()
        gone = (before.keys() | fresh) - self.stored.keys()
        dropped = {seq for seq in gone if seq > self.acknowledged}
        self.dropped |= dropped
        if commits == 1:
            self._judge(dropped)

    def _judge(self, dropped: set[int]) -> None:
        """Those that waited went by class and age, after all that had arrived, and none of them that must stay."""
        replaced = {seq for seq in dropped if self.given[seq][0] == "events_dropped"}
        evicted = dropped - replaced
        assert len(replaced) <= 1
        assert not replaced or evicted
        if not evicted:
            return
        assert min(self.stored) > self.acknowledged
        worst = max(IMPORTANCE[self.given[seq][0]] for seq in evicted)
        assert worst < Importance.LASTING
        newest = max(self.stored)  # the tombstone
        assert self.stored[newest].type == "events_dropped"
        left = {seq: IMPORTANCE[event.type] for seq, event in self.stored.items()}
        assert all(importance >= worst for importance in left.values())
        of_worst = [seq for seq in evicted if IMPORTANCE[self.given[seq][0]] is worst]
        assert all(seq > max(of_worst) for seq, importance in left.items() if importance is worst)

    # --- steps --------------------------------------------------------------------------------------------------------

    @rule(group=GROUPS)
    def tell(self, group: Told) -> None:
        self.runner.run(self.scene.store.write(self._job(group)))
        self._did(group)

    @rule(groups=st.lists(GROUPS, min_size=2, max_size=3), spoiled=GROUPS, unstorable=st.booleans())
    def tell_beside_a_job_that_is_undone(self, groups: list[Told], spoiled: Told, unstorable: bool) -> None:
        """Undone alone; or with all of its group, where what it wrote cannot be stored, and the others come again."""

        async def all_of_them() -> list[Any]:
            first, *others = groups
            bad = self._job([*spoiled, ("\ud800", 0)]) if unstorable else self._job(spoiled, spoiled=True)
            jobs = [self._job(first), bad, *map(self._job, others)]
            return await asyncio.gather(*map(self.scene.store.write, jobs), return_exceptions=True)

        results = self.runner.run(all_of_them())
        assert [isinstance(each, Exception) for each in results] == [False, True, *[False] * (len(groups) - 1)]
        self._did([each for group in groups for each in group], commits=len(groups) if unstorable else 1)

    @rule(most=st.integers(1, 30))
    def read_for_the_broker(self, most: int) -> None:
        after = self.under_way[-1].seq if self.under_way else self.acknowledged
        self.under_way += self.runner.run(self.scene.store.read(lambda reader: reader.events_after(after, most)))

    @rule(part=st.sampled_from([0.3, 1.0]), together=st.booleans(), group=GROUPS)
    def acknowledge(self, part: float, together: bool, group: Told) -> None:
        """What is under way arrives, whatever became of it in the store."""
        count = round(part * len(self.under_way))
        arrived, self.under_way = self.under_way[:count], self.under_way[count:]
        self.delivered |= {event.seq: event for event in arrived}
        self.acknowledged = max([self.acknowledged, *(event.seq for event in arrived)])
        seq = self.acknowledged

        async def both() -> None:
            other = self.scene.store.write(self._job(group)) if together else asyncio.sleep(0)
            await asyncio.gather(self.scene.store.write(lambda tx: tx.acknowledge(seq)), other)

        self.runner.run(both())
        self._did(group if together else [])

    @rule()
    def restart(self) -> None:
        self.runner.run(self.opened.aclose())
        self.under_way = []
        self._open()
        self._did([])

    # --- what must always hold ------------------------------------------------------------------------------------

    @invariant()
    def every_number_is_explained(self) -> None:
        waiting = {seq: event for seq, event in self.stored.items() if seq > self.acknowledged}
        for event in waiting.values():
            assert (event.type, event.attributes) == self.given[event.seq]
        tombstones = {seq: event for seq, event in (self.delivered | waiting).items() if event.type == "events_dropped"}
        explained = set().union(*map(covered, tombstones.values()))
        assert explained == self.dropped
        assert self.given.keys() == self.delivered.keys() | waiting.keys() | explained
        assert sum(seq in tombstones for seq in waiting) <= 1

    @invariant()
    def nothing_is_lost_that_must_stay(self) -> None:
        lasting = {seq for seq, (kind, _) in self.given.items() if kind == "request_completed"}
        assert lasting <= self.delivered.keys() | self.stored.keys()

    @invariant()
    def the_figures_are_exact(self) -> None:
        waiting = [event for event in self.stored.values() if event.seq > self.acknowledged]
        figures = self.scene.store.outbox()
        assert figures.events == len(waiting)
        assert figures.bytes == sum(map(bytes_of, waiting))
        assert figures.dropped == len(self.dropped)

    @invariant()
    def the_bound_holds_as_far_as_anything_may_go(self) -> None:
        tombstones = [event for event in self.stored.values() if event.type == "events_dropped"]
        stored = sum(map(bytes_of, self.stored.values())) - sum(map(bytes_of, tombstones))
        may_go = [each for each in self.stored.values() if IMPORTANCE[each.type] < Importance.LASTING]
        assert stored <= BOUND or sum(map(bytes_of, may_go)) <= BOUND // SLACK_PART


OutboxMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestOutboxMachine = pytest.mark.timeout(600)(OutboxMachine.TestCase)  # to make a failure small takes a while
