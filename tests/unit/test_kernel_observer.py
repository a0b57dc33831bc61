"""The kernel in our place: who rests, who wakes them, and that every verdict is the one that the frames give."""

import asyncio
import errno
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from gateway.bus.foreign.watch import Listening, Said
from gateway.bus.frames import load_codecs
from gateway.bus.link.bcm import Edge
from gateway.bus.monitor import Monitor
from gateway.bus.monitor import kernel as kernel_module
from gateway.bus.monitor.kernel import RETRY_S, SWEEP_S, KernelObserver, plain_ids
from gateway.bus.wire import EXTENDED, Condition, Filter
from gateway.component import Component, ComponentKind
from gateway.ports import PresenceChange
from gateway.presence import Presence
from gateway.settings import PresenceSection
from tests.doubles import FakeClock
from tests.doubles_bus import FakeWire

STEP_S: Final = 0.01
START: Final = 1000.0
CODECS: Final = load_codecs()
WHOLE: Final = EXTENDED | 0x1FFF_FFFF
ONLINE, OFFLINE = Presence.ONLINE, Presence.OFFLINE


@dataclass
class Watched:
    window_s: float
    due: float
    is_heard: bool = False


class Kernel:
    """The broadcast manager as Linux has it: a timer an id, and a socket with room for so many messages."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.ids: dict[int, Watched] = {}
        self.waiting: list[Edge] = []
        self.room, self.lost, self.orders = 1000, 0, 0
        self.refusal: OSError | None = None
        self.is_deaf = False
        self.sock, self.far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.close()

    def carry(self, can_id: int) -> None:
        watched = self.ids.get(can_id)
        if watched is None:
            return
        watched.due = self.clock.now + watched.window_s
        if not watched.is_heard:
            watched.is_heard = True
            self._tell(Edge(can_id, silent=False))

    def tick(self) -> None:
        for can_id, watched in self.ids.items():
            if watched.due <= self.clock.now:
                watched.due, watched.is_heard = float("inf"), False
                self._tell(Edge(can_id, silent=True))

    def _tell(self, edge: Edge) -> None:
        if self.is_deaf:
            return
        if len(self.waiting) < self.room:
            self.waiting.append(edge)
        else:
            self.lost += 1

    def open(self) -> "Kernel":
        if self.refusal is not None:
            raise self.refusal
        self.sock, self.far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        return self

    # --- what the observer asks

    def watch(self, can_id: int, silence_s: float) -> None:
        self.orders += 1
        self.ids[can_id] = Watched(silence_s, self.clock.now + silence_s)

    def read(self) -> Sequence[Edge]:
        if self.refusal is not None:
            raise self.refusal
        edges, self.waiting = self.waiting, []
        return edges

    def newly_lost(self) -> int:
        lost, self.lost = self.lost, 0
        return lost

    def close(self) -> None:
        self.ids.clear()
        self.waiting.clear()
        self.sock.close()
        self.far_end.close()


class Half:
    """A monitor on a bus of its own; `eased`: with the kernel beside it."""

    def __init__(self, clock: FakeClock, ids: Mapping[str, Sequence[int]], presence: PresenceSection, *, eased: bool):
        self.clock, self.wire, self.kernel = clock, FakeWire(), Kernel(clock)
        self.told: list[tuple[str, Presence, float]] = []
        self.monitor = Monitor(
            wire=self.wire,
            components=[(Component(name, ComponentKind.PACK, "can0", None, foreign=True), presence) for name in ids],
            codecs=CODECS,
            clock=clock,
            rows={},
            sink=self._take,
            on_ready=lambda *_: None,
            suspended=lambda: 0.0,
            listenings={name: plain(*own) for name, own in ids.items()},
        )
        self.observer = KernelObserver(self.monitor, self.wire, self.kernel.open, clock) if eased else None
        self.look_at = self.sweep_at = clock.now
        self.wire.tell(Condition.UP, clock.now)

    def _take(self, notices: Sequence[Any]) -> None:
        self.told += [
            (each.component_id, each.presence, round(self.clock.now - START, 2))
            for each in notices
            if isinstance(each, PresenceChange)
        ]

    def carry(self, can_id: int) -> None:
        self.wire.deliver((can_id, b"\1", self.clock.now))
        self.kernel.carry(can_id)

    def go_on(self) -> None:
        """Do what the loop would do now."""
        self.kernel.tick()
        if self.observer is not None and (self.kernel.waiting or self.clock.now >= self.sweep_at):
            self.sweep_at = self.observer.look()
        if self.clock.now >= self.look_at:
            self.look_at = self.monitor.look(self.clock.now)

    @property
    def stats(self) -> Mapping[str, int]:
        assert self.observer is not None
        return self.observer.stats()


def plain(*ids: int) -> Listening:
    return Listening(filters=tuple(Filter(can_id, WHOLE) for can_id in ids))


class Scene:
    """Components that send every 100 ms, watched frame by frame and, beside that, with the kernel's help."""

    def __init__(self, components: int = 1, ids_each: int = 1, **presence: Any) -> None:
        self.ids = {f"c{n}": [0x100 + 16 * n + k for k in range(ids_each)] for n in range(components)}
        self.clock = FakeClock(START)
        section = PresenceSection(**{"period_ms": 100, **presence})
        self.plain = Half(self.clock, self.ids, section, eased=False)
        self.eased = Half(self.clock, self.ids, section, eased=True)
        self.silent: set[int] = set()
        self._steps = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.eased.wire.tell(Condition.DOWN, self.clock.now)

    def go(self, seconds: float, *, silent: Sequence[str] = ()) -> None:
        """Let time pass while all speak but those that are `silent`. A stranger speaks, too: the bus is alive."""
        quiet = self.silent | {can_id for name in silent for can_id in self.ids[name]}
        for _ in range(round(seconds / STEP_S)):
            self.clock.advance(STEP_S)
            self._steps += 1
            for half in self.plain, self.eased:
                if self._steps % 10 == 0:
                    half.carry(0x7FF)
                    for ids in self.ids.values():
                        for can_id in ids:
                            if can_id not in quiet:
                                half.carry(can_id)
                half.go_on()

    def frames_judged(self) -> int:
        return int(self.eased.monitor.stats()["frames_judged"])

    def assert_same_verdicts(self, within_s: float = 0.11) -> None:
        for ours, theirs in zip(self.eased.told, self.plain.told, strict=True):
            assert ours[:2] == theirs[:2]
            assert abs(ours[2] - theirs[2]) <= within_s, (ours, theirs)


