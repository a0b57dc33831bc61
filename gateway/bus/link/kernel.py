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
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

from gateway.bus.link.conditions import CLASSES, CONDITIONS
from gateway.bus.link.fd import on_the_wire
from gateway.bus.link.filters import matches
from gateway.bus.link.intake import Intake, Lost
from gateway.bus.link.interface import CONTROLLED, Interface
from gateway.bus.link.raw import LaneReader, OpenSocket, open_raw
from gateway.bus.link.recvmmsg import FD_FRAME, FRAME
from gateway.bus.link.traffic import SAMPLE_FRAMES, Sample, Traffic
from gateway.bus.wire import CLASSIC_BYTES, Condition, Filter, Lane
from gateway.errors import LinkDown

log = logging.getLogger(__name__)

BATCH_S: Final = 0.010  # how long heartbeats may wait
TURN_S: Final = 1.0  # how often the reader shows that it lives
LOOK_S: Final = 0.5  # how often an interface that is down or gone is looked at
GRACE_S: Final = 5.0  # what a turn may be late before the reader counts as dead
SLOTS: Final = {Lane.PRESENCE: 256, Lane.ANSWERS: 64}
ERROR_SLOTS: Final = 64
MOST_BATCHES: Final = 128  # in a complete read: more than the largest usual receive buffer holds
FIRST_PAUSE_S: Final = 0.001  # before a full transmit queue is tried again
LONGEST_PAUSE_S: Final = 0.064
FULL_S: Final = 1.0  # a transmit queue that stays full for so long is worth a word
SAMPLE_BYTES: Final = SAMPLE_FRAMES * 400  # the kernel doubles it, and takes some 770 bytes for a frame
FD_FLAGS: Final = 0x05  # CAN FD, with its data at the higher bit rate
EVERYBODY: Final = (Filter(0, 0),)

_DOWN: Final = frozenset({errno.ENETDOWN, errno.ENETUNREACH})
_GONE: Final = frozenset({errno.ENODEV, errno.ENXIO, errno.EBADF})
_NO_ROOM: Final = frozenset({errno.ENOBUFS, errno.EAGAIN})


