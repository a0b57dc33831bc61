"""A store whose work ends on chosen days, the task that keeps it small, and what then stands in its export files."""

import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.clock import parse_rfc3339
from gateway.operation import Action, Operation
from gateway.ports import History
from gateway.queue.retention import Retention
from gateway.settings import Parameters
from tests.doubles import FakeClock
from tests.store_scene import StoreScene, scene


@dataclass
class RetentionScene:
    """`told` drives the store; `folder` is where the export files go."""

    told: StoreScene
    folder: Path
    parameters: Parameters

    @property
    def retention(self) -> Retention:
        return Retention(
            store=self.told.store, parameters=lambda: self.parameters, clock=self.told.clock, folder=self.folder
        )

    def at(self, day: str) -> None:
        """Set the clock to noon of a day, as 2026-09-21."""
        self.told.clock.set_wall(parse_rfc3339(f"{day}T12:00:00.000Z"))

    async def look(self, day: str) -> None:
        """Let the task look on a day."""
        self.at(day)
        await self.retention.look()

    async def end(self, day: str, count: int = 1, action: Action = Action.COMPLETE, **asked: Any) -> list[Operation]:
        """Have operations queued and ended on a day."""
        self.at(day)
        ended = []
        for _ in range(count):
            await self.told.enqueue(self.told.command(**asked))
            ended.append(await self.told.finish(await self.told.claimed(), action))
            self.told.clock.advance(1)
        return ended

    async def live(self) -> set[str]:
        return await self._ids("operation")

    async def archived(self) -> set[str]:
        return await self._ids("archive")

    async def _ids(self, table: str) -> set[str]:
        rows = await self.told.store.read(lambda reader: reader._execute(f"SELECT request_id FROM {table}", ()))  # type: ignore[attr-defined]  # behind the protocol
        return {request_id for (request_id,) in rows}

    async def remembered(self) -> list[str]:
        """Every operation that the history shows, the newest first."""
        page = await self.told.store.study(lambda reader: reader.history(History(), page_size=200, cursor=None))
        return [operation.request_id for operation in page.operations]

    def names(self) -> list[str]:
        """The files beside which nothing unfinished lies."""
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []

    def exported(self) -> dict[str, list[str]]:
        """What stands in each file, by its manifest, which must be true."""
        found = {}
        for manifest in sorted(self.folder.glob("*.json")):
            told = json.loads(manifest.read_text())
            data = (self.folder / told["file"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == told["sha256"]
            lines = [json.loads(line) for line in gzip.decompress(data).splitlines()]
            assert len(lines) == told["count"]
            assert {line["finished_at"][:7] for line in lines} == {told["month"]}
            found[told["file"]] = [line["request_id"] for line in lines]
        return found


@asynccontextmanager
async def retention_scene(path: Path, clock: FakeClock | None = None, **values: Any) -> AsyncIterator[RetentionScene]:
    """Open the store below `path`; `values` are parameters."""
    async with scene(path / "queue.db", clock) as told:
        yield RetentionScene(told, path / "archive", Parameters(**values))
