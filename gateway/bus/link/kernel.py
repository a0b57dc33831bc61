"""SocketCAN by raw sockets of our own: presence in batches, answers at once, the bus's condition from error frames.

Three sockets share one interface, each with its own kernel filters, so nothing is sorted in Python:

* presence: read 10 ms after its first frame and every 10 ms while frames come: no wake-ups on an idle bus, at most
  100 a second on a busy one, and the fewest system calls a frame;
* answers: read at once, at most 64 frames a wake-up;
* errors: error frames alone.

We send by our own sockets, too, not by python-can's: the kernel gives a frame back to every socket but the one that
sent it, so a frame leaves by the socket whose filters would take it in, and no echo of ours is ever heard. (An id that
both lanes listen to is heard on one of them.)
"""

import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from gateway.bus.link.conditions import CLASSES, condition_told_by
from gateway.bus.link.filters import matches, pack
from gateway.bus.link.intake import Intake, Lost
from gateway.bus.link.recvmmsg import FRAME, SO_RXQ_OVFL, SO_TIMESTAMPNS, Batches
from gateway.bus.wire import Condition, Filter, Frame, Lane
from gateway.clock import Clock
from gateway.errors import LinkDown

SO_RCVBUFFORCE: Final = 33
CAN_RAW_ERR_FILTER: Final = 2
IFF_UP: Final = 0x1
BATCH_S: Final = 0.010  # how long heartbeats may wait
TURN_S: Final = 1.0  # how often the reader shows that it lives
LOOK_S: Final = 0.5  # how often an interface that is down or gone is looked at
GRACE_S: Final = 5.0  # what a turn may be late before the reader counts as dead
SLOTS: Final = {Lane.PRESENCE: 256, Lane.ANSWERS: 64}
MOST_BATCHES: Final = 128  # in a complete read: more than the largest usual receive buffer holds
CLOCK_SLACK_S: Final = 0.001  # both clocks are not read in the same instant
FIRST_PAUSE_S: Final = 0.001  # before a full transmit queue is tried again
LONGEST_PAUSE_S: Final = 0.064

_DOWN: Final = frozenset({errno.ENETDOWN, errno.ENETUNREACH})
_GONE: Final = frozenset({errno.ENODEV, errno.ENXIO, errno.EBADF})
_NO_ROOM: Final = frozenset({errno.ENOBUFS, errno.EAGAIN})

OpenSocket = Callable[[str, Sequence[Filter], int, int], socket.socket]


def open_raw(channel: str, filters: Sequence[Filter], error_classes: int, buffer_bytes: int) -> socket.socket:
    """Return a raw CAN socket bound to interface `channel`, with time stamps and a count of drops. Raises OSError."""
    sock = socket.socket(socket.AF_CAN, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.CAN_RAW)
    try:
        sock.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, pack(filters))
        sock.setsockopt(socket.SOL_CAN_RAW, CAN_RAW_ERR_FILTER, error_classes)
        prepare(sock, buffer_bytes)
        sock.bind((channel,))
    except BaseException:
        sock.close()
        raise
    return sock


def prepare(sock: socket.socket, buffer_bytes: int) -> None:
    """Give a datagram socket what `Batches` reads, and room: beyond the system's limit where we may. Raises OSError."""
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer_bytes)
    except PermissionError:  # needs CAP_NET_ADMIN
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)


class LaneReader:
    """Reads one socket and tells when each frame arrived, by the kernel's stamps on the monotonic clock.

    Whatever is read arrived after the socket was last seen empty and before now: that bounds the arrival when the
    wall clock was set, or the machine slept, between a stamp and its reading.
    """

    def __init__(self, sock: socket.socket, slots: int, clock: Clock) -> None:
        self.sock = sock
        self._batches = Batches(sock, slots)
        self._clock = clock
        self._empty_at = clock.monotonic()
        self._dropped = 0

    def read(self) -> list[Frame]:
        """Return the next batch; fewer frames than slots means that the socket is empty. Raises OSError."""
        now = self._clock.monotonic()
        frames = self._batches.read(now - time.time())
        earliest, latest = self._empty_at - CLOCK_SLACK_S, now + CLOCK_SLACK_S
        if frames and not earliest <= frames[0][2] <= frames[-1][2] <= latest:
            frames = [(can_id, data, min(max(at, self._empty_at), now)) for can_id, data, at in frames]
        if len(frames) < self._batches.slots:
            self._empty_at = now
        return frames

    def newly_dropped(self) -> int:
        """Return how many frames the kernel dropped since this was last asked."""
        dropped, self._dropped = self._batches.dropped - self._dropped, self._batches.dropped
        return dropped & 0xFFFF_FFFF


