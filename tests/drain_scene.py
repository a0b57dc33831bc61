"""A drain with devices, a roster and a store, on virtual time: a few verbs to tell stories with."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateway.component import Component, ComponentKind, DrainMode, Registry
from gateway.errors import Code
from gateway.event import Event
from gateway.operation import Delivery, Ending, Kind, Operation, Outcome, Priority, Reach, RequestType, Status
from gateway.ports import DrainReport, OutboxFigures, PresenceChange, Reader, Store, Tx
from gateway.presence import Presence, Reason
from gateway.queue.drain import Drain
from gateway.queue.store import SqliteStore
from gateway.settings import Parameters, PresenceSection
from tests.doubles_queue import Act, FakeCommands, FakeExecutor, FakeRoster, MemoryStore
from tests.looptime import LoopClock, VirtualTimeLoop, virtual_time

T = TypeVar("T")
HOUR_MS = 3_600_000


def module(component_id: str, node: int = 1, *, bus: str = "can0", **fields: Any) -> Component:
    return Component(component_id, ComponentKind.MODULE, bus, node, owner="tech-anna", **fields)


class OutsideStore:
    """A store whose work is done by threads: while they work, virtual time stands still."""

    def __init__(self, store: SqliteStore, loop: VirtualTimeLoop) -> None:
        self._store, self._loop = store, loop

    async def write(self, job: Callable[[Tx], T]) -> T:
        with self._loop.outside():
            return await self._store.write(job)

    async def read(self, query: Callable[[Reader], T]) -> T:
        with self._loop.outside():
            return await self._store.read(query)

    async def study(self, query: Callable[[Reader], T]) -> T:
        with self._loop.outside():
            return await self._store.study(query)

    def outbox(self) -> OutboxFigures:
        return self._store.outbox()

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        self._store.subscribe(listener)


class Scene:
    """One gateway's drain. Its components settle at once unless `presence` says otherwise; they have serial numbers."""

    def __init__(self, store: Store, clock: LoopClock, components: Sequence[Component], **options: Any) -> None:
        self.store, self.clock = store, clock
        self.registry = Registry(components)
        self.roster = FakeRoster(clock)
        self.executor = FakeExecutor(clock, serials={each.component_id: 0xA0 + each.address for each in components})
        self.parameters = Parameters(**options.pop("parameters", {}))
        presence = PresenceSection(**{"settle_ms": 0, "settle_jitter_ms": 0, **options.pop("presence", {})})
        self.events: list[Event] = []
        self.options = options
        self.presence = presence
        store.subscribe(self.events.extend)
        self.drain = self.new_drain()
        self._running: asyncio.Task[None] | None = None

    def new_drain(self) -> Drain:
        return Drain(
            store=self.store,
            roster=self.roster,
            executor=self.executor,
            registry=self.registry,
            commands=FakeCommands(),
            presence=lambda _: self.presence,
            parameters=lambda: self.parameters,
            clock=self.clock,
            rng=random.Random(7),
            **self.options,
        )

    def start(self) -> None:
        self._not_ours = asyncio.all_tasks()
        self._running = asyncio.create_task(self.drain.run())

    async def stop(self) -> None:
        assert self._running is not None
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running
        self._running = None
        ours = {*self._not_ours, asyncio.current_task()}
        self.left_behind = [task for task in asyncio.all_tasks() - ours if not task.done()]

    async def restart(self) -> None:
        """As a crash and a new start of the gateway: nobody has been heard yet."""
        if self._running is not None:
            await self.stop()
        await self.store.write(lambda tx: tx.recover(self.clock.wall_ms()))
        self.drain = self.new_drain()
        self.start()

    # what happens

    async def queue(self, request_id: str, target: str = "m1", **fields: Any) -> Operation:
        now = self.clock.wall_ms()
        priority = fields.pop("priority", "NORMAL")
        operation = Operation(
            **{
                "request_id": request_id,
                "kind": Kind.COMMAND,
                "target_component": target,
                "creator": "tech-anna",
                "created_at": now,
                "expires_at": now + HOUR_MS,
                "command_type": "identify",
                "priority": Priority[priority],
                **fields,
            }
        )
        return await self.store.write(lambda tx: tx.enqueue(operation, self.parameters))

    async def queue_pairing(self, request_id: str, target: str = "m1", **fields: Any) -> Operation:
        pairing = {
            "kind": Kind.PAIRING,
            "command_type": None,
            "request_type": RequestType.STANDARD,
            "initiator_component": "p1",
        }
        return await self.queue(request_id, target, **{**pairing, **fields})

    def comes_back(self, *component_ids: str, restarted: bool = False, **how: Any) -> None:
        for component_id in component_ids:
            if restarted and self.roster.sighting(component_id).ready:
                self.roster.heartbeat(component_id)  # a boot so short that it was never away
            else:
                self.roster.online(component_id, **how)
            self.drain.ready(component_id, restarted)

    async def falls_silent(self, component_id: str, reason: Reason = Reason.HEARTBEAT_TIMEOUT) -> None:
        self.roster.offline(component_id, reason)
        now = self.clock.wall_ms()
        change = PresenceChange(component_id, "component_offline", now, Presence.OFFLINE, str(reason), now, now)
        await self.store.write(lambda tx: tx.record_presence([change]))

    async def tells(self, event_type: str, subject: str) -> None:
        event = Event(event_type, subject, self.clock.wall_ms())
        await self.store.write(lambda tx: tx.emit(event))

    async def ask_for_drain(
        self, component_id: str, max_operations: int = 10, *, process_proxy_queue: bool = False
    ) -> DrainReport:
        drain_id = self.drain.begin(
            component_id, max_operations=max_operations, process_proxy_queue=process_proxy_queue
        )
        return await self.drain.finished(drain_id)

    # what is seen

    async def operation(self, request_id: str) -> Operation:
        found = await self.store.read(lambda reader: reader.operation(request_id))
        assert found is not None
        return found

    async def status(self, request_id: str) -> Status:
        return (await self.operation(request_id)).status

    @property
    def begun(self) -> list[str]:
        return self.executor.begun

    @property
    def began_at(self) -> dict[str, float]:
        """When the last attempt at each request began (s)."""
        return {request_id: begin for request_id, _, begin, _ in self.executor.journal}

    def told(self, event_type: str) -> list[Event]:
        return [event for event in self.events if event.type == event_type]


