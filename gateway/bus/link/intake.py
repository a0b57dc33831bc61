"""What a link's listeners asked for and what came in for them: shared by the link and the port that serves it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.bus.link.conditions import CONDITIONS, BusOff, Controller, condition_told_by
from gateway.bus.link.traffic import LoadMeter, Sample, Traffic
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
    transmit_full_ms: int = 0  # for so long there was no room, up to the last try
    overflow: int = 0  # frames lost on our side of the wire
    error_frames: int = 0
    faults: int = 0  # what an adapter raised, and frames that could not be read
    reconnects: int = 0
    last_error: str | None = None


@dataclass(slots=True)
class Intake:
    """The listeners of one bus, its condition, its counts, and the time by which its reader must show life again.

    `data_bytes`: of all frames handed to every receiver, and sent. `sample`: what wants to see all frames for now.
    """

    name: str
    clock: Clock
    filters: dict[Lane, list[Filter]] = field(default_factory=lambda: {lane: [] for lane in Lane})
    receivers: dict[Lane, list[Receiver]] = field(default_factory=lambda: {lane: [] for lane in Lane})
    watchers: list[Callable[[BusEvent], None]] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    condition: Condition = Condition.DOWN
    told: bool = False
    controller: Controller = field(default_factory=Controller)
    bus_off: BusOff = field(default_factory=BusOff)
    load: LoadMeter = field(default_factory=LoadMeter)
    data_bytes: int = 0
    sample: Sample | None = None
    due: float = float("inf")  # s, monotonic

    def hand(self, lane: Lane, frames: Sequence[Frame]) -> None:
        """Hand a batch to the receivers of `lane`."""
        self.counts.frames += len(frames)
        if self.condition is Condition.BUS_OFF:
            self._heard(frames)
        for receiver in self.receivers[lane]:
            receiver(frames)

    def hand_all(self, frames: Sequence[Frame]) -> None:
        """Hand a batch to every receiver, where nothing below us could tell the lanes apart."""
        self.counts.frames += len(frames)
        self.data_bytes += sum(len(data) for _, data, _ in frames)
        if self.condition is Condition.BUS_OFF:
            self._heard(frames)
        if self.sample is not None:
            self.sample.take(frames)
        for lane in Lane:
            for receiver in self.receivers[lane]:
                receiver(frames)

    def take_error(self, can_id: int, data: bytes, at: float) -> None:
        """Take an error frame, as SocketCAN spells it. `at`: its arrival, s, monotonic."""
        self.counts.error_frames += 1
        self.controller.note(can_id, data)
        condition = condition_told_by(can_id, data)
        if condition is Condition.OVERFLOW:
            self.lose(1)
        elif condition is not None:
            self.judge(condition, at)

    def judge(self, condition: Condition, at: float) -> None:
        """Take the condition that the controller is in; a bus-off has not ended before that can be believed."""
        if condition is Condition.BUS_OFF:
            self.bus_off.off(at)
        elif self.condition is Condition.BUS_OFF:
            self.bus_off.restarted(at)
            if not self.bus_off.is_over(at):
                return
        self.tell(condition, self.controller.words())

    def settle(self, now: float) -> None:
        """Tell of the end of a bus-off that had to prove itself."""
        if self.condition is Condition.BUS_OFF and self.bus_off.is_over(now):
            self._is_on()

    def _heard(self, frames: Sequence[Frame]) -> None:
        at = frames[-1][2]
        self.bus_off.heard(at)
        self.settle(at)

    def _is_on(self) -> None:
        condition = CONDITIONS.get(self.controller.state) if self.controller.state else None
        self.tell(Condition.UP if condition in {None, Condition.BUS_OFF} else condition, "the bus is on again")

    def tell(self, condition: Condition, detail: str = "") -> None:
        """Tell the watchers of a change. An overflow passes at once and leaves the condition as it is."""
        level = logging.DEBUG  # an overflow may come a hundred times a second; whoever watches tells of it
        if condition is not Condition.OVERFLOW:
            if self.told and condition is self.condition:
                return
            self.condition, self.told = condition, True
            level = logging.INFO if condition is Condition.UP else logging.WARNING
        log.log(level, "%s: %s %s", self.name, condition, detail)
        event = BusEvent(condition, self.clock.monotonic(), detail)
        for watcher in self.watchers:
            watcher(event)

    def lose(self, frames: int) -> None:
        """Count frames that we lost ourselves, and tell."""
        self.counts.overflow += frames
        self.tell(Condition.OVERFLOW, f"{frames} frames lost")

    def traffic(self) -> Traffic:
        """Return what was handed to every receiver, and sent: all there is to know of an adapter."""
        return Traffic(self.counts.frames + self.counts.sent, self.data_bytes)

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

    def traffic(self) -> Traffic | None:
        """Return what the bus has carried so far, as far as can be told from here; None: nothing, just now."""
        ...

    def overhear(self, sample: Sample | None) -> None:
        """Let `sample` see the frames of everybody from now on; None: no more of them."""
        ...
