"""Devices, people and power cuts at random against a drain: nothing is lost, doubled, overtaken or done at once."""

import asyncio
from collections import Counter, defaultdict
from functools import partial
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.errors import Code
from gateway.operation import FINAL, Delivery, Ending, Mode, Operation, Outcome, Reach, RequestType, Status, order_key
from gateway.presence import Reason
from gateway.settings import Parameters
from tests.doubles_queue import Act, MemoryStore
from tests.drain_scene import BY_P1, OPEN, WAKE, M, Scene
from tests.looptime import LoopClock, VirtualTimeLoop

OUTCOMES = st.sampled_from(
    [
        Outcome(Ending.DONE, result={}),
        Outcome(Ending.REFUSED, code=Code.DEVICE_REFUSED),
        Outcome(Ending.DECLINED, code=Code.DEVICE_REFUSED),
        Outcome(Ending.UNANSWERED, code=Code.EXCHANGE_TIMEOUT),
        Outcome(Ending.LOST),
        Outcome(Ending.NOT_STARTED, code=Code.BUS_DOWN),
        Outcome(Ending.NOT_STARTED, waits_for="p1"),
    ]
)
DELAYS_S = st.sampled_from([0.0, 0.01, 0.3, 2.0, 100.0])
COMPONENTS = st.sampled_from([component.component_id for component in M])
UNSENT = {Ending.NOT_STARTED}
MODES = [Mode.PRIORITY, Mode.BATCH]
COMMANDS: dict[str, dict[str, Any]] = {
    "command": {"command_type": "identify"},
    "reset": {"command_type": "reset"},
    "wake": WAKE,
    "open": OPEN,
    "safety": {"command_type": "precharge"},
}


@st.composite
def acts(draw: st.DrawFn) -> Act:
    outcome = draw(OUTCOMES)
    broken = draw(st.integers(0, 9)) == 0
    sends = outcome.ending not in UNSENT
    return Act(outcome, draw(DELAYS_S), sends=sends, raises=RuntimeError("a bug") if broken else None)


