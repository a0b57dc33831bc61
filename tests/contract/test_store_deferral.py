"""Writes that wait for the commit: seen by whoever asks before, undone with their job, sent in few statements."""

import asyncio
import hashlib
import json
import sqlite3
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.operation import Action, Ending, Operation, Outcome, QueueType, RequestType, Status, Verdict
from gateway.ports import Tx
from gateway.queue.store import writer
from gateway.queue.store.audit import GENESIS, chain_hash
from tests.store_scene import PARAMETERS, StoreScene, scene

DONE = Verdict(Action.COMPLETE), Outcome(Ending.DONE)
NOW = 1_790_000_000_000
ALL = QueueType.ALL


class SpoiledError(Exception):
    """What a job raises to be undone."""


@pytest.fixture
async def told(tmp_path: Path):
    async with scene(tmp_path / "queue.db") as made:
        yield made


def claim(carrier: str, tx: Tx, **options: Any) -> Operation | None:
    return tx.claim(carrier, NOW, **options)


def finish_and_claim(current: Operation, tx: Tx) -> Operation | None:
    tx.finish(current, *DONE, NOW)
    return tx.claim(current.target_component, NOW)


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch):
    """Collect what the database is told in the groups to come."""
    said: list[str] = []
    commit = writer.commit

    def traced(transaction, db: sqlite3.Connection, jobs):
        db.set_trace_callback(said.append)
        try:
            return commit(transaction, db, jobs)
        finally:
            db.set_trace_callback(None)

    with monkeypatch.context() as patched:
        patched.setattr(writer, "commit", traced)
        yield said


# --- seen in time -----------------------------------------------------------------------------------------------------


async def test_a_claim_sees_what_was_queued_and_taken_before_it_in_its_group(told: StoreScene) -> None:
    first, second = told.command(), told.command()
    waiting = [told.enqueue(first), told.enqueue(second)]
    *_, one, none, two = await asyncio.gather(
        *waiting,
        told.claim(),
        told.claim(),
        told.store.write(lambda tx: finish_and_claim(first_of(tx), tx)),
    )
    assert one is not None
    assert two is not None
    assert (one.request_id, none, two.request_id) == (first.request_id, None, second.request_id)


def first_of(tx: Tx) -> Operation:
    """What is PROCESSING for module-03."""
    page = tx.operations(
        component_id="module-03", queue_type=ALL, status=Status.PROCESSING, page_size=1, cursor=None
    )  # fmt: skip
    return page.operations[0]


async def test_a_proxy_leaves_a_target_alone_that_was_taken_in_the_same_group(told: StoreScene) -> None:
    await told.enqueue(told.command())
    await told.enqueue(told.pairing(request_type=RequestType.PROXY, proxy_component="pack-01"))
    await told.enqueue(told.command("pack-01"))
    direct, by_proxy, own = await asyncio.gather(
        told.claim(), told.claim("pack-01", proxy=True, target="module-03"), told.claim("pack-01", proxy=True)
    )
    assert direct is not None
    assert by_proxy is None
    assert own is not None
    assert own.target_component == "pack-01"


async def test_the_place_of_a_request_is_the_same_from_memory_and_from_the_table(told: StoreScene) -> None:
    def queue(tx: Tx) -> list[tuple[int | None, int | None]]:
        queued = [tx.enqueue(told.command(), PARAMETERS) for _ in range(4)]
        tx.claim("module-03", NOW)
        return [(tx.queue_position(each), known(tx, each)) for each in queued[1:]]

    def known(tx: Tx, operation: Operation) -> int:
        page = tx.operations(component_id=None, queue_type=ALL, status=Status.QUEUED, page_size=9, cursor=None)
        return [each.request_id for each in page.operations].index(operation.request_id) + 1

    assert await told.store.write(queue) == [(1, 1), (2, 2), (3, 3)]


# --- undone -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asks", [False, True], ids=["waiting", "sent"])
async def test_numbers_given_by_a_job_that_raises_are_taken_back_and_those_before_it_kept(
    tmp_path: Path, *, asks: bool
) -> None:
    async with scene(tmp_path / "queue.db") as told:
        for target in ("module-03", "module-03", "module-04"):
            await told.enqueue(told.command(target))
        first = await told.claimed()

        def spoiled(tx: Tx) -> None:
            assert claim("module-04", tx) is not None
            if asks:
                assert tx.queue_status("module-03").last_processed == NOW  # brings all that waits to the database
            raise SpoiledError

        sound = told.store.write(partial(finish_and_claim, first))
        second, error = await asyncio.gather(sound, told.store.write(spoiled), return_exceptions=True)
        assert isinstance(error, SpoiledError)
        assert isinstance(second, Operation)
        assert (first.sequence, second.sequence) == (1, 2)
    async with scene(tmp_path / "queue.db", told.clock) as told:
        assert (await told.operation(second.request_id)).status is Status.PROCESSING
        status = await told.store.read(lambda reader: reader.queue_status("module-03"))
        assert status.last_processed == NOW
        await told.finish(second)
        await told.enqueue(told.command())
        assert (await told.claimed()).sequence == 3
        assert (await told.claimed("module-04")).sequence == 1


# --- few statements ---------------------------------------------------------------------------------------------------


async def test_finishing_and_claiming_all_over_writes_nothing_before_the_commit(told: StoreScene, monkeypatch) -> None:
    targets = [f"module-{n:02}" for n in range(8)]
    for target in targets * 2:
        await told.enqueue(told.command(target))
    current = [await told.claimed(target) for target in targets]
    with statements(monkeypatch) as said:
        taken = await asyncio.gather(*(told.store.write(partial(finish_and_claim, each)) for each in current))
    assert all(taken)
    verbs = [next(line for line in text.splitlines() if not line.startswith("--")).split()[0] for text in said]
    assert "SAVEPOINT" not in verbs
    assert "SELECT" not in verbs[verbs.index("UPDATE") :]
    assert sum(text.startswith("INSERT INTO component") for text in said) == len(targets)


# --- the audit chain --------------------------------------------------------------------------------------------------


@given(st.tuples(st.integers(0, 1 << 53), st.text(), st.none() | st.text()))
def test_the_chain_is_over_json_as_anybody_writes_it(fields: tuple[int, str, str | None]) -> None:
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    assert chain_hash(GENESIS, fields) == hashlib.sha256(GENESIS + text.encode()).digest()
