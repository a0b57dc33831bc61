"""One run of the gateway, from the first look at the disk to the last word. New here? Read this, then `compose`.

`run` opens the store, recalls what it knew, joins buses, queue and upstream, and owns all their tasks in one TaskGroup:
a fault in one of them stops all, and the service manager starts us again.
"""

import asyncio
import fcntl
import logging
import random
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from gateway.bus.link import Link
from gateway.bus.link.replay import clock_for
from gateway.clock import SystemClock
from gateway.component import Registry
from gateway.daemon.compose import compose
from gateway.daemon.life import announce, farewell, watch
from gateway.daemon.parts import Gateway
from gateway.daemon.recall import open_store, recall
from gateway.daemon.simulation import simulation
from gateway.errors import ConfigError
from gateway.notify import ServiceManager
from gateway.settings import Settings

log = logging.getLogger(__name__)

LOCK: Final = "lock"


class StopRequested(Exception):  # noqa: N818 - no error: somebody asked
    """SIGTERM or SIGINT came."""


async def run(settings: Settings, *, scenario: Path | None = None) -> None:
    """Run the gateway until SIGTERM or SIGINT. `scenario`: simulated devices for the virtual buses.

    Raises ConfigError for what the configuration turns out to ask in vain.
    """
    clock, rng = SystemClock(), random.Random()  # noqa: S311 - jitter, no secret
    registry = Registry(settings.components())
    links = {section.name: Link(section.name, section, clock_for(section, clock), rng) for section in settings.bus}
    async with AsyncExitStack() as opened:
        _make_folders(settings)
        opened.enter_context(_alone_in(settings.gateway.state_dir))
        store = await open_store(opened, settings, clock)
        clock.resume_from(store.last_event_at)
        gateway = Gateway(settings, clock, rng, registry, store, links, [])
        recalled = await recall(gateway)
        service = ServiceManager()
        work = compose(gateway, recalled)
        work += simulation(gateway, scenario, opened)
        work += [watch(gateway, service), announce(gateway, service, recalled)]
        await _run_together(work, partial(farewell, gateway, service))


def _make_folders(settings: Settings) -> None:
    for folder in (settings.gateway.state_dir, settings.gateway.socket.parent):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as why:
            raise ConfigError([f"{folder}: cannot be made: {why.strerror}"]) from why


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep every other gateway out of a state directory: two that share a database would undo each other's work."""
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as why:
            raise ConfigError([f"gateway.state_dir: another gateway uses {folder}"]) from why
        yield


async def _run_together(work: Sequence[Coroutine[Any, Any, None]], farewell: Callable[[], Awaitable[None]]) -> None:
    """Run all of `work` until a signal asks to stop. Raises ConfigError for what only a start can find out."""
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_stop_on_signal(farewell), name="stop on signal")
            for each in work:
                tasks.create_task(each)
    except* StopRequested:
        log.info("stopped")
    except* ConfigError as group:
        problems = [problem for why in group.exceptions if isinstance(why, ConfigError) for problem in why.problems]
        raise ConfigError(problems) from group


async def _stop_on_signal(farewell: Callable[[], Awaitable[None]]) -> None:
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, asked.set)
    await asked.wait()
    await farewell()
    raise StopRequested
