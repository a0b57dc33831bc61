"""The link over python-can: virtual, the remote bus, slcan over a pty, and an adapter that misbehaves."""

import asyncio
import os
import threading
import time
import tty
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

import can
import pytest
from can_remote.server import RemoteServer

from gateway.bus.link import Link, adapter
from gateway.bus.link.adapter import AdapterPort
from gateway.bus.wire import ERROR_FRAME, EXTENDED, Condition, Lane
from gateway.errors import LinkDown
from gateway.settings import BusSection
from tests.integration.link_bench import linked, until

HEARTBEAT = 0x18FF1012


@pytest.fixture(autouse=True)
def short_turns(monkeypatch):
    monkeypatch.setattr(adapter, "TURN_S", 0.02)


@pytest.fixture
def channel():
    return f"test-{uuid.uuid4()}"


def virtual(channel) -> BusSection:
    return BusSection(name="can0", interface="virtual", channel=channel)


def port_of(link: Link) -> AdapterPort:
    assert isinstance(link._port, AdapterPort)
    return link._port


def soon() -> float:
    return time.monotonic() + 5


async def test_frames_of_a_virtual_bus_come_in_with_their_ids_spelt_as_socketcan_does(channel):
    with can.Bus(interface="virtual", channel=channel) as peer:
        async with linked(virtual(channel)) as (link, heard):
            began = time.monotonic()
            peer.send(can.Message(arbitration_id=HEARTBEAT, data=b"12345678"))
            peer.send(can.Message(arbitration_id=0x712, is_extended_id=False, data=b"\x05"))
            await until(lambda: len(heard.frames) == 2)
            assert heard.contents == [(HEARTBEAT | EXTENDED, b"12345678"), (0x712, b"\x05")]
            assert all(began <= at <= time.monotonic() for _, _, at in heard.frames)
            assert link.frames_received() == 2
            assert link.stats()["state"] == "UP"


async def test_a_frame_is_sent_and_its_echo_is_not_heard(channel):
    settings = BusSection(
        name="can0", interface="virtual", channel=channel, bitrate=500_000, options={"receive_own_messages": True}
    )
    with can.Bus(interface="virtual", channel=channel) as peer:
        async with linked(settings) as (link, heard):
            await link.send(HEARTBEAT | EXTENDED, b"abc", deadline=soon())
            sent = await asyncio.to_thread(peer.recv, 5)
            assert sent
            assert (sent.arbitration_id, sent.is_extended_id, bytes(sent.data)) == (HEARTBEAT, True, b"abc")
            peer.send(can.Message(arbitration_id=1, is_extended_id=False))
            await until(lambda: heard.frames)
            assert heard.contents == [(1, b"")]
            assert link.stats()["sent"] == 1


async def test_can_fd_is_carried_where_the_bus_is_said_to(channel):
    long = bytes(range(64))
    settings = virtual(channel).model_copy(update={"fd": True})
    with can.Bus(interface="virtual", channel=channel) as peer:
        async with linked(settings) as (link, heard):
            assert port_of(link).config["fd"] is True
            peer.send(can.Message(arbitration_id=1, is_extended_id=False, is_fd=True, data=long))
            await until(lambda: heard.contents == [(1, long)])
            await link.send(2, long[:9], deadline=soon())
            await link.send(3, long[:8], deadline=soon())
            told = [await asyncio.to_thread(peer.recv, 5) for _ in range(2)]
            sent = [(each.is_fd, bytes(each.data)) for each in told if each]
            assert sent == [(True, long[:9] + bytes(3)), (False, long[:8])]
        async with linked(virtual(channel)) as (link, _):
            assert "fd" not in port_of(link).config
            with pytest.raises(LinkDown, match="carries no CAN FD"):
                await link.send(2, long, deadline=soon())


async def test_what_an_adapter_hands_on_tells_the_load_and_who_speaks(channel):
    settings = virtual(channel).model_copy(update={"bitrate": 500_000})
    with can.Bus(interface="virtual", channel=channel) as peer:
        async with linked(settings) as (link, heard):
            link.measure()
            for _ in range(50):
                peer.send(can.Message(arbitration_id=HEARTBEAT, data=bytes(8)))
            await until(lambda: len(heard.frames) == 50)
            link.measure()
            ((can_id, rate),) = link.talkers()
            assert (can_id, rate > 0) == (HEARTBEAT | EXTENDED, True)
            told = link.stats()
            assert 0 < told["load"] <= told["load_peak"]
            peer.send(can.Message(arbitration_id=HEARTBEAT))
            await until(lambda: len(heard.frames) == 51)
            link.measure()
            assert link.talkers() == [(can_id, rate)]  # the next look comes later


