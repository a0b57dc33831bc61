"""Frames from a real SocketCAN bus to verdicts, beside a bare python-can loop and a bare socket loop in the same run.

Where this kernel has no vcan, the throw-away host of `tools/host-test` measures and tells. All is timed by the wall on
one CPU that does nothing else: what is sent is sent by the same process, and that time is left out. What a bare loop
takes of a core is reckoned from its time per frame, without the wake-ups that it would need besides.
"""

import asyncio
import json
import os
import random
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench import link as bare
from bench._table import row
from gateway.bus.foreign.watch import Listening
from gateway.bus.frames import load_codecs
from gateway.bus.link import Link
from gateway.bus.link.bcm import BroadcastManager
from gateway.bus.monitor import Monitor
from gateway.bus.monitor.kernel import KernelObserver
from gateway.bus.wire import EXTENDED, EXTENDED_MASK, Filter
from gateway.clock import SystemClock
from gateway.component import Component, ComponentKind
from gateway.settings import BusSection, PresenceSection
from tests.doubles_bus import FakeNode

ROOT: Final = Path(__file__).resolve().parent.parent
CHANNEL: Final = "bench0"
FIGURES: Final = "FIGURES "  # before what the host tells
COMPONENTS: Final = 250
IDS: Final = 10  # of each component, on a busy bus
PERIOD_S: Final = 0.1
SLICE_S: Final = 0.01  # what is sent at once when it is sent at its true pace
SETTLING_S: Final = 14.0  # until the period of our own nodes has been checked
LEARNING: Final = 22  # frames of an id until its rhythm is known
CALM_S: Final = 8
BURST: Final = 200  # what waits at once when all goes as fast as it can
BURSTS: Final = 60
HOST_TIMEOUT_S: Final = 900

_FRAME: Final = struct.Struct("=IB3x8s")
_WHOLE: Final = EXTENDED | EXTENDED_MASK

Rounds = Callable[[], Iterator[bytes]]
"""Makes one frame of every id, in SocketCAN's spelling."""


class IdleTime(selectors.DefaultSelector):
    """A selector that knows how long it has waited."""

    waited_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        """Wait for events."""
        began = time.perf_counter()
        try:
            return super().select(timeout)
        finally:
            self.waited_s += time.perf_counter() - began


class Pace:
    """A sender, and what the loop does beside it. `rounds`: what is sent."""

    def __init__(self, sender: socket.socket, rounds: Rounds) -> None:
        self._sender, self._rounds = sender, rounds
        self._frames = self._endless()

    def _endless(self) -> Iterator[bytes]:
        while True:
            yield from self._rounds()

    def send(self, count: int) -> float:
        """Send so many frames; return how long it took, s."""
        frames = [next(self._frames) for _ in range(count)]
        began = time.perf_counter()
        for frame in frames:
            self._sender.send(frame)
        return time.perf_counter() - began

    async def calm(self, seconds: int, per_second: int) -> tuple[float, float]:
        """Send at a true pace; return what `paced` does, of the calmest second: others use this machine, too."""
        shares, sendings = zip(*[await self.paced(1, per_second) for _ in range(seconds)], strict=True)
        return min(shares), min(sendings)

    async def paced(self, seconds: float, per_second: int) -> tuple[float, float]:
        """Send at a true pace. Returns which part of the time was spent on handling, and µs a frame on sending."""
        each = round(per_second * SLICE_S)
        idle: IdleTime = asyncio.get_running_loop()._selector  # type: ignore[attr-defined] # it is ours
        began, waited = time.perf_counter(), idle.waited_s
        making, spent = 0.0, list[float]()
        for n in range(round(seconds / SLICE_S)):
            await asyncio.sleep(max(0.0, began + n * SLICE_S - time.perf_counter()))
            turn = time.perf_counter()
            spent.append(self.send(each))
            making += time.perf_counter() - turn
        passed = time.perf_counter() - began
        busy = passed - (idle.waited_s - waited) - making
        return busy / passed, median(spent) / each * 1e6  # what else runs on the machine hits few slices


