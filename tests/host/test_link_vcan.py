"""The link on a real SocketCAN interface: what datagram sockets cannot stand in for."""

import asyncio
import fcntl
import itertools
import os
import socket
import struct
import subprocess
import termios
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import suppress

import pytest

from bench import link as bench
from gateway.bus.link.raw import CAN_RAW_FD_FRAMES
from gateway.bus.link.recvmmsg import FD_FRAME, FRAME
from gateway.bus.wire import ERROR_FRAME, EXTENDED, Condition, Filter, Lane
from gateway.errors import LinkDown
from gateway.settings import BusSection
from tests.integration.link_bench import linked, until

HEARTBEATS = Filter(0x18FF1000 | EXTENDED, 0x1FFFFF00 | EXTENDED)
ANSWERS = Filter(0x19EF00FB | EXTENDED, 0x1FFF00FF | EXTENDED)
SMALL_BUFFER = 65_536  # bytes
N_SLCAN = 17  # the line discipline
SIOCGIFNAME = 0x8910


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


class SerialLine:
    """A CAN adapter at a serial line, as the kernel's slcan speaks with it: the adapter's end is ours."""

    def __init__(self) -> None:
        self._adapter, self._line = os.openpty()
        tty.setraw(self._line)
        fcntl.ioctl(self._line, termios.TIOCSETD, struct.pack("i", N_SLCAN))
        self.name = fcntl.ioctl(self._line, SIOCGIFNAME, bytes(40)).split(b"\0")[0].decode()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        """Take what the kernel says: it waits for that."""
        with suppress(OSError):
            while os.read(self._adapter, 100):
                pass

    def send(self, line: str) -> None:
        os.write(self._adapter, line.encode() + b"\r")
        time.sleep(0.05)

    def close(self) -> None:
        os.close(self._line)
        self._reading.join(5)  # the line has hung up
        os.close(self._adapter)


@pytest.fixture
def serial_line() -> Iterator[tuple[str, SerialLine]]:
    """A network interface with a real CAN controller, as far as the kernel knows."""
    subprocess.run(["modprobe", "slcan"], check=True)
    line = SerialLine()
    try:
        ip("set", line.name, "type", "can", "bitrate", "250000")
        ip("set", line.name, "up")
        yield line.name, line
    finally:
        line.close()


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


def set_up_for(can0: str, frame_bytes: int) -> None:
    ip("set", can0, "down")
    ip("set", can0, "mtu", str(frame_bytes))
    ip("set", can0, "up")


async def test_frames_of_can_fd_are_heard_and_sent_among_classical_ones(can0):
    set_up_for(can0, FD_FRAME.size)
    long = bytes(range(64))
    with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as peer:
        peer.setsockopt(socket.SOL_CAN_RAW, CAN_RAW_FD_FRAMES, 1)
        peer.bind((can0,))
        peer.settimeout(5)
        async with (
            linked(SETTINGS.model_copy(update={"fd": True})) as (link, heard),
            linked(SETTINGS) as (classical, heard_there),
        ):
            peer.send(FD_FRAME.pack(0x100, 64, 0, long))
            peer.send(frame(0x101, b"12345678"))
            await until(lambda: len(heard.frames) == 2)
            assert heard.contents == [(0x100, long), (0x101, b"12345678")]
            await until(lambda: heard_there.contents == [(0x101, b"12345678")])
            await link.send(0x102, long[:20], deadline=soon())
            assert peer.recv(100)[:28] == FD_FRAME.pack(0x102, 20, 5, long[:20])[:28]
            with pytest.raises(LinkDown, match="carries no CAN FD"):
                await classical.send(0x102, long, deadline=soon())


async def test_can_fd_on_an_interface_that_is_not_set_up_for_it_is_told_and_does_no_harm(can0):
    set_up_for(can0, FRAME.size)
    async with linked(SETTINGS.model_copy(update={"fd": True})) as (link, heard), linked(SETTINGS) as (other, _):
        with pytest.raises(LinkDown, match="not set up for CAN FD"):
            await link.send(1, bytes(64), deadline=soon())
        await other.send(2, b"x", deadline=soon())
        await until(lambda: heard.contents == [(2, b"x")])
        assert link.stats()["reconnects"] == 0


async def test_the_kernel_says_how_a_controller_is_that_was_ailing_before_the_link_opened(serial_line):
    name, line = serial_line
    line.send("sp128136")  # passive; errors receiving, sending
    async with linked(SETTINGS.model_copy(update={"channel": name}), up=False) as (link, heard):
        await until(lambda: Condition.ERROR_PASSIVE in heard.conditions)
        assert (link.stats()["controller"], link.stats()["bitrate"]) == ("passive", 250_000)
        line.send("sa000000")
        await until(lambda: heard.conditions[-1] is Condition.UP)
        told = link.stats()
        assert (told["controller"], told["error_frames"]) == ("active", 1)


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