async def test_remote_frames_are_nobodys_heartbeat(channel):
    with can.Bus(interface="virtual", channel=channel) as peer:
        async with linked(virtual(channel)) as (_, heard):
            peer.send(can.Message(arbitration_id=HEARTBEAT, is_remote_frame=True))
            peer.send(can.Message(arbitration_id=2, is_extended_id=False))
            await until(lambda: heard.frames)
            assert heard.contents == [(2, b"")]


async def test_error_frames_tell_the_condition_and_stop_sending_while_the_bus_is_off(channel):
    async with linked(virtual(channel)) as (link, heard), linked(virtual(channel)) as (peer, _):
        await peer.send(0x040 | ERROR_FRAME, bytes(8), deadline=soon())
        await until(lambda: Condition.BUS_OFF in heard.conditions)
        with pytest.raises(LinkDown, match="BUS_OFF"):
            await link.send(1, b"", deadline=soon())
        await peer.send(0x004 | ERROR_FRAME, b"\x00\x10\x00\x00\x00\x00\x00\x00", deadline=soon())
        await until(lambda: Condition.ERROR_PASSIVE in heard.conditions)
        await link.send(1, b"", deadline=soon())
        await peer.send(0x004 | ERROR_FRAME, b"\x00\x01\x00\x00\x00\x00\x00\x00", deadline=soon())
        await until(lambda: Condition.OVERFLOW in heard.conditions)
        assert link.stats()["state"] == "ERROR_PASSIVE"
        await peer.send(0x100 | ERROR_FRAME, bytes(8), deadline=soon())
        await until(lambda: heard.conditions[-1] is Condition.UP)
        assert heard.frames == []
        assert link.stats()["error_frames"] == 4


async def test_both_lanes_hear_an_adapter_and_read_now_hands_on_what_the_thread_has(channel):
    with can.Bus(interface="virtual", channel=channel) as peer:
        async with linked(virtual(channel), lane=Lane.ANSWERS) as (link, heard):
            peer.send(can.Message(arbitration_id=3, is_extended_id=False))
            for _ in range(200):
                link.read_now()  # the loop itself does not get a turn here
                if heard.frames:
                    break
                time.sleep(0.01)
            assert heard.contents == [(3, b"")]


async def test_a_busy_loop_gets_one_large_batch_and_loses_what_exceeds_the_bound(channel, monkeypatch):
    monkeypatch.setattr(adapter, "BACKLOG", 300)
    with can.Bus(interface="virtual", channel=channel) as peer:
        async with linked(virtual(channel)) as (link, heard):
            for n in range(400):
                peer.send(can.Message(arbitration_id=n, is_extended_id=False))
            ends = time.monotonic() + 10
            session = port_of(link)._session
            assert session
            while session._dropped + len(session._inbox) < 400 and time.monotonic() < ends:
                time.sleep(0.005)
            await until(lambda: heard.frames)
            assert [can_id for can_id, _ in heard.contents] == list(range(300))
            assert heard.conditions == [Condition.UP, Condition.OVERFLOW]
            assert link.stats()["overflow"] == 100


async def test_an_interface_that_does_not_exist_is_down_and_tried_again():
    async with linked(BusSection(name="can0", interface="no_such", channel=0), up=False) as (link, heard):
        await until(lambda: link.stats()["reconnects"] >= 3)
        assert heard.conditions == [Condition.DOWN]
        assert "no_such" in link.stats()["last_error"]
        with pytest.raises(LinkDown):
            await link.send(1, b"", deadline=soon())
        link.read_now()


class Crooked(can.BusABC):
    """An adapter that does what its script says: a message, an exception, or None; then silence."""

    def __init__(self, script, *, close=lambda: None, sends=lambda timeout: None) -> None:
        super().__init__(channel="crooked")
        self.script = list(script)
        self.close = close
        self.sends = sends

    def _recv_internal(self, timeout):
        if not self.script:
            time.sleep(timeout or 0)
            return None, False
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step, False

    def send(self, msg, timeout=None):
        self.sends(timeout)

    def shutdown(self):
        super().shutdown()
        self.close()


