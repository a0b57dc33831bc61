"""What a frame of others costs in the monitor, beside ours and a bare loop. Run: python -m bench.foreign."""

import time
from collections.abc import Callable
from typing import Final

from bench._table import row
from bench.presence import BATCH, NODES, REPEATS, cost_of_bare_python_can_us, cost_of_monitor_us
from gateway.bus.foreign.fields import Field
from gateway.bus.foreign.listening import _reading
from gateway.bus.foreign.protection import PROFILES, Checksum, Protection
from gateway.bus.foreign.watch import Listening
from gateway.bus.frames import load_codecs
from gateway.bus.monitor import Monitor
from gateway.bus.wire import EXTENDED, EXTENDED_MASK, Condition, Filter, Frame
from gateway.clock import SystemClock
from gateway.component import Component, ComponentKind
from gateway.event import Event
from gateway.ports import PresenceChange
from gateway.settings import PresenceSection
from tests.doubles_bus import FakeWire

IDS: Final = 10  # busy ones of each component
PERIOD_S: Final = 0.1
WARM_UP: Final = 60  # frames of each id until all is settled
ROUNDS: Final = 30
LIMIT_US: Final = 1.0
FIRST: Final = EXTENDED | 0x18F00000
WHOLE: Final = EXTENDED | EXTENDED_MASK


def id_of(component: int, n: int) -> int:
    return FIRST | n << 8 | component


def monitor_of(wire: FakeWire, sink: list[PresenceChange | Event], listening: Callable[[int], Listening]) -> Monitor:
    components = [
        (Component(f"f{n}", ComponentKind.PACK, wire.name, None, foreign=True), PresenceSection()) for n in range(NODES)
    ]
    return Monitor(
        wire=wire,
        components=components,
        codecs=load_codecs(),
        clock=SystemClock(),
        rows={},
        sink=sink.extend,
        on_ready=lambda *_: None,
        listenings={f"f{n}": listening(n) for n in range(NODES)},
    )


def batches(rounds: int, begin: int, ids: int, data: Callable[[int], bytes]) -> list[list[Frame]]:
    """Make `rounds` frames of every id, spread over the period."""
    count = NODES * ids
    frames = [
        (id_of(n % NODES, n // NODES), data(round_), (begin + round_ + n / count) * PERIOD_S)
        for round_ in range(rounds)
        for n in range(count)
    ]
    return [frames[n : n + BATCH] for n in range(0, len(frames), BATCH)]


def cost_us(listening: Callable[[int], Listening], ids: int, data: Callable[[int], bytes]) -> float:
    """Return CPU per frame, best of several; no frame may be news."""
    wire, sink = FakeWire(), list[PresenceChange | Event]()
    monitor = monitor_of(wire, sink, listening)
    wire.tell(Condition.UP, 0.0)
    for batch in batches(WARM_UP, 0, ids, data):
        monitor.receive(batch)
    assert monitor.stats()["online"] == NODES
    told, best = len(sink), float("inf")
    for n in range(REPEATS):
        work = batches(ROUNDS, WARM_UP + n * ROUNDS, ids, data)
        began = time.process_time()
        for batch in work:
            monitor.receive(batch)
        best = min(best, time.process_time() - began)
    assert (len(sink), monitor.stats()["invalid"]) == (told, 0)
    return best / (ROUNDS * NODES * ids) * 1e6


def any_of(component: int) -> Listening:
    return Listening(filters=[Filter(id_of(component, n), WHOLE) for n in range(IDS)])


def counted(component: int) -> Listening:
    """One message with a counter and a CRC of profile 1."""
    crc = Checksum(PROFILES["E2E_P01"], Field(0, 8, little=True), range(1), (0x1234,), 8)
    protection = Protection(Field(8, 4, little=True), crc)
    filters = [Filter(id_of(component, 0), WHOLE)]
    return Listening(filters, reading=_reading(protection), protection=protection, counter_max=14)


def summed(counter: int) -> bytes:
    frame = bytes((0, 0xF0 | counter % 15, 1, 2, 3, 4, 5, 6))
    return bytes((PROFILES["E2E_P01"].computed(frame, range(1), 0, (0x1234,)), *frame[1:]))


def cost_of_bare_loop_us() -> float:
    """Return CPU per frame of a loop that finds each id in a dictionary and notes when it came: the least there is."""
    work = batches(ROUNDS, 0, IDS, lambda _: bytes(8))
    seen = dict.fromkeys((can_id for batch in work for can_id, _, _ in batch), 0.0)
    best = float("inf")
    for _ in range(REPEATS):
        began = time.process_time()
        for batch in work:
            for can_id, _, at in batch:
                if can_id in seen:
                    seen[can_id] = at
        best = min(best, time.process_time() - began)
    return best / (ROUNDS * NODES * IDS) * 1e6


def main() -> None:
    zeros = bytes(8)
    bare, own, python_can = cost_of_bare_loop_us(), cost_of_monitor_us(), cost_of_bare_python_can_us()
    plain = cost_us(any_of, IDS, lambda _: zeros)
    protected = cost_us(counted, 1, summed)
    told = f"bare loop {bare:.2f} µs; ours, protection checked {own:.2f} µs; python-can, virtual {python_can:.2f} µs"
    row(f"frame of others, {NODES} components of {IDS} ids", f"{plain:.2f} µs", told)
    told = f"limit {LIMIT_US:g} µs a frame"
    row("the same, as frames per second of one core", f"{1e6 / plain:,.0f}/s", told, met=plain <= LIMIT_US)
    row("frame of others with a counter and a CRC", f"{protected:.2f} µs", f"ours {own:.2f} µs")


if __name__ == "__main__":
    main()
