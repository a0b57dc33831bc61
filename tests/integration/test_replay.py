"""A recorded bus is judged like a live one, at any speed."""

import asyncio
import gzip
import random
from pathlib import Path

import pytest

from gateway.bus.foreign.listening import listening_of
from gateway.bus.frames import load_codecs
from gateway.bus.link import Link
from gateway.bus.link.replay import MOST_AT_ONCE, ReplayClock, clock_for, recording_of
from gateway.bus.wire import EXTENDED_MASK, BusEvent
from gateway.clock import SystemClock
from gateway.component import Component, ComponentKind
from gateway.errors import ConfigError, LinkDown, MisuseError
from gateway.event import Event
from gateway.ports import PresenceChange
from gateway.settings import BusSection, HeartbeatSection, PresenceSection
from tests.doubles import FakeClock
from tests.doubles_bus import FakeNode
from tests.integration.link_bench import until
from tests.integration.replayed import notices, verdicts

HEADER = "Time Stamp,ID,Extended,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8\n"
PERIOD_S = 0.5
NODES = {"steady": 0xA1, "fickle": 0xA2, "other": 0xA3}


def record(path: Path, seconds: float, *, silent: tuple[float, float]) -> Path:
    """Write a recording of three modules, one of which falls silent and comes back."""
    codec = load_codecs()["HB_MODULE"]
    nodes = {name: FakeNode(codec, node) for name, node in NODES.items()}
    lines = []
    for beat in range(round(seconds / PERIOD_S)):
        for number, (name, node) in enumerate(nodes.items()):
            at = beat * PERIOD_S + number * 0.003
            if name == "fickle" and silent[0] <= at < silent[1]:
                continue
            can_id, data, _ = node.beat(at)
            cells = ",".join(f"{byte:02X}" for byte in data)
            lines.append(f"{round(at * 1e6) + 7_000_000},{can_id & EXTENDED_MASK:08X},true,0,8,{cells}\n")
    path.write_text(HEADER + "".join(lines))
    return path


def components():
    presence = PresenceSection(period_ms=round(PERIOD_S * 1000))
    kind = ComponentKind.MODULE
    return [(Component(name, kind, "can0", node, owner="o"), presence) for name, node in NODES.items()]


async def judged(path: Path, speed: object) -> list[tuple[str, str, float]]:
    """Play a recording of our modules; return (component, presence, seconds of the recording) of every change."""
    section = BusSection(name="can0", interface="replay", channel=str(path), options={"speed": speed})
    return await verdicts(section, components())


async def test_a_recording_is_judged_alike_at_any_speed(tmp_path):
    path = record(tmp_path / "drive.csv", 12.0, silent=(4.0, 8.0))
    at_once = await judged(path, "max")
    assert await judged(path, 40) == at_once
    (fickle_back,) = [at for name, presence, at in at_once if (name, presence) == ("fickle", "ONLINE") and at > 4]
    assert [change for change in at_once if change[0] == "fickle" and change[2] < 11] == [
        ("fickle", "ONLINE", 0.5),
        ("fickle", "OFFLINE", 5.25),  # 3.5 periods after 3.5 s
        ("fickle", "ONLINE", fickle_back),
    ]
    assert fickle_back == pytest.approx(8.5, abs=0.02)
    assert {change[:2] for change in at_once if change[2] < 11} == {
        (name, presence)
        for name in NODES
        for presence in ("ONLINE", "OFFLINE")
        if name == "fickle" or presence == "ONLINE"
    }


async def test_at_twice_real_speed_a_recording_takes_half_its_time(tmp_path):
    path = record(tmp_path / "drive.csv", 1.0, silent=(0.0, 0.0))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await judged(path, 2)
    assert loop.time() - began > 0.2


