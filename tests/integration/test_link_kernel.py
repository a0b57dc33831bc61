"""The SocketCAN port without SocketCAN: datagram sockets of the loopback stand in for raw ones, a folder for sysfs.

They stamp, drop and batch like raw CAN sockets do; what only the real ones can show is shown by the host test.
"""

import asyncio
import errno
import shutil
import socket
import threading
import time
from dataclasses import replace

import pytest

from gateway.bus.link import Link, conditions, kernel
from gateway.bus.link.conditions import ControllerState
from gateway.bus.link.interface import Interface
from gateway.bus.link.kernel import SocketcanPort
from gateway.bus.link.raw import LaneReader, prepare
from gateway.bus.link.recvmmsg import FD_FRAME, FRAME, Batches
from gateway.bus.link.rtnetlink import CanDevice
from gateway.bus.wire import EXTENDED, Condition, Filter, Lane
from gateway.errors import LinkDown
from gateway.settings import BusSection
from tests.doubles import FakeClock
from tests.integration.link_bench import linked, until

SETTINGS = BusSection(name="can0", interface="socketcan")
HEARTBEATS = Filter(0x18FF1000 | EXTENDED, 0x1FFFFF00 | EXTENDED)


class FakeInterface:
    """An interface "can0": a folder as sysfs shows it, and for each raw socket a pair of datagram sockets."""

    def __init__(self, folder) -> None:
        self.sysfs = folder / "can0"
        self.refuses: OSError | None = None
        self.device: CanDevice | None = None
        self.peers: list[socket.socket] = []  # presence, answers, errors; what the bus says goes in here
        self.appear()

    def appear(self, *, up: bool = True, carrier: str = "1", rx_packets: int = 0) -> None:
        (self.sysfs / "statistics").mkdir(parents=True, exist_ok=True)
        (self.sysfs / "flags").write_text("0x40081\n" if up else "0x40080\n")
        (self.sysfs / "carrier").write_text(carrier + "\n")
        (self.sysfs / "statistics/rx_packets").write_text(f"{rx_packets}\n")

    def count(self, *, packets: int, data_bytes: int) -> None:
        (self.sysfs / "statistics/rx_packets").write_text(f"{packets}\n")
        (self.sysfs / "statistics/rx_bytes").write_text(f"{data_bytes}\n")

    def disappear(self) -> None:
        shutil.rmtree(self.sysfs)

    def open_socket(self, channel, filters, error_classes, buffer_bytes) -> socket.socket:
        if self.refuses:
            raise self.refuses
        ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        prepare(ours, buffer_bytes)
        ours.setblocking(False)
        peer.setblocking(False)
        self.peers.append(peer)
        return ours

    def port(self, intake, settings) -> SocketcanPort:
        interface = Interface("can0", self.sysfs.parent, lambda _: self.device)
        return SocketcanPort(
            intake, interface, settings.receive_buffer_bytes, fd=settings.fd, open_socket=self.open_socket
        )

    def say(self, can_id: int, data: bytes, *, to: int = 0) -> None:
        self.peers[-3 + to].send(FRAME.pack(can_id, len(data), data))

    def close(self) -> None:
        for peer in self.peers:
            peer.close()


@pytest.fixture
def interface(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "LOOK_S", 0.01)
    monkeypatch.setattr(kernel, "TURN_S", 0.01)
    fake = FakeInterface(tmp_path)
    yield fake
    fake.close()


def port_of(link: Link) -> SocketcanPort:
    assert isinstance(link._port, SocketcanPort)
    return link._port


def soon() -> float:
    return time.monotonic() + 5


async def test_heartbeats_come_in_one_batch_with_the_times_at_which_the_kernel_got_them(interface):
    async with linked(SETTINGS, port=interface.port) as (link, heard):
        began = time.monotonic()
        interface.say(0x18FF1012 | EXTENDED, b"12345678")
        time.sleep(0.05)  # the loop stands still
        interface.say(0x712, b"\x05")
        told = time.monotonic()
        time.sleep(0.05)
        await until(lambda: heard.frames)
        assert heard.contents == [(0x18FF1012 | EXTENDED, b"12345678"), (0x712, b"\x05")]
        assert heard.batches == [2]
        first, second = (at for _, _, at in heard.frames)
        assert began - 0.002 <= first <= second - 0.04
        assert second <= told + 0.002
        assert link.stats()["frames"] == 2


