"""Commands whose children start together: held until all their targets are here at one moment."""

from collections.abc import Callable, Iterable

from gateway.event import Event
from gateway.operation import Operation
from gateway.ports import Roster


class Barriers:
    """Knows the closed barriers and their targets; bounded by the depth of the queue, of which each takes a part.

    `news`: called when one may be open from the start.
    """

    def __init__(self, roster: Roster, news: Callable[[], None]) -> None:
        self._roster = roster
        self._news = news
        self._closed: dict[str, tuple[str, ...]] = {}  # parent -> its targets

    def __len__(self) -> int:
        return len(self._closed)

    def learn(self, parents: Iterable[Operation]) -> None:
        """Take over the barriers that the store knows of."""
        self._closed |= {parent.request_id: parent.targets for parent in parents}

    def queued(self, event: Event) -> None:
        """Note the barrier of a command that was queued, if it has one."""
        request = event.attributes.get("request", {})
        if request.get("barrier"):
            self._closed[request["request_id"]] = tuple(request["targets"])
            self._news()

    def ended(self, event: Event) -> None:
        """Forget a command that will never begin."""
        self._closed.pop(event.attributes["request_id"], None)

    def open(self) -> dict[str, tuple[str, ...]]:
        """Return those whose targets are all here now, and their targets; they are forgotten with that."""
        here: dict[str, bool] = {}
        opened = {
            parent_id: targets
            for parent_id, targets in self._closed.items()
            if all(self._is_here(target, here) for target in targets)
        }
        for parent_id in opened:
            del self._closed[parent_id]
        return opened

    def _is_here(self, component_id: str, known: dict[str, bool]) -> bool:
        """Whether work may be carried to a component now. `known`: what was asked in this very moment already."""
        if component_id not in known:
            sighting = self._roster.sighting(component_id)
            known[component_id] = sighting.ready and not sighting.flapping
        return known[component_id]