def replayed(path: Path, **more) -> BusSection:
    return BusSection(name="can0", interface="replay", channel=str(path), options=more)


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        (replayed(Path("x"), speed=0), "bus can0: options.speed"),
        (replayed(Path("x"), speed="slow"), "bus can0: options.speed"),
        (replayed(Path("x"), sped=1), 'options.sped: unknown key (did you mean "speed"?)'),
        (BusSection(name="can0", interface="replay"), "bus can0: channel: must name the file of the recording"),
    ],
)
def test_options_that_cannot_be_are_named(section, problem):
    with pytest.raises(ConfigError) as refused:
        recording_of(section)
    assert problem in str(refused.value)


async def test_a_recording_that_cannot_be_read_ends_the_start(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.csv: cannot be read"):
        await judged(tmp_path / "none.csv", "max")


async def test_a_recording_that_is_cut_off_is_good_up_to_there(tmp_path):
    whole = record(tmp_path / "drive.csv", 3.0, silent=(0.0, 0.0))
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(whole.read_bytes())[:-40])
    assert ("steady", "ONLINE", 0.5) in await judged(cut, "max")


async def test_nothing_can_be_sent_to_a_recording(tmp_path):
    section = replayed(record(tmp_path / "drive.csv", 1.0, silent=(0.0, 0.0)))
    link = Link("can0", section, clock_for(section, SystemClock()), random.Random(1))
    with pytest.raises(LinkDown, match="is a recording"):
        await link.send(1, b"", deadline=0.0)
    assert link.frames_received() == 0


def test_a_recording_needs_a_clock_of_its_own(tmp_path):
    with pytest.raises(MisuseError):
        Link("can0", replayed(tmp_path / "drive.csv"), SystemClock(), random.Random(1))


async def test_whoever_waits_is_woken_in_order_and_never_late():
    section = replayed(Path("x"))
    clock = clock_for(section, SystemClock())
    assert isinstance(clock, ReplayClock)
    began, woken = clock.monotonic(), []

    async def sleeper(name: str, *times: float) -> None:
        for at in times:
            await clock.sleep_until(began + at)
            woken.append((name, at, round(clock.monotonic() - began, 6)))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sleeper("a", 1.0, 2.0, 3.0))
        tasks.create_task(sleeper("b", 1.5, 2.5))
        gone = tasks.create_task(sleeper("c", 2.2))
        await asyncio.sleep(0)
        gone.cancel()
        await clock.advance(2.4, None)
        assert [(name, at) for name, at, _ in woken] == [("a", 1.0), ("b", 1.5), ("a", 2.0)]
        await clock.advance(5.0, None)
    assert all(at == now for _, at, now in woken)


async def test_a_time_that_has_not_come_yet_is_not_trusted():
    clock = clock_for(replayed(Path("x")), SystemClock())
    assert isinstance(clock, ReplayClock)
    await clock.advance(0.01, speed=1)
    assert clock.trusted()
    await clock.advance(3600.0, speed=None)
    assert not clock.trusted()


def test_how_long_the_start_took_is_no_part_of_what_is_played():
    real = FakeClock()
    clock = clock_for(replayed(Path("x")), real)
    assert isinstance(clock, ReplayClock)
    real.advance(5.0)
    clock.begin()
    assert clock.due(3.0, 2.0) == real.monotonic() + 1.5


async def test_what_is_replayed_faster_than_it_was_is_told_with_times_that_are_not_trusted(tmp_path):
    told = await notices(replayed(record(tmp_path / "drive.csv", 12.0, silent=(4.0, 8.0)), speed="max"), components())
    changes = [notice for notice in told if isinstance(notice, PresenceChange)]
    assert [change.time_trusted for change in changes if change.event == "component_offline"] == [False]


def candump(path: Path, *frames: tuple[float, str]) -> Path:
    path.write_text("".join(f"({at:.6f}) can0 {frame}\n" for at, frame in frames))
    return path


