"""Any bus of python-can: one thread that opens it, reads it and closes it, and hands batches to the loop.

A thread for all of them, although some have a file descriptor the loop could watch: slcan and the remote client block
within `recv` while half a frame has come, and nothing may block the loop. Frames carry the time at which the thread got
them. What piled up in a driver's queue while the process stood still is thus stamped late; only SocketCAN knows better.
"""

import asyncio
import logging
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

import can

from gateway.bus.link.fd import on_the_wire
from gateway.bus.link.intake import Intake, Lost
from gateway.bus.link.sender import Sender
from gateway.bus.link.traffic import Sample, Traffic
from gateway.bus.wire import CLASSIC_BYTES, ERROR_FRAME, EXTENDED, EXTENDED_MASK, Condition, Frame
from gateway.errors import LinkDown

log = logging.getLogger(__name__)
T = TypeVar("T")

INSTANT: Final = frozenset({"virtual"})  # `send` never blocks: no thread needed
SOCKETCAN_ERRORS: Final = frozenset({"virtual", "remote", "gs_usb"})  # error frames as SocketCAN spells them
TURN_S: Final = 0.5  # the reader looks up at least this often
GRACE_S: Final = 10.0
OPEN_S: Final = 20.0  # slcan sleeps 2 s, a remote host may take longer
CLOSE_S: Final = 3.0
BATCH: Final = 256  # frames handed on at once
BACKLOG: Final = 65_536  # frames that may wait for a busy loop
FAULTS_IN_A_ROW: Final = 20  # unreadable frames before the bus is built anew
YIELD_S: Final = 0.001
YIELD_EVERY_S: Final = 0.010

_UNREADABLE: Final = (ValueError, IndexError, KeyError, AttributeError)  # python-can's parsers on garbage


class Session(threading.Thread):
    """One open bus and the thread that owns it, from opening to closing. A daemon thread, as `Sender` is."""

    def __init__(self, open_bus: Callable[[], can.BusABC], intake: Intake, *, status_frames: bool) -> None:
        super().__init__(name=f"read: {intake.name}", daemon=True)
        self.intake = intake
        self._open_bus = open_bus
        self._status_frames = status_frames
        self._loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[can.BusABC] = self._loop.create_future()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.opened.add_done_callback(_seen)
        self.ended.add_done_callback(_seen)
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._inbox: list[Frame] = []
        self._dropped = 0

    # --- in the thread -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Open, read until told to stop or the bus fails, close; report each to the loop."""
        try:
            bus = self._open_bus()
        except Exception as why:  # noqa: BLE001 - adapters come from anywhere and raise anything
            self._post(_fail, self.opened, why)
            self._post(_succeed, self.closed, None)
            return
        self._post(_succeed, self.opened, bus)
        failure: Exception = can.CanOperationError("closed")
        try:
            self._read(bus)
        except Exception as why:  # noqa: BLE001 - as above
            failure = why
        self._post(_fail, self.ended, failure)
        try:
            bus.shutdown()
        except Exception as why:  # noqa: BLE001 - as above; the bus is given up anyway
            log.debug("%s: closing: %r", self.intake.name, why)
            can.BusABC.shutdown(bus)  # or python-can would try again when the object is collected
        self._post(_succeed, self.closed, None)

    def _post(self, call: Callable[..., None], *args: object) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(call, *args)

    def _read(self, bus: can.BusABC) -> None:
        wait = _waiter(bus)
        faults = 0
        while not self.stopping.is_set():
            self.intake.expect(TURN_S + GRACE_S)
            try:
                first = wait()
                if first is not None:
                    self._put(self._batch(bus, first))
                faults = 0
            except _UNREADABLE as why:
                faults += 1
                self.intake.counts.faults += 1
                self.intake.counts.last_error = repr(why)
                if faults >= FAULTS_IN_A_ROW:
                    raise

    def _batch(self, bus: can.BusABC, message: can.Message | None) -> list[Frame]:
        """Take what waits behind the first message; all of it has arrived by now."""
        now = self.intake.clock.monotonic()
        batch: list[Frame] = []
        receive = bus.recv
        try:
            while message is not None:
                if message.is_error_frame:
                    self._post(self._on_error_frame, message.arbitration_id, bytes(message.data), now)
                elif message.is_rx and not message.is_remote_frame:
                    can_id = message.arbitration_id | EXTENDED if message.is_extended_id else message.arbitration_id
                    batch.append((can_id, bytes(message.data), now))
                message = receive(0) if len(batch) < BATCH else None
        except BaseException:
            self._put(batch)  # what came before the fault is good
            raise
        return batch

    def _put(self, batch: list[Frame]) -> None:
        with self._lock:
            was_empty = not self._inbox and not self._dropped
            room = BACKLOG - len(self._inbox)
            self._inbox += batch[:room]
            self._dropped += max(0, len(batch) - room)
        if was_empty and batch:
            self._post(self.deliver)

    # --- on the loop -------------------------------------------------------------------------------------------------

    def deliver(self) -> None:
        """Hand on what the thread has read. What a listener raises ends the session: it is a bug."""
        with self._lock:
            frames, self._inbox = self._inbox, []
            dropped, self._dropped = self._dropped, 0
        try:
            if frames:
                self.intake.hand_all(frames)
            if dropped:
                self.intake.lose(dropped)
        except Exception as bug:  # noqa: BLE001 - carried to `serve`, which raises it
            _fail(self.ended, _Bug(bug))

    def _on_error_frame(self, can_id: int, data: bytes, at: float) -> None:
        if not self._status_frames:
            self.intake.counts.error_frames += 1
            return
        try:
            self.intake.take_error(can_id, data, at)
        except Exception as bug:  # noqa: BLE001 - carried to `serve`, which raises it
            _fail(self.ended, _Bug(bug))

    async def close(self) -> None:
        """Have the thread close the bus, and wait for it, but not for ever."""
        self.stopping.set()
        await asyncio.wait([self.closed], timeout=CLOSE_S)


