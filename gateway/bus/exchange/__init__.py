"""Questions and answers on one bus: who asked what of whom, under which sequence number, until when.

An answer counts if it is valid (length, CRC) and its node, operation and sequence are those of an open transaction.
Any other is counted and dropped. A node has at most one transaction of a dialogue open, so the table is bounded.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from gateway.bus import e2e
from gateway.bus.exchange.budget import BusBudget
from gateway.bus.frames import Codec, load_codecs
from gateway.bus.wire import Frame, Lane, Wire
from gateway.clock import Clock
from gateway.errors import MisuseError

INBOX_LIMIT: Final = 8  # answers of one transaction that nobody has read yet
CLOSED_KEPT: Final = 64  # ended transactions, to tell a late answer from one that nobody asked for

Values = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A pair of messages: the request, its answer, and the signals by which an answer finds its question."""

    request: str
    answer: str
    operation: str
    sequence: str


PAIRING: Final = Dialogue("PAIR_REQ", "PAIR_RSP", "PairOp", "TxnId")
COMMANDING: Final = Dialogue("CMD_REQ", "CMD_RSP", "Opcode", "CmdSeq")


@dataclass(slots=True)
class Counts:
    """Answers that were dropped: damaged; too late; more than one; never asked for (or asked by another)."""

    invalid: int = 0
    late: int = 0
    double: int = 0
    foreign: int = 0


@dataclass(slots=True, eq=False)
class Transaction:
    """One question to one node, open until the `with` block around it ends."""

    exchange: "Exchange"
    dialogue: Dialogue
    node: int
    operations: frozenset[int]
    sequence: int
    answered: set[int] = field(default_factory=set)  # operations that an answer has come to
    paid: int = 0  # answers that the bus's budget has been asked for and that have not come
    _inbox: "asyncio.Queue[Values]" = field(default_factory=lambda: asyncio.Queue(INBOX_LIMIT))

    def __enter__(self) -> Self:
        self.exchange.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.exchange.leave(self)

    async def send(self, content: Values, deadline: float) -> None:
        """Send the request with its next counter. `deadline`: s, monotonic. Raises LinkDown."""
        await self.exchange.send(self.dialogue, self.node, content, deadline)

    async def receive(self, until: float) -> Values | None:
        """Return the raw signals of the next answer, or None where none comes `until` (s, monotonic)."""
        try:
            async with asyncio.timeout(max(0.0, until - self.exchange.clock.monotonic())):
                return await self._inbox.get()
        except TimeoutError:
            return None

    def wants(self, operation: int, sequence: int) -> bool:
        """Whether an answer belongs to this transaction."""
        return operation in self.operations and sequence == self.sequence

    def deliver(self, operation: int, answer: Values) -> bool:
        """Take an answer in; False where the inbox is full of unread ones."""
        if self._inbox.full():
            return False
        self.answered.add(operation)
        self._inbox.put_nowait(answer)
        return True


class Exchange:
    """The transaction table of one bus. Make it before the wire runs. `budget` None: exchanges take what they need."""

    def __init__(
        self, wire: Wire, clock: Clock, codecs: Mapping[str, Codec] | None = None, budget: BusBudget | None = None
    ) -> None:
        self.clock = clock
        self.counts = Counts()
        self.budget = budget or BusBudget(None, lambda: 1.0, clock)
        self._wire = wire
        self._codecs = load_codecs() if codecs is None else codecs
        self._open: dict[tuple[int, Dialogue], Transaction] = {}
        self._closed: deque[Transaction] = deque(maxlen=CLOSED_KEPT)
        self._counters: dict[tuple[int, str], int] = {}  # of the last request, per node and message
        answers = [(self._codecs[dialogue.answer], dialogue) for dialogue in (PAIRING, COMMANDING)]
        self._answers = tuple((codec.filter, codec, dialogue) for codec, dialogue in answers)
        wire.listen(Lane.ANSWERS, [wanted for wanted, _, _ in self._answers], self._receive)

    def stats(self) -> dict[str, Any]:
        """Return {answers_dropped, exchange_load, budget_waits} for get_health.

        `exchange_load`: the part of the bit rate that exchanges took lately, None where the bit rate is not known.
        `budget_waits`: how many frames waited for the bus's budget.
        """
        load = self.budget.load()
        return {
            "answers_dropped": asdict(self.counts),
            "exchange_load": None if load is None else round(load, 4),
            "budget_waits": self.budget.waits,
        }

    def ask(self, dialogue: Dialogue, node: int, operations: Sequence[int], sequence: int) -> Transaction:
        """Return a transaction for answers to any of `operations` under `sequence`; enter it before sending."""
        return Transaction(self, dialogue, node, frozenset(operations), sequence)

    async def send(self, dialogue: Dialogue, node: int, content: Values, deadline: float) -> None:
        """Send one request, to which no answer need come. `deadline`: s, monotonic. Raises LinkDown."""
        codec = self._codecs[dialogue.request]
        counter = (self._counters.get((node, codec.name), -1) + 1) % e2e.COUNTER_MODULO
        self._counters[node, codec.name] = counter
        await self._wire.send(codec.id_for(node), codec.encode(node, counter, content), deadline=deadline)

    def enter(self, transaction: Transaction) -> None:
        """Put a transaction into the table. Raises MisuseError where its node is being asked already."""
        key = transaction.node, transaction.dialogue
        if key in self._open:
            raise MisuseError(f"two transactions with node {transaction.node:#04x} at a time")
        self._open[key] = transaction

    def leave(self, transaction: Transaction) -> None:
        """Take a transaction out of the table; what comes for it now is late."""
        del self._open[transaction.node, transaction.dialogue]
        self._closed.append(transaction)

    def _receive(self, frames: Sequence[Frame]) -> None:
        for can_id, data, _ in frames:
            for wanted, codec, dialogue in self._answers:
                if can_id & wanted.mask == wanted.can_id:
                    self._take(codec, dialogue, codec.node_of(can_id), data)

    def _take(self, codec: Codec, dialogue: Dialogue, node: int, data: bytes) -> None:
        if not codec.is_valid(node, data):
            self.counts.invalid += 1
            return
        answer = codec.decode(data)
        operation, sequence = answer[dialogue.operation], answer[dialogue.sequence]
        transaction = self._open.get((node, dialogue))
        if transaction is None or not transaction.wants(operation, sequence):
            self._count_stray(dialogue, node, operation, sequence)
            return
        self._pay_for_answer(transaction)
        if not transaction.deliver(operation, answer):
            self.counts.double += 1

    def _count_stray(self, dialogue: Dialogue, node: int, operation: int, sequence: int) -> None:
        for past in reversed(self._closed):
            if past.node == node and past.dialogue is dialogue and past.wants(operation, sequence):
                self._pay_for_answer(past)
                if operation in past.answered:
                    self.counts.double += 1
                else:
                    self.counts.late += 1
                return
        self.counts.foreign += 1

    def _pay_for_answer(self, transaction: Transaction) -> None:
        """Count an answer that was not paid for when its question left: one more than expected."""
        if transaction.paid:
            transaction.paid -= 1
        else:
            self.budget.spend(1)