class Bench(Pace):
    """A link and a monitor beside a sender."""

    def __init__(self, link: Link, monitor: Monitor, sender: socket.socket, rounds: Rounds) -> None:
        super().__init__(sender, rounds)
        self.link, self.monitor = link, monitor
        self.observer: KernelObserver | None = None

    def hurried(self) -> float:
        """Return µs a frame, where as many wait as a burst has: received, judged, and all looked at for silence."""
        spent = 0.0
        for _ in range(BURSTS):
            self.send(BURST)
            began = time.perf_counter()
            self.link.read_now()
            self.monitor.look(time.monotonic())
            spent += time.perf_counter() - began
        return spent / (BURSTS * BURST) * 1e6

    def check(self) -> None:
        """All were heard, and nothing was lost."""
        link, monitor = self.link.stats(), self.monitor.stats()
        assert link["overflow"] == 0, f"{link['overflow']} frames lost"
        assert monitor["online"] == COMPONENTS, f"{monitor['online']} online"
        assert monitor["invalid"] == 0


@contextmanager
def sender(channel: str) -> Iterator[socket.socket]:
    """A socket that sends and hears nothing."""
    with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as sock:
        sock.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, b"")
        sock.bind((channel,))
        yield sock


@asynccontextmanager
async def on(channel: str, listenings: dict[str, Listening], rounds: Rounds, *, kernel: bool = False):
    """A bench that runs. `listenings`: of components of others; without any there are 250 of ours."""
    clock = SystemClock()
    link = Link(channel, BusSection(name=channel, interface="socketcan"), clock, random.Random(1))
    names = list(listenings) or [f"m{n}" for n in range(COMPONENTS)]
    section = PresenceSection() if listenings else PresenceSection(period_ms=round(PERIOD_S * 1000))
    monitor = Monitor(
        wire=link,
        components=[
            (Component(name, ComponentKind.MODULE, channel, n, foreign=bool(listenings)), section)
            for n, name in enumerate(names)
        ],
        codecs=load_codecs(),
        clock=clock,
        rows={},
        sink=lambda _: None,
        on_ready=lambda *_: None,
        listenings=listenings,
    )
    with sender(channel) as sock:
        made = Bench(link, monitor, sock, rounds)
        running = [link.run(), monitor.run()]
        if kernel:
            made.observer = KernelObserver(monitor, link, lambda: BroadcastManager(channel, 1 << 20), clock)
            running.append(made.observer.run())
        tasks = [asyncio.create_task(each) for each in running]
        while link.stats()["state"] != "UP":
            await asyncio.sleep(0.01)
        try:
            yield made
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def own_nodes(channel: str) -> dict[str, float]:
    """250 of our own nodes at 10 Hz: length, CRC, counter, boot count."""
    codec = load_codecs()["HB_MODULE"]
    nodes = [FakeNode(codec, n) for n in range(COMPONENTS)]

    def rounds() -> Iterator[bytes]:
        for node in nodes:
            can_id, data, _ = node.beat(0.0)
            yield _FRAME.pack(can_id, len(data), data)

    async with on(channel, {}, rounds) as bench:
        await bench.paced(SETTLING_S, round(COMPONENTS / PERIOD_S))
        share, _ = await bench.calm(CALM_S, round(COMPONENTS / PERIOD_S))
        hurried = bench.hurried()
        bench.check()
    return {"own share": share, "own": hurried}


def _plain(ids_each: int) -> tuple[dict[str, Listening], Rounds]:
    """Components of others, of which it only matters whether they are heard."""
    ids = [[(0x18E00000 + 16 * n + k) | EXTENDED for k in range(ids_each)] for n in range(COMPONENTS)]
    listenings = {f"c{n}": Listening(tuple(Filter(can_id, _WHOLE) for can_id in own)) for n, own in enumerate(ids)}
    frames = [_FRAME.pack(own[k], 8, bytes(8)) for k in range(ids_each) for own in ids]
    return listenings, lambda: iter(frames)


