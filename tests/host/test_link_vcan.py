"""The link on a real SocketCAN interface: what datagram sockets cannot stand in for."""

import asyncio
import itertools
import socket
import struct
import subprocess
import time
from collections.abc import Iterator

import pytest

from bench import link as bench
from gateway.bus.wire import ERROR_FRAME, EXTENDED, Condition, Filter, Lane
from gateway.errors import LinkDown
from gateway.settings import BusSection
from tests.integration.link_bench import linked, until

HEARTBEATS = Filter(0x18FF1000 | EXTENDED, 0x1FFFFF00 | EXTENDED)
ANSWERS = Filter(0x19EF00FB | EXTENDED, 0x1FFF00FF | EXTENDED)
SMALL_BUFFER = 65_536  # bytes


def ip(*words: str) -> None:
    subprocess.run(["ip", "link", *words], check=True)


def add(name: str) -> None:
    ip("add", name, "type", "vcan")
    ip("set", name, "up")


@pytest.fixture
def can0() -> Iterator[str]:
    add("can0")
    yield "can0"
    subprocess.run(["ip", "link", "del", "can0"], check=False)


@pytest.fixture
def peer(can0) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as sock:
        sock.bind((can0,))
        sock.settimeout(5)
        yield sock


SETTINGS = BusSection(name="can0", interface="socketcan", receive_buffer_bytes=4 * 1024 * 1024)


def frame(can_id: int, data: bytes) -> bytes:
    return struct.pack("=IB3x8s", can_id, len(data), data)


def soon() -> float:
    return time.monotonic() + 5


async def test_a_link_reads_twice_as_many_frames_as_python_can(can0, capsys):
    rates = await bench.vcan(can0, frames=6000)
    with capsys.disabled():
        print(f"\nreceiving on vcan, budget ≥ 2 × python-can\n{bench.report(rates)}")
    assert rates["link"] >= 2 * rates["python-can"]


async def test_the_kernel_sorts_frames_into_lanes_and_keeps_the_rest_away(peer):
    async with (
        linked(SETTINGS, filters=[HEARTBEATS]) as (link, heard),
        linked(SETTINGS, lane=Lane.ANSWERS, filters=[ANSWERS]) as (other, heard_there),
    ):
        for can_id in 0x18FF1012 | EXTENDED, 0x19EF12FB | EXTENDED, 0x18FF1112 | EXTENDED, 0x123:
            peer.send(frame(can_id, b"12345678"))
        await until(lambda: heard.frames and heard_there.frames)
        assert heard.contents == [(0x18FF1012 | EXTENDED, b"12345678")]
        assert heard_there.contents == [(0x19EF12FB | EXTENDED, b"12345678")]
        assert link.frames_received() == other.frames_received() == 4


async def test_ids_that_differ_only_in_their_kind_are_told_apart(peer):
    async with linked(SETTINGS, filters=[Filter(0x123, EXTENDED | 0x1FFFFFFF)]) as (_, heard):
        for can_id in 0x123 | EXTENDED, 0x123 | 0x4000_0000, 0x123:
            peer.send(frame(can_id, b"1"))
        await until(lambda: heard.frames)
        await asyncio.sleep(0.05)
        assert heard.contents == [(0x123, b"1")]


async def test_a_frame_is_sent_and_never_heard_by_its_own_link(peer):
    async with linked(SETTINGS) as (link, heard):
        link_ids = 0x18FF1033 | EXTENDED, 0x18EF33FB | EXTENDED
        for can_id in link_ids:
            await link.send(can_id, b"abc", deadline=soon())
            assert peer.recv(16) == frame(can_id, b"abc")
        peer.send(frame(0x7, b""))
        await until(lambda: heard.frames)
        assert heard.contents == [(0x7, b"")]
        assert link.stats()["sent"] == 2


async def test_an_interface_that_goes_down_and_up_is_told_and_served_by_the_same_link(peer):
    async with linked(SETTINGS) as (link, heard):
        ip("set", "can0", "down")
        await until(lambda: heard.conditions == [Condition.UP, Condition.DOWN])
        with pytest.raises(LinkDown):
            await link.send(1, b"", deadline=soon())
        ip("set", "can0", "up")
        await until(lambda: heard.conditions == [Condition.UP, Condition.DOWN, Condition.UP])
        with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as again:
            again.bind(("can0",))
            again.send(frame(0x42, b"back"))
        await until(lambda: heard.frames)
        await link.send(1, b"", deadline=soon())
        assert link.stats()["reconnects"] == 0


