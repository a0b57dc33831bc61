"""What one attempt says to one node: questions with their tries, and the note of when the first frame left."""

from collections.abc import Mapping
from typing import Final

from gateway.bus.exchange import COMMANDING, PAIRING, Exchange, Transaction, Values
from gateway.bus.exchange.protocol import (
    COMMAND_PATIENCE,
    PATIENCE,
    CmdStatus,
    ExchangeEnded,
    PairOp,
    PairStatus,
    Patience,
    ResultCode,
    refused_step,
    unanswered,
)
from gateway.errors import LinkDown
from gateway.ports import Attempt

_ANSWERED_BY: Final[Mapping[PairOp, frozenset[PairOp]]] = {
    PairOp.DISCOVER: frozenset({PairOp.DISCOVER, PairOp.SERIAL_HIGH}),
}
_GO_ON_WAITING: Final = frozenset({CmdStatus.ACCEPTED, CmdStatus.PENDING, CmdStatus.ARMED})


class Conversation:
    """One attempt's way to one node. `attempt` None: a question of the gateway's own, such as the probe."""

    def __init__(self, exchange: Exchange, node: int, attempt: Attempt | None = None) -> None:
        self.node = node
        self.clock = exchange.clock
        self._exchange = exchange
        self._attempt = attempt

    async def step(self, operation: PairOp, txn_id: int, content: Values) -> Values:
        """Ask one step of a pairing; return the signals of its answer (of DISCOVER: of both answers).

        Raises ExchangeEnded where the node refuses or does not answer, LinkDown where the bus is away.
        """
        wanted = _ANSWERED_BY.get(operation, frozenset({operation}))
        request = {"PairOp": operation, "TxnId": txn_id, **content}
        heard: dict[str, int] = {}
        missing = set(wanted)
        with self._exchange.ask(PAIRING, self.node, tuple(wanted), txn_id) as transaction:
            for wait_s in PATIENCE[operation].waits_s():
                until = self.clock.monotonic() + wait_s
                await self._send(transaction, request, until)
                while (answer := await transaction.receive(until)) is not None:
                    if answer["PairStatus"] != PairStatus.OK:
                        raise ExchangeEnded(refused_step(operation, answer["PairStatus"]))
                    heard.update(answer)
                    missing.discard(PairOp(answer["PairOp"]))
                    if not missing:
                        return heard
        raise ExchangeEnded(unanswered(operation.name))

    async def tell(self, operation: PairOp, txn_id: int, content: Values) -> None:
        """Say what is not answered (ABORT). Best effort: a bus that is away needs no telling."""
        deadline = self.clock.monotonic() + PATIENCE[PairOp.DISCOVER].timeout_s
        try:
            await self._exchange.send(PAIRING, self.node, {"PairOp": operation, "TxnId": txn_id, **content}, deadline)
        except LinkDown:
            return

    async def command(
        self, opcode: int, sequence: int, words: tuple[int, int], deadline: float, patience: Patience = COMMAND_PATIENCE
    ) -> Values | None:
        """Give a command; return the signals of its final answer, None where none came by `deadline` (s, monotonic).

        It is asked for again under the same CmdSeq, so that a node answers from its cache: when the first answer
        does not come, and once more when it was accepted and the final answer seems lost.
        """
        request = {"CmdFlags": 0, "CmdSeq": sequence, "Opcode": opcode, "Arg0": words[0], "Arg1": words[1]}
        with self._exchange.ask(COMMANDING, self.node, (opcode,), sequence) as transaction:
            for wait_s in patience.waits_s():
                now = self.clock.monotonic()
                if now >= deadline:
                    break
                until = min(now + wait_s, deadline)
                await self._send(transaction, request, until)
                while (answer := await transaction.receive(until)) is not None:
                    if not _is_interim(answer):
                        return answer
                    until = max(until, deadline - patience.timeout_s)
        return None

    async def _send(self, transaction: Transaction, request: Values, until: float) -> None:
        attempt = self._attempt
        first = attempt is not None and attempt.sent_at is None
        if attempt is not None and first:
            attempt.sent_at = self.clock.monotonic()
        try:
            await transaction.send(request, until)
        except LinkDown:
            # Refused before its time was over, it has not left. A slow adapter may let it go after that time.
            if attempt is not None and first and self.clock.monotonic() < until:
                attempt.sent_at = None
            raise


def _is_interim(answer: Values) -> bool:
    """Whether a final answer is still to come. ARMED answers a question that was never asked."""
    rejected = answer["CmdStatus"] == CmdStatus.REJECTED
    return answer["CmdStatus"] in _GO_ON_WAITING or (rejected and answer["ResultCode"] == ResultCode.RESPONSE_PENDING)