async def busy_ids(channel: str) -> dict[str, float]:
    """250 components of others, each heard by any of ten ids."""
    async with on(channel, *_plain(IDS)) as bench:
        for _ in range(LEARNING * COMPONENTS * IDS // BURST):
            bench.send(BURST)
            bench.link.read_now()
            await asyncio.sleep(0)
        hurried = bench.hurried()
        bench.check()
    return {"busy": hurried}


async def nobody(channel: str) -> dict[str, float]:
    """The sender alone: what of the other figures is not the gateway's."""
    with sender(channel) as sock:
        pace = Pace(sock, _plain(1)[1])
        share, sending = await pace.calm(CALM_S, round(COMPONENTS / PERIOD_S))
    return {"idle share": share, "idle sending": sending}


async def one_id(channel: str, *, kernel: bool) -> dict[str, float]:
    """250 components of others with one id each at 10 Hz, by their frames or by the kernel."""
    name = "kernel" if kernel else "frames"
    async with on(channel, *_plain(1), kernel=kernel) as bench:
        await bench.paced(4.0, round(COMPONENTS / PERIOD_S))
        share, sending = await bench.calm(CALM_S, round(COMPONENTS / PERIOD_S))
        bench.check()
        if bench.observer is not None:
            assert bench.observer.stats()["resting"] == COMPONENTS, bench.observer.stats()
    return {f"{name} share": share, f"{name} sending": sending}


def measured(part: Callable[..., Awaitable[dict[str, float]]], *args: Any, **options: Any) -> dict[str, float]:
    """Run one part on a loop that knows its idle time."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(IdleTime())) as runner:
        return runner.run(part(*args, **options))  # type: ignore[arg-type] # it is a coroutine


def figures(channel: str) -> dict[str, float]:
    """Return µs a frame and shares of a core, by what was measured on a SocketCAN interface."""
    rates = measured(bare.vcan, channel)
    return {
        "socket": 1e6 / rates["socket"],
        "python-can": 1e6 / rates["python-can"],
        **measured(nobody, channel),
        **measured(own_nodes, channel),
        **measured(busy_ids, channel),
        **measured(one_id, channel, kernel=False),
        **measured(one_id, channel, kernel=True),
    }


@contextmanager
def interface(name: str = CHANNEL) -> Iterator[str]:
    """A vcan interface for as long as it is needed. Raises OSError where there is none to be had."""
    done = subprocess.run(["ip", "link", "add", name, "type", "vcan"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())
    try:
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "link", "del", name], check=False)


def figures_of_host() -> dict[str, float] | None:
    """Let the throw-away host measure; None where it cannot be had."""
    if os.geteuid() != 0:
        return None
    words = [sys.executable, "tools/host-test", "-s", "-q", "tests/host/measure_frames.py"]
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=HOST_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return None
    told = [line for line in done.stdout.splitlines() if line.startswith(FIGURES)]
    if not told:
        print(done.stdout[-2000:], done.stderr[-2000:], sep="\n")
        return None
    found: dict[str, float] = json.loads(told[0].removeprefix(FIGURES))
    return found


def table(found: dict[str, float]) -> Sequence[tuple[str, str, str, bool | None]]:
    """Return the rows of the table."""
    peer, rate = found["python-can"], COMPONENTS / PERIOD_S

    def per_frame(us: float) -> str:
        return f"{1e6 / us:,.0f}/s  {us:.1f} µs"

    def bare_share(us: float, at: float) -> str:
        return f"bare loops: socket {found['socket'] * at / 1e4:.1f} %, python-can {us * at / 1e4:.1f} %"

    limit = f"limit 2 × python-can, {per_frame(peer / 2)}"

    def share(name: str) -> float:
        return 100 * (found[f"{name} share"] - found["idle share"])

    busy = found["busy"] * rate * IDS / 1e4
    by_frames = f"by frames {share('frames'):.1f} %"
    sent = f"by frames {found['frames sending']:.1f} µs, heard by nobody {found['idle sending']:.1f} µs"
    return [
        ("frames on vcan, bare socket loop", per_frame(found["socket"]), f"python-can {per_frame(peer)}", None),
        (
            "250 own components to verdicts, protection checked",
            per_frame(found["own"]),
            limit,
            found["own"] <= peer / 2,
        ),
        ("the same at 10 Hz, 2,500 frames/s, of a core", f"{share('own'):.1f} %", bare_share(peer, rate), None),
        ("250 of others with ten ids each, to verdicts", per_frame(found["busy"]), limit, found["busy"] <= peer / 2),
        ("the same at 10 Hz, 25,000 frames/s, of a core", f"{busy:.1f} %", bare_share(peer, rate * IDS), None),
        ("250 of others with one id at 10 Hz, kernel as observer", f"{share('kernel'):.1f} %", by_frames, None),
        ("what a frame costs its sender, kernel as observer", f"{found['kernel sending']:.1f} µs", sent, None),
    ]


def main() -> None:
    """Measure here, else on the throw-away host."""
    try:
        with interface() as channel:
            found: dict[str, float] | None = figures(channel)
    except OSError:
        found = figures_of_host()
    if found is None:
        print("not measured: no vcan here, and no throw-away host (it needs root)")
        return
    for figure, ours, beside, met in table(found):
        row(figure, ours, beside, met=met)


if __name__ == "__main__":
    main()