async def test_more_than_a_batch_is_read_whole_and_in_order(interface, monkeypatch):
    monkeypatch.setattr(kernel, "SLOTS", dict.fromkeys(Lane, 64))
    async with linked(SETTINGS, port=interface.port) as (link, heard):
        for n in range(150):  # more would not fit into a datagram socket
            interface.say(n, b"")
        link.read_now()
        assert heard.batches == [64, 64, 22]
        assert [can_id for can_id, _ in heard.contents] == list(range(150))
        await asyncio.sleep(0.03)  # the reader goes back to sleep
        interface.say(1, b"")
        await until(lambda: len(heard.frames) == 151)


async def test_answers_are_read_at_once(interface):
    async with linked(SETTINGS, lane=Lane.ANSWERS, port=interface.port) as (_, heard):
        interface.say(0x19EF12FB | EXTENDED, b"\x01", to=1)
        await until(lambda: heard.frames)
        assert heard.contents == [(0x19EF12FB | EXTENDED, b"\x01")]


async def test_a_frame_leaves_by_the_socket_that_would_hear_it(interface):
    async with linked(SETTINGS, filters=[HEARTBEATS], port=interface.port) as (link, _):
        await link.send(0x18FF1033 | EXTENDED, b"1", deadline=soon())
        await link.send(0x18EF33FB | EXTENDED, b"22", deadline=soon())
        assert interface.peers[0].recv(16) == FRAME.pack(0x18FF1033 | EXTENDED, 1, b"1")
        assert interface.peers[1].recv(16) == FRAME.pack(0x18EF33FB | EXTENDED, 2, b"22")
        assert link.stats()["sent"] == 2


async def test_a_full_transmit_queue_is_tried_again_until_there_is_room_or_the_deadline_is_past(interface):
    async with linked(SETTINGS, port=interface.port, filters=[HEARTBEATS]) as (link, _):
        with pytest.raises(LinkDown, match="full"):  # noqa: PT012 - nobody knows which one will not fit
            for _ in range(5000):
                await link.send(1, b"", deadline=time.monotonic() + 0.02)
        assert link.stats()["send_retries"] > 0
        assert link.stats()["transmit_full_ms"] > 0
        waiting = asyncio.create_task(link.send(2, b"", deadline=soon()))
        await asyncio.sleep(0)
        for _ in range(50):
            interface.peers[1].recv(16)
        await waiting
        assert link.stats()["transmit_full_ms"] == 0


async def test_a_transmit_queue_that_stays_full_is_told_once(interface, monkeypatch, caplog):
    monkeypatch.setattr(kernel, "FULL_S", 0.03)
    async with linked(SETTINGS, port=interface.port, filters=[HEARTBEATS]) as (link, _):
        with monkeypatch.context() as broken:
            broken.setattr(port_of(link)._lanes[Lane.ANSWERS], "sock", Deaf(errno.ENOBUFS))
            for _ in range(3):
                with pytest.raises(LinkDown, match="full"):
                    await link.send(1, b"", deadline=time.monotonic() + 0.05)
        assert link.stats()["transmit_full_ms"] >= 93  # three sends, each with pauses of 1, 2, 4, 8 and 16 ms
        assert caplog.text.count("the transmit queue has been full") == 1


async def test_error_frames_tell_the_condition(interface):
    async with linked(SETTINGS, port=interface.port) as (link, heard):
        for error_class, status in (0x40, 0), (0x100, 0), (0x4, 0x10), (0x4, 0x1), (0x8, 0):
            interface.say(0x2000_0000 | error_class, bytes([0, status, 0, 0, 0, 0, 0, 0]), to=2)
        await until(lambda: link.stats()["error_frames"] == 5)
        assert heard.conditions[1:] == [
            Condition.BUS_OFF, Condition.UP, Condition.ERROR_PASSIVE, Condition.OVERFLOW,
        ]  # fmt: skip
        assert link.stats()["state"] == "ERROR_PASSIVE"
        assert heard.frames == []


def failing(code):
    def fail(*_):
        raise OSError(code, "injected")

    return fail


@pytest.mark.parametrize("where", ["presence", "answers", "errors", "send"])
async def test_an_interface_that_is_down_is_told_and_comes_back_on_the_same_sockets(interface, monkeypatch, where):
    async with linked(SETTINGS, port=interface.port) as (link, heard):
        port = port_of(link)
        interface.appear(up=False)
        with monkeypatch.context() as broken:
            if where in {"presence", "answers"}:
                broken.setattr(port._lanes[Lane(where)], "read", failing(errno.ENETDOWN))
                port._read(Lane(where))
            elif where == "errors":
                broken.setattr(port._errors, "read", failing(errno.ENETDOWN))
                port._errors_wait()
            else:
                broken.setattr(port._lanes[Lane.PRESENCE], "sock", Deaf(errno.ENETDOWN))
                with pytest.raises(LinkDown, match="injected"):
                    await link.send(1, b"", deadline=soon())
        assert heard.conditions[-1] is Condition.DOWN
        with pytest.raises(LinkDown, match="DOWN"):
            await link.send(1, b"", deadline=soon())
        await asyncio.sleep(0.03)
        assert heard.conditions[-1] is Condition.DOWN
        interface.appear()
        await until(lambda: heard.conditions[-1] is Condition.UP)
        interface.say(5, b"")
        await until(lambda: heard.frames)
        assert len(interface.peers) == 3
        assert link.stats()["reconnects"] == 0
        assert link.alive(time.monotonic())