M = (
    module("p1", 1),
    module("m1", 2, proxies=frozenset({"p1"})),
    module("m2", 3),
    module("m3", 4, drain_mode=DrainMode.MANUAL),
)


UNANSWERED = Act(Outcome(Ending.UNANSWERED, code=Code.EXCHANGE_TIMEOUT), after_s=0.5)
DECLINED = Act(Outcome(Ending.DECLINED, code=Code.DEVICE_REFUSED, device_status=0x21))
BUS_DOWN = Act(Outcome(Ending.NOT_STARTED, code=Code.BUS_DOWN), sends=False)
LONG = Act(after_s=2.0)
ONCE = Delivery.AT_MOST_ONCE
EMERGENCY = {"request_type": RequestType.EMERGENCY, "priority": "CRITICAL", "reach": Reach.EMERGENCY}
OPEN = {"command_type": "contactor_open", "reach": Reach.EMERGENCY}
WAKE = {"command_type": "wake", "reach": Reach.SLEEPING}
BY_P1 = {"request_type": RequestType.PROXY, "proxy_component": "p1"}


class Stage:
    """Where scenes are played: on a store of one kind."""

    def __init__(self, kind: str, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        self._kind, self._folder, self.caplog = kind, folder, caplog

    @asynccontextmanager
    async def scene(self, components: Sequence[Component] = M, **options: Any) -> AsyncIterator[Scene]:
        clock = LoopClock()
        async with self._store(clock) as store:
            scene = Scene(store, clock, components, **options)
            scene.start()
            yield scene
            if scene._running is not None:
                await scene.stop()
            assert scene.left_behind == []

    @asynccontextmanager
    async def _store(self, clock: LoopClock) -> AsyncIterator[Store]:
        if self._kind == "memory":
            yield MemoryStore(clock)
            return
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        opened = SqliteStore.open(self._folder / "gateway.db", clock=clock)
        with loop.outside():
            store = await opened.__aenter__()
        try:
            yield OutsideStore(store, loop)
        finally:
            with loop.outside():
                await opened.__aexit__(None, None, None)


def story(test: Callable[[Stage], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Tell a story on both stores, on virtual time."""

    def told(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        virtual_time(test)(Stage(kind, tmp_path, caplog))

    told.__name__, told.__module__ = test.__name__, test.__module__
    return pytest.mark.parametrize("kind", ["memory", "sqlite"])(told)
