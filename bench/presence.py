"""What a heartbeat costs, and how late a verdict is. Run: python -m bench.presence."""

import asyncio
import random
import time
from collections.abc import Sequence
from statistics import median, quantiles
from typing import Final

import can

from bench._table import row
from gateway.bus.frames import load_codecs
from gateway.bus.monitor import Monitor
from gateway.bus.wire import EXTENDED_MASK, Condition, Frame
from gateway.clock import SystemClock
from gateway.component import Component, ComponentKind
from gateway.event import Event
from gateway.ports import PresenceChange
from gateway.settings import PresenceSection
from tests.doubles_bus import FakeNode, FakeWire

NODES: Final = 250
PERIOD_MS: Final = 100
WARM_UP: Final = 150  # heartbeats each until all is settled: it learns the period first
ROUNDS: Final = 60  # of all nodes, measured
BATCH: Final = 64  # frames; what one wake-up of the reader brings
REPEATS: Final = 5
SOCKETCAN_US: Final = 3.8  # a bare python-can receive loop on socketcan, measured once on this kind of machine
LATE_LIMIT_MS: Final = 20.0
CODEC: Final = load_codecs()["HB_MODULE"]


def monitor_of(wire: FakeWire, sink: list[PresenceChange | Event]) -> Monitor:
    section = PresenceSection(period_ms=PERIOD_MS)
    components = [(Component(f"m{n}", ComponentKind.MODULE, wire.name, n), section) for n in range(NODES)]
    codecs, clock = load_codecs(), SystemClock()
    return Monitor(
        wire=wire,
        components=components,
        codecs=codecs,
        clock=clock,
        rows={},
        sink=sink.extend,
        on_ready=lambda *_: None,
    )


def heartbeats(nodes: Sequence[FakeNode], rounds: int, start: float) -> list[Frame]:
    """Make `rounds` heartbeats of every node, spread over the period by address."""
    step = PERIOD_MS / 1000
    return [node.beat(start + step * (n + node.node / NODES)) for n in range(rounds) for node in nodes]


def batches(frames: list[Frame]) -> list[list[Frame]]:
    return [frames[n : n + BATCH] for n in range(0, len(frames), BATCH)]


def cost_of_monitor_us() -> float:
    """Return CPU per heartbeat: batches in, protection checked, presence noted."""
    wire, sink = FakeWire(), list[PresenceChange | Event]()
    monitor = monitor_of(wire, sink)
    wire.tell(Condition.UP, 0.0)
    nodes = [FakeNode(CODEC, n) for n in range(NODES)]
    monitor.receive(heartbeats(nodes, WARM_UP, 0.0))
    assert monitor.stats()["online"] == NODES
    told, best = len(sink), float("inf")
    for n in range(REPEATS):
        work = batches(heartbeats(nodes, ROUNDS, (WARM_UP + n * ROUNDS) * PERIOD_MS / 1000))
        began = time.process_time()
        for batch in work:
            monitor.receive(batch)
        best = min(best, time.process_time() - began)
    assert (len(sink), monitor.stats()["invalid"]) == (told, 0)
    return best / (ROUNDS * NODES) * 1e6


def cost_of_bare_python_can_us() -> float:
    """Return CPU per frame of a loop that receives from python-can's virtual bus and does nothing with it."""
    frames = heartbeats([FakeNode(CODEC, n) for n in range(NODES)], ROUNDS // 4, 0.0)
    best = float("inf")
    with (
        can.Bus("bench", interface="virtual", receive_own_messages=False) as sender,
        can.Bus("bench", interface="virtual") as receiver,
    ):
        for _ in range(REPEATS):
            for can_id, data, at in frames:
                message = can.Message(at, can_id & EXTENDED_MASK, data=data, is_extended_id=True, check=False)
                sender.send(message)
            began = time.process_time()
            for _ in frames:
                assert receiver.recv(0) is not None
            best = min(best, time.process_time() - began)
    return best / len(frames) * 1e6


async def bare_timer_ms(lateness: list[float]) -> None:
    """The peer of a verdict: wake up every 10 ms on the same loop, and note how late."""
    while True:
        planned = time.monotonic() + 0.01
        await asyncio.sleep(0.01)
        lateness.append((time.monotonic() - planned) * 1000)


async def lateness_ms() -> tuple[list[float], list[float]]:
    """Silence 250 components at random phases while the bus lives on.

    Returns how late each verdict came, and how late a bare timer was on the same loop meanwhile.
    """
    wire, clock = FakeWire(), SystemClock()
    lateness: list[float] = []
    notices: list[PresenceChange | Event] = []
    monitor = monitor_of(wire, notices)
    nodes = [FakeNode(CODEC, n) for n in range(NODES)]
    rng = random.Random(2)
    start = clock.monotonic()
    wire.tell(Condition.UP, start)
    silenced_at = {node.node: start + 1.0 + rng.random() * 2 for node in nodes}
    next_at = {node.node: start + rng.random() * PERIOD_MS / 1000 for node in nodes}
    bare: list[float] = []
    running = [asyncio.create_task(monitor.run()), asyncio.create_task(bare_timer_ms(bare))]
    while clock.monotonic() < start + 4.5:
        await asyncio.sleep(0.01)  # as often as the reader hands on a batch
        now = clock.monotonic()
        frames = []
        for node in nodes:
            while next_at[node.node] <= min(now, silenced_at[node.node]):
                frames.append(node.beat(next_at[node.node]))
                next_at[node.node] += PERIOD_MS / 1000
        wire.received += 1  # others go on: each silence is a component's own
        wire.deliver(*sorted(frames, key=lambda frame: frame[2]))
        lateness += _judged(monitor, notices, clock)
    for task in running:
        task.cancel()
    return lateness, bare


def _judged(monitor: Monitor, notices: list[PresenceChange | Event], clock: SystemClock) -> list[float]:
    found = []
    offset_ms = clock.wall_ms() - clock.monotonic() * 1000
    for notice in notices:
        if isinstance(notice, PresenceChange) and notice.event == "component_offline":
            last_valid = monitor.sighting(notice.component_id).last_valid or 0.0
            found.append(notice.at - offset_ms - (last_valid * 1000 + notice.evidence["window_ms"]))
    notices.clear()
    return found


def p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100)[98]


def main() -> None:
    ours, bare = cost_of_monitor_us(), cost_of_bare_python_can_us()
    late, bare_late = asyncio.run(lateness_ms())
    assert len(late) == NODES, f"{len(late)} verdicts"
    told = f"bare python-can loop: virtual {bare:.2f} µs"
    row("heartbeat in the monitor, protection checked", f"{ours:.2f} µs", told)
    limit = SOCKETCAN_US / 2
    told = f"limit {limit:.2f} µs, half of it on socketcan"
    row("the same, beside that loop as noted on socketcan", f"{ours:.2f} µs", told, met=ours <= limit)
    row("offline verdict after its deadline, p50", f"{median(late):.1f} ms", f"bare timer, p99 {p99(bare_late):.1f} ms")
    row("the same, p99", f"{p99(late):.1f} ms", f"limit {LATE_LIMIT_MS:g} ms", met=p99(late) <= LATE_LIMIT_MS)


if __name__ == "__main__":
    main()