async def test_a_frame_that_comes_before_the_next_look_tells_first_that_the_interface_is_up(interface, monkeypatch):
    interface.appear(up=False)
    monkeypatch.setattr(kernel, "LOOK_S", 60.0)
    async with linked(SETTINGS, port=interface.port, up=False) as (link, heard):
        await until(lambda: heard.conditions == [Condition.DOWN])
        interface.say(3, b"")  # it waited in the socket from before
        await until(lambda: heard.frames)
        assert heard.conditions == [Condition.DOWN]
        known_at_frame: list[Condition] = []
        link.listen(Lane.PRESENCE, (), lambda _: known_at_frame.append(heard.conditions[-1]))
        interface.appear()
        interface.say(5, b"")
        await until(lambda: known_at_frame)
        assert known_at_frame == [Condition.UP]


class Deaf:
    """A socket that raises."""

    def __init__(self, code) -> None:
        self.send = self.recv = failing(code)


async def test_an_unplugged_adapter_is_gone_until_its_name_is_back_and_gets_new_sockets(interface, monkeypatch):
    async with linked(SETTINGS, port=interface.port) as (link, heard):
        interface.appear(rx_packets=10)
        assert link.frames_received() == 10
        monkeypatch.setattr(port_of(link)._lanes[Lane.ANSWERS], "read", failing(errno.ENODEV))
        interface.disappear()
        interface.say(9, b"", to=1)
        await until(lambda: heard.conditions[-1] is Condition.GONE)
        assert link.frames_received() == 10
        await asyncio.sleep(0.05)
        interface.appear(rx_packets=3)
        await until(lambda: heard.conditions[-1] is Condition.UP)
        assert heard.conditions == [Condition.UP, Condition.GONE, Condition.UP]
        assert link.frames_received() == 13
        interface.say(7, b"")
        await until(lambda: heard.contents == [(7, b"")])
        assert len(interface.peers) == 6


async def test_an_interface_that_vanishes_while_it_is_down_is_gone(interface):
    interface.appear(up=False)
    async with linked(SETTINGS, port=interface.port, up=False) as (_, heard):
        await until(lambda: heard.conditions == [Condition.DOWN])
        interface.disappear()
        await until(lambda: heard.conditions == [Condition.DOWN, Condition.GONE])


async def test_a_bus_that_is_off_when_the_link_opens_is_known_by_its_missing_carrier(interface):
    interface.appear(carrier="0")
    async with linked(SETTINGS, port=interface.port, up=False) as (_, heard):
        await until(lambda: heard.conditions == [Condition.BUS_OFF])
        interface.say(0x2000_0100, bytes(8), to=2)
        await until(lambda: heard.conditions == [Condition.BUS_OFF, Condition.UP])


PASSIVE = CanDevice("can", ControllerState.PASSIVE, 136, 0, 250_000, None)


async def test_what_ailed_a_controller_before_the_link_opened_is_known_from_the_kernel(interface):
    interface.device = PASSIVE
    async with linked(SETTINGS, port=interface.port, up=False) as (link, heard):
        await until(lambda: Condition.ERROR_PASSIVE in heard.conditions)
        assert heard.events[-1].detail == "the controller is passive (136 errors sending, 0 receiving)"
        told = link.stats()
        assert (told["controller"], told["transmit_error_counter"], told["bitrate"]) == ("passive", 136, 250_000)
        interface.device = replace(PASSIVE, state=ControllerState.BUS_OFF)
        await until(lambda: heard.conditions[-1] is Condition.BUS_OFF)
        interface.device = replace(PASSIVE, state=ControllerState.ACTIVE)
        await until(lambda: heard.conditions[-1] is Condition.UP)


