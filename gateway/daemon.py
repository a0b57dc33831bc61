"""The composition root: every long-lived object is made here. New here? Read this file first.

`run` opens the store, recalls what it knew, joins buses, queue and upstream, and owns all their tasks in one TaskGroup:
a fault in one of them stops all, and the service manager starts us again.
"""

import asyncio
import fcntl
import hashlib
import logging
import random
import signal
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from gateway import __version__
from gateway.access import Role
from gateway.api import Api, Tuning
from gateway.bus.commands import Catalogue
from gateway.bus.exchange import Exchange
from gateway.bus.exchange.executor import BusExecutor
from gateway.bus.frames import Codec, codecs_of
from gateway.bus.link import Link
from gateway.bus.monitor import Monitor
from gateway.bus.monitor.roster import CombinedRoster
from gateway.bus.simulator.journal import Journal
from gateway.bus.simulator.runner import Simulator
from gateway.bus.simulator.scenario import load_scenario
from gateway.clock import Clock, SystemClock
from gateway.component import Component, ComponentKind, Registry
from gateway.errors import ConfigError, Refusal, StoreUnavailable
from gateway.event import GATEWAY, Event
from gateway.notify import ServiceManager
from gateway.ports import AuditEntry, ComponentRow, Tx
from gateway.queue.drain import Drain
from gateway.queue.drain.patience import write
from gateway.queue.store import BYTES_PER_EVENT, KEEP_EVENTS, SqliteStore
from gateway.recorder import Recorder
from gateway.settings import PresenceSection, Settings, SyncSection
from gateway.sync.access import load_access
from gateway.sync.broker import Broker
from gateway.sync.payload import Encoding
from gateway.sync.requests import RequestServer
from gateway.sync.socket import ControlSocket
from gateway.sync.state import Birth, States
from gateway.sync.topics import Topics
from gateway.sync.uplink import Uplink

log = logging.getLogger(__name__)

LOCK: Final = "lock"
WATCH_SHARE: Final = 3  # how often in a watchdog interval we look whether all is well
SIMULATED: Final = "virtual"  # the interface whose devices live in this process


