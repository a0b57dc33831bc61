"""What becomes of operations that have ended: archived, exported month by month, and deleted once they are old.

Only what stands in an export file that is still whole is ever deleted, and nothing happens on a time that is doubted.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.clock import Clock
from gateway.errors import Refusal
from gateway.ports import Export, Store
from gateway.queue.months import Month, month_after, month_of
from gateway.queue.retention.files import is_intact, names_in, write_export
from gateway.settings import Parameters

log = logging.getLogger(__name__)

FIRST_LOOK_S: Final = 60.0  # after the start, which has more urgent things to do; a vehicle may not run for long
LOOK_S: Final = 3600.0
BATCH: Final = 100  # operations moved or deleted in one transaction, that others wait for
MAX_EXPORT: Final = 5_000  # operations in one file: they are in memory at one time
DAY_MS: Final = 86_400_000


class Retention:
    """The task that keeps the live table small. `folder`: where the export files go; its parent must exist."""

    def __init__(self, *, store: Store, parameters: Callable[[], Parameters], clock: Clock, folder: Path) -> None:
        self._store = store
        self._parameters = parameters
        self._clock = clock
        self._folder = folder

    async def run(self) -> None:
        """Look every hour, for ever."""
        delay_s = FIRST_LOOK_S
        while True:
            await asyncio.sleep(delay_s)
            delay_s = LOOK_S if self._clock.trusted() else FIRST_LOOK_S
            try:
                await self.look()
            except (Refusal, OSError) as why:
                log.warning("retention stopped: %s; its next look goes on from there", why)

    async def look(self) -> None:
        """Delete, archive and export what is due.

        Raises:
            Refusal: STORAGE_FULL, INTERNAL.
            OSError: An export file cannot be written.
        """
        if not self._clock.trusted():
            return
        parameters, now_ms = self._parameters(), self._clock.wall_ms()
        old_ms = now_ms - round(parameters.retention_days * DAY_MS)
        await self._drop(month_after(month_of(now_ms), -parameters.archive_months))  # first: the rest takes room
        await self._archive(old_ms)
        await self._export(old_ms)

    async def _drop(self, before: Month) -> None:
        """Delete what ended before a month and stands in export files that are still whole."""
        for export in await self._store.study(lambda reader: reader.exports_before(before)):
            if await asyncio.to_thread(is_intact, self._folder, export):
                await self._drop_rows(export)
            else:
                log.error("%s is missing or damaged: its operations stay in the archive", self._folder / export.file)

    async def _drop_rows(self, export: Export) -> None:
        dropped = BATCH
        while dropped == BATCH:
            dropped = await self._store.write(lambda tx: tx.drop_exported(export.file, BATCH))
        log.info("deleted the operations of %s from the archive: they stand in %s", export.month, export.file)

    async def _archive(self, ended_before: int) -> None:
        moved = BATCH
        while moved == BATCH:
            moved = await self._store.write(lambda tx: tx.archive(ended_before, BATCH))

    async def _export(self, ended_before: int) -> None:
        while (export := await self._begin_export(ended_before)) is not None:
            await self._write(export)

    async def _begin_export(self, ended_before: int) -> Export | None:
        taken = await asyncio.to_thread(names_in, self._folder)
        return await self._store.write(lambda tx: tx.begin_export(ended_before, MAX_EXPORT, taken))

    async def _write(self, export: Export) -> None:
        """Write an export that is begun; whatever interrupts this, the next look does it again, to the same end."""
        operations = await self._store.study(lambda reader: reader.bundle(export))
        now_ms = self._clock.wall_ms()
        sha256 = await asyncio.to_thread(write_export, self._folder, export, operations, now_ms)
        await self._store.write(lambda tx: tx.exported(export.file, sha256))
        log.info("exported %d operations of %s to %s", len(operations), export.month, export.file)
