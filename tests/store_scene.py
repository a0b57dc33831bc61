"""A store on a real file, and a few verbs to drive it with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.event import Event
from gateway.ids import RequestIds
from gateway.operation import Action, Ending, Kind, Operation, Outcome, QueueType, RequestType, Status, Verdict
from gateway.ports import Page
from gateway.queue.store import SqliteStore
from gateway.settings import Parameters
from tests.doubles import FakeClock

PARAMETERS = Parameters()
HOUR_MS = 3_600_000


@dataclass
class StoreScene:
    """`store` is the one that is open; `events` all that its listeners heard."""

    store: SqliteStore
    clock: FakeClock
    path: Path
    ids: RequestIds = field(default_factory=RequestIds)
    events: list[Event] = field(default_factory=list)

    def command(self, target: str = "module-03", **changes: Any) -> Operation:
        now = self.clock.wall_ms()
        told: dict[str, Any] = {"command_type": "identify", "arguments": {"seconds": 10}, "expires_at": now + HOUR_MS}
        return Operation(
            request_id=self.ids.new("cmd", now),
            kind=Kind.COMMAND,
            target_component=target,
            creator="tech-anna",
            created_at=now,
            **(told | changes),
        )

    def pairing(self, target: str = "module-03", **changes: Any) -> Operation:
        now = self.clock.wall_ms()
        told: dict[str, Any] = {"initiator_component": "pack-01", "request_type": RequestType.STANDARD}
        return Operation(
            request_id=self.ids.new("req", now),
            kind=Kind.PAIRING,
            target_component=target,
            creator="tech-anna",
            created_at=now,
            **(told | {"expires_at": now + HOUR_MS} | changes),
        )

    async def enqueue(self, operation: Operation, parameters: Parameters = PARAMETERS) -> Operation:
        return await self.store.write(lambda tx: tx.enqueue(operation, parameters))

    async def claim(self, carrier: str = "module-03", **options: Any) -> Operation | None:
        return await self.store.write(lambda tx: tx.claim(carrier, self.clock.wall_ms(), **options))

    async def claimed(self, carrier: str = "module-03", **options: Any) -> Operation:
        operation = await self.claim(carrier, **options)
        assert operation is not None
        return operation

    async def finish(
        self, operation: Operation, action: Action = Action.COMPLETE, outcome: Outcome | None = None, **verdict: Any
    ) -> Operation:
        told = outcome or Outcome(Ending.DONE)
        return await self.store.write(
            lambda tx: tx.finish(operation, Verdict(action, **verdict), told, self.clock.wall_ms())
        )

    async def operation(self, request_id: str) -> Operation:
        found = await self.store.read(lambda reader: reader.operation(request_id))
        assert found is not None
        return found

    async def stored_events(self, after: int = 0) -> list[Event]:
        return await self.store.read(lambda reader: reader.events_after(after, 100_000))

    async def page(self, **asked: Any) -> Page:
        wanted: dict[str, Any] = {"component_id": None, "queue_type": QueueType.ALL, "status": None}
        wanted |= {"page_size": 50, "cursor": None, **asked}
        return await self.store.read(lambda reader: reader.operations(**wanted))

    async def statuses(self) -> dict[str, Status]:
        """Every operation that waits or runs."""
        page = await self.page(page_size=200)
        return {operation.request_id: operation.status for operation in page.operations}


@asynccontextmanager
async def scene(path: Path, clock: FakeClock | None = None, **options: Any) -> AsyncIterator[StoreScene]:
    """Open the store at `path`."""
    clock = clock or FakeClock()
    async with SqliteStore.open(path, clock=clock, **options) as store:
        made = StoreScene(store, clock, path)
        store.subscribe(made.events.extend)
        yield made
