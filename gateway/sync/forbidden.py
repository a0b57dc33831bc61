"""What the broker refuses to take for now, by kind of topic, and when it is asked again."""

import logging
import random
from dataclasses import dataclass
from typing import Final

from gateway.clock import Clock
from gateway.sync.backoff import Backoff
from gateway.sync.topics import VERSION

log = logging.getLogger(__name__)

EVENTS: Final = "events"
_ROOT_LEVELS: Final = VERSION.count("/") + 2  # version and gateway_id
_COMPONENTS: Final = "components"


def kind_of(topic: str) -> str:
    """Return the kind of a topic of ours: state, presence, queue, telemetry, events, requests or replies."""
    levels = topic.split("/")[_ROOT_LEVELS:]
    return levels[-1] if levels[0] == _COMPONENTS else levels[0]


@dataclass(slots=True)
class _Hold:
    backoff: Backoff
    until: float  # s, monotonic


class Forbidden:
    """The kinds of topics that are refused. `again_s`: shortest and longest wait before one is tried again."""

    def __init__(self, clock: Clock, rng: random.Random, again_s: tuple[float, float]) -> None:
        self._clock = clock
        self._rng = rng
        self._again_s = again_s
        self._holds: dict[str, _Hold] = {}

    def refused(self, kind: str, why: str) -> None:
        """Note a refusal: nothing of that kind is sent before its wait is over."""
        now, hold = self._clock.monotonic(), self._holds.get(kind)
        if hold is None:
            log.warning("the broker takes no %s, and is asked again and again: %s", kind, why)
            hold = self._holds[kind] = _Hold(Backoff(self._rng, *self._again_s), now)
        if now >= hold.until:  # one of many that left together is enough
            hold.until = now + hold.backoff.next()

    def taken(self, kind: str) -> None:
        """Note that the broker takes it."""
        if self._holds and self._holds.pop(kind, None) is not None:
            log.info("the broker takes %s again", kind)

    def waits(self, kind: str) -> bool:
        """Whether it is too early to send anything of a kind."""
        hold = self._holds.get(kind)
        return hold is not None and self._clock.monotonic() < hold.until

    def doubtful(self, kind: str) -> bool:
        """Whether the last of a kind was refused."""
        return kind in self._holds

    def wait_s(self) -> float | None:
        """Return how long until something is to be tried again; None: nothing is refused."""
        if not self._holds:
            return None
        return max(min(hold.until for hold in self._holds.values()) - self._clock.monotonic(), 0.0)

    def kinds(self) -> list[str]:
        """Return what is refused, for get_health."""
        return sorted(self._holds)
