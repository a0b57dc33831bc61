"""The beginning and the end of a run, and what the service manager hears meanwhile."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from gateway import __version__
from gateway.daemon.parts import Gateway, Recalled
from gateway.event import GATEWAY, Event
from gateway.notify import ServiceManager
from gateway.queue.drain.patience import write

log = logging.getLogger(__name__)

WATCH_SHARE: Final = 3  # how often in a watchdog interval we look whether all is well


async def announce(gateway: Gateway, service: ServiceManager, recalled: Recalled) -> None:
    """Tell of the start, here and upstream. Runs last, when all the others have begun."""
    attributes = {
        "epoch": gateway.store.epoch,
        "version": __version__,
        "config_hash": gateway.config_hash,
        "interrupted": recalled.interrupted,
    }
    await _tell(gateway, "gateway_started", attributes)
    service.ready(f"{len(gateway.registry)} components on {', '.join(gateway.links)}")
    log.info("started: %d components, epoch %d", len(gateway.registry), gateway.store.epoch)


async def farewell(gateway: Gateway, service: ServiceManager) -> None:
    """Tell of the stop, here and upstream."""
    service.stopping()
    log.info("stopping")
    await _tell(gateway, "gateway_stopping", {"epoch": gateway.store.epoch})


async def _tell(gateway: Gateway, event_type: str, attributes: Mapping[str, Any]) -> None:
    clock = gateway.clock
    event = Event(event_type, GATEWAY, clock.wall_ms(), attributes, time_trusted=clock.trusted())
    await write(gateway.store, lambda tx: tx.emit(event))


async def watch(gateway: Gateway, service: ServiceManager) -> None:
    """Tell the service manager that we are alive, for as long as readers, writer and loop all make progress."""
    if service.watchdog_s is None:
        return
    while True:
        now = gateway.clock.monotonic()
        stuck = [name for name, link in gateway.links.items() if not link.alive(now)]
        if not gateway.store.writer_alive():
            stuck.append("the store's writer")
        if stuck:
            log.error("no progress: %s", ", ".join(stuck))
        else:
            online = sum(monitor.stats()["online"] for monitor in gateway.monitors)
            service.alive(f"{online} of {len(gateway.registry)} components online")
        await asyncio.sleep(service.watchdog_s / WATCH_SHARE)