@pytest.mark.parametrize("speed", [1.0, 0.01])
async def test_what_was_there_before_a_long_silence_is_handed_on_and_the_reader_alive_until_its_end(tmp_path, speed):
    path = candump(tmp_path / "drive.log", (0.0, "123#00"), (0.001, "123#00"), (500.0, "123#00"))
    real = SystemClock()
    section = replayed(path, speed=speed)
    link = Link("can0", section, clock_for(section, real), random.Random(1))
    running = asyncio.create_task(link.run())
    try:
        await until(lambda: link.frames_received() > 0 and link.alive(real.monotonic() + 499 / speed))
        assert not link.alive(real.monotonic() + 1000 / speed)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_other_buses_of_a_recording_are_passed_over_in_portions(tmp_path):
    lines = [(n / 1000, "123#00") for n in range(3 * MOST_AT_ONCE)]
    path = candump(tmp_path / "drive.log", *lines)
    link = Link(
        "can0",
        section := replayed(path, speed="max", source="can1"),
        clock_for(section, SystemClock()),
        random.Random(1),
    )
    told: list[BusEvent] = []
    link.watch(told.append)
    turns = 0
    running = asyncio.create_task(link.run())
    while len(told) < 2 and not running.done():
        turns += 1
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert turns >= 3
    assert told[-1].detail == "the recording drive.log holds no frames of a bus can1"


@pytest.mark.parametrize("speed", ["max", 20])
async def test_a_bus_off_in_a_recording_is_the_buss_and_nobody_elses(tmp_path, speed):
    beats = [(n * 0.1, "123#00") for n in range(20)]
    error = [(2.05, "20000040#0000000000000000")]
    path = candump(tmp_path / "drive.log", *beats, *error, *((2.5 + n * 0.1, "123#00") for n in range(200)))
    foreign = Component("pack", ComponentKind.PACK, "can0", None, owner="o", foreign=True)
    listening = listening_of(HeartbeatSection(type="raw", id=0x123), None, {})
    told = await notices(replayed(path, speed=speed), [(foreign, PresenceSection(period_ms=100))], {"pack": listening})
    reasons = [notice.reason for notice in told if isinstance(notice, PresenceChange) and notice.presence == "OFFLINE"]
    assert reasons == ["bus_down", "bus_down"]  # the second is the end of the recording
    downs = [notice for notice in told if isinstance(notice, Event) and notice.type == "bus_down"]
    assert [down.attributes["bus_state"] for down in downs] == ["BUS_OFF", "DOWN"]


def restless(path: Path, seed: int) -> Path:
    """Write a recording of four that come and go, of a bus that falls silent, and of what its controller said."""
    rng = random.Random(seed)
    frames = [(rng.uniform(5, 20), error) for error in rng.choices(ERRORS, k=rng.randrange(4))]
    silent = rng.uniform(5, 15)
    for can_id in range(1, 5):
        at, period_s = rng.uniform(0, 2), rng.choice([0.05, 0.1, 0.3, 1.0])
        while at < 25:
            if not silent < at < silent + 2 * (seed % 3):
                frames.append((at, f"{can_id:03X}#00"))
            at += period_s * rng.uniform(0.9, 1.1) + (rng.uniform(0, 8) if rng.random() < 0.02 else 0.0)
    return candump(path, *sorted(frames))


ERRORS = ["20000040#0000000000000000", "20000100#0000000000000000", "20000004#0020000000000000"]


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_in_a_recording_is_judged_alike_at_any_speed(tmp_path, seed):
    path = restless(tmp_path / "drive.log", seed)
    listenings = {f"c{n}": listening_of(HeartbeatSection(type="raw", id=n), None, {}) for n in range(1, 5)}
    kind = ComponentKind.PACK
    heard = [(Component(name, kind, "can0", None, owner="o", foreign=True), PresenceSection()) for name in listenings]
    at_once, slower = [await verdicts(replayed(path, speed=speed), heard, listenings) for speed in ("max", 40)]
    assert [each[:2] for each in slower] == [each[:2] for each in at_once]
    assert [each[2] for each in slower] == pytest.approx([each[2] for each in at_once], abs=0.011)
    assert [each[2] for each in at_once] == sorted(each[2] for each in at_once)
    assert len(at_once) >= 2 * len(listenings)
