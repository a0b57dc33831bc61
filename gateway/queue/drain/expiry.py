"""What has waited too long: EXPIRED as soon as its time is over, and nobody looks at the clock where nothing waits."""

from collections.abc import Callable
from typing import Final

from gateway.clock import Clock, parse_rfc3339
from gateway.event import Event
from gateway.ports import Store
from gateway.queue.drain.patience import Alarm, write
from gateway.settings import Parameters

BATCH: Final = 100  # operations in one transaction
LOOK_S: Final = 60.0  # at most between two looks: wall time may have been set


class Expiry:
    """Ends operations that are past their time, where the parameters say so and wall time can be trusted."""

    def __init__(self, *, store: Store, parameters: Callable[[], Parameters], clock: Clock) -> None:
        self._store = store
        self._parameters = parameters
        self._clock = clock
        self._alarm = Alarm()
        self._next: int | None = None  # ms: what is waited for

    async def run(self) -> None:
        """Look, then sleep until the next one is over, for ever."""
        while True:
            await self._alarm.wait(await self._look())

    def heard(self, event: Event) -> None:
        """Look again if an event may have brought an earlier end."""
        request = event.attributes.get("request")
        if request is not None:
            expires_at = parse_rfc3339(request["expires_at"])
            if self._next is not None and self._next <= expires_at:
                return
        self._alarm.ring()

    async def _look(self) -> float | None:
        """End what is over. Returns the seconds to the next look; None: not before something happens."""
        self._next = None
        if not self._parameters().auto_cancel_expired:
            return None
        self._next = await self._store.read(lambda reader: reader.next_expiry())
        if self._next is None:
            return None
        now_ms = self._clock.wall_ms()
        if not self._clock.trusted():
            return LOOK_S
        if now_ms < self._next:
            return min((self._next - now_ms) / 1000, LOOK_S)
        expired = await write(self._store, lambda tx: tx.expire(now_ms, BATCH))
        return 0.0 if expired else LOOK_S
