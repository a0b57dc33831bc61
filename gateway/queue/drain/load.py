"""How busy each component is: what is under way with it, and what its last exchanges took and came to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.operation import Action
from gateway.ports import ComponentLoad, ExchangeTimes

WEIGHT: Final = 0.2  # of the newest exchange in both means: the last ten or so are what counts


@dataclass(slots=True)
class _Means:
    average_ms: float
    failure_rate: float


class Loads:
    """The load of every component that has had an exchange; exponential means, so that the past fades."""

    def __init__(self) -> None:
        self._means: dict[str, _Means] = {}  # at most one a component
        self._in_flight: set[str] = set()

    def seed(self, times: Mapping[str, ExchangeTimes]) -> None:
        """Take over what the last run measured, for components of which this one knows nothing yet."""
        for component_id, each in times.items():
            if each.average_ms is not None:
                self._means.setdefault(component_id, _Means(each.average_ms, each.failure_rate))

    def begin(self, component_id: str) -> None:
        """An operation is under way."""
        self._in_flight.add(component_id)

    def end(self, component_id: str, took_ms: float, action: Action) -> None:
        """It has ended. What goes back uncounted tells nothing of the component."""
        self._in_flight.discard(component_id)
        if action is Action.RELEASE:
            return
        failed = 0.0 if action is Action.COMPLETE else 1.0
        means = self._means.get(component_id)
        if means is None:
            self._means[component_id] = _Means(took_ms, failed)
            return
        means.average_ms += WEIGHT * (took_ms - means.average_ms)
        means.failure_rate += WEIGHT * (failed - means.failure_rate)

    def of(self, component_id: str) -> ComponentLoad:
        """Return the load of a component."""
        means = self._means.get(component_id)
        times = ExchangeTimes(None, 0.0) if means is None else ExchangeTimes(means.average_ms, means.failure_rate)
        return ComponentLoad(int(component_id in self._in_flight), times)
