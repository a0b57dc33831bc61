"""What has waited too long: EXPIRED as soon as its time is over, and nobody looks at the clock where nothing waits."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from gateway.clock import Clock, parse_rfc3339
from gateway.event import Event
from gateway.ports import Store, Tx
from gateway.queue.drain.patience import Alarm, write
from gateway.settings import Parameters

BATCH: Final = 100  # operations in one transaction
LOOK_S: Final = 60.0  # at most between two looks: wall time may have been set
DOUBT_LOOK_S: Final = 5.0  # likewise, while what was queued meanwhile waits for the right time
DOUBTFUL_MAX: Final = 10_000  # operations queued on a time that was doubted; beyond them the oldest go by that time


class Expiry:
    """Ends operations that are past their time, where the parameters say so and wall time can be trusted."""

    def __init__(self, *, store: Store, parameters: Callable[[], Parameters], clock: Clock) -> None:
        self._store = store
        self._parameters = parameters
        self._clock = clock
        self._alarm = Alarm()
        self._next: int | None = None  # ms: what is waited for
        self._doubtful: dict[str, float] = {}  # queued on a time that was doubted -> when it ends, s monotonic

    async def run(self) -> None:
        """Look, then sleep until the next one is over, for ever."""
        while True:
            await self._alarm.wait(await self._look())

    def heard(self, event: Event) -> None:
        """Look again if an event may have brought an earlier end."""
        request = event.attributes.get("request")
        if request is not None:
            expires_at = parse_rfc3339(request["expires_at"])
            if not event.time_trusted:
                self._doubt(request["request_id"], expires_at - event.at)
            if self._next is not None and self._next <= expires_at:
                return
        self._alarm.ring()

    async def _look(self) -> float | None:
        """End what is over. Returns the seconds to the next look; None: not before something happens."""
        self._next = None
        if self._doubtful and self._clock.trusted():
            await self._set_right()
        if not self._parameters().auto_cancel_expired:
            return None
        self._next = await self._store.read(lambda reader: reader.next_expiry())
        if self._next is None:
            return None
        now_ms = self._clock.wall_ms()
        if not self._clock.trusted():
            return DOUBT_LOOK_S if self._doubtful else LOOK_S
        if now_ms < self._next:
            return min((self._next - now_ms) / 1000, LOOK_S)
        expired = await write(self._store, lambda tx: tx.expire(now_ms, BATCH))
        return 0.0 if expired else LOOK_S

    def _doubt(self, request_id: str, lives_ms: int) -> None:
        self._doubtful[request_id] = self._clock.monotonic() + lives_ms / 1000
        if len(self._doubtful) > DOUBTFUL_MAX:
            del self._doubtful[next(iter(self._doubtful))]

    async def _set_right(self) -> None:
        """Give what was queued on a time that was doubted the end that it was to have, on the right time."""
        now, now_ms = self._clock.monotonic(), self._clock.wall_ms()
        ends = {request_id: now_ms + round((end - now) * 1000) for request_id, end in self._doubtful.items()}
        self._doubtful.clear()
        await write(self._store, partial(_set_ends, ends=ends))


def _set_ends(tx: Tx, *, ends: Mapping[str, int]) -> None:
    for request_id, expires_at in ends.items():
        tx.set_end(request_id, expires_at)
