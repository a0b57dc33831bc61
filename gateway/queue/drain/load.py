"""How busy each component is: what is under way with it, and what its last exchanges took and came to."""

from collections.abc import Mapping
from typing import Final

from gateway.operation import Action
from gateway.ports import ComponentLoad, ExchangeTimes

WEIGHT: Final = 0.2  # of the newest exchange in both means: the last ten or so are what counts


class Loads:
    """The load of every component that has had an exchange; exponential means, so that the past fades."""

    def __init__(self) -> None:
        self._times: dict[str, ExchangeTimes] = {}  # at most one a component
        self._in_flight: set[str] = set()

    def seed(self, times: Mapping[str, ExchangeTimes]) -> None:
        """Take over what the last run measured, for components of which this one knows nothing yet."""
        self._times = {**times, **self._times}

    def begin(self, component_id: str) -> None:
        """An operation is under way."""
        self._in_flight.add(component_id)

    def end(self, component_id: str, took_ms: float, action: Action) -> None:
        """It has ended. What goes back uncounted tells nothing of the component."""
        self._in_flight.discard(component_id)
        if action is Action.RELEASE:
            return
        failed = float(action is not Action.COMPLETE)
        before = self._times.get(component_id)
        if before is None or before.average_ms is None:
            self._times[component_id] = ExchangeTimes(took_ms, failed)
            return
        average_ms = before.average_ms + WEIGHT * (took_ms - before.average_ms)
        failure_rate = before.failure_rate + WEIGHT * (failed - before.failure_rate)
        self._times[component_id] = ExchangeTimes(average_ms, failure_rate)

    def of(self, component_id: str) -> ComponentLoad:
        """Return the load of a component."""
        return ComponentLoad(int(component_id in self._in_flight), self._times.get(component_id, _UNKNOWN))


_UNKNOWN: Final = ExchangeTimes(None, 0.0)
