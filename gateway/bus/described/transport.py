"""ISO-TP on a line: payloads of up to 4095 bytes in frames of 8, by the state machine of can-isotp.

That library is driven from our loop: it is handed what came in, and what it wants to send leaves by our link. No thread
and no socket of its own.
"""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import Final

import isotp

from gateway.bus.described.speaker import INBOX_LIMIT, Line
from gateway.bus.exchange.protocol import ExchangeEnded
from gateway.bus.wire import EXTENDED, EXTENDED_MASK
from gateway.errors import Code
from gateway.operation import Ending, Outcome

_LOGGER: Final = f"{__name__}.library"
logging.getLogger(_LOGGER).setLevel(logging.CRITICAL)  # it would tell every bad frame, and keys where debugging is on
_TURN_S: Final = 0.1  # between two looks at the library's own time limits while a transfer is under way
_WAIT_FRAMES: Final = 32  # a device may ask for more time so often in a row
_ENDS: Final = (  # errors after which no answer can come
    isotp.FlowControlTimeoutError,
    isotp.ConsecutiveFrameTimeoutError,
    isotp.WrongSequenceNumberError,
    isotp.FrameTooLongError,
    isotp.MaximumWaitFrameReachedError,
    isotp.OverflowError,
)


class Transport:
    """One attempt's transfers under a pair of ids, in SocketCAN's spelling. `padding`: fills frames to 8 bytes."""

    def __init__(self, line: Line, request_id: int, response_id: int, padding: int) -> None:
        self._line = line
        self._response_id = response_id
        self._incoming: deque[bytes] = deque(maxlen=INBOX_LIMIT)
        self._outgoing: deque[tuple[int, bytes]] = deque()
        self._end: Exception | None = None
        extended = bool(request_id & EXTENDED)
        mode = isotp.AddressingMode.Normal_29bits if extended else isotp.AddressingMode.Normal_11bits
        self._logic = isotp.TransportLayerLogic(
            rxfn=self._take,
            txfn=self._put,
            address=isotp.Address(mode, txid=request_id & EXTENDED_MASK, rxid=response_id & EXTENDED_MASK),
            error_handler=self._note,
            params={
                "tx_padding": padding,
                "wftmax": _WAIT_FRAMES,
                "logger_name": _LOGGER,
                "wait_func": lambda _: None,  # it is tried out when the parameters are checked, and would block us
            },
        )

    async def ask(self, payload: bytes, *, begins: bool) -> None:
        """Send the first frame of a question; `answer` goes on. Raises ExchangeEnded, LinkDown."""
        await self._line.afford()
        self._line.forget()
        self._logic.reset()
        self._incoming.clear()
        self._end = None
        self._logic.send(payload)
        self._logic.process()
        await self._say(begins=begins)

    async def answer(self) -> bytes:
        """Return the next payload of the device. Raises ExchangeEnded where the transfer broke off, LinkDown."""
        while (payload := self._logic.recv()) is None:
            if self._end is not None:
                message = f"The transfer broke off: {self._end}"
                raise ExchangeEnded(Outcome(Ending.UNANSWERED, code=Code.EXCHANGE_TIMEOUT, message=message))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    self._incoming.append(await self._line.hear())
            self._logic.process()
            if self._outgoing:
                self._line.count()
                await self._say()
        return bytes(payload)

    def _pause_s(self) -> float | None:
        """How long to wait for a frame before the library is asked again; None: it waits for nothing else."""
        delay = self._logic.next_cf_delay()
        if delay is not None:
            return delay
        return _TURN_S if self._logic.transmitting() or self._logic.is_rx_active() else None

    async def _say(self, *, begins: bool = True) -> None:
        while self._outgoing:
            can_id, data = self._outgoing.popleft()
            await self._line.send(can_id, data, begins=begins)

    def _take(self, _: float) -> isotp.CanMessage | None:
        if not self._incoming:
            return None
        can_id, data = self._response_id, self._incoming.popleft()
        extended = bool(can_id & EXTENDED)
        return isotp.CanMessage(can_id & EXTENDED_MASK, len(data), data, extended_id=extended)

    def _put(self, message: isotp.CanMessage) -> None:
        can_id = message.arbitration_id | (EXTENDED if message.is_extended_id else 0)
        self._outgoing.append((can_id, bytes(message.data)))

    def _note(self, error: Exception) -> None:
        if isinstance(error, _ENDS):
            self._end = error