# --- resting ---------------------------------------------------------------------------------------------------------


async def test_a_component_that_is_heard_regularly_rests_and_costs_no_frames():
    with Scene(3) as scene:
        scene.go(15)  # it has settled and been sampled
        judged = scene.frames_judged()
        scene.go(60)
        assert scene.eased.stats == {"components": 3, "resting": 3, "lost": 0, "disagreements": 0}
        assert scene.frames_judged() == judged
        assert scene.eased.kernel.orders == 3
        assert [presence for _, presence, _ in scene.eased.told] == [ONLINE] * 3


async def test_its_rhythm_is_looked_at_again_every_few_minutes_from_frames():
    with Scene(2) as scene:
        scene.go(15)
        judged = scene.frames_judged()
        scene.go(310)
        assert 2 * 20 <= scene.frames_judged() - judged <= 2 * 40
        assert scene.eased.stats["resting"] == 2
        scene.assert_same_verdicts()


async def test_while_it_rests_no_later_sign_of_life_is_given_than_is_known():
    with Scene() as scene:
        scene.go(60)
        sighting = scene.eased.monitor.sighting("c0")
        assert sighting.last_valid is not None
        assert scene.clock.now - 1.0 - SWEEP_S <= sighting.last_valid <= scene.clock.now - 0.9
        assert sighting.deadline is not None
        assert scene.clock.now < sighting.deadline <= scene.clock.now + 1.0


async def test_who_may_be_silent_for_less_than_two_sweeps_is_heard_frame_by_frame():
    with Scene(offline_after_min_ms=500) as scene:
        scene.go(30)
        assert scene.eased.stats["resting"] == 0


# --- waking ----------------------------------------------------------------------------------------------------------


async def test_a_silence_is_told_when_it_is_due_with_the_last_sign_of_life():
    with Scene(2) as scene:
        scene.go(60)
        scene.go(5, silent=["c0"])
        scene.assert_same_verdicts(within_s=0.02)
        assert scene.eased.told[-1][:2] == ("c0", OFFLINE)
        ours, theirs = (half.monitor.sighting("c0").last_valid for half in (scene.eased, scene.plain))
        assert ours is not None
        assert theirs is not None
        assert abs(ours - theirs) < 0.02
        assert scene.eased.stats["resting"] == 1


