"""Who is there, on all buses together."""

from collections.abc import Sequence

from gateway.bus.monitor import Monitor
from gateway.ports import Sighting


class CombinedRoster:
    """The roster over several monitors, one a bus."""

    def __init__(self, monitors: Sequence[Monitor]) -> None:
        self._monitors = monitors

    def sighting(self, component_id: str) -> Sighting:
        """Return what is known of a component. Raises KeyError for a stranger."""
        for monitor in self._monitors:
            if component_id in monitor:
                return monitor.sighting(component_id)
        raise KeyError(component_id)