class DrainMachine(RuleBasedStateMachine):
    """Whatever happens, each operation is where the rules leave it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop: VirtualTimeLoop | None = None
        self.numbers = iter(range(10_000))

    @initialize(commit_s=st.sampled_from([0.0, 0.02]), limit=st.sampled_from([1, 10]), mode=st.sampled_from(MODES))
    def start(self, commit_s: float, limit: int, mode: Mode) -> None:
        async def begin() -> None:
            clock = LoopClock()
            self.store = MemoryStore(clock)
            self.store.commit_s = commit_s
            self.scene = Scene(self.store, clock, M, parameters={"max_concurrent_operations": limit}, mode=mode)
            self.scene.parameters = Parameters(max_concurrent_operations=limit, processing_timeout_s=30.0)
            self.sent: Counter[str] = Counter()
            self.at_work: set[str] = set()
            self.overlaps: list[str] = []
            self.overtaken: list[str] = []
            self.watch()
            self.scene.start()

        self.loop = VirtualTimeLoop()
        self.do(begin())

    def watch(self) -> None:
        execute = self.scene.executor.execute

        async def watched(attempt: Any) -> Outcome:
            operation: Operation = attempt.operation
            names = {operation.carrier, operation.target_component}
            if names & self.at_work:
                self.overlaps.append(operation.request_id)
            self.at_work |= names
            try:
                return await execute(attempt)
            finally:
                self.at_work -= names
                self.sent[operation.request_id] += attempt.sent_at is not None

        self.scene.executor.execute = watched  # type: ignore[method-assign]  # a device with an onlooker
        claim = self.store.tx.claim

        def looked_over(carrier: str, now_ms: int, **limits: Any) -> Operation | None:
            better = [
                each
                for each in self.store.tx.kept.values()
                if each.status is Status.QUEUED
                and each.carrier == carrier
                and each.waits_for is None
                and each.not_before <= now_ms < each.expires_at
                and each.request_type is not RequestType.PROXY
            ]
            claimed = claim(carrier, now_ms, **limits)
            if (
                claimed
                and limits["reach"] is Reach.SETTLED
                and better
                and order_key(min(better, key=order_key)) < order_key(claimed)
            ):
                self.overtaken.append(claimed.request_id)
            return claimed

        self.store.tx.claim = looked_over  # type: ignore[method-assign]  # likewise

    def do(self, coroutine: Any) -> None:
        assert self.loop is not None
        self.loop.run_until_complete(coroutine)

    # what may happen

    @rule(
        component=COMPONENTS,
        priority=st.sampled_from(["LOW", "NORMAL", "HIGH", "CRITICAL"]),
        once=st.booleans(),
        what=st.lists(acts(), max_size=3),
        kind=st.sampled_from([*COMMANDS, "pairing", "emergency", "proxy"]),
    )
    def queue(self, component: str, priority: str, once: bool, what: list[Act], kind: str) -> None:
        request_id = f"req_{next(self.numbers):05}"
        delivery = Delivery.AT_MOST_ONCE if once else Delivery.AT_LEAST_ONCE
        self.scene.executor.acts[request_id] = what
        queue = partial(self.scene.queue_pairing, request_id, component, priority=priority, delivery=delivery)
        if kind == "pairing":
            self.do(queue())
        elif kind == "emergency":
            self.do(queue(request_type=RequestType.EMERGENCY, reach=Reach.EMERGENCY))
        elif kind == "proxy" and component == "m1":
            self.do(queue(**BY_P1))
        else:
            command = COMMANDS.get(kind, COMMANDS["command"])
            self.do(self.scene.queue(request_id, component, priority=priority, delivery=delivery, **command))

    @rule(component=COMPONENTS, flapping=st.booleans(), restarted=st.booleans())
    def comes_back(self, component: str, flapping: bool, restarted: bool) -> None:
        async def come() -> None:
            self.scene.comes_back(component, flapping=flapping, restarted=restarted)

        self.do(come())

    @rule(component=COMPONENTS)
    def falls_silent(self, component: str) -> None:
        self.do(self.scene.falls_silent(component))

    @rule(component=COMPONENTS)
    def falls_asleep(self, component: str) -> None:
        self.do(self.scene.falls_silent(component, Reason.DECLARED_SLEEP))

    @rule(component=COMPONENTS)
    def beats(self, component: str) -> None:
        async def beat() -> None:
            if self.scene.roster.sighting(component).ready:
                self.scene.roster.heartbeat(component)

        self.do(beat())

    @rule(component=COMPONENTS, most=st.integers(1, 3), proxies=st.booleans())
    def somebody_asks(self, component: str, most: int, proxies: bool) -> None:
        async def ask() -> None:
            self.scene.drain.begin(component, max_operations=most, process_proxy_queue=proxies)

        self.do(ask())

    @rule(component=COMPONENTS, answers=st.booleans())
    def answers_or_not(self, component: str, answers: bool) -> None:
        self.scene.executor.serials.pop(component, None)
        if answers:
            self.scene.executor.serials[component] = 0xA0

    @rule(seconds=st.sampled_from([0.0, 0.005, 0.02, 0.1, 1.0, 10.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.do(asyncio.sleep(seconds))

    @rule()
    def the_gateway_restarts(self) -> None:
        self.do(self.scene.restart())
        assert self.scene.left_behind == []
        for component in M:
            self.scene.roster.offline(component.component_id)

    # what must hold

    @invariant()
    def nothing_runs_twice_at_once(self) -> None:
        assert not getattr(self, "overlaps", [])

    @invariant()
    def nothing_overtakes(self) -> None:
        assert not getattr(self, "overtaken", [])

    @invariant()
    def what_may_be_sent_once_is_sent_once(self) -> None:
        if hasattr(self, "store"):
            for each in self.store.tx.kept.values():
                assert each.delivery is Delivery.AT_LEAST_ONCE or self.sent[each.request_id] <= 1

    def teardown(self) -> None:
        if self.loop is None:
            return
        try:
            self.do(self.all_ends_well())
            self.do(self.scene.stop())
            assert self.scene.left_behind == []
        finally:
            self.loop.close()

    async def all_ends_well(self) -> None:
        """Once all are here, answer, and keep being heard, everything comes to its end; and the drain still stands."""
        self.scene.executor.acts = defaultdict(list)
        self.scene.parameters = Parameters()
        for component in M:
            self.scene.executor.serials[component.component_id] = 0xA0
            self.scene.comes_back(component.component_id, deadline_s=1e6)
        for _ in range(20):
            await asyncio.sleep(60)
            for component in M:
                self.scene.drain.begin(component.component_id, max_operations=100, process_proxy_queue=True)
                self.scene.roster.heartbeat(component.component_id)
        assert [each for each in self.store.tx.kept.values() if each.status not in FINAL] == []
        assert self.scene.drain.active == 0


DrainMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestDrainMachine = DrainMachine.TestCase
