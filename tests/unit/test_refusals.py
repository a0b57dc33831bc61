"""The audit of what is refused at the edge: all of it, in few rows."""

import asyncio
import logging

import pytest

from gateway.errors import Code, Refusal
from gateway.ports import AuditEntry
from gateway.sync.refusals import FIRST, Refusals
from gateway.sync.tally import Tally
from tests.doubles import FakeClock
from tests.looptime import virtual_time


class Book:
    """Takes rows down, unless it is `full` or `stalls`."""

    def __init__(self) -> None:
        self.rows: list[AuditEntry] = []
        self.full = self.stalls = False
        self.tally = Tally(logging.getLogger("test"), FakeClock())
        self.refusals = Refusals(self._audit, self.tally)

    async def _audit(self, entry: AuditEntry) -> None:
        if self.full:
            raise Refusal(Code.STORAGE_FULL)
        if self.stalls:
            await asyncio.Event().wait()
        self.rows.append(entry)

    async def refuse(self, times: int, account: str = "anna", code: Code = Code.BAD_SIGNATURE) -> None:
        for _ in range(times):
            entry = AuditEntry(account, "mqtt", "set_params", "gateway", "refused", code)
            await self.refusals.tell(account, entry, code)

    def told(self) -> list[tuple[str, str, str, str | None]]:
        return [(row.actor, row.action, row.subject, row.code) for row in self.rows]


async def test_the_first_of_a_minute_have_rows_of_their_own_and_one_row_tells_of_the_rest() -> None:
    book = Book()
    await book.refuse(FIRST + 300)
    assert book.told() == [("anna", "set_params", "gateway", "BAD_SIGNATURE")] * FIRST
    await book.refusals.close_minute()
    assert book.told()[FIRST:] == [("anna", "several", "300 more", "BAD_SIGNATURE")]


@pytest.mark.parametrize("times", [0, 1, FIRST])
async def test_few_have_their_rows_and_nothing_beside_them(times: int) -> None:
    book = Book()
    await book.refuse(times)
    await book.refusals.close_minute()
    assert len(book.rows) == times


async def test_actors_and_codes_are_counted_apart_and_every_minute_anew() -> None:
    book = Book()
    for minute in (1, 2):
        await book.refuse(FIRST + 1)
        await book.refuse(FIRST + 2, "bert")
        await book.refuse(1, "anna", Code.REPLAYED)
        await book.refusals.close_minute()
        assert len(book.rows) == minute * (2 * FIRST + 1 + 2)
    several = [row[0:3:2] for row in book.told() if row[1] == "several"]
    assert several == [("anna", "1 more"), ("bert", "2 more")] * 2


async def test_a_full_disk_changes_no_answer_and_is_counted() -> None:
    book = Book()
    book.full = True
    await book.refuse(2)
    assert book.rows == []
    assert book.tally.totals == {"a refusal that could not be audited": 2}


@virtual_time
async def test_a_minute_ends_by_itself_and_with_the_gateway() -> None:
    book = Book()
    running = asyncio.create_task(book.refusals.run())
    await book.refuse(FIRST + 7)
    await asyncio.sleep(59.9)
    assert len(book.rows) == FIRST
    await asyncio.sleep(0.2)
    assert book.told()[FIRST:] == [("anna", "several", "7 more", "BAD_SIGNATURE")]
    await book.refuse(FIRST + 9)
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    assert [row[2] for row in book.told() if row[1] == "several"] == ["7 more", "9 more"]


@virtual_time
async def test_a_disk_that_stalls_does_not_hold_up_the_stop() -> None:
    book = Book()
    running = asyncio.create_task(book.refusals.run())
    await book.refuse(FIRST + 1)
    book.stalls = True
    running.cancel()
    done, _ = await asyncio.wait({running}, timeout=2)
    assert done
    assert running.cancelled()
