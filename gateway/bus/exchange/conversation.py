"""What one attempt says to one node: questions with their tries, and the note of when the first frame left."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.bus.exchange import COMMANDING, PAIRING, Exchange, Transaction, Values
from gateway.bus.exchange.departure import Departure
from gateway.bus.exchange.limit import TimeLimit
from gateway.bus.exchange.protocol import (
    COMMAND_PATIENCE,
    PATIENCE,
    CmdFlag,
    CmdStatus,
    ExchangeEnded,
    PairOp,
    PairStatus,
    Patience,
    ResultCode,
    refused_step,
    too_late,
    unanswered,
)
from gateway.errors import LinkDown
from gateway.ports import Attempt

_ANSWERED_BY: Final[Mapping[PairOp, frozenset[PairOp]]] = {
    PairOp.DISCOVER: frozenset({PairOp.DISCOVER, PairOp.SERIAL_HIGH}),
}
_GO_ON_WAITING: Final = frozenset({CmdStatus.ACCEPTED, CmdStatus.PENDING})


@dataclass(frozen=True, slots=True)
class Order:
    """One CMD_REQ. `leave_by`: s, monotonic; later it must not be sent any more."""

    opcode: int
    sequence: int  # CmdSeq
    words: tuple[int, int] = (0, 0)
    flag: CmdFlag = CmdFlag.DO_IT
    leave_by: float = float("inf")

    def content(self) -> Values:
        """Return the raw signals of the frame."""
        arg0, arg1 = self.words
        return {"CmdFlags": self.flag, "CmdSeq": self.sequence, "Opcode": self.opcode, "Arg0": arg0, "Arg1": arg1}

    def is_answered_by(self, answer: Values) -> bool:
        """Whether an answer is the last one. ARMED is, to who has armed; else it answers what was never asked."""
        status = answer["CmdStatus"]
        if status == CmdStatus.ARMED:
            return self.flag is CmdFlag.ARM
        pending = status == CmdStatus.REJECTED and answer["ResultCode"] == ResultCode.RESPONSE_PENDING
        return status not in _GO_ON_WAITING and not pending


class Conversation:
    """One attempt's way to one node. `attempt` None: a question of the gateway's own, such as the probe."""

    def __init__(self, exchange: Exchange, node: int, limit: TimeLimit, attempt: Attempt | None = None) -> None:
        self.node = node
        self.clock = exchange.clock
        self._exchange = exchange
        self._limit = limit
        self._departure = Departure(attempt, exchange.budget, limit, exchange.clock)

    async def step(
        self, operation: PairOp, txn_id: int, content: Values, fits: Callable[[Values], bool] = lambda _: True
    ) -> Values:
        """Ask one step of a pairing; return the signals of its answer (of DISCOVER: of both answers).

        An answer that does not fit may belong to an earlier attempt under the same TxnId: a better one is waited and
        asked for, and only then is it returned. Raises ExchangeEnded where the node refuses or does not answer,
        LinkDown where the bus is away.
        """
        wanted = _ANSWERED_BY.get(operation, frozenset({operation}))
        request = {"PairOp": operation, "TxnId": txn_id, **content}
        heard: dict[str, int] = {}
        missing = set(wanted)
        with self._exchange.ask(PAIRING, self.node, tuple(wanted), txn_id) as transaction:
            for wait_s in PATIENCE[operation].waits_s():
                await self._afford(transaction, len(wanted))
                until = self.clock.monotonic() + wait_s
                await self._send(transaction, request, until)
                while (answer := await transaction.receive(until)) is not None:
                    if answer["PairStatus"] != PairStatus.OK:
                        raise ExchangeEnded(refused_step(operation, answer["PairStatus"]))
                    heard.update(answer)
                    missing.discard(PairOp(answer["PairOp"]))
                    if not missing and fits(heard):
                        return heard
        if missing:
            raise ExchangeEnded(unanswered(operation.name))
        return heard

    async def tell(self, operation: PairOp, txn_id: int, content: Values) -> None:
        """Say what is not answered (ABORT). Best effort: a bus that is away needs no telling."""
        self._exchange.budget.spend(1)  # one frame that ends an exchange is not worth waiting for
        deadline = self.clock.monotonic() + PATIENCE[PairOp.DISCOVER].timeout_s
        try:
            await self._exchange.send(PAIRING, self.node, {"PairOp": operation, "TxnId": txn_id, **content}, deadline)
        except LinkDown:
            return

    async def command(self, order: Order, patience: Patience = COMMAND_PATIENCE) -> Values | None:
        """Give a command; return the signals of its final answer, None where none came within the limit.

        It is asked for again under the same CmdSeq, so that a node answers from its cache: when the first answer
        does not come, and once more when it was accepted and the final answer seems lost; but not once its operation
        has expired. Raises ExchangeEnded where it could not leave in time, LinkDown where the bus is away.
        """
        with self._exchange.ask(COMMANDING, self.node, (order.opcode,), order.sequence) as transaction:
            for tries_left, wait_s in zip(reversed(range(patience.tries)), patience.waits_s(), strict=True):
                await self._afford(transaction, 1)
                now, deadline = self.clock.monotonic(), self._limit.deadline
                if now >= deadline or (self._departure.has_begun() and self._departure.is_over()):
                    break
                if now >= order.leave_by:
                    raise ExchangeEnded(too_late("The command"))
                until = min(now + wait_s, deadline)
                await self._send(transaction, order.content(), min(until, order.leave_by))
                while (answer := await transaction.receive(until)) is not None:
                    if order.is_answered_by(answer):
                        return answer
                    if patience.waits_on:
                        until = max(until, deadline - patience.timeout_s if tries_left else deadline)
        return None

    async def _afford(self, transaction: Transaction, answers: int) -> None:
        """Pay for one request and its answers."""
        transaction.paid += answers
        await self._departure.afford(1 + answers)

    async def _send(self, transaction: Transaction, request: Values, until: float) -> None:
        # Arming does nothing: an attempt that got no further is one of which nothing has left.
        begins = request.get("CmdFlags") != CmdFlag.ARM
        await self._departure.leave(lambda: transaction.send(request, until), until, begins=begins)