async def test_a_return_is_judged_by_its_frames_and_ends_in_rest():
    with Scene(2) as scene:
        scene.go(60)
        scene.go(5, silent=["c0"])
        scene.go(20)
        scene.assert_same_verdicts()
        assert [told[1] for told in scene.eased.told if told[0] == "c0"] == [ONLINE, OFFLINE, ONLINE]
        assert scene.eased.stats["resting"] == 2


async def test_a_return_just_after_the_verdict_takes_as_many_frames_as_any_other():
    with Scene(2) as scene:
        scene.go(60)
        scene.go(1.15, silent=["c0"])
        scene.go(5)
        assert [told[1] for told in scene.eased.told if told[0] == "c0"] == [ONLINE, OFFLINE, ONLINE]
        scene.assert_same_verdicts()


async def test_all_silent_at_once_is_the_bus_with_the_kernel_as_without():
    with Scene(5) as scene:
        scene.go(60)
        for half in scene.plain, scene.eased:
            half.told.clear()
        for _ in range(400):
            scene.clock.advance(STEP_S)
            scene.plain.go_on()
            scene.eased.go_on()
        scene.assert_same_verdicts(within_s=0.26)
        assert scene.eased.monitor.stats()["heard"] == "SILENT"
        assert {scene.eased.monitor.sighting(name).reason for name in scene.ids} == {"bus_down"}


async def test_of_several_messages_the_last_one_counts():
    with Scene(2, ids_each=10) as scene:
        scene.go(60)
        assert scene.eased.stats["resting"] == 2
        scene.silent = set(scene.ids["c0"][:9])
        scene.go(5)
        assert scene.eased.monitor.sighting("c0").presence is ONLINE
        scene.silent = set(scene.ids["c0"])
        scene.go(5)
        assert scene.eased.told[-1][:2] == ("c0", OFFLINE)
        scene.assert_same_verdicts()


async def test_trouble_of_our_own_wakes_everybody():
    with Scene(2) as scene:
        scene.go(60)
        judged = scene.frames_judged()
        for half in scene.plain, scene.eased:
            half.wire.tell(Condition.OVERFLOW, scene.clock.now)
        scene.go(3)
        assert scene.frames_judged() > judged
        assert scene.eased.stats["resting"] == 2
        scene.assert_same_verdicts()


async def test_a_bus_that_goes_takes_the_kernel_along_and_all_is_heard_by_frames_when_it_is_back():
    with Scene(2) as scene:
        scene.go(60)
        for half in scene.plain, scene.eased:
            half.wire.tell(Condition.DOWN, scene.clock.now)
        assert scene.eased.kernel.sock.fileno() == -1
        assert scene.eased.stats["resting"] == 0
        scene.clock.advance(3)
        for half in scene.plain, scene.eased:
            half.wire.tell(Condition.UP, scene.clock.now)
        scene.go(20)
        scene.assert_same_verdicts()
        assert scene.eased.stats["resting"] == 2


async def test_an_operators_mark_holds_until_the_frames_say_otherwise():
    with Scene(2) as scene:
        scene.go(60)
        for half in scene.plain, scene.eased:
            half.monitor.mark("c0", OFFLINE)
        scene.go(5)
        assert [told[1] for told in scene.eased.told if told[0] == "c0"] == [ONLINE, OFFLINE, ONLINE]
        scene.assert_same_verdicts(within_s=SWEEP_S + 0.1)


# --- the kernel's weakness -------------------------------------------------------------------------------------------


async def test_where_it_had_no_room_for_what_it_had_to_tell_the_frames_tell_it_for_a_while():
    with Scene(40) as scene:
        scene.go(60)
        scene.eased.kernel.room = 10
        gone = [f"c{n}" for n in range(30)]
        scene.go(6, silent=gone)
        assert scene.eased.stats["lost"] == 20
        assert scene.eased.stats["resting"] == 0
        assert {name for name, presence, _ in scene.eased.told if presence is OFFLINE} == set(gone)
        scene.eased.kernel.room = 1000
        scene.go(RETRY_S + 5)
        assert scene.eased.stats["resting"] == 40


async def test_many_are_given_to_it_a_few_at_a_time():
    with Scene(9, ids_each=20) as scene:
        scene.go(3.4)
        assert scene.eased.kernel.orders % 60 == 0
        scene.go(5)
        assert scene.eased.kernel.orders == 180
        assert scene.eased.stats["resting"] == 9