async def test_what_the_kernel_said_before_the_last_error_frame_is_not_believed(interface):
    answers = [replace(PASSIVE, state=ControllerState.ACTIVE)] * 2
    asked = threading.Event()

    def ask(_):
        if len(answers) > 1:
            return answers.pop()
        asked.wait(5)  # the kernel takes its time
        return answers[0]

    def port(intake, settings):
        shown = Interface("can0", interface.sysfs.parent, ask)
        return SocketcanPort(intake, shown, settings.receive_buffer_bytes, open_socket=interface.open_socket)

    async with linked(SETTINGS, port=port) as (link, heard):
        interface.say(0x2000_0040, bytes(8), to=2)
        await until(lambda: heard.conditions == [Condition.UP, Condition.BUS_OFF])
        port_of(link)._has_controller = False  # and is not asked again
        asked.set()
        await asyncio.sleep(0.05)
        assert heard.conditions == [Condition.UP, Condition.BUS_OFF]


async def test_a_bus_that_is_off_is_on_again_when_somebody_is_heard(interface):
    async with linked(SETTINGS, port=interface.port) as (_, heard):
        interface.say(0x2000_0040, bytes(8), to=2)
        await until(lambda: heard.conditions[-1] is Condition.BUS_OFF)
        interface.say(1, b"")  # may have been under way
        await until(lambda: heard.frames)
        assert heard.conditions[-1] is Condition.BUS_OFF
        await asyncio.sleep(0.12)
        interface.say(2, b"")
        await until(lambda: heard.conditions[-1] is Condition.UP)


async def test_a_bus_that_goes_off_all_the_time_is_told_of_once_and_on_when_it_has_stayed_on(interface, monkeypatch):
    monkeypatch.setattr(conditions, "BELIEVED_AFTER_S", 0.2)
    async with linked(SETTINGS, port=interface.port) as (link, heard):
        for error_class in (0x40, 0x100) * 20:
            interface.say(0x2000_0000 | error_class, bytes(8), to=2)
        await until(lambda: link.stats()["error_frames"] == 40)
        once = [Condition.UP, Condition.BUS_OFF, Condition.UP, Condition.BUS_OFF]
        assert heard.conditions == once
        link.measure()
        assert heard.conditions == once
        await asyncio.sleep(0.25)
        link.measure()
        assert heard.conditions == [*once, Condition.UP]


async def test_who_speaks_on_the_bus_and_how_much_is_told_though_nobody_listens_to_it(interface):
    settings = SETTINGS.model_copy(update={"bitrate": 500_000})
    async with linked(settings, port=interface.port, filters=[HEARTBEATS]) as (link, heard):
        interface.count(packets=0, data_bytes=0)
        link.measure()
        assert len(interface.peers) == 4  # a socket for the look
        for _ in range(100):
            interface.peers[3].send(FRAME.pack(0x123, 8, bytes(8)))
        interface.count(packets=100, data_bytes=800)
        await asyncio.sleep(0.05)
        link.measure()
        ((can_id, rate),) = link.talkers()
        assert (can_id, rate > 100) == (0x123, True)
        told = link.stats()
        assert told["frames_per_s"] > 0
        assert 0 < told["load"] <= told["load_peak"] <= 1
        assert heard.frames == []
        link.measure()
        assert len(interface.peers) == 4  # the next look comes later


async def test_a_look_at_who_speaks_that_fails_is_no_trouble(interface, monkeypatch):
    async with linked(SETTINGS, port=interface.port) as (link, heard):
        with monkeypatch.context() as broken:
            broken.setattr(port_of(link), "_open_socket", failing(errno.ENODEV))
            link.measure()
        interface.disappear()
        link.measure()
        assert link.talkers() == []
        assert heard.conditions == [Condition.UP]


FD_SETTINGS = SETTINGS.model_copy(update={"fd": True})


async def test_frames_of_can_fd_and_classical_ones_are_heard_beside_each_other(interface):
    long = bytes(range(64))
    async with linked(FD_SETTINGS, port=interface.port) as (_, heard):
        interface.peers[0].send(FD_FRAME.pack(0x100, 64, 4, long))
        interface.say(0x101, b"12345678")
        interface.peers[0].send(FD_FRAME.pack(0x102, 12, 5, long[:12]))
        interface.say(0x103, b"")
        await until(lambda: len(heard.frames) == 4)
        assert heard.contents == [(0x100, long), (0x101, b"12345678"), (0x102, long[:12]), (0x103, b"")]


