"""A thread that sends for one adapter of python-can, since its `send` may block as long as it likes."""

import queue
import threading
from concurrent.futures import Future
from typing import Final

import can

from gateway.errors import LinkDown

WAITING: Final = 64  # frames


class Sender(threading.Thread):
    """Sends frames in order. A daemon thread: one that hangs in a driver must not keep the process alive."""

    def __init__(self, bus: can.BusABC, name: str) -> None:
        super().__init__(name=f"send: {name}", daemon=True)
        self._bus = bus
        self._waiting: queue.Queue[tuple[can.Message, float, Future[None]] | None] = queue.Queue(WAITING)
        self.start()

    def put(self, message: can.Message, timeout_s: float) -> "Future[None]":
        """Hand a frame over; the future is done once the driver took it. Raises LinkDown where too many wait."""
        done: Future[None] = Future()
        try:
            self._waiting.put_nowait((message, timeout_s, done))
        except queue.Full as why:
            raise LinkDown("too many frames wait to be sent") from why
        return done

    def stop(self) -> None:
        """Send nothing more; whoever still waits is told."""
        while True:
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                break
            if item is not None and item[2].set_running_or_notify_cancel():
                item[2].set_exception(LinkDown("the bus was closed"))
        self._waiting.put_nowait(None)

    def run(self) -> None:
        """Send what is handed over until told to stop."""
        while (item := self._waiting.get()) is not None:
            message, timeout_s, done = item
            if not done.set_running_or_notify_cancel():
                continue  # the caller has given up: too late to send
            try:
                self._bus.send(message, timeout=timeout_s)
            except Exception as why:  # noqa: BLE001 - a driver may raise anything; the caller judges
                done.set_exception(why)
            else:
                done.set_result(None)
