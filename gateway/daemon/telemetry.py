"""Telemetry from the buses to the broker, where the configuration asks for it."""

from collections.abc import Coroutine
from typing import Any

from gateway.bus.link.replay import ReplayClock
from gateway.bus.telemetry import Telemetry as BusTelemetry
from gateway.bus.telemetry.wanted import resolve
from gateway.daemon.parts import Gateway
from gateway.sync.payload import Encoding
from gateway.sync.telemetry import Telemetry
from gateway.sync.topics import Topics


def telemetry(gateway: Gateway) -> tuple[Telemetry | None, list[Coroutine[Any, Any, None]]]:
    """Return what tells of the signals that are wanted, and what is to run for it; None and nothing: it is off.

    Raises ConfigError with every signal that is none.
    """
    settings = gateway.settings
    if not settings.telemetry.enabled or settings.sync is None:
        return None, []
    told = Telemetry(Topics(settings.gateway.id), gateway.store.epoch, Encoding(settings.sync.encoding), gateway.clock)
    components = {component.component_id: component for component in gateway.registry}
    wanted = resolve(settings.telemetry.signals, components, {bus.name: bus.dbc for bus in settings.bus})
    work = []
    for bus, signals in wanted.items():
        link = gateway.links[bus]
        sleep_until = link.clock.sleep_until if isinstance(link.clock, ReplayClock) else None
        heard = BusTelemetry(wire=link, wanted=signals, clock=link.clock, tell=told.take, sleep_until=sleep_until)
        work.append(heard.run())
    return told, work
