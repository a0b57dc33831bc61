"""Reads that take long, beside those that must not."""

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from gateway.event import Event
from gateway.ports import Reader, Tx
from tests.store_scene import scene

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"


def emit(tx: Tx) -> int:
    return tx.emit(Event("bus_up", "gateway", 0))


async def test_a_study_holds_up_neither_readers_nor_writers_and_sees_one_state(tmp_path: Path) -> None:
    entered, release = threading.Event(), threading.Event()

    def study(reader: Reader) -> tuple[int, int]:
        first = reader.last_seq()
        entered.set()
        assert release.wait(10)
        return first, reader.last_seq()

    async with scene(tmp_path / "queue.db") as told:
        await told.store.write(emit)
        studying = asyncio.create_task(told.store.study(study))
        await asyncio.to_thread(entered.wait, 10)
        assert await told.store.write(emit) == 2
        assert await told.store.read(lambda reader: reader.last_seq()) == 2
        assert not studying.done()
        release.set()
        assert await studying == (1, 1)
        assert await told.store.study(lambda reader: reader.last_seq()) == 2


async def test_closing_breaks_a_study_off(tmp_path: Path) -> None:
    entered = threading.Event()

    def endless(reader: Reader) -> None:
        entered.set()
        reader._execute(ENDLESS, ()).fetchone()  # type: ignore[attr-defined]  # behind the protocol

    async with scene(tmp_path / "queue.db") as told:
        studying = asyncio.create_task(told.store.study(endless))
        await asyncio.to_thread(entered.wait, 10)
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        await studying
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("store-")] == []