class SocketcanPort:
    """The port to one SocketCAN interface. `channel`: its name. `interfaces`: where sysfs shows them."""

    def __init__(
        self,
        intake: Intake,
        channel: str,
        buffer_bytes: int,
        *,
        open_socket: OpenSocket = open_raw,
        interfaces: Path = Path("/sys/class/net"),
    ) -> None:
        self.intake = intake
        self.channel = channel
        self._buffer_bytes = buffer_bytes
        self._open_socket = open_socket
        self._sysfs = interfaces / channel
        self._lanes: dict[Lane, LaneReader] = {}
        self._errors: socket.socket | None = None
        self._lost: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._received_before = 0
        self._received_last = 0

    async def serve(self) -> None:
        """Wait for the interface, then hand on what comes until it is gone. Raises Lost, or what a listener raised."""
        await self._appearance()
        with self._opened() as lost:
            self.intake.tell(self._first_condition(), self.channel)
            while not lost.done():
                self.intake.expect(TURN_S + GRACE_S)
                await asyncio.wait([lost], timeout=LOOK_S if self.intake.condition is Condition.DOWN else TURN_S)
                if self.intake.condition is Condition.DOWN:
                    self._look()
            lost.result()

    async def send(self, can_id: int, data: bytes, deadline: float) -> None:
        """Send one frame; a full transmit queue is tried again at growing pauses until `deadline`."""
        self.intake.check_sendable()
        frame = FRAME.pack(can_id, len(data), data)
        pause_s = FIRST_PAUSE_S
        while not self._send_now(can_id, frame):
            if self.intake.clock.monotonic() + pause_s > deadline:
                raise LinkDown(f"{self.intake.name}: the transmit queue is full")
            self.intake.counts.send_retries += 1
            await asyncio.sleep(pause_s)
            self.intake.check_sendable()
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def read_now(self) -> None:
        """Read the presence socket empty and hand on what it held."""
        self._read_empty(Lane.PRESENCE)

    def frames_received(self) -> int:
        """Return the interface's own count; it goes on when the interface is made anew. Else the frames we read."""
        try:
            now = int((self._sysfs / "statistics/rx_packets").read_text())
        except (OSError, ValueError):
            return max(self._received_before + self._received_last, self.intake.counts.frames)
        if now < self._received_last:
            self._received_before += self._received_last
        self._received_last = now
        return self._received_before + now

    # --- opening and losing ------------------------------------------------------------------------------------------

    async def _appearance(self) -> None:
        while not self._sysfs.exists():
            self.intake.tell(Condition.GONE, f"there is no interface {self.channel}")
            self.intake.expect(LOOK_S + GRACE_S)
            await asyncio.sleep(LOOK_S)

    @contextmanager
    def _opened(self) -> Iterator[asyncio.Future[None]]:
        """Open the sockets and read them; close them at the end. Yields the future that fails when the bus is lost."""
        loop = asyncio.get_running_loop()
        self._lost = loop.create_future()
        try:
            for lane in Lane:
                sock = self._open_socket(self.channel, self.intake.filters[lane], 0, self._buffer_bytes)
                self._lanes[lane] = LaneReader(sock, SLOTS[lane], self.intake.clock)
            self._errors = self._open_socket(self.channel, (), CLASSES, self._buffer_bytes)
            loop.add_reader(self._lanes[Lane.PRESENCE].sock, self._presence_begins)
            loop.add_reader(self._lanes[Lane.ANSWERS].sock, self._answers_wait)
            loop.add_reader(self._errors, self._errors_wait)
            yield self._lost
        except OSError as why:
            raise self._as_lost(why) from why
        finally:
            self._close(loop)

    def _close(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        sockets = [lane.sock for lane in self._lanes.values()] + ([self._errors] if self._errors else [])
        self._lanes, self._errors = {}, None
        for sock in sockets:
            loop.remove_reader(sock)
            sock.close()

    def _first_condition(self) -> Condition:
        if not self._is_up():
            return Condition.DOWN
        with suppress(OSError):
            if (self._sysfs / "carrier").read_text().strip() == "0":  # the kernel takes it away at bus-off
                return Condition.BUS_OFF
        return Condition.UP

    def _is_up(self) -> bool:
        try:
            return bool(int((self._sysfs / "flags").read_text(), 16) & IFF_UP)
        except FileNotFoundError as why:
            raise Lost(Condition.GONE, f"the interface {self.channel} is gone") from why
        except (OSError, ValueError):
            return False

    def _look(self) -> None:
        if self._is_up():
            self.intake.tell(self._first_condition(), self.channel)

    def _as_lost(self, why: OSError) -> Lost:
        condition = Condition.GONE if why.errno in _GONE else Condition.DOWN
        return Lost(condition, f"{self.channel}: {why.strerror or why}")

    def _trouble(self, why: OSError) -> None:
        """Judge what a socket raised: a down interface mends itself, anything else needs new sockets."""
        self.intake.counts.faults += 1
        self.intake.counts.last_error = os.strerror(why.errno) if why.errno else str(why)
        if why.errno in _DOWN:
            self.intake.tell(Condition.DOWN, f"the interface {self.channel} is down")
        else:
            self._fail(self._as_lost(why))

    def _fail(self, why: BaseException) -> None:
        if self._lost is not None and not self._lost.done():
            self._lost.set_exception(why)

    # --- reading: called by the loop ---------------------------------------------------------------------------------

    def _presence_begins(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._lanes[Lane.PRESENCE].sock)
        self._timer = loop.call_later(BATCH_S, self._presence_due)

    def _presence_due(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        if self._read_empty(Lane.PRESENCE):
            self._timer = loop.call_later(BATCH_S, self._presence_due)
        else:
            loop.add_reader(self._lanes[Lane.PRESENCE].sock, self._presence_begins)

    def _answers_wait(self) -> None:
        self._read(Lane.ANSWERS)

    def _read_empty(self, lane: Lane) -> int:
        """Hand on all that waits on `lane`, within reason; return how many frames."""
        total = 0
        for _ in range(MOST_BATCHES):
            count = self._read(lane)
            total += count
            if count < SLOTS[lane]:
                break
        return total

    def _read(self, lane: Lane) -> int:
        """Hand on one batch; return how many frames. What a listener raises ends `serve`: it is a bug."""
        reader = self._lanes.get(lane)
        if reader is None:
            return 0
        try:
            frames = reader.read()
        except OSError as why:
            self._trouble(why)
            return 0
        try:
            if frames:
                if self.intake.condition is Condition.DOWN:  # it may be up since we last looked: that comes first
                    self._look()
                self.intake.hand(lane, frames)
            if dropped := reader.newly_dropped():
                self.intake.lose(dropped)
        except Exception as bug:  # noqa: BLE001 - carried to `serve`, which raises it
            self._fail(bug)
        return len(frames)

    def _errors_wait(self) -> None:
        assert self._errors is not None
        try:
            can_id, length, data = FRAME.unpack(self._errors.recv(FRAME.size))
        except BlockingIOError:
            return
        except OSError as why:
            self._trouble(why)
            return
        self.intake.counts.error_frames += 1
        condition = condition_told_by(can_id, data[:length])
        try:
            if condition is Condition.OVERFLOW:
                self.intake.lose(1)
            elif condition is not None:
                self.intake.tell(condition, self.channel)
        except Exception as bug:  # noqa: BLE001 - carried to `serve`, which raises it
            self._fail(bug)

    def _send_now(self, can_id: int, frame: bytes) -> bool:
        """Try to send; return whether there was room. Raises LinkDown where the bus is away."""
        lane = Lane.PRESENCE if matches(can_id, self.intake.filters[Lane.PRESENCE]) else Lane.ANSWERS
        try:
            self._lanes[lane].sock.send(frame)
        except OSError as why:
            if why.errno in _NO_ROOM:
                return False
            self._trouble(why)
            raise LinkDown(f"{self.intake.name}: {why.strerror}") from why
        self.intake.counts.sent += 1
        return True
