"""What was to pass through: it fails as soon as its component is not here, instead of waiting for it."""

from functools import partial

from gateway.clock import Clock
from gateway.component import QueueMode, Registry
from gateway.ports import Roster, Store, Tx
from gateway.presence import Presence
from gateway.queue.drain.patience import Alarm, write


class Passing:
    """Gives up what cannot pass through any more to components that queue nothing."""

    def __init__(self, *, store: Store, roster: Roster, registry: Registry, clock: Clock) -> None:
        self._store = store
        self._roster = roster
        self._registry = registry
        self._clock = clock
        self._alarm = Alarm()
        self._doubtful = {each.component_id for each in registry if each.queue_mode is QueueMode.PASS_THROUGH}

    async def run(self) -> None:
        """Give up what is left from the last run for components that are away, and then whatever turns out to be."""
        while True:
            gone = sorted(filter(self._is_away, self._doubtful))
            self._doubtful.clear()
            if gone:
                await write(self._store, partial(_give_up, component_ids=gone, now_ms=self._clock.wall_ms()))
            await self._alarm.wait(None)

    def doubt(self, component_id: str) -> None:
        """A component may have gone away, or something may wait for it: look soon."""
        component = self._registry.get(component_id)
        if component is not None and component.queue_mode is QueueMode.PASS_THROUGH:
            self._doubtful.add(component_id)
            self._alarm.ring()

    def _is_away(self, component_id: str) -> bool:
        return self._roster.sighting(component_id).presence is not Presence.ONLINE


def _give_up(tx: Tx, *, component_ids: list[str], now_ms: int) -> None:
    for component_id in component_ids:
        tx.give_up_passing(component_id, now_ms)
