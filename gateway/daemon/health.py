"""What is well and what is not."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.bus.exchange import Exchange
from gateway.bus.link import Link
from gateway.bus.link.traffic import spelt
from gateway.bus.monitor import Monitor
from gateway.bus.monitor.kernel import KernelObserver
from gateway.sync.tally import Tally
from gateway.sync.way_up import WayUp


class GatewayHealth:
    """What is well and what is not: `gateway.ports.Health`. `turned_away`: at the control socket.

    `observers`: by bus, where the kernel watches in our place.
    """

    def __init__(
        self,
        links: Mapping[str, Link],
        monitors: Sequence[Monitor],
        exchanges: Mapping[str, Exchange],
        way_up: WayUp,
        turned_away: Tally,
        *,
        observers: Mapping[str, KernelObserver],
    ) -> None:
        self._links = links
        self._monitors = monitors
        self._exchanges = exchanges
        self._way_up = way_up
        self._turned_away = turned_away
        self._observers = observers

    def buses(self) -> list[dict[str, Any]]:
        """One map a bus: what its link and its monitor count, and the answers its exchange has dropped."""
        return [self._bus(monitor) for monitor in self._monitors]

    def _bus(self, monitor: Monitor) -> dict[str, Any]:
        link = self._links[monitor.name]
        talkers = [
            {"can_id": spelt(can_id), "frames_per_s": round(rate, 1), "component_id": monitor.speaker(can_id)}
            for can_id, rate in link.talkers()
        ]
        observer = self._observers.get(monitor.name)
        return {
            **link.stats(),
            "talkers": talkers,
            **monitor.stats(),
            "kernel_observer": None if observer is None else observer.stats(),
            **self._exchanges[monitor.name].stats(),
        }

    def control_socket(self) -> dict[str, Any]:
        """What was turned away at the control socket."""
        return {"turned_away": dict(self._turned_away.totals)}

    def upstream(self) -> dict[str, Any]:
        """How the way to the broker is."""
        return self._way_up.status()