async def test_more_than_eight_bytes_leave_as_can_fd_and_only_where_the_bus_carries_it(interface, monkeypatch):
    async with linked(FD_SETTINGS, port=interface.port) as (link, _):
        await link.send(0x100, b"123456789", deadline=soon())
        await link.send(0x101, b"12345678", deadline=soon())
        assert interface.peers[0].recv(100) == FD_FRAME.pack(0x100, 12, 5, b"123456789")
        assert interface.peers[0].recv(100) == FRAME.pack(0x101, 8, b"12345678")
        with monkeypatch.context() as broken:  # as the kernel has it where the MTU is 16
            broken.setattr(port_of(link)._lanes[Lane.PRESENCE], "sock", Deaf(errno.EINVAL))
            with pytest.raises(LinkDown, match="not set up for CAN FD"):
                await link.send(0x100, bytes(12), deadline=soon())
        assert link.stats()["state"] == "UP"
    async with linked(SETTINGS, port=interface.port) as (link, _):
        with pytest.raises(LinkDown, match="carries no CAN FD"):
            await link.send(0x100, bytes(12), deadline=soon())


async def test_sockets_that_cannot_be_opened_are_weather(interface):
    interface.refuses = OSError(errno.EAFNOSUPPORT, "no CAN in this kernel")
    async with linked(SETTINGS, port=interface.port, up=False) as (link, heard):
        await until(lambda: link.stats()["reconnects"] >= 2)
        assert heard.conditions == [Condition.DOWN]
        assert "no CAN" in link.stats()["last_error"]
        link.read_now()


@pytest.mark.parametrize("fault", ["receiver", "watcher"])
async def test_a_bug_in_a_listener_leaves_the_link(interface, fault):
    def bug(_):
        if fault == "receiver" or link.stats()["state"] == "BUS_OFF":
            raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as raised:  # noqa: PT012 - the link raises when it ends
        async with linked(SETTINGS, port=interface.port) as (link, _):
            link.watch(bug) if fault == "watcher" else link.listen(Lane.PRESENCE, [], bug)
            interface.say(*((1, b"") if fault == "receiver" else (0x2000_0040, bytes(8))), to=2 * (fault == "watcher"))
            await asyncio.sleep(10)
    assert raised.group_contains(ZeroDivisionError)


async def test_lost_frames_are_counted_once_and_told(interface):
    async with linked(SETTINGS, port=interface.port) as (link, heard):
        port_of(link)._lanes[Lane.PRESENCE]._batches.dropped = 7  # as the kernel tells with a frame
        interface.say(1, b"")
        await until(lambda: heard.frames)
        await asyncio.sleep(0.03)
        assert link.stats()["overflow"] == 7
        assert heard.conditions == [Condition.UP, Condition.OVERFLOW]


def test_the_kernel_tells_how_many_frames_it_dropped():
    ours, peer = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    ours.bind(("127.0.0.1", 0))
    prepare(ours, 4096)
    batches = Batches(ours, 32)
    for _ in range(500):
        peer.sendto(FRAME.pack(1, 0, b""), ours.getsockname())
    kept = 0
    while frames := batches.read(0.0):
        kept += len(frames)
    peer.sendto(FRAME.pack(1, 0, b""), ours.getsockname())  # the count comes with the next frame
    assert len(batches.read(0.0)) == 1
    assert batches.dropped == 500 - kept > 0
    ours.close()
    with pytest.raises(OSError, match="Bad file"):
        batches.read(0.0)
    peer.close()


class Scripted(Batches):
    """Batches whose stamps are given."""

    def __init__(self, *batches) -> None:
        self.slots, self.dropped = 8, 0
        self.batches = list(batches)

    def read(self, to_monotonic):
        return [(1, b"", at) for at in self.batches.pop(0)]


def lane_reader(clock, *batches) -> LaneReader:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        reader = LaneReader(sock, 8, clock)
    reader._batches = Scripted(*batches)
    return reader


def arrivals(reader) -> list[float]:
    return [at for _, _, at in reader.read()]


def test_arrivals_are_believed_within_the_time_since_the_socket_was_empty():
    clock = FakeClock(monotonic=100.0)
    reader = lane_reader(clock, [], [101.0, 103.5])
    assert arrivals(reader) == []
    clock.advance(4)
    assert arrivals(reader) == [101.0, 103.5]


def test_a_wall_clock_that_was_set_cannot_move_an_arrival_out_of_what_is_possible():
    clock = FakeClock(monotonic=100.0)
    reader = lane_reader(clock, [], [-500.0, 101.0], [9000.0])
    arrivals(reader)
    clock.advance(4)
    assert arrivals(reader) == [100.0, 101.0]
    clock.advance(1)
    assert arrivals(reader) == [105.0]


def test_a_full_batch_says_nothing_about_when_the_socket_was_empty():
    clock = FakeClock(monotonic=100.0)
    reader = lane_reader(clock, [100.5] * 8, [100.6])
    clock.advance(4)
    arrivals(reader)
    assert arrivals(reader) == [100.6]
