"""Joins buses, queue and outside: every long-lived object is made here."""

import logging
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final

from gateway.access import Role
from gateway.api import Api, Desk, Tuning
from gateway.bus.commands import Catalogue
from gateway.bus.described import Described
from gateway.bus.described.speaker import Speaker
from gateway.bus.exchange import Exchange
from gateway.bus.exchange.budget import BusBudget
from gateway.bus.exchange.executor import BusExecutor
from gateway.bus.link.bcm import BroadcastManager
from gateway.bus.link.replay import ReplayClock
from gateway.bus.monitor import Monitor
from gateway.bus.monitor.kernel import KernelObserver
from gateway.bus.monitor.roster import CombinedRoster, CombinedWatches
from gateway.component import Component, ComponentKind
from gateway.daemon.health import GatewayHealth
from gateway.daemon.parts import Gateway, Recalled
from gateway.daemon.reload import AccessReload
from gateway.daemon.telemetry import telemetry
from gateway.event import Event
from gateway.ports import AuditEntry
from gateway.queue.drain import Drain
from gateway.queue.notices import Notices
from gateway.queue.retention import Retention
from gateway.recorder import Recorder
from gateway.settings import SyncSection
from gateway.sync.access import Access, load_access
from gateway.sync.broker import EXPOSED, Broker
from gateway.sync.payload import Encoding
from gateway.sync.refusals import Audit
from gateway.sync.requests import RequestServer
from gateway.sync.socket import ControlSocket
from gateway.sync.state import Birth, States
from gateway.sync.tally import Tally
from gateway.sync.telemetry import Telemetry
from gateway.sync.topics import Topics
from gateway.sync.uplink import Uplink
from gateway.sync.way_up import WayUp

log = logging.getLogger(__name__)

EXPORTS: Final = "archive"  # the folder for what leaves the database, beside it

Work = list[Coroutine[Any, Any, None]]


def compose(gateway: Gateway, recalled: Recalled) -> Work:
    """Join buses, queue and outside; return what is to run."""
    settings, clock, store = gateway.settings, gateway.clock, gateway.store
    tuning = Tuning(settings.queue.parameters(), recalled.parameters)
    way_up, knocks = WayUp(), Tally(log, clock)
    exchanges = _exchanges(gateway, tuning)
    described = gateway.described()
    roster, commands = CombinedRoster(gateway.monitors), Catalogue(described)
    executor = BusExecutor(
        registry=gateway.registry,
        roster=roster,
        exchanges=exchanges,
        speakers=_speakers(gateway, exchanges, described),
        commands=commands,
        clock=clock,
        rng=gateway.rng,
    )
    drain = _drain(gateway, tuning=tuning, executor=executor, roster=roster, commands=commands, way_up=way_up)
    recorder = Recorder(store, partial(_discovered, gateway))
    gateway.monitors.extend(_monitor(gateway, recalled, bus, recorder, drain) for bus in gateway.links)
    observers = _observers(gateway)
    api = Api(
        Desk(
            store=store,
            registry=gateway.registry,
            roster=roster,
            watches=CombinedWatches(gateway.monitors, gateway.presence_settings),
            commands=commands,
            drains=drain,
            health=GatewayHealth(gateway.links, gateway.monitors, exchanges, way_up, knocks, observers=observers),
            upstream=way_up,
            timekeeper=clock,
            tuning=tuning,
            clock=clock,
            safety_commands=frozenset(settings.queue.safety_commands),
            presence=gateway.presence_settings,
        )
    )
    folder, parameters = settings.gateway.state_dir / EXPORTS, tuning.read
    work = [
        recorder.run(),
        drain.run(),
        Notices(store, parameters, clock).run(),
        Retention(store=store, parameters=parameters, clock=clock, folder=folder).run(),
        *_outside(gateway, api, way_up, knocks, tuning),
    ]
    work += [monitor.run() for monitor in gateway.monitors] + [observer.run() for observer in observers.values()]
    return work + [link.run() for link in gateway.links.values()]


def _exchanges(gateway: Gateway, tuning: Tuning) -> Mapping[str, Exchange]:
    """Return the exchange of each bus, with a budget where its bit rate is known."""
    clock, bitrates = gateway.clock, {section.name: section.bitrate for section in gateway.settings.bus}
    return {
        name: Exchange(
            link,
            clock,
            gateway.codecs(name),
            BusBudget(bitrates[name], lambda: tuning.current.max_bus_load, clock),
        )
        for name, link in gateway.links.items()
    }


