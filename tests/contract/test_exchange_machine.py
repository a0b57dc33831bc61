"""The transaction table beside a plain model of it: any order of questions, answers, doubles and lost causes."""

import asyncio
from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.bus.exchange import CLOSED_KEPT, INBOX_LIMIT, PAIRING, Exchange, Transaction
from gateway.bus.frames import load_codecs
from tests.doubles_devices import JumpingLoop, LoopClock, MemoryBus

NODES = st.sampled_from([1, 2])
OPERATIONS = st.sampled_from([1, 2])
SEQUENCES = st.sampled_from([7, 8])


class Asked:
    """What the model knows of one question."""

    def __init__(self, node: int, operations: frozenset[int], sequence: int, transaction: Transaction) -> None:
        self.node, self.operations, self.sequence, self.transaction = node, operations, sequence, transaction
        self.answered: set[int] = set()
        self.unread: list[int] = []  # operations, in order of arrival


class ExchangeMachine(RuleBasedStateMachine):
    """One exchange; the model is a list of questions asked and four counters."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = JumpingLoop()
        self.exchange = Exchange(MemoryBus().end(), LoopClock())
        self.open: dict[int, Asked] = {}
        self.past: deque[Asked] = deque(maxlen=CLOSED_KEPT)
        self.counts = dict.fromkeys(("invalid", "late", "double", "foreign"), 0)

    def teardown(self) -> None:
        self.loop.close()

    @rule(node=NODES, operations=st.frozensets(OPERATIONS, min_size=1), sequence=SEQUENCES)
    def ask(self, node: int, operations: frozenset[int], sequence: int) -> None:
        if node in self.open:
            return
        transaction = self.exchange.ask(PAIRING, node, tuple(operations), sequence)
        transaction.__enter__()
        self.open[node] = Asked(node, operations, sequence, transaction)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        asked = self.open.pop(data.draw(st.sampled_from(sorted(self.open))))
        asked.transaction.__exit__(None, None, None)
        self.past.append(asked)

    @rule(node=NODES, operation=OPERATIONS, sequence=SEQUENCES, broken=st.booleans(), times=st.sampled_from([1, 1, 9]))
    def answer(self, node: int, operation: int, sequence: int, broken: bool, times: int) -> None:
        codec = load_codecs()["PAIR_RSP"]
        data = codec.encode(node, 3, {"PairOp": operation, "TxnId": sequence, "PairStatus": 0})
        if broken:
            data = data[:7] + bytes((data[7] ^ 0x10,))
        self.exchange._receive([(codec.id_for(node), data, 0.0)] * times)
        for _ in range(times):
            self.expect(node, operation, sequence, broken)

    def expect(self, node: int, operation: int, sequence: int, broken: bool) -> None:
        asked = self.open.get(node)
        if broken:
            self.counts["invalid"] += 1
        elif asked and operation in asked.operations and sequence == asked.sequence:
            if len(asked.unread) == INBOX_LIMIT:
                self.counts["double"] += 1
            else:
                asked.unread.append(operation)
                asked.answered.add(operation)
        else:
            was = [
                past
                for past in self.past
                if past.node == node and past.sequence == sequence and operation in past.operations
            ]
            why = "foreign" if not was else "double" if operation in was[-1].answered else "late"
            self.counts[why] += 1

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        asked = self.open[data.draw(st.sampled_from(sorted(self.open)))]

        async def receive() -> int | None:
            answer = await asked.transaction.receive(asyncio.get_running_loop().time() + 1)
            return None if answer is None else answer["PairOp"]

        expected = asked.unread.pop(0) if asked.unread else None
        assert self.loop.run_until_complete(receive()) == expected

    @invariant()
    def counts_agree(self) -> None:
        counts = self.exchange.counts
        assert {name: getattr(counts, name) for name in self.counts} == self.counts

    @invariant()
    def the_table_is_bounded(self) -> None:
        assert len(self.exchange._open) == len(self.open)
        assert len(self.exchange._closed) <= CLOSED_KEPT


ExchangeMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestExchangeMachine = ExchangeMachine.TestCase
