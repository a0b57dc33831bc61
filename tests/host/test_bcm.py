"""The kernel as observer on a real vcan, beside a monitor that hears every frame of the same bus."""

import asyncio
import random
import socket
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from gateway.bus.foreign.watch import Listening
from gateway.bus.frames import load_codecs
from gateway.bus.link import Link
from gateway.bus.link.bcm import BroadcastManager, Edge
from gateway.bus.monitor import Monitor, kernel
from gateway.bus.monitor.kernel import KernelObserver
from gateway.bus.wire import EXTENDED, EXTENDED_MASK, Condition, Filter
from gateway.clock import SystemClock
from gateway.component import Component, ComponentKind
from gateway.ports import PresenceChange
from gateway.presence import Presence
from gateway.settings import BusSection, PresenceSection
from tests.integration.link_bench import until

CHANNEL: Final = "can0"
SLOT_S: Final = 0.01  # a slow machine stretches it, and with it all that is measured in slots
PERIOD: Final = 10  # slots
WINDOW_S: Final = 1.0
WINDOW: Final = 100  # slots
AGES_S: Final = 60.0  # longer than any test
STRANGER: Final = 0x7FF  # somebody always speaks: no silence is the bus's
SMALLEST: Final = 4096  # bytes of receive buffer
SMALL: Final = 40_000  # enough for the answers to as many orders as are given at once
ONLINE, OFFLINE = Presence.ONLINE, Presence.OFFLINE
_FRAME: Final = struct.Struct("=IB3x8s")


@pytest.fixture(autouse=True)
def bus() -> Iterator[None]:
    subprocess.run(["ip", "link", "add", CHANNEL, "type", "vcan"], check=True)
    subprocess.run(["ip", "link", "set", CHANNEL, "up"], check=True)
    yield
    subprocess.run(["ip", "link", "del", CHANNEL], check=False)


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as sock:
        sock.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, b"")
        sock.bind((CHANNEL,))
        yield sock


@pytest.fixture
def manager() -> Iterator[BroadcastManager]:
    made = BroadcastManager(CHANNEL, 1 << 20)
    yield made
    made.close()


def id_of(n: int) -> int:
    return 0x18FF0000 + n | EXTENDED


def say(sender: socket.socket, *ids: int, data: bytes = b"12345678") -> None:
    for can_id in ids:
        sender.send(_FRAME.pack(can_id, len(data), data))


# --- the kernel alone ------------------------------------------------------------------------------------------------


async def test_the_kernel_tells_the_edges_and_nothing_between(sender, manager):
    manager.watch(id_of(1), 0.3)
    for n in range(20):
        say(sender, id_of(1), id_of(2), 1, data=bytes([n]))
        await asyncio.sleep(0.02)
    assert manager.read() == [Edge(id_of(1), silent=False)]
    began = time.monotonic()
    while not (told := manager.read()) and time.monotonic() < began + 5:
        await asyncio.sleep(0.005)
    assert told == [Edge(id_of(1), silent=True)]
    assert time.monotonic() - began > 0.25
    await asyncio.sleep(0.4)
    assert manager.read() == []  # a silence is told once
    say(sender, id_of(1))
    await asyncio.sleep(0.1)
    assert manager.read() == [Edge(id_of(1), silent=False)]


async def test_an_id_that_is_watched_anew_is_told_as_heard_anew(sender, manager):
    for silence_s in 0.5, 0.6:
        manager.watch(id_of(1), silence_s)
        say(sender, id_of(1), id_of(1))
        await asyncio.sleep(0.1)
        assert manager.read() == [Edge(id_of(1), silent=False)]


async def test_what_found_no_room_is_counted(capsys):
    manager = BroadcastManager(CHANNEL, SMALLEST)
    try:
        for n in range(250):
            manager.watch(id_of(n), 0.3)  # nobody speaks, and nobody reads until all are told to be silent
        await asyncio.sleep(1)
        told = manager.read()
        assert {edge.silent for edge in told} == {True}
        assert len(told) + manager.newly_lost() == 250
        assert len(told) < 250
        assert manager.newly_lost() == 0
    finally:
        manager.close()
    with capsys.disabled():
        print(f"\n{len(told)} of 250 time-outs at once found room in {SMALLEST} bytes")