def _speakers(
    gateway: Gateway, exchanges: Mapping[str, Exchange], described: Sequence[Described]
) -> Mapping[str, Speaker]:
    """Return who speaks to the components of others on each bus, out of the budget of its exchange."""
    response_ids: dict[str, set[int]] = {name: set() for name in exchanges}
    for command in described:
        for component_id, way in command.ways.items():
            component = gateway.registry.get(component_id)
            if component is not None and way.response_id is not None:
                response_ids[component.bus].add(way.response_id)
    return {
        name: Speaker(gateway.links[name], gateway.clock, exchange.budget, response_ids[name])
        for name, exchange in exchanges.items()
    }


def _drain(
    gateway: Gateway,
    *,
    tuning: Tuning,
    executor: BusExecutor,
    roster: CombinedRoster,
    commands: Catalogue,
    way_up: WayUp,
) -> Drain:
    settings, clock, rng = gateway.settings, gateway.clock, gateway.rng
    return Drain(
        store=gateway.store,
        roster=roster,
        executor=executor,
        registry=gateway.registry,
        commands=commands,
        presence=gateway.presence_settings,
        parameters=tuning.read,
        clock=clock,
        rng=rng,
        mode=settings.queue.mode,
        pinned={section.id for section in settings.component if section.serial is not None},
        learned=way_up.touch,
    )


def _outside(gateway: Gateway, api: Api, way_up: WayUp, knocks: Tally, tuning: Tuning) -> Work:
    """Return the ways in and out: the control socket, and MQTT where it is configured."""
    at, file = gateway.settings.gateway, gateway.settings.access.file

    async def audit(entry: AuditEntry) -> None:
        await gateway.store.write(lambda tx: tx.audit(entry, gateway.clock.wall_ms()))

    access = load_access(file, frozenset(component.component_id for component in gateway.registry))
    work: Work = [
        ControlSocket(
            path=at.socket, group=at.socket_group, api=api, clock=gateway.clock, tally=knocks, audit=audit
        ).run(),
        AccessReload(access, file, gateway.registry, audit).run(),
    ]
    if gateway.settings.sync is not None:
        requests = _requests(gateway, api, tuning, access, audit)
        told, telling = telemetry(gateway)
        way_up.uplink = _uplink(gateway, gateway.settings.sync, requests, told)
        work += [way_up.uplink.run(), *telling]
    return work


def _monitor(gateway: Gateway, recalled: Recalled, bus: str, recorder: Recorder, drain: Drain) -> Monitor:
    here = [each for each in gateway.registry if each.bus == bus]
    link = gateway.links[bus]
    pace: dict[str, Any] = {}
    if isinstance(link.clock, ReplayClock):  # it sleeps by the recording, and no sleep of the machine matters to it
        pace = {"sleep_until": link.clock.sleep_until, "suspended": lambda: 0.0}
    return Monitor(
        wire=link,
        components=[(each, gateway.presence_settings(each.component_id)) for each in here],
        codecs=gateway.codecs(bus),
        clock=link.clock,
        rows=recalled.rows,
        sink=recorder.take,
        on_ready=drain.ready,
        known_nodes=[each.address for each in here if not each.configured],
        listenings=gateway.listenings(bus),
        **pace,
    )


def _observers(gateway: Gateway) -> Mapping[str, KernelObserver]:
    """Return the kernel as an observer, by bus, where the configuration asks for it."""
    asked = {section.name: section for section in gateway.settings.bus if section.observer == "kernel"}
    return {
        monitor.name: KernelObserver(
            monitor,
            gateway.links[monitor.name],
            partial(BroadcastManager, str(section.channel or section.name), section.receive_buffer_bytes),
            gateway.clock,
        )
        for monitor in gateway.monitors
        if (section := asked.get(monitor.name)) is not None
    }


def _requests(gateway: Gateway, api: Api, tuning: Tuning, access: Access, audit: Audit) -> RequestServer:
    return RequestServer(
        api=api,
        access=access,
        topics=Topics(gateway.settings.gateway.id),
        clock=gateway.clock,
        audit=audit,
        must_sign=frozenset(Role(role) for role in gateway.settings.access.require_signature),
        per_minute=lambda: tuning.current.requests_per_minute,
    )


def _uplink(gateway: Gateway, sync: SyncSection, requests: RequestServer, told: Telemetry | None) -> Uplink:
    settings, clock, store = gateway.settings, gateway.clock, gateway.store
    topics = Topics(settings.gateway.id)
    broker = Broker.of(sync, settings.gateway.id)
    if broker.exposed:
        log.warning("%s: %s", broker.name, EXPOSED)
    birth = Birth(store.epoch, clock.wall_ms(), gateway.config_hash, tuple(gateway.links))
    return Uplink(
        broker=broker,
        topics=topics,
        states=States(topics, birth, gateway.registry, Encoding(sync.encoding)),
        store=store,
        requests=requests,
        clock=clock,
        rng=gateway.rng,
        telemetry=told,
    )


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