def crooked(*scripts, interface="crooked", **habits):
    """A port that opens one bus a script, the last one ever again."""
    waiting = list(scripts)

    class CrookedPort(AdapterPort):
        def _open(self):
            return Crooked(waiting.pop(0) if len(waiting) > 1 else waiting[0], **habits)

    return lambda intake, _: CrookedPort(intake, {"interface": interface})


NOWHERE = BusSection(name="can0", interface="crooked")
MESSAGE = can.Message(arbitration_id=7, is_extended_id=False)


async def test_a_bus_that_fails_is_built_anew_and_what_came_before_the_fault_is_kept():
    fails = [MESSAGE, OSError("unplugged")]
    async with linked(NOWHERE, port=crooked(fails, [MESSAGE])) as (link, heard):
        await until(lambda: len(heard.frames) == 2)
        assert heard.conditions == [Condition.UP, Condition.DOWN, Condition.UP]
        assert "unplugged" in heard.events[1].detail
        assert link.stats()["reconnects"] == 1


async def test_unreadable_frames_are_counted_and_survived_but_not_for_ever():
    noise = [ValueError("no hex")] * 5
    async with linked(NOWHERE, port=crooked([*noise, MESSAGE])) as (link, heard):
        await until(lambda: heard.frames)
        assert link.stats()["faults"] == 5
        assert heard.conditions == [Condition.UP]
    async with linked(NOWHERE, port=crooked([ValueError("no hex")] * 20)) as (link, heard):
        await until(lambda: link.stats()["reconnects"])


async def test_a_driver_that_fails_to_close_is_given_up():
    def fail():
        raise can.CanOperationError("never mind")

    async with linked(NOWHERE, port=crooked([OSError("gone")], [], close=fail)) as (_, heard):
        await until(lambda: heard.conditions[-2:] == [Condition.DOWN, Condition.UP])


async def test_a_driver_that_hangs_while_it_closes_or_opens_does_not_hang_the_link(monkeypatch):
    monkeypatch.setattr(adapter, "CLOSE_S", 0.02)
    monkeypatch.setattr(adapter, "OPEN_S", 0.05)
    release = threading.Event()
    async with linked(NOWHERE, port=crooked([OSError("gone")], [], close=lambda: release.wait(10))) as (_, heard):
        await until(lambda: heard.conditions[-2:] == [Condition.DOWN, Condition.UP])

    class Slow(AdapterPort):
        def _open(self):
            release.wait(10)
            return Crooked([])

    async with linked(NOWHERE, port=lambda i, _: Slow(i, {"interface": "slow"}), up=False) as (link, heard):
        await until(lambda: link.stats()["reconnects"])
        assert "too long" in link.stats()["last_error"]
    release.set()


async def test_a_driver_that_blocks_while_sending_costs_its_caller_the_deadline_and_no_more():
    release = threading.Event()
    async with linked(NOWHERE, port=crooked([], sends=lambda timeout: release.wait(10))) as (link, _):
        with pytest.raises(LinkDown):
            await link.send(1, b"", deadline=time.monotonic() + 0.05)
        late = [asyncio.create_task(link.send(n, b"", deadline=time.monotonic() + 0.2)) for n in range(70)]
        answers = await asyncio.gather(*late, return_exceptions=True)
        assert all(isinstance(answer, LinkDown) for answer in answers)
        assert any("too many" in str(answer) for answer in answers)
        release.set()
        sender = port_of(link)._sender
        assert sender
        await until(sender._waiting.empty)
        await link.send(1, b"", deadline=soon())
        assert link.stats()["sent"] == 1


async def test_a_caller_that_waits_while_the_bus_is_lost_is_told():
    release = threading.Event()
    script: list[Exception] = []
    async with linked(NOWHERE, port=crooked(script, [], sends=lambda timeout: release.wait(10))) as (link, _):
        senders = [asyncio.create_task(link.send(n, b"", deadline=soon())) for n in range(2)]
        await asyncio.sleep(0)
        bus = port_of(link)._bus
        assert isinstance(bus, Crooked)
        bus.script.append(OSError("unplugged"))
        with pytest.raises(LinkDown, match="closed"):
            await senders[1]
        release.set()
        await senders[0]


async def test_what_a_driver_raises_on_sending_becomes_link_down():
    def refuse(timeout):
        raise can.CanOperationError("no")

    for interface in "crooked", "virtual":  # through the thread, and on the loop
        async with linked(NOWHERE, port=crooked([], interface=interface, sends=refuse)) as (link, _):
            with pytest.raises(LinkDown, match="no"):
                await link.send(1, b"", deadline=soon())


