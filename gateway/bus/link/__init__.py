"""The link to one CAN bus: opened, read, watched, and built anew for ever.

SocketCAN is served by `kernel`, every other interface by `adapter`; this file holds what both
have in common.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final

from gateway.bus.link.adapter import AdapterPort
from gateway.bus.link.intake import Intake, Lost, Port
from gateway.bus.link.interface import Interface
from gateway.bus.link.kernel import SocketcanPort
from gateway.bus.link.replay import INTERFACE as REPLAY
from gateway.bus.link.replay import replay_port
from gateway.bus.wire import BusEvent, Filter, Lane, Receiver
from gateway.clock import Clock
from gateway.settings import BusSection

RETRY_S: Final = (1.0, 30.0)  # before the first and, at most, before a later rebuild
GRACE_S: Final = 5.0
MEASURE_S: Final = 1.0


def retry_wait_s(failures: int, rng: random.Random, bounds_s: tuple[float, float] = RETRY_S) -> float:
    """Return the wait before the next attempt, after `failures` (≥ 1) in a row: doubled each time, 50–100 % of it."""
    shortest, longest = bounds_s
    return max(shortest, min(longest, shortest * 2.0 ** min(failures, 32)) * rng.uniform(0.5, 1.0))


def port_for(intake: Intake, settings: BusSection) -> Port:
    """Return the port that `settings` describe."""
    if settings.interface == REPLAY:
        return replay_port(intake, settings)
    channel = intake.name if settings.channel is None else settings.channel
    if settings.interface == "socketcan":  # its bit rate is the system's to set
        return SocketcanPort(intake, Interface(str(channel)), settings.receive_buffer_bytes, fd=settings.fd)
    config: dict[str, Any] = {"interface": settings.interface, "channel": channel, **settings.options}
    if settings.bitrate is not None:
        config["bitrate"] = settings.bitrate
    if settings.fd:
        config["fd"] = True
    return AdapterPort(intake, config)


class Link:
    """A `Wire` over any interface of python-can. `listen` and `watch`, then have a TaskGroup own `run`."""

    def __init__(
        self,
        name: str,
        settings: BusSection,
        clock: Clock,
        rng: random.Random,
        *,
        retry_s: tuple[float, float] = RETRY_S,
        port: Callable[[Intake, BusSection], Port] = port_for,
    ) -> None:
        self.name = name
        self.interface = settings.interface
        self.clock = clock
        self._rng = rng
        self._retry_s = retry_s
        self._intake = Intake(name, clock)
        self._intake.load.bitrate = settings.bitrate
        self._port = port(self._intake, settings)

    def listen(self, lane: Lane, filters: Sequence[Filter], receiver: Receiver) -> None:
        """Hand frames that match any filter to `receiver`, in batches; adapters hand it all others, too."""
        self._intake.filters[lane].extend(filters)
        self._intake.receivers[lane].append(receiver)

    def relisten(self, lane: Lane, before: Sequence[Filter], filters: Sequence[Filter]) -> None:
        """Let `filters` take the place of `before`; SocketCAN keeps away what nobody wants any more."""
        kept = Counter(self._intake.filters[lane]) - Counter(before)
        self._intake.filters[lane] = [*kept.elements(), *filters]
        if isinstance(self._port, SocketcanPort):
            self._port.refilter(lane)

    def watch(self, watcher: Callable[[BusEvent], None]) -> None:
        """Tell `watcher` of every change of condition, from the first opening on."""
        self._intake.watchers.append(watcher)

    async def run(self) -> None:
        """Serve the bus and build it anew whenever it is lost. Ends by cancellation, or by a listener's bug."""
        tasks = {asyncio.create_task(each) for each in (self._serve(), self._measure())}
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()  # what it raised, and not a group of it
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _serve(self) -> None:
        failures = 0
        while True:
            began = self.clock.monotonic()
            try:
                await self._port.serve()
            except Lost as why:
                self._intake.counts.reconnects += 1
                self._intake.counts.last_error = str(why)
                self._intake.tell(why.condition, str(why))
            failures = 1 if self.clock.monotonic() - began > self._retry_s[1] else failures + 1
            wait_s = retry_wait_s(failures, self._rng, self._retry_s)
            self._intake.expect(wait_s + GRACE_S)
            await asyncio.sleep(wait_s)

    async def _measure(self) -> None:
        while True:
            await asyncio.sleep(MEASURE_S)
            self.measure()

    def measure(self) -> None:
        """Take the load, look who speaks, and see whether a bus-off is over; called once a second."""
        now, load = self.clock.monotonic(), self._intake.load
        self._intake.settle(now)
        told = self._port.traffic()
        if told is not None:
            load.note(told, now)
        if load.sample is not None:
            self._port.overhear(None)
            load.end_sample(now)
        elif load.wants_sample(now):
            self._port.overhear(load.begin_sample(now))

    async def send(self, can_id: int, data: bytes, *, deadline: float) -> None:
        """Put one frame on the bus, waiting for room until `deadline` (s, monotonic). Raises LinkDown."""
        await self._port.send(can_id, data, deadline)

    def read_now(self) -> None:
        """Hand on what has arrived already."""
        self._port.read_now()

    def frames_received(self) -> int:
        """Return how many frames of any kind the interface has received; where it does not say, how many we have."""
        return self._port.frames_received()

    def talkers(self) -> Sequence[tuple[int, float]]:
        """Return the ids that were heard most of late, each with its frames a second."""
        return self._intake.load.talkers

    def alive(self, now: float) -> bool:
        """Whether the reader has kept its word to show life in time. `now`: s, monotonic."""
        return now <= self._intake.due

    def stats(self) -> dict[str, Any]:
        """Return {name, interface, state, frames, sent, send_retries, overflow, …, last_error} for get_health."""
        return {
            "name": self.name,
            "interface": self.interface,
            "state": str(self._intake.condition),
            **asdict(self._intake.counts),
            **self._intake.controller.stats(),
            **self._intake.load.stats(),
        }
