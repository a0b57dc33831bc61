"""What the last run left, taken up again."""

import logging
import sqlite3
from contextlib import AsyncExitStack

from gateway.adoption import merge
from gateway.clock import Clock
from gateway.daemon.parts import Gateway, Recalled
from gateway.errors import Refusal, StoreUnavailable
from gateway.ports import Tx
from gateway.queue.store import OUTBOX_MAX_BYTES, SqliteStore
from gateway.settings import Settings

log = logging.getLogger(__name__)


async def open_store(opened: AsyncExitStack, settings: Settings, clock: Clock) -> SqliteStore:
    """Open the database for as long as `opened` is. Raises StoreUnavailable."""
    sync, path = settings.sync, settings.gateway.database
    store = SqliteStore.open(
        path,
        clock=clock,
        mode=settings.queue.mode,
        max_bytes=settings.queue.max_database_bytes,
        outbox_max_bytes=OUTBOX_MAX_BYTES if sync is None else sync.outbox_max_bytes,
        upstream=sync is not None,
    )
    try:
        return await opened.enter_async_context(store)
    except sqlite3.Error as why:
        raise StoreUnavailable(f"{path}: {why}") from why


async def recall(gateway: Gateway) -> Recalled:
    """Take up where the last run ended: operations it was carrying out, serial numbers it learned, parameters."""
    now = gateway.clock.wall_ms()

    def job(tx: Tx) -> Recalled:
        interrupted = tx.recover(now)
        rows = {row.component_id: row for row in tx.components()}
        return Recalled(rows, tx.parameters(), tx.registrations(), len(interrupted))

    try:
        recalled = await gateway.store.write(job)
    except Refusal as why:
        raise StoreUnavailable(str(why)) from why
    for left in merge(gateway.registry, recalled.registrations, gateway.links):
        log.warning(
            "%s was adopted at node %d of %s, which the configuration gives to others",
            left.component_id,
            left.node,
            left.bus,
        )
    for component in list(gateway.registry):
        row = recalled.rows.get(component.component_id)
        if row is not None and row.serial is not None and component.serial is None:
            gateway.registry.learn_serial(component.component_id, row.serial)
    return recalled
