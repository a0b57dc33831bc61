"""Frames per second through a Link, beside the bare receive loop of python-can in the same run.

`python -m bench.link` measures the virtual interface; `vcan(channel)` needs a real one and is run by the host test.
Frames wait in the queue before the clock starts, so that receiving alone is
timed, in CPU seconds of the whole process: what one core could do.
"""

import asyncio
import random
import socket
import struct
import time
from collections.abc import Callable, Sequence

import can

from bench._table import row
from gateway.bus.link import Link
from gateway.bus.link.adapter import AdapterPort
from gateway.bus.link.raw import prepare
from gateway.bus.wire import EXTENDED, Filter, Frame, Lane
from gateway.clock import SystemClock
from gateway.settings import BusSection

HEARTBEAT = 0x18FF1000
FRAMES = 30_000
ROUNDS = 7
SHARE = 0.7  # of python-can's own loop, at least
BURST = 200  # what waits at once in a kernel socket


class Count:
    """A receiver that counts."""

    def __init__(self, until: int = 0) -> None:
        self.frames = 0
        self.until = until
        self.done = asyncio.Event()

    def __call__(self, frames: Sequence[Frame]) -> None:
        self.frames += len(frames)
        if self.frames >= self.until:
            self.done.set()


def _filled(channel: str, frames: int) -> can.BusABC:
    bus = can.Bus(interface="virtual", channel=channel)
    with can.Bus(interface="virtual", channel=channel) as sender:
        for n in range(frames):
            sender.send(can.Message(arbitration_id=HEARTBEAT + n % 250, data=bytes(8)))
    return bus


def bare_virtual(frames: int = FRAMES) -> float:
    """Frames per second of python-can's own loop."""
    with _filled("bench-bare", frames) as bus:
        began = time.process_time()
        while bus.recv(0) is not None:
            pass
        return frames / (time.process_time() - began)


async def link_virtual(frames: int = FRAMES) -> float:
    """Frames per second from the same queue to a listener on the loop."""

    class Filled(AdapterPort):
        def _open(self) -> can.BusABC:
            return bus

    bus = _filled("bench-link", frames)
    settings = BusSection(name="bench", interface="virtual", channel="bench-link")
    link = Link(
        "bench", settings, SystemClock(), random.Random(1), port=lambda i, _: Filled(i, {"interface": "virtual"})
    )
    count = Count(frames)
    link.listen(Lane.PRESENCE, [Filter(0, 0)], count)
    began = time.process_time()
    running = asyncio.create_task(link.run())
    async with asyncio.timeout(60):
        await count.done.wait()
    rate = frames / (time.process_time() - began)
    running.cancel()
    await asyncio.wait([running])
    return rate


def _time(send: Callable[[bytes], object], receive: Callable[[], None], frames: int) -> float:
    """Frames per second of `receive`, which must take all that waits."""
    spent = 0.0
    for begin in range(0, frames, BURST):
        for n in range(begin, begin + BURST):
            send(struct.pack("=IB3x8s", (HEARTBEAT + n % 250) | EXTENDED, 8, bytes(8)))
        began = time.perf_counter()
        receive()
        spent += time.perf_counter() - began
    return frames / spent


async def vcan(channel: str, frames: int = FRAMES) -> dict[str, float]:
    """Frames per second on a SocketCAN interface: {"python-can", "socket", "link"}."""
    sender = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
    sender.bind((channel,))
    rates = {}

    with can.Bus(interface="socketcan", channel=channel) as bus:
        prepare(bus.socket, 1 << 20)  # type: ignore[attr-defined]  # its own buffer would drop frames

        def by_python_can() -> None:
            for _ in range(BURST):
                bus.recv(1)

        rates["python-can"] = _time(sender.send, by_python_can, frames)

    with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as bare:
        bare.bind((channel,))
        bare.setsockopt(socket.SOL_SOCKET, 33, 1 << 20)

        def by_socket() -> None:
            for _ in range(BURST):
                bare.recv(16)

        rates["socket"] = _time(sender.send, by_socket, frames)

    link = Link(
        "bench", BusSection(name="bench", interface="socketcan", channel=channel), SystemClock(), random.Random(1)
    )
    count = Count()
    link.listen(Lane.PRESENCE, [Filter(HEARTBEAT | EXTENDED, 0x1FFFFF00 | EXTENDED)], count)
    running = asyncio.create_task(link.run())
    while link.stats()["state"] != "UP":
        await asyncio.sleep(0.01)
    rates["link"] = _time(sender.send, link.read_now, frames)
    running.cancel()
    await asyncio.wait([running])
    sender.close()
    assert count.frames == frames, f"{frames - count.frames} frames lost"
    return rates


def report(rates: dict[str, float]) -> str:
    """One line a rate, each beside python-can's."""
    limit = rates["python-can"]
    return "\n".join(
        f"{name:12} {rate:10,.0f} frames/s  {rate / limit:5.2f} × python-can" for name, rate in rates.items()
    )


def main() -> None:
    """Measure the virtual interface, the best of several rounds each."""
    bare = ours = 0.0
    for _ in range(ROUNDS):
        bare = max(bare, bare_virtual())
        ours = max(ours, asyncio.run(link_virtual()))
    told = f"limit {SHARE:g} × python-can {bare:,.0f}/s"
    row("frames through a Link, virtual interface", f"{ours:,.0f}/s", told, met=ours >= SHARE * bare)


if __name__ == "__main__":
    main()
