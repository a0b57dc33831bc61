"""Doubles of what the bus side talks to: a wire whose frames are put in by hand, and a node that speaks on it."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.bus import e2e
from gateway.bus.frames import Codec
from gateway.bus.wire import BusEvent, Condition, Filter, Frame, Lane, Receiver


class FakeWire:
    """A wire without a bus. Frames reach whoever listens for them; `wait` keeps some until `read_now`."""

    def __init__(self, name: str = "can0") -> None:
        self.name = name
        self.sent: list[tuple[int, bytes]] = []
        self.received = 0
        self._listeners: list[tuple[Sequence[Filter], Receiver]] = []
        self._watchers: list[Callable[[BusEvent], None]] = []
        self._waiting: deque[Frame] = deque()

    def listen(self, lane: Lane, filters: Sequence[Filter], receiver: Receiver) -> None:
        self._listeners.append((filters, receiver))

    def relisten(self, lane: Lane, before: Sequence[Filter], filters: Sequence[Filter]) -> None:
        self._listeners = [(filters if asked is before else asked, told) for asked, told in self._listeners]

    def watch(self, watcher: Callable[[BusEvent], None]) -> None:
        self._watchers.append(watcher)

    async def send(self, can_id: int, data: bytes, *, deadline: float) -> None:
        self.sent.append((can_id, data))

    def read_now(self) -> None:
        frames, self._waiting = list(self._waiting), deque()
        if frames:
            self.deliver(*frames)

    def frames_received(self) -> int:
        return self.received

    # --- what tests do with it

    def deliver(self, *frames: Frame) -> None:
        self.received += len(frames)
        for filters, receiver in self._listeners:
            wanted = [f for f in frames if any(f[0] & each.mask == each.can_id & each.mask for each in filters)]
            if wanted:
                receiver(wanted)

    def wait(self, *frames: Frame) -> None:
        self._waiting.extend(frames)

    def tell(self, condition: Condition, at: float, detail: str = "") -> None:
        for watcher in self._watchers:
            watcher(BusEvent(condition, at, detail))


@dataclass(slots=True)
class FakeNode:
    """A node that sends heartbeats: `beat` makes the next one. Its faults are its fields."""

    codec: Codec
    node: int
    counter: int = 0
    boot: int = 7
    state: int = 5

    def beat(self, at: float, *, lost_before: int = 0, repeat: bool = False, bad_crc: bool = False) -> Frame:
        step = 0 if repeat else 1 + lost_before
        self.counter = (self.counter + step) % e2e.COUNTER_MODULO
        state = "PackState" if self.codec.name == "HB_PACK" else "ModuleState"
        values = {state: self.state, "BootCount": self.boot, "PairState": 2}
        data = self.codec.encode(self.node, self.counter, values)
        return self.codec.id_for(self.node), bytes((data[0] ^ bad_crc,)) + data[1:], at

    def restart(self) -> None:
        self.boot += 1
        self.counter = 0
