"""What a link's listeners asked for and what came in for them: shared by the link and the port that serves it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.bus.wire import BusEvent, Condition, Filter, Frame, Lane, Receiver
from gateway.clock import Clock
from gateway.errors import LinkDown

log = logging.getLogger(__name__)

SENDABLE: Final = frozenset({Condition.UP, Condition.ERROR_PASSIVE})


class Lost(LinkDown):
    """The open bus is of no more use: it must be built anew. `condition`: what that makes of the bus."""

    def __init__(self, condition: Condition, why: str) -> None:
        super().__init__(why)
        self.condition = condition


@dataclass(slots=True)
class Counts:
    """What happened on a link since the daemon started."""

    frames: int = 0  # handed to listeners
    sent: int = 0
    send_retries: int = 0  # the transmit queue was full
    overflow: int = 0  # frames lost on our side of the wire
    error_frames: int = 0
    faults: int = 0  # what an adapter raised, and frames that could not be read
    reconnects: int = 0
    last_error: str | None = None


@dataclass(slots=True)
class Intake:
    """The listeners of one bus, its condition, its counts, and the time by which its reader must show life again."""

    name: str
    clock: Clock
    filters: dict[Lane, list[Filter]] = field(default_factory=lambda: {lane: [] for lane in Lane})
    receivers: dict[Lane, list[Receiver]] = field(default_factory=lambda: {lane: [] for lane in Lane})
    watchers: list[Callable[[BusEvent], None]] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    condition: Condition = Condition.DOWN
    told: bool = False
    due: float = float("inf")  # s, monotonic

    def hand(self, lane: Lane, frames: Sequence[Frame]) -> None:
        """Hand a batch to the receivers of `lane`."""
        self.counts.frames += len(frames)
        for receiver in self.receivers[lane]:
            receiver(frames)

    def hand_all(self, frames: Sequence[Frame]) -> None:
        """Hand a batch to every receiver, where nothing below us could tell the lanes apart."""
        self.counts.frames += len(frames)
        for lane in Lane:
            for receiver in self.receivers[lane]:
                receiver(frames)

    def tell(self, condition: Condition, detail: str = "") -> None:
        """Tell the watchers of a change. An overflow passes at once and leaves the condition as it is."""
        if condition is not Condition.OVERFLOW:
            if self.told and condition is self.condition:
                return
            self.condition, self.told = condition, True
        log.log(
            logging.INFO if condition is Condition.UP else logging.WARNING, "%s: %s %s", self.name, condition, detail
        )
        event = BusEvent(condition, self.clock.monotonic(), detail)
        for watcher in self.watchers:
            watcher(event)

    def lose(self, frames: int) -> None:
        """Count frames that we lost ourselves, and tell."""
        self.counts.overflow += frames
        self.tell(Condition.OVERFLOW, f"{frames} frames lost")

    def expect(self, within_s: float) -> None:
        """Promise a sign of life of the reader within `within_s` seconds."""
        self.due = self.clock.monotonic() + within_s

    def check_sendable(self) -> None:
        """Raise LinkDown unless frames can leave now."""
        if self.condition not in SENDABLE:
            raise LinkDown(f"{self.name} is {self.condition}")


class Port(Protocol):
    """One way to the wire: the kernel's raw sockets, or an adapter of python-can."""

    async def serve(self) -> None:
        """Open the bus and hand on what it receives until it is lost. Raises Lost; returns never."""
        ...

    async def send(self, can_id: int, data: bytes, deadline: float) -> None:
        """Send one frame; see `Wire.send`."""
        ...

    def read_now(self) -> None:
        """Hand on what has arrived below us."""
        ...

    def frames_received(self) -> int:
        """See `Wire.frames_received`."""
        ...