@pytest.mark.parametrize("fault", ["receiver", "watcher on an error frame"])
async def test_a_bug_in_a_listener_leaves_the_link_instead_of_being_taken_for_weather(channel, fault):
    def bug(_):
        if fault == "receiver" or link.stats()["state"] == "BUS_OFF":
            raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as raised:  # noqa: PT012 - the link raises when it ends
        async with linked(virtual(channel)) as (link, _), linked(virtual(channel)) as (peer, _):
            link.watch(bug) if fault != "receiver" else link.listen(Lane.ANSWERS, [], bug)
            await peer.send(0x040 | (0 if fault == "receiver" else ERROR_FRAME), bytes(8), deadline=soon())
            await asyncio.sleep(10)
    assert raised.group_contains(ZeroDivisionError)


async def test_the_reader_is_alive_while_it_turns_and_not_when_it_hangs(channel):
    async with linked(virtual(channel)) as (link, _):
        assert link.alive(time.monotonic())
    last = time.monotonic()
    assert not link.alive(last + 60)


# --- the remote bus ---------------------------------------------------------------------------------------------------


class QuietServer(RemoteServer):  # type: ignore[misc]  # can_remote has no types
    def handle_error(self, request, client_address) -> None:
        """A connection that breaks is what these tests are about."""


@contextmanager
def remote_server(channel, port=0) -> Iterator[RemoteServer]:
    server = QuietServer("127.0.0.1", port, channel=channel, interface="virtual")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def remote(server) -> BusSection:
    return BusSection(name="can0", interface="remote", channel=f"ws://127.0.0.1:{server.server_port}/")


async def test_a_remote_bus_carries_frames_both_ways_and_comes_back_with_its_server(channel):
    with can.Bus(interface="virtual", channel=channel) as peer, remote_server(channel) as server:
        async with linked(remote(server)) as (link, heard):
            peer.send(can.Message(arbitration_id=HEARTBEAT, data=b"12345678"))
            await until(lambda: heard.frames)
            assert heard.contents == [(HEARTBEAT | EXTENDED, b"12345678")]
            await link.send(0x123, b"\x01", deadline=soon())
            answer = await asyncio.to_thread(peer.recv, 5)
            assert answer
            assert (answer.arbitration_id, answer.is_extended_id, bytes(answer.data)) == (0x123, False, b"\x01")
            for client in server.clients:
                with suppress(OSError):  # the other end may be quicker
                    client.close()
            await until(lambda: heard.conditions == [Condition.UP, Condition.DOWN, Condition.UP])


# --- slcan over a pty -------------------------------------------------------------------------------------------------


class SlcanPeer:
    """An adapter by hand: reads commands from a pty's other end, and says what it is told to."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()  # the slave stays open: a pty whose last user leaves looks unplugged
        tty.setraw(self.slave)
        self.channel = os.ttyname(self.slave)
        self.commands: list[bytes] = []
        self._rest = b""

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self.master, self._read)
        return self

    def __exit__(self, *_) -> None:
        asyncio.get_running_loop().remove_reader(self.master)
        os.close(self.slave)
        os.close(self.master)

    def _read(self) -> None:
        *whole, self._rest = (self._rest + os.read(self.master, 256)).split(b"\r")
        self.commands += whole

    def say(self, text: bytes) -> None:
        os.write(self.master, text)


async def test_slcan_is_opened_with_its_bit_rate_and_carries_frames_both_ways():
    with SlcanPeer() as peer:
        settings = BusSection(
            name="can0", interface="slcan", channel=peer.channel, bitrate=500_000, options={"sleep_after_open": 0}
        )
        async with linked(settings) as (link, heard):
            await until(lambda: peer.commands[-1:] == [b"O"])
            assert b"S6" in peer.commands
            peer.say(b"T18FF10128")
            await asyncio.sleep(0)  # half a frame blocks nobody
            peer.say(b"3132333435363738\rt712150\r")
            peer.say(b"tZZZ\r")  # noise on the line
            peer.say(b"t001100\r")
            await until(lambda: len(heard.frames) == 3)
            assert heard.contents == [(HEARTBEAT | EXTENDED, b"12345678"), (0x712, b"\x50"), (0x001, b"\x00")]
            await link.send(0x18EF12FB | EXTENDED, b"\x01\x02", deadline=soon())
            await until(lambda: b"T18EF12FB20102" in peer.commands)
            assert heard.conditions == [Condition.UP]