class SocketcanPort:
    """The port to one SocketCAN interface. `fd`: whether it carries CAN FD."""

    def __init__(
        self,
        intake: Intake,
        interface: Interface,
        buffer_bytes: int,
        *,
        fd: bool = False,
        open_socket: OpenSocket | None = None,
    ) -> None:
        self.intake = intake
        self.channel = interface.name
        self._interface = interface
        self._buffer_bytes = buffer_bytes
        self._fd = fd
        self._open_socket = open_socket or partial(open_raw, fd=fd)
        self._lanes: dict[Lane, LaneReader] = {}
        self._errors: LaneReader | None = None
        self._sampling: tuple[Sample, LaneReader] | None = None
        self._has_controller = False
        self._lost: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._full_since: float | None = None

    async def serve(self) -> None:
        """Wait for the interface, then hand on what comes until it is gone. Raises Lost, or what a listener raised."""
        await self._appearance()
        device = await asyncio.to_thread(self._interface.device)
        self._has_controller = device is not None and device.kind == CONTROLLED
        with self._opened() as lost:
            self._look()
            while not lost.done():
                if self._has_controller:
                    await self._consult()
                self.intake.expect(TURN_S + GRACE_S)
                await asyncio.wait([lost], timeout=LOOK_S if self.intake.condition is Condition.DOWN else TURN_S)
                if self.intake.condition is Condition.DOWN:
                    self._look()
            lost.result()

    async def send(self, can_id: int, data: bytes, deadline: float) -> None:
        """Send one frame; a full transmit queue is tried again at growing pauses until `deadline`."""
        self.intake.check_sendable()
        data = on_the_wire(data, fd=self._fd, bus=self.intake.name)
        frame = _spelt(can_id, data)
        pause_s = FIRST_PAUSE_S
        while not self._send_now(can_id, frame):
            self._note_full()
            if self.intake.clock.monotonic() + pause_s > deadline:
                raise LinkDown(f"{self.intake.name}: the transmit queue is full")
            self.intake.counts.send_retries += 1
            await asyncio.sleep(pause_s)
            self.intake.check_sendable()
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        self._full_since, self.intake.counts.transmit_full_ms = None, 0

    def read_now(self) -> None:
        """Read the presence socket empty and hand on what it held."""
        self._read_empty(Lane.PRESENCE)

    def refilter(self, lane: Lane) -> None:
        """Let in on `lane` what is asked for now."""
        reader = self._lanes.get(lane)
        if reader is None:
            return
        try:
            reader.let_in(self.intake.filters[lane])
        except OSError as why:
            self._trouble(why)

    def frames_received(self) -> int:
        """Return the interface's own count; it goes on when the interface is made anew. Else the frames we read."""
        return self._interface.received() or self.intake.counts.frames

    def traffic(self) -> Traffic | None:
        """Return what the interface has carried; None while it does not tell."""
        return self._interface.traffic()

    def overhear(self, sample: Sample | None) -> None:
        """Let `sample` see the frames of everybody: the kernel keeps them until it is told that there is no more."""
        if self._sampling is not None:
            taking, reader = self._sampling
            self._sampling = None
            self._fill(taking, reader)
        if sample is not None and self._lanes:
            with suppress(OSError):  # it is only for information
                sock = self._open_socket(self.channel, EVERYBODY, 0, SAMPLE_BYTES)
                self._sampling = sample, LaneReader(sock, SLOTS[Lane.PRESENCE], self.intake.clock, fd=self._fd)

    def _fill(self, sample: Sample, reader: LaneReader) -> None:
        with reader.sock, suppress(OSError):
            while not sample.is_full and (frames := reader.read()):
                sample.take(frames)

    # --- opening and losing ------------------------------------------------------------------------------------------

    async def _appearance(self) -> None:
        while not self._interface.exists():
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
                self._lanes[lane] = self._reader(self.intake.filters[lane], 0, SLOTS[lane])
            self._errors = self._reader((), CLASSES, ERROR_SLOTS)
            loop.add_reader(self._lanes[Lane.PRESENCE].sock, self._presence_begins)
            loop.add_reader(self._lanes[Lane.ANSWERS].sock, self._answers_wait)
            loop.add_reader(self._errors.sock, self._errors_wait)
            yield self._lost
        except OSError as why:
            raise self._as_lost(why) from why
        finally:
            self._close(loop)

    def _reader(self, filters: Sequence[Filter], error_classes: int, slots: int) -> LaneReader:
        sock = self._open_socket(self.channel, filters, error_classes, self._buffer_bytes)
        return LaneReader(sock, slots, self.intake.clock, fd=self._fd)

    def _close(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.overhear(None)
        readers = [*self._lanes.values(), *([self._errors] if self._errors else [])]
        self._lanes, self._errors, self._full_since = {}, None, None
        for reader in readers:
            loop.remove_reader(reader.sock)
            reader.sock.close()

    def _look(self) -> None:
        """Tell whether the interface is up, by what sysfs says."""
        try:
            is_up = self._interface.is_up()
        except FileNotFoundError:
            self._fail(Lost(Condition.GONE, f"the interface {self.channel} is gone"))
            return
        if not is_up:
            self.intake.tell(Condition.DOWN, f"the interface {self.channel} is down")
        else:
            self.intake.tell(Condition.UP if self._interface.has_carrier() else Condition.BUS_OFF, self.channel)

    async def _consult(self) -> None:
        """Ask the kernel how the controller is: it may have been ailing before we listened, and lost error frames."""
        told_before = self.intake.counts.error_frames
        device = await asyncio.to_thread(self._interface.device)
        if device is None or device.state is None or self.intake.condition is Condition.DOWN:
            return
        load = self.intake.load
        load.bitrate, load.data_bitrate = device.bitrate or load.bitrate, device.data_bitrate
        if self.intake.counts.error_frames == told_before:  # what came in meanwhile is younger
            self.intake.controller.tell(device.state, device.transmit_errors, device.receive_errors)
            self.intake.judge(CONDITIONS[device.state], self.intake.clock.monotonic())

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
        if self._errors is None:
            return
        try:
            frames = self._errors.read()
        except OSError as why:
            self._trouble(why)
            return
        try:
            for can_id, data, at in frames:
                self.intake.take_error(can_id, data, at)
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
            if why.errno == errno.EINVAL and len(frame) > FRAME.size:
                raise LinkDown(f"the interface {self.channel} is not set up for CAN FD") from why
            self._trouble(why)
            raise LinkDown(f"{self.intake.name}: {why.strerror}") from why
        self.intake.counts.sent += 1
        return True

    def _note_full(self) -> None:
        now, counts = self.intake.clock.monotonic(), self.intake.counts
        self._full_since = now if self._full_since is None else self._full_since
        full_before_ms, counts.transmit_full_ms = counts.transmit_full_ms, round((now - self._full_since) * 1000)
        if full_before_ms < FULL_S * 1000 <= counts.transmit_full_ms:
            log.warning("%s: the transmit queue has been full for %d ms", self.intake.name, counts.transmit_full_ms)


def _spelt(can_id: int, data: bytes) -> bytes:
    if len(data) > CLASSIC_BYTES:
        return FD_FRAME.pack(can_id, len(data), FD_FLAGS, data)
    return FRAME.pack(can_id, len(data), data)