async def test_with_its_usual_buffer_it_keeps_what_250_components_tell_at_once(sender):
    manager = BroadcastManager(CHANNEL, BusSection(name="x", interface="socketcan").receive_buffer_bytes)
    try:
        for n in range(250):
            manager.watch(id_of(n), AGES_S)
            say(sender, id_of(n))
        for n in range(250):
            manager.watch(id_of(n), 0.3)
        await asyncio.sleep(1)
        assert [edge.silent for edge in manager.read()] == [False] * 250 + [True] * 250
        assert manager.newly_lost() == 0
    finally:
        manager.close()


# --- beside the frames -----------------------------------------------------------------------------------------------


@dataclass
class Half:
    """One of two monitors of the same bus. `told`: what it said last of each component, and in which slot."""

    monitor: Monitor
    observer: KernelObserver | None
    told: dict[str, tuple[Presence, int]]


@dataclass
class Scene:
    """Components that speak every 100 ms, watched frame by frame and, beside that, with the kernel's help."""

    sender: socket.socket
    names: Sequence[str]
    slot: int = 0
    silent: Collection[str] = ()
    is_muted: bool = False
    plain: Half = field(init=False)
    eased: Half = field(init=False)

    async def speak(self) -> None:
        while True:
            names = [name for name in self.names[self.slot % PERIOD :: PERIOD] if name not in self.silent]
            if not self.is_muted:
                with suppress(OSError):  # a socket tells once that its interface was down
                    say(self.sender, STRANGER, *(id_of(int(name[1:])) for name in names))
            await asyncio.sleep(SLOT_S)
            self.slot += 1

    def stats(self) -> dict[str, int]:
        assert self.eased.observer is not None
        return self.eased.observer.stats()

    async def agreed(self, presence: Presence, names: Collection[str]) -> int:
        """Wait until both say so of `names` alone; return by how much they differ at most, in slots."""
        began = self.slot

        def is_so(half: Half) -> bool:
            return {name for name, (now, _) in half.told.items() if now is presence} == set(names)

        await until(lambda: is_so(self.plain) and is_so(self.eased))
        mine, other = ({name: slot for name, (_, slot) in half.told.items()} for half in (self.eased, self.plain))
        return max(abs(mine[name] - other[name]) for name in names if max(mine[name], other[name]) >= began)


def _half(scene: Scene, kernel_buffer: int | None) -> tuple[Link, Half]:
    clock = SystemClock()
    link = Link(CHANNEL, BusSection(name=CHANNEL, interface="socketcan"), clock, random.Random(1))
    told: dict[str, tuple[Presence, int]] = {}

    def sink(notices: Sequence[Any]) -> None:
        for each in notices:
            if isinstance(each, PresenceChange):
                told[each.component_id] = each.presence, scene.slot

    whole = EXTENDED | EXTENDED_MASK
    monitor = Monitor(
        wire=link,
        components=[
            (Component(name, ComponentKind.PACK, CHANNEL, None, foreign=True), PresenceSection())
            for name in scene.names
        ],
        codecs=load_codecs(),
        clock=clock,
        rows={},
        sink=sink,
        on_ready=lambda *_: None,
        listenings={name: Listening((Filter(id_of(n), whole),)) for n, name in enumerate(scene.names)},
    )
    observer = None
    if kernel_buffer is not None:
        observer = KernelObserver(monitor, link, lambda: BroadcastManager(CHANNEL, kernel_buffer), clock)
    return link, Half(monitor, observer, told)


