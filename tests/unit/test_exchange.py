"""The transaction table: which answers count, which are dropped, and how requests are numbered."""

import asyncio

import pytest

from gateway.bus.exchange import COMMANDING, INBOX_LIMIT, PAIRING, Exchange
from gateway.bus.exchange.protocol import PairOp
from gateway.bus.frames import load_codecs
from gateway.errors import MisuseError
from tests.doubles_devices import LoopClock, MemoryBus, MemoryWire, play

NODE = 0xA3


class Table:
    """An exchange, and a hand that puts frames on its bus."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.exchange = Exchange(self.bus.end(owner="gateway"), LoopClock())
        self.device: MemoryWire = self.bus.end(owner="device")

    def counts(self) -> tuple[int, int, int, int]:
        counts = self.exchange.counts
        return counts.invalid, counts.late, counts.double, counts.foreign

    async def answer(self, operation: int, txn_id: int, node: int = NODE, *, broken: bool = False) -> None:
        codec = load_codecs()["PAIR_RSP"]
        values = {"PairOp": operation, "TxnId": txn_id, "PairStatus": 0}
        data = codec.encode(node, 0, values)
        data = bytes((data[0] ^ 1,)) + data[1:] if broken else data
        await self.device.send(codec.id_for(node), data, deadline=0)
        await asyncio.sleep(0.001)


def test_an_answer_that_matches_node_operation_and_transaction_is_the_answer() -> None:
    async def story() -> None:
        table = Table()
        with table.exchange.ask(PAIRING, NODE, (PairOp.BIND,), 7) as transaction:
            await table.answer(PairOp.BIND, 7)
            answer = await transaction.receive(until=0)
            assert answer is not None
            assert (answer["PairOp"], answer["TxnId"]) == (1, 7)
        assert table.counts() == (0, 0, 0, 0)

    play(story())


@pytest.mark.parametrize(
    ("operation", "txn_id", "node"), [(PairOp.CONFIRM, 7, NODE), (PairOp.BIND, 8, NODE), (PairOp.BIND, 7, 0xA4)]
)
def test_an_answer_to_anything_else_is_foreign(operation: PairOp, txn_id: int, node: int) -> None:
    async def story() -> None:
        table = Table()
        with table.exchange.ask(PAIRING, NODE, (PairOp.BIND,), 7) as transaction:
            await table.answer(operation, txn_id, node)
            assert await transaction.receive(until=table.exchange.clock.monotonic() + 1) is None
        assert table.counts() == (0, 0, 0, 1)

    play(story())


def test_a_damaged_answer_is_invalid() -> None:
    async def story() -> None:
        table = Table()
        with table.exchange.ask(PAIRING, NODE, (PairOp.BIND,), 7) as transaction:
            await table.answer(PairOp.BIND, 7, broken=True)
            assert await transaction.receive(until=0) is None
        assert table.counts() == (1, 0, 0, 0)

    play(story())


def test_an_answer_after_the_end_is_late_and_a_second_one_is_a_double() -> None:
    async def story() -> None:
        table = Table()
        with table.exchange.ask(PAIRING, NODE, (PairOp.BIND,), 7):
            pass
        await table.answer(PairOp.BIND, 7)
        assert table.counts() == (0, 1, 0, 0)
        with table.exchange.ask(PAIRING, NODE, (PairOp.BIND,), 8) as transaction:
            await table.answer(PairOp.BIND, 8)
            await transaction.receive(until=0)
        await table.answer(PairOp.BIND, 8)
        assert table.counts() == (0, 1, 1, 0)

    play(story())


def test_a_stray_answer_is_judged_by_the_latest_question_it_could_belong_to() -> None:
    async def story() -> None:
        table = Table()
        with table.exchange.ask(PAIRING, NODE, (PairOp.BIND,), 7):
            await table.answer(PairOp.BIND, 7)
        with table.exchange.ask(PAIRING, NODE, (PairOp.BIND,), 7):
            pass
        await table.answer(PairOp.BIND, 7)
        assert table.counts() == (0, 1, 0, 0)

    play(story())


def test_answers_that_nobody_reads_are_bounded() -> None:
    async def story() -> None:
        table = Table()
        with table.exchange.ask(PAIRING, NODE, (PairOp.BIND,), 7):
            for _ in range(INBOX_LIMIT + 3):
                await table.answer(PairOp.BIND, 7)
        assert table.counts() == (0, 0, 3, 0)

    play(story())


def test_a_node_is_asked_one_thing_at_a_time() -> None:
    async def story() -> None:
        table = Table()
        ask = table.exchange.ask
        with (
            ask(PAIRING, NODE, (PairOp.BIND,), 7),
            ask(COMMANDING, NODE, (1,), 7),
            ask(PAIRING, 0xA4, (1,), 7),
            pytest.raises(MisuseError),
            ask(PAIRING, NODE, (PairOp.BIND,), 8),
        ):
            pass
        with ask(PAIRING, NODE, (PairOp.BIND,), 8):
            pass

    play(story())


def test_requests_are_counted_per_node_and_message_from_0_to_14() -> None:
    async def story() -> None:
        table = Table()
        for _ in range(17):
            await table.exchange.send(PAIRING, NODE, {"PairOp": PairOp.ABORT, "TxnId": 1, "AbortReason": 1}, 0)
        await table.exchange.send(PAIRING, 0xA4, {"PairOp": PairOp.ABORT, "TxnId": 1, "AbortReason": 1}, 0)
        command = {"CmdFlags": 0, "CmdSeq": 1, "Opcode": 1, "Arg0": 0, "Arg1": 0}
        await table.exchange.send(COMMANDING, NODE, command, 0)
        counters = [data[1] & 0xF for _, _, data in table.bus.carried]
        assert counters == [*range(15), 0, 1, 0, 0]
        for _, can_id, data in table.bus.carried[:-1]:
            assert load_codecs()["PAIR_REQ"].is_valid(can_id >> 8 & 0xFF, data)
        assert load_codecs()["CMD_REQ"].is_valid(NODE, table.bus.carried[-1][2])

    play(story())


def test_frames_of_other_messages_are_nothing_to_it() -> None:
    async def story() -> None:
        table = Table()
        table.exchange._receive([(load_codecs()["HB_PACK"].id_for(1), bytes(8), 0.0)])
        assert table.counts() == (0, 0, 0, 0)

    play(story())