class StopRequested(Exception):  # noqa: N818 - no error: somebody asked
    """SIGTERM or SIGINT came."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """What the last run left: the live part of every component, changed parameters, operations cut off."""

    rows: Mapping[str, ComponentRow]
    parameters: Mapping[str, Any]
    interrupted: int


@dataclass(frozen=True, slots=True)
class Gateway:
    """What more than one part of the composition needs. `monitors` are added once they can be told whom to tell."""

    settings: Settings
    clock: SystemClock
    rng: random.Random
    registry: Registry
    store: SqliteStore
    links: Mapping[str, Link]
    monitors: list[Monitor]

    def codecs(self, bus: str) -> Mapping[str, Codec]:
        """Return the messages of a bus."""
        return codecs_of(next(section.dbc for section in self.settings.bus if section.name == bus))

    def presence_settings(self, component_id: str) -> PresenceSection:
        """Return the presence settings of a component: its own over the general ones."""
        defaults = self.settings.presence
        own = (section for section in self.settings.component if section.id == component_id)
        return next((section.presence(defaults) for section in own), defaults)


class GatewayHealth:
    """What is well and what is not: `gateway.ports.Health`."""

    def __init__(
        self, links: Mapping[str, Link], monitors: Sequence[Monitor], exchanges: Mapping[str, Exchange]
    ) -> None:
        self._links = links
        self._monitors = monitors
        self._exchanges = exchanges
        self.uplink: Uplink | None = None

    def buses(self) -> list[dict[str, Any]]:
        """One map a bus: what its link and its monitor count, and the answers its exchange has dropped."""
        return [self._bus(monitor) for monitor in self._monitors]

    def _bus(self, monitor: Monitor) -> dict[str, Any]:
        dropped = {"answers_dropped": asdict(self._exchanges[monitor.name].counts)}
        return {**self._links[monitor.name].stats(), **monitor.stats(), **dropped}

    def upstream(self) -> dict[str, Any]:
        """How the way to the broker is."""
        return {"configured": False} if self.uplink is None else self.uplink.status()


async def run(settings: Settings, *, scenario: Path | None = None) -> None:
    """Run the gateway until SIGTERM or SIGINT. `scenario`: simulated devices for the virtual buses.

    Raises ConfigError for what the configuration turns out to ask in vain.
    """
    clock, rng = SystemClock(), random.Random()  # noqa: S311 - jitter, no secret
    registry = Registry(settings.components())
    links = {section.name: Link(section.name, section, clock, rng) for section in settings.bus}
    async with AsyncExitStack() as opened:
        _make_folders(settings)
        opened.enter_context(_alone_in(settings.gateway.state_dir))
        store = await _open_store(opened, settings, clock)
        clock.floor_ms = max(clock.floor_ms, store.last_event_at)
        gateway = Gateway(settings, clock, rng, registry, store, links, [])
        recalled = await _recall(gateway)
        service = ServiceManager()
        work = _compose(gateway, recalled)
        work += _simulation(gateway, scenario, opened)
        work += [_watch(gateway, service), _announce(gateway, service, recalled)]
        await _run_together(work, partial(_farewell, gateway, service))


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


async def _open_store(opened: AsyncExitStack, settings: Settings, clock: Clock) -> SqliteStore:
    sync, path = settings.sync, settings.gateway.database
    store = SqliteStore.open(
        path,
        clock=clock,
        max_bytes=settings.queue.max_database_bytes,
        keep_events=KEEP_EVENTS if sync is None else sync.outbox_max_bytes // BYTES_PER_EVENT,
        upstream=sync is not None,
    )
    try:
        return await opened.enter_async_context(store)
    except sqlite3.Error as why:
        raise StoreUnavailable(f"{path}: {why}") from why


async def _recall(gateway: Gateway) -> Recalled:
    """Take up where the last run ended: operations it was carrying out, serial numbers it learned, parameters."""
    now = gateway.clock.wall_ms()

    def job(tx: Tx) -> Recalled:
        interrupted = tx.recover(now)
        rows = {row.component_id: row for row in tx.components()}
        return Recalled(rows, tx.parameters(), len(interrupted))

    try:
        recalled = await gateway.store.write(job)
    except Refusal as why:
        raise StoreUnavailable(str(why)) from why
    for component in list(gateway.registry):
        row = recalled.rows.get(component.component_id)
        if row is not None and row.serial is not None and component.serial is None:
            gateway.registry.learn_serial(component.component_id, row.serial)
    return recalled


def _compose(gateway: Gateway, recalled: Recalled) -> list[Coroutine[Any, Any, None]]:
    """Join buses, queue and outside; return what is to run."""
    settings, clock, rng = gateway.settings, gateway.clock, gateway.rng
    registry, store = gateway.registry, gateway.store
    tuning = Tuning(settings.queue.parameters(), recalled.parameters)
    exchanges = {name: Exchange(link, clock, gateway.codecs(name)) for name, link in gateway.links.items()}
    roster, commands = CombinedRoster(gateway.monitors), Catalogue()
    executor = BusExecutor(
        registry=registry, roster=roster, exchanges=exchanges, commands=commands, clock=clock, rng=rng
    )
    health = GatewayHealth(gateway.links, gateway.monitors, exchanges)

    def learned(component_id: str) -> None:
        if health.uplink is not None:
            health.uplink.touch(component_id)

    drain = Drain(
        store=store,
        roster=roster,
        executor=executor,
        registry=registry,
        commands=commands,
        presence=gateway.presence_settings,
        parameters=lambda: tuning.current,
        clock=clock,
        rng=rng,
        pinned={section.id for section in settings.component if section.serial is not None},
        learned=learned,
    )
    recorder = Recorder(store, partial(_discovered, gateway))
    gateway.monitors.extend(_monitor(gateway, recalled, bus, recorder, drain) for bus in gateway.links)
    api = Api(
        store=store,
        registry=registry,
        roster=roster,
        commands=commands,
        drains=drain,
        health=health,
        tuning=tuning,
        clock=clock,
    )
    at = settings.gateway
    control = ControlSocket(path=at.socket, group=at.socket_group, api=api, clock=clock)
    work = [recorder.run(), drain.run(), control.run()]
    if settings.sync is not None:
        health.uplink = _uplink(gateway, settings.sync, api)
        work.append(health.uplink.run())
    work += [monitor.run() for monitor in gateway.monitors]
    return work + [link.run() for link in gateway.links.values()]


def _monitor(gateway: Gateway, recalled: Recalled, bus: str, recorder: Recorder, drain: Drain) -> Monitor:
    here = [component for component in gateway.registry if component.bus == bus]
    return Monitor(
        wire=gateway.links[bus],
        components=[(component, gateway.presence_settings(component.component_id)) for component in here],
        codecs=gateway.codecs(bus),
        clock=gateway.clock,
        rows=recalled.rows,
        sink=recorder.take,
        on_ready=drain.ready,
    )


def _uplink(gateway: Gateway, sync: SyncSection, api: Api) -> Uplink:
    settings, clock, store = gateway.settings, gateway.clock, gateway.store
    topics = Topics(settings.gateway.id)
    ids = frozenset(component.component_id for component in gateway.registry)

    async def audit(entry: AuditEntry) -> None:
        await store.write(lambda tx: tx.audit(entry, clock.wall_ms()))

    requests = RequestServer(
        api=api,
        access=load_access(settings.access.file, ids),
        topics=topics,
        clock=clock,
        audit=audit,
        must_sign=frozenset(Role(role) for role in settings.access.require_signature),
    )
    birth = Birth(store.epoch, clock.wall_ms(), _config_hash(settings), tuple(gateway.links))
    return Uplink(
        broker=Broker.of(sync, settings.gateway.id),
        topics=topics,
        states=States(topics, birth, gateway.registry, Encoding(sync.encoding)),
        store=store,
        requests=requests,
        clock=clock,
        rng=gateway.rng,
    )


def _config_hash(settings: Settings) -> str:
    """Return 16 hexadecimal digits that change with the configuration; it holds no secrets, only where they lie."""
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:16]


def _discovered(gateway: Gateway, event: Event) -> None:
    """Take a node that was discovered into the registry: unowned, watched, never commanded."""
    if event.type != "component_discovered":
        return
    told = event.attributes
    if event.subject in gateway.registry:
        log.warning("%s was discovered on %s and is configured elsewhere", event.subject, told["bus"])
        return
    component = Component(event.subject, ComponentKind(told["kind"]), told["bus"], told["node"], configured=False)
    gateway.registry.add(component)
    monitor = next(monitor for monitor in gateway.monitors if monitor.name == component.bus)
    monitor.add(component, gateway.settings.presence)


def _simulation(gateway: Gateway, file: Path | None, opened: AsyncExitStack) -> list[Coroutine[Any, Any, None]]:
    """Return what simulates the devices of the virtual buses, each on an end of its bus of its own."""
    if file is None:
        return []
    scenario = load_scenario(file, gateway.settings)
    sections = [section for section in gateway.settings.bus if section.interface == SIMULATED]
    if not sections:
        raise ConfigError([f"--simulate: no bus has interface = {SIMULATED!r}; use: simulate"])
    journal = opened.enter_context(Journal(gateway.clock, gateway.settings.gateway.state_dir / "journal.jsonl"))
    work = []
    for section in sections:
        link = Link(section.name, section, gateway.clock, gateway.rng)
        codecs = gateway.codecs(section.name)
        simulator = Simulator(scenario=scenario, wire=link, clock=gateway.clock, journal=journal, codecs=codecs)
        work += [link.run(), simulator.run()]
    return work


async def _announce(gateway: Gateway, service: ServiceManager, recalled: Recalled) -> None:
    """Tell of the start, here and upstream. Runs last, when all the others have begun."""
    attributes = {
        "epoch": gateway.store.epoch,
        "version": __version__,
        "config_hash": _config_hash(gateway.settings),
        "interrupted": recalled.interrupted,
    }
    await _tell(gateway, "gateway_started", attributes)
    service.ready(f"{len(gateway.registry)} components on {', '.join(gateway.links)}")
    log.info("started: %d components, epoch %d", len(gateway.registry), gateway.store.epoch)


async def _farewell(gateway: Gateway, service: ServiceManager) -> None:
    service.stopping()
    log.info("stopping")
    await _tell(gateway, "gateway_stopping", {"epoch": gateway.store.epoch})


async def _tell(gateway: Gateway, event_type: str, attributes: Mapping[str, Any]) -> None:
    clock = gateway.clock
    event = Event(event_type, GATEWAY, clock.wall_ms(), attributes, time_trusted=clock.trusted())
    await write(gateway.store, lambda tx: tx.emit(event))


async def _watch(gateway: Gateway, service: ServiceManager) -> None:
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