@asynccontextmanager
async def watched(sender: socket.socket, count: int, kernel_buffer: int = 1 << 20) -> AsyncIterator[Scene]:
    """Two monitors that have learnt all there is, the second with all its components at rest."""
    scene = Scene(sender, [f"c{n}" for n in range(count)])
    (plain_link, plain), (eased_link, eased) = _half(scene, None), _half(scene, kernel_buffer)
    scene.plain, scene.eased = plain, eased
    assert eased.observer is not None
    running = [plain_link.run(), plain.monitor.run(), eased_link.run(), eased.monitor.run(), eased.observer.run()]
    tasks = [asyncio.create_task(each) for each in [*running, scene.speak()]]
    try:
        await until(lambda: scene.stats()["resting"] == count)
        yield scene
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [each for each in ended if not isinstance(each, asyncio.CancelledError)] == []


async def test_fifty_that_come_and_go_are_judged_alike_within_a_period(sender, capsys):
    async with watched(sender, 50) as scene:
        worst = []
        rng = random.Random(5)
        for _ in range(2):
            gone = rng.sample(scene.names, rng.randint(1, 40))
            scene.silent = gone
            worst.append(await scene.agreed(OFFLINE, gone))
            scene.silent = ()
            worst.append(await scene.agreed(ONLINE, scene.names))
            await until(lambda: scene.stats()["resting"] == 50)
        assert scene.stats()["lost"] == scene.stats()["disagreements"] == 0
        assert max(worst) <= PERIOD
    with capsys.disabled():
        print(f"\nverdicts of the kernel and of the frames differ by {max(worst)} slots of {SLOT_S} s at most")


async def test_at_rest_their_frames_do_not_reach_us_while_others_do(sender):
    async with watched(sender, 50) as scene:
        await asyncio.sleep(0.1)  # what was received already is read
        eased, plain = (half.monitor.stats()["frames_judged"] for half in (scene.eased, scene.plain))
        await until(lambda: scene.plain.monitor.stats()["frames_judged"] >= plain + 1000)
        assert scene.eased.monitor.stats()["frames_judged"] == eased
        assert scene.eased.monitor.stats()["online"] == 50


async def test_what_was_lost_of_250_time_outs_at_once_is_healed_by_the_frames(sender, capsys, monkeypatch):
    monkeypatch.setattr(kernel, "RETRY_S", 2.0)
    async with watched(sender, 250, SMALL) as scene:
        lost_before = scene.stats()["lost"]  # of what it told when all were heard first
        gone = scene.names[:240]
        scene.silent = gone
        began = time.monotonic()
        while time.monotonic() < began + 1.2 * WINDOW_S:  # our loop stands still while the kernel's timers run out
            say(sender, STRANGER, *(id_of(n) for n in range(240, 250)))
            time.sleep(0.02)
        difference = await scene.agreed(OFFLINE, gone)
        lost = scene.stats()["lost"] - lost_before
        assert lost > 0
        assert difference <= 2 * WINDOW
        scene.silent = ()
        await scene.agreed(ONLINE, scene.names)
        await until(lambda: scene.stats()["resting"] == 250)
        assert scene.stats()["disagreements"] == 0
        with capsys.disabled():
            print(f"\n{lost} of 240 time-outs lost; all were told, {difference} slots apart at most")


async def test_a_bus_that_goes_and_comes_back_is_judged_alike(sender):
    async with watched(sender, 20) as scene:
        scene.is_muted = True
        subprocess.run(["ip", "link", "set", CHANNEL, "down"], check=True)
        await scene.agreed(OFFLINE, scene.names)
        assert scene.eased.monitor.stats()["heard"] == Condition.DOWN
        assert scene.stats()["resting"] == 0
        subprocess.run(["ip", "link", "set", CHANNEL, "up"], check=True)
        scene.is_muted = False
        assert await scene.agreed(ONLINE, scene.names) <= WINDOW
        await until(lambda: scene.stats()["resting"] == 20)


async def test_the_silence_of_all_is_the_buss_for_the_kernel_too(sender):
    async with watched(sender, 20) as scene:
        scene.is_muted = True
        await scene.agreed(OFFLINE, scene.names)
        for half in scene.eased, scene.plain:
            assert {half.monitor.sighting(name).reason for name in scene.names} == {"bus_down"}
        scene.is_muted = False
        await scene.agreed(ONLINE, scene.names)