class _Bug(Exception):  # noqa: N818 - an envelope
    """What a listener of ours raised, to tell it from what an adapter raised."""

    def __init__(self, bug: Exception) -> None:
        super().__init__(repr(bug))
        self.bug = bug


class AdapterPort:
    """The port to one bus of python-can; `config` is what `can.Bus` takes."""

    def __init__(self, intake: Intake, config: dict[str, Any]) -> None:
        self.intake = intake
        self.config = config
        self._session: Session | None = None
        self._bus: can.BusABC | None = None
        self._sender: Sender | None = None
        self._yielded_at = 0.0

    def _open(self) -> can.BusABC:
        return can.Bus(**self.config)

    async def serve(self) -> None:
        """Open the bus and hand on what comes until it fails. Raises Lost, or what a listener raised."""
        interface = self.config["interface"]
        self.intake.expect(OPEN_S + GRACE_S)
        session = Session(self._open, self.intake, status_frames=interface in SOCKETCAN_ERRORS)
        session.start()
        try:
            async with asyncio.timeout(OPEN_S):
                self._bus = await _or_lost(session.opened)
            self._session = session
            self._sender = None if interface in INSTANT else Sender(self._bus, self.intake.name)
            self.intake.tell(Condition.UP, str(self._bus.channel_info))
            await _or_lost(session.ended)
        except TimeoutError as why:
            raise Lost(Condition.DOWN, "the adapter takes too long to open") from why
        finally:
            self._bus = self._session = None
            if self._sender is not None:
                self._sender.stop()
            await session.close()

    async def send(self, can_id: int, data: bytes, deadline: float) -> None:
        """Send one frame. Where the adapter blocks past `deadline`, the frame may leave later still."""
        self.intake.check_sendable()
        if self._bus is None:
            raise LinkDown(f"{self.intake.name} is being opened")
        data = on_the_wire(data, fd=bool(self.config.get("fd")), bus=self.intake.name)
        message = can.Message(
            arbitration_id=can_id & EXTENDED_MASK,
            is_extended_id=bool(can_id & EXTENDED),
            is_error_frame=bool(can_id & ERROR_FRAME),
            data=data,
            is_fd=len(data) > CLASSIC_BYTES,
            bitrate_switch=len(data) > CLASSIC_BYTES,
        )
        left_s = deadline - self.intake.clock.monotonic()
        try:
            if self._sender is None:
                self._bus.send(message, timeout=0)
            else:
                async with asyncio.timeout(left_s):
                    await asyncio.wrap_future(self._sender.put(message, left_s))
        except LinkDown:
            raise
        except Exception as why:
            self.intake.counts.faults += 1
            self.intake.counts.last_error = repr(why)
            raise LinkDown(f"{self.intake.name}: {type(why).__name__}: {why}") from why
        self.intake.counts.sent += 1
        self.intake.data_bytes += len(data)

    def read_now(self) -> None:
        """Hand on what the thread has read; let it run first, at most every 10 ms."""
        if self._session is None:
            return
        now = self.intake.clock.monotonic()
        if now - self._yielded_at >= YIELD_EVERY_S:
            self._yielded_at = now
            time.sleep(YIELD_S)  # the thread gets the interpreter: blocks the loop for 1 ms, and on purpose
        self._session.deliver()

    def frames_received(self) -> int:
        """Return how many frames were handed on: nothing else is known of an adapter."""
        return self.intake.counts.frames

    def traffic(self) -> Traffic:
        """Return what was handed on and sent: nothing else is known of an adapter."""
        return self.intake.traffic()

    def overhear(self, sample: Sample | None) -> None:
        """Let `sample` see all frames that are handed on from now on; None: no more of them."""
        self.intake.sample = sample


async def _or_lost(future: "asyncio.Future[T]") -> T:
    """Await what an adapter does; whatever it raises means that the bus is lost."""
    try:
        return await future
    except _Bug as envelope:
        raise envelope.bug from None
    except Exception as why:
        raise Lost(Condition.DOWN, f"{type(why).__name__}: {why}") from why


def _waiter(bus: can.BusABC) -> Callable[[], can.Message | None]:
    """Return what waits up to TURN_S for a message: asleep on the descriptor where there is one (slcan would poll)."""
    try:
        poll = select.poll()
        poll.register(bus.fileno(), select.POLLIN)
    except (NotImplementedError, can.CanError, OSError, ValueError):
        return lambda: bus.recv(TURN_S)

    def wait() -> can.Message | None:
        poll.poll(TURN_S * 1000)
        return bus.recv(0)

    return wait


def _succeed(future: "asyncio.Future[Any]", value: object) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: "asyncio.Future[Any]", why: Exception) -> None:
    if not future.done():
        future.set_exception(why)


def _seen(future: "asyncio.Future[Any]") -> None:
    """Take note of an exception that nobody waits for any more."""
    if not future.cancelled():
        future.exception()
