"""From the frames of a bus to what is told: few looks, and each at the right time."""

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager

from gateway.bus.frames import load_codecs
from gateway.bus.telemetry import Telemetry
from gateway.bus.telemetry.wanted import Wanted, resolve
from gateway.bus.wire import Frame
from gateway.component import Component, ComponentKind
from gateway.settings import SignalSection
from gateway.telemetry import Reading, Signal
from tests.doubles_bus import FakeNode, FakeWire
from tests.looptime import LoopClock, virtual_time

PACK, MODULE = load_codecs()["HB_PACK"], load_codecs()["HB_MODULE"]


def byte(name: str, at: int, can_id: int, *, component: str = "c", interval_s: float = 1.0, **more) -> Wanted:
    """A signal that is one byte of a message."""
    signal = Signal(name, lambda data: data[at], 0.0, interval_s)
    return Wanted(component, can_id, more.get("shown"), more.get("valid"), [signal])


class Scene:
    """A bus, its telemetry, and what was told at what time (s since the start)."""

    def __init__(self, *wanted: Wanted) -> None:
        self.clock, self.wire = LoopClock(), FakeWire()
        self.began = self.clock.monotonic()
        self.told: list[tuple[float, Reading]] = []
        self.looks = 0
        self.telemetry = Telemetry(wire=self.wire, wanted=wanted, clock=self.clock, tell=self._tell)
        look = self.telemetry.look

        def counted(now: float) -> float:
            self.looks += 1
            return look(now)

        self.telemetry.look = counted  # type: ignore[method-assign] # to count them

    def _tell(self, reading: Reading) -> None:
        self.told.append((round(self.clock.monotonic() - self.began, 3), reading))

    def frame(self, can_id: int, *data: int) -> Frame:
        return can_id, bytes(data), self.clock.monotonic()

    def hear(self, can_id: int, *data: int) -> None:
        self.wire.deliver(self.frame(can_id, *data))

    def values(self) -> list[tuple[float, dict[str, object]]]:
        return [(at, dict(reading.values)) for at, reading in self.told]

    @asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.telemetry.run())
        await asyncio.sleep(0.2)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()


@virtual_time
async def test_a_value_is_told_at_once_with_the_time_at_which_it_was_heard() -> None:
    scene = Scene(byte("A", 0, 0x100))
    async with scene.running():
        late = scene.frame(0x100, 7)
        await asyncio.sleep(0.03)
        scene.wire.deliver(late)
        await asyncio.sleep(0.001)
    ((at, reading),) = scene.told
    assert at == 0.23
    assert reading == Reading("c", 1_790_000_000_200, {"A": 7})


@virtual_time
async def test_all_that_is_due_of_a_component_is_told_together_and_of_each_apart() -> None:
    scene = Scene(byte("A", 0, 0x100), byte("B", 0, 0x200), byte("A", 0, 0x100, component="d"))
    async with scene.running():
        scene.wire.deliver(scene.frame(0x100, 1), scene.frame(0x200, 2), scene.frame(0x300, 3))
        await asyncio.sleep(0.001)
    assert [(reading.component_id, reading.values) for _, reading in scene.told] == [
        ("c", {"A": 1, "B": 2}),
        ("d", {"A": 1}),
    ]


@virtual_time
async def test_many_frames_are_looked_at_ten_times_a_second_and_only_the_newest_read() -> None:
    scene = Scene(byte("A", 0, 0x100, interval_s=0.1))
    async with scene.running():
        before = scene.looks
        for value in range(200):
            scene.hear(0x100, value)
            await asyncio.sleep(0.005)
        assert 9 <= scene.looks - before <= 11
        await asyncio.sleep(0.2)
    assert scene.values()[-1][1] == {"A": 199}
    assert len(scene.told) <= 11


@virtual_time
async def test_the_last_change_is_told_when_its_interval_is_over_though_the_bus_falls_silent() -> None:
    scene = Scene(byte("A", 0, 0x100, interval_s=60))
    async with scene.running():
        scene.hear(0x100, 1)
        await asyncio.sleep(1)
        scene.hear(0x100, 2)
        await asyncio.sleep(1)
        looks = scene.looks
        await asyncio.sleep(100)
        assert scene.looks - looks == 1, "and until then nobody looks"
    assert scene.values() == [(0.2, {"A": 1}), (60.2, {"A": 2})]


@virtual_time
async def test_while_one_signal_waits_another_is_told_at_once() -> None:
    scene = Scene(byte("slow", 0, 0x100, interval_s=60), byte("B", 0, 0x200))
    async with scene.running():
        for value in (1, 2):
            scene.hear(0x100, value)
            await asyncio.sleep(1)
        scene.hear(0x200, 9)
        await asyncio.sleep(100)
    assert scene.values() == [(0.2, {"slow": 1}), (2.2, {"B": 9}), (60.2, {"slow": 2})]


@virtual_time
async def test_a_silent_bus_and_frames_of_others_wake_nobody() -> None:
    scene = Scene(byte("A", 0, 0x100))
    async with scene.running():
        await asyncio.sleep(3600)
        scene.telemetry.receive([scene.frame(0x300, 1)])  # an adapter hands over whatever there is
        await asyncio.sleep(10)
    assert (scene.looks, scene.told) == (1, [])


@virtual_time
async def test_of_a_multiplexed_message_the_newest_of_each_kind_is_kept() -> None:
    def shows(mux: int) -> Callable[[bytes], bool]:
        return lambda data: data[0] == mux

    scene = Scene(byte("first", 1, 0x100, shown=shows(0)), byte("second", 1, 0x100, shown=shows(1)))
    async with scene.running():
        scene.wire.deliver(*(scene.frame(0x100, n % 3, n) for n in range(9)))
        await asyncio.sleep(0.001)
    assert scene.values() == [(0.2, {"first": 6, "second": 7})]


@virtual_time
async def test_heartbeats_of_ours_are_told_and_broken_ones_are_not() -> None:
    pack = Component("pack", ComponentKind.PACK, "can0", 0x12)
    wanted = resolve([SignalSection(component="pack", signal="PackState")], {"pack": pack}, {"can0": []})["can0"]
    scene, node, stranger = Scene(*wanted), FakeNode(PACK, 0x12), FakeNode(PACK, 0x13)
    async with scene.running():
        scene.wire.deliver(node.beat(scene.clock.monotonic()), stranger.beat(scene.clock.monotonic()))
        await asyncio.sleep(2)
        node.state = 9
        scene.wire.deliver(node.beat(scene.clock.monotonic(), bad_crc=True))
        await asyncio.sleep(2)
        assert scene.values() == [(0.2, {"PackState": "active"})]
        for _ in range(3):
            scene.wire.deliver(node.beat(scene.clock.monotonic()))
            await asyncio.sleep(1)
    assert scene.values()[1:] == [(4.2, {"PackState": "fault"})]
