"""Who is there, on all buses together, and whom to watch there."""

from collections.abc import Callable, Sequence

from gateway.bus.monitor import Monitor
from gateway.component import Component
from gateway.ports import UNSEEN, Sighting
from gateway.presence import Presence
from gateway.settings import PresenceSection


class CombinedRoster:
    """The roster over several monitors, one a bus."""

    def __init__(self, monitors: Sequence[Monitor]) -> None:
        self._monitors = monitors

    def sighting(self, component_id: str) -> Sighting:
        """Return what is known of a component; of one that nobody watches: UNSEEN."""
        monitor = _watching(self._monitors, component_id)
        return UNSEEN if monitor is None else monitor.sighting(component_id)


class CombinedWatches:
    """Orders for several monitors, one a bus: `gateway.ports.Watches`.

    `presence`: returns the presence settings of a component_id.
    """

    def __init__(self, monitors: Sequence[Monitor], presence: Callable[[str], PresenceSection]) -> None:
        self._monitors = monitors
        self._presence = presence

    def mark(self, component_id: str, presence: Presence, expected_return: int | None = None) -> None:
        """Hold a component for ONLINE or OFFLINE until there is evidence to the contrary. Raises KeyError."""
        monitor = _watching(self._monitors, component_id)
        if monitor is None:
            raise KeyError(component_id)
        monitor.mark(component_id, presence, expected_return)

    def add(self, component: Component) -> None:
        """Watch one more component, or one that has changed its record. Raises KeyError where there is no such bus."""
        here = next((monitor for monitor in self._monitors if monitor.name == component.bus), None)
        if here is None:
            raise KeyError(component.bus)
        for monitor in self._monitors:
            if monitor is not here:
                monitor.drop(component.component_id)
        here.add(component, self._presence(component.component_id))


def _watching(monitors: Sequence[Monitor], component_id: str) -> Monitor | None:
    return next((monitor for monitor in monitors if component_id in monitor), None)
