"""From findings to what the store keeps and the drain hears: wall times, evidence, one call a transaction."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.bus.monitor.health import BusHealth
from gateway.bus.watch import Watch
from gateway.clock import Clock, rfc3339
from gateway.event import GATEWAY, Event
from gateway.ports import Notice, PresenceChange
from gateway.presence import Finding, Reason

Sink = Callable[[Sequence[Notice]], None]
OnReady = Callable[[str, bool], None]


def is_usable(watch: Watch) -> bool:
    """Whether a component may be spoken to: heard by this process, and not coming and going."""
    return watch.ready and not watch.flaps.is_held


class Notices:
    """Gathers what is to be told of one bus until `flush` hands it to the sink."""

    def __init__(self, bus: str, health: BusHealth, clock: Clock, sink: Sink, on_ready: OnReady) -> None:
        self._bus, self._health, self._clock, self._sink, self._on_ready = bus, health, clock, sink, on_ready
        self._waiting: list[Notice] = []
        self._usable: list[tuple[str, bool]] = []

    def tell(self, event: str, at: float, attributes: Mapping[str, Any], subject: str = GATEWAY) -> None:
        """Tell of something that is no component's presence. `at`: s, monotonic."""
        attributes = {"bus": self._bus, **attributes}
        trusted = self._clock.trusted()
        self._waiting.append(Event(event, subject, self._wall_ms(at), attributes, time_trusted=trusted))

    def note(
        self, watch: Watch, found: Sequence[Finding], *, was_usable: bool, expected_return: int | None = None
    ) -> None:
        """Tell of what a watch found, and say so if it can be spoken to from now on."""
        if watch.since is not None and watch.since != watch.dated:
            watch.dated, watch.since_ms = watch.since, self._wall_ms(watch.since)
        for finding in found:
            watch.evidence = self._evidence(watch, finding)
            self._waiting.append(self._change(watch, finding, expected_return))
        if is_usable(watch):
            restarted = any(finding.event == "component_restarted" for finding in found)
            if restarted or not was_usable:
                self._usable.append((watch.component.component_id, restarted))

    def flush(self) -> None:
        """Hand over what has gathered: first to the sink, then to whoever waits for components to be usable."""
        if self._waiting:
            notices, self._waiting = self._waiting, []
            self._sink(notices)
        if self._usable:
            usable, self._usable = self._usable, []
            for component_id, restarted in usable:
                self._on_ready(component_id, restarted)

    def last_seen_ms(self, watch: Watch) -> int | None:
        """Return when its last valid heartbeat came in, ms since the epoch, this process's or an earlier one's."""
        return watch.last_seen_ms if watch.last_valid is None else self._wall_ms(watch.last_valid)

    def _wall_ms(self, at: float) -> int:
        return self._clock.wall_ms() - round((self._clock.monotonic() - at) * 1000)

    def _change(self, watch: Watch, finding: Finding, expected_return: int | None) -> PresenceChange:
        return PresenceChange(
            component_id=watch.component.component_id,
            event=None if finding.reason is Reason.BUS_DOWN else finding.event,  # bus_down names them all
            at=self._wall_ms(finding.at),
            presence=finding.presence,
            reason=finding.reason and str(finding.reason),
            since=watch.since_ms,
            last_seen=self.last_seen_ms(watch),
            evidence=watch.evidence,
            expected_return=expected_return,
            time_trusted=self._clock.trusted(),
        )

    def _evidence(self, watch: Watch, finding: Finding) -> Mapping[str, Any]:
        last_seen_ms = self.last_seen_ms(watch)
        return {
            "rule": finding.rule,
            "window_ms": round(finding.window_s * 1000),
            "last_valid": None if last_seen_ms is None else rfc3339(last_seen_ms),
            "missed": finding.missed,
            "crc_errors": finding.crc_errors,
            "counter_errors": finding.counter_errors,
            "bus": self._bus,
            "bus_state": self._health.state,
        }