async def test_a_kernel_that_keeps_a_silence_to_itself_is_found_out_when_the_frames_are_next_looked_at():
    with Scene(2) as scene:
        scene.go(60)
        scene.eased.kernel.is_deaf = True
        scene.go(320, silent=["c0"])
        assert scene.eased.told[-1][:2] == ("c0", OFFLINE)
        assert scene.eased.stats["disagreements"] == 1


async def test_where_there_is_no_broadcast_manager_all_goes_on_by_frames():
    with Scene(2) as scene:
        scene.eased.kernel.refusal = OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))
        scene.go(20)
        scene.go(5, silent=["c0"])
        scene.assert_same_verdicts(within_s=0)
        assert scene.eased.stats["resting"] == 0
        scene.eased.kernel.refusal = None
        scene.go(RETRY_S)
        assert scene.eased.stats["resting"] == 2


async def test_a_manager_that_breaks_gives_everybody_back():
    with Scene(2) as scene:
        scene.go(60)
        scene.eased.kernel.refusal = OSError(errno.ENETDOWN, os.strerror(errno.ENETDOWN))
        scene.go(5, silent=["c0"])
        assert scene.eased.stats["resting"] == 0
        assert scene.eased.told[-1][:2] == ("c0", OFFLINE)
        scene.assert_same_verdicts(within_s=SWEEP_S + 1)


async def test_a_component_that_is_dropped_rests_no_more():
    with Scene(2) as scene:
        scene.go(60)
        scene.eased.monitor.drop("c0")
        scene.go(1)
        assert scene.eased.stats["resting"] == 1


# --- the same as by frames -------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from(["c0", "c1", "c2"])), st.integers(1, 400).map(lambda n: n / 20)),
        min_size=1,
        max_size=8,
    )
)
@example([({"c2"}, 19.5), ({"c0", "c1", "c2"}, 0.05), (set(), 10.1), ({"c0", "c1", "c2"}, 5.0)])  # as all are awakened
def test_whatever_falls_silent_and_returns_the_verdicts_are_those_of_the_frames(silences):
    async def compare() -> None:
        with Scene(3) as scene:
            scene.go(30)
            for names, seconds in silences:
                scene.go(seconds, silent=sorted(names))
            scene.go(10)
            assert sorted(scene.eased.told, key=_order) == scene.eased.told
            for name in scene.ids:
                ours, theirs = ([told for told in half.told if told[0] == name] for half in (scene.eased, scene.plain))
                assert [told[1] for told in ours] == [told[1] for told in theirs]
                for mine, other in zip(ours, theirs, strict=True):
                    assert abs(mine[2] - other[2]) <= 0.11, (mine, other)
            assert scene.eased.stats["disagreements"] == 0

    asyncio.run(compare())


def _order(told: tuple[str, Presence, float]) -> float:
    return told[2]


# --- who may rest at all ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listening", "ids"),
    [
        (plain(0x123, 0x18FF3412 | EXTENDED), [0x123, 0x18FF3412 | EXTENDED]),
        (Listening(filters=(Filter(0x123, 0x7FF | EXTENDED),)), [0x123]),
        (Listening(filters=(Filter(0x120, 0x7F0 | EXTENDED),)), []),
        (Listening(filters=(Filter(0x123, 0x7FF),)), []),
        (Listening(filters=(Filter(0x123, WHOLE),), reading=lambda _: Said()), []),
    ],
    ids=["exact", "11 bits", "by mask", "either kind", "with content"],
)
def test_only_who_is_heard_by_exact_ids_and_nothing_else_may_rest(listening, ids):
    assert list(plain_ids(listening)) == ids


async def test_it_runs_until_it_is_cancelled_and_wakes_up_when_the_kernel_speaks(monkeypatch):
    monkeypatch.setattr(kernel_module, "SWEEP_S", 3600.0)
    with Scene() as scene:
        observer, kernel = scene.eased.observer, scene.eased.kernel
        assert observer is not None
        running = asyncio.create_task(observer.run())
        async with asyncio.timeout(10):
            while kernel.sock.fileno() == -1:
                await asyncio.sleep(0.001)
        kernel.waiting.append(Edge(0x100, silent=False))
        kernel.far_end.send(b"news")
        async with asyncio.timeout(10):
            while kernel.waiting:
                await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.wait([running])
        assert kernel.sock.fileno() == -1