async def test_an_adapter_that_is_unplugged_is_gone_and_served_again_when_it_is_back(peer):
    async with linked(SETTINGS) as (link, heard):
        ip("del", "can0")
        await until(lambda: heard.conditions[-1] is Condition.GONE)
        await asyncio.sleep(0.3)
        add("can0")
        await until(lambda: heard.conditions[-1] is Condition.UP)
        with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as again:
            again.bind(("can0",))
            again.send(frame(0x42, b"back"))
        await until(lambda: heard.frames)
        assert link.stats()["reconnects"] == 1


async def test_an_interface_that_is_not_there_yet_is_waited_for():
    async with linked(SETTINGS, up=False) as (_, heard):
        await until(lambda: heard.conditions == [Condition.GONE])
        add("can0")
        await until(lambda: heard.conditions == [Condition.GONE, Condition.UP])
        ip("del", "can0")


async def test_error_frames_tell_bus_off_and_its_end(peer):
    async with linked(SETTINGS) as (link, heard):
        for error_class, status in (0x40, 0x00), (0x100, 0x00), (0x04, 0x10), (0x04, 0x08):
            peer.send(frame(error_class | ERROR_FRAME, bytes([0, status, 0, 0, 0, 0, 0, 0])))
        await until(lambda: link.stats()["error_frames"] == 4)
        assert heard.conditions[1:] == [Condition.BUS_OFF, Condition.UP, Condition.ERROR_PASSIVE, Condition.UP]
        assert heard.frames == []


async def test_frames_that_found_no_room_are_counted(peer):
    settings = SETTINGS.model_copy(update={"receive_buffer_bytes": SMALL_BUFFER})
    async with linked(settings) as (link, heard):
        for n in range(2000):  # the loop stands still meanwhile
            peer.send(frame(n, b""))
        await until(lambda: heard.frames)
        peer.send(frame(1, b""))  # the count comes with the next frame
        await until(lambda: Condition.OVERFLOW in heard.conditions)
        assert link.stats()["overflow"] == 2001 - len(heard.frames) > 0


async def test_with_its_own_buffer_a_link_keeps_what_four_busy_seconds_bring(peer):
    async with linked(SETTINGS) as (link, heard):
        for n in range(4000):
            peer.send(frame(n & 0x7FF, b"12345678"))
        link.read_now()
        assert len(heard.frames) == 4000
        assert link.stats()["overflow"] == 0


async def test_after_a_stall_arrivals_are_the_times_at_which_the_frames_came(peer):
    async with linked(SETTINGS) as (_, heard):
        sender = subprocess.Popen(["sh", "-c", "for n in 1 2 3 4 5 6 7 8; do cansend can0 123#0$n; sleep 0.2; done"])
        began = time.monotonic()
        assert sender.wait(60) == 0  # the loop stands still, as after SIGSTOP
        sent = time.monotonic()
        time.sleep(0.5)
        await until(lambda: len(heard.frames) == 8)
        arrivals = [at for _, _, at in heard.frames]
        assert began <= arrivals[0] <= arrivals[-1] <= sent
        assert all(later - earlier > 0.15 for earlier, later in itertools.pairwise(arrivals))


async def test_a_wall_clock_that_is_set_during_a_stall_moves_no_arrival_out_of_it(peer):
    async with linked(SETTINGS) as (_, heard):
        began = time.monotonic()
        peer.send(frame(1, b""))
        true_time = time.clock_gettime(time.CLOCK_REALTIME)
        try:
            time.clock_settime(time.CLOCK_REALTIME, true_time + 86_400)
            time.sleep(0.2)
            await until(lambda: heard.frames)
        finally:
            time.clock_settime(time.CLOCK_REALTIME, true_time + time.monotonic() - began)
        (_, _, at), *_ = heard.frames
        assert began - 0.5 <= at <= time.monotonic()


async def test_a_busy_bus_costs_a_hundred_wake_ups_a_second_at_most(peer):
    async with linked(SETTINGS) as (_, heard):
        for _ in range(500):
            peer.send(frame(0x123, b"12345678"))
            await asyncio.sleep(0.001)
        seconds = heard.frames[-1][2] - heard.frames[0][2]
        await until(lambda: len(heard.frames) == 500)
        assert len(heard.batches) <= 100 * seconds + 3
