"""What is said to the kernel's broadcast manager and heard from it, byte by byte, on machines of either width."""

import socket

import pytest

from gateway.bus.link import bcm
from gateway.bus.link.bcm import BroadcastManager, Edge, head_of, pack, unpack
from gateway.bus.wire import EXTENDED

WIDE, NARROW = head_of(wide=True), head_of(wide=False)
ORDER_64 = bytes.fromhex(
    "05000000 03010000 00000000 00000000"  # RX_SETUP; SETTIMER STARTTIMER RX_ANNOUNCE_RESUME; count; padding
    "0100000000000000 20a1070000000000"  # 1 s, 500000 µs
    "0000000000000000 0000000000000000"
    "1234ff98 01000000"  # the id, one frame
    "1234ff98 00000000 0000000000000000"  # struct can_frame: nothing of it counts
)
ORDER_32 = bytes.fromhex(
    "05000000 03010000 00000000 01000000 20a10700 00000000 00000000 1234ff98 01000000 00000000"
    "1234ff98 00000000 0000000000000000"  # at a multiple of eight
)


@pytest.mark.parametrize(("head", "expected"), [(WIDE, ORDER_64), (NARROW, ORDER_32)])
def test_an_order_to_watch_is_spelt_as_the_kernel_reads_it(head, expected):
    assert pack(0x18FF3412 | EXTENDED, 1.5, head) == expected


@pytest.mark.parametrize("head", [WIDE, NARROW])
def test_a_silence_that_does_not_fit_into_microseconds_is_rounded_up(head):
    _, _, _, seconds, microseconds, *_ = head.unpack_from(pack(1, 0.999_999_1, head))
    assert (seconds, microseconds) == (1, 0)


@pytest.mark.parametrize("head", [WIDE, NARROW])
@pytest.mark.parametrize(("opcode", "silent"), [(bcm.RX_TIMEOUT, True), (bcm.RX_CHANGED, False)])
def test_silence_and_return_are_told_by_id(head, opcode, silent):
    message = head.pack(opcode, 0x103, 0, 1, 0, 0, 0, 0x321, 1) + bytes(16)
    assert unpack(message, head) == Edge(0x321, silent)


@pytest.mark.parametrize("head", [WIDE, NARROW])
def test_what_was_not_asked_for_and_what_is_cut_short_tells_nothing(head):
    message = head.pack(bcm.RX_SETUP, 0, 0, 0, 0, 0, 0, 0x321, 0)
    assert unpack(message, head) is None
    assert unpack(head.pack(bcm.RX_TIMEOUT, 0, 0, 0, 0, 0, 0, 1, 0)[:-1], head) is None


class Paired(BroadcastManager):
    """A manager whose kernel is the other end of a pair of sockets."""

    def __init__(self) -> None:
        self.sock, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self._lost = 0


def test_a_manager_sends_orders_and_reads_all_that_waits():
    manager = Paired()
    with manager.kernel:
        manager.watch(0x321, 1.0)
        assert manager.kernel.recv(128) == pack(0x321, 1.0)
        assert manager.read() == []
        for opcode in bcm.RX_CHANGED, bcm.RX_SETUP, bcm.RX_TIMEOUT:
            manager.kernel.send(bcm.HEAD.pack(opcode, 0, 0, 0, 0, 0, 0, 0x321, 0))
        assert manager.read() == [Edge(0x321, silent=False), Edge(0x321, silent=True)]
        assert manager.newly_lost() == 0
        manager.close()
    assert manager.sock.fileno() == -1


def test_one_reading_ends_though_the_kernel_goes_on(monkeypatch):
    monkeypatch.setattr(bcm, "MOST", 2)
    manager = Paired()
    with manager.kernel:
        for _ in range(3):
            manager.kernel.send(bcm.HEAD.pack(bcm.RX_CHANGED, 0, 0, 0, 0, 0, 0, 0x321, 0))
        assert (len(manager.read()), len(manager.read())) == (2, 1)
        manager.close()


def test_a_kernel_without_a_broadcast_manager_says_so():
    with pytest.raises(OSError):
        BroadcastManager("no-such-bus", 4096)
