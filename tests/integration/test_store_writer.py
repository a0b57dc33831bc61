"""Group commit, and what happens where it fails."""

import asyncio
import resource
import sqlite3
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from gateway.errors import Code, MisuseError, Refusal
from gateway.event import Event
from gateway.operation import Operation, RequestType
from gateway.ports import Tx
from gateway.queue.store import SqliteStore, writer
from gateway.queue.store.sql import WAL_BYTES
from gateway.settings import Parameters
from tests.doubles import FakeClock
from tests.store_scene import PARAMETERS, StoreScene, scene

NOW = 1_790_000_000_000
MANY = Parameters(max_requests_per_component=100_000, max_queue_depth=100_000)


@pytest.fixture
async def told(tmp_path: Path):
    async with scene(tmp_path / "queue.db") as made:
        yield made


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of every group that was committed."""
    sizes: list[int] = []
    commit = writer.commit

    def counting(transaction, db, jobs):
        sizes.append(len(jobs))
        return commit(transaction, db, jobs)

    monkeypatch.setattr(writer, "commit", counting)
    return sizes


def emit(tx: Tx) -> int:
    return tx.emit(Event("bus_up", "gateway", NOW))


def flood(events: int, tx: Tx) -> None:
    for _ in range(events):
        tx.emit(Event("bus_up", "gateway", NOW, {"text": "x" * 1000}))


async def test_callers_that_come_together_share_a_commit(told: StoreScene, groups: list[int]) -> None:
    seqs = await asyncio.gather(*(told.store.write(emit) for _ in range(100)))
    assert seqs == list(range(1, 101))
    assert groups == [100]


async def test_what_comes_during_a_commit_goes_into_the_next(told: StoreScene, groups: list[int]) -> None:
    release, entered = threading.Event(), threading.Event()

    def slow(tx: Tx) -> int:
        entered.set()
        assert release.wait(10)
        return emit(tx)

    first = asyncio.create_task(told.store.write(slow))
    await asyncio.to_thread(entered.wait, 10)
    others = [asyncio.create_task(told.store.write(emit)) for _ in range(20)]
    await asyncio.sleep(0)
    assert not first.done()
    release.set()
    assert await asyncio.gather(first, *others) == list(range(1, 22))
    assert groups == [1, 20]


async def test_one_that_raises_in_the_middle_is_undone_alone(told: StoreScene) -> None:
    def spoiled(tx: Tx) -> None:
        tx.enqueue(told.command(), PARAMETERS)
        emit(tx)
        assert tx.last_seq() > 0  # what it wrote has gone to the database by now
        msg = "spoiled"
        raise ValueError(msg)

    sound = [told.command() for _ in range(9)]
    jobs = [told.enqueue(each) for each in sound]
    results = await asyncio.gather(*jobs[:4], told.store.write(spoiled), *jobs[4:], return_exceptions=True)
    assert isinstance(results.pop(4), ValueError)
    assert results == sound
    assert set(await told.statuses()) == {each.request_id for each in sound}
    assert [event.seq for event in await told.stored_events()] == list(range(1, 10))


def half_a_character_in_json(told: StoreScene, tx: Tx) -> None:
    tx.enqueue(told.command(title="\ud800"), PARAMETERS)


def half_a_character_in_a_column(_: StoreScene, tx: Tx) -> None:
    tx.emit(Event("\ud800", "gateway", NOW))  # shows at the commit alone


@pytest.mark.parametrize("unfit", [half_a_character_in_json, half_a_character_in_a_column])
async def test_one_that_writes_what_no_database_takes_fails_alone(told: StoreScene, unfit) -> None:
    sound = [told.command() for _ in range(4)]
    jobs = [*map(told.enqueue, sound[:2]), told.store.write(partial(unfit, told)), *map(told.enqueue, sound[2:])]
    results = await asyncio.gather(*jobs, return_exceptions=True)
    refused = results.pop(2)
    assert isinstance(refused, Refusal)
    assert refused.code is Code.INTERNAL
    assert results == sound
    assert [event.seq for event in await told.stored_events()] == [1, 2, 3, 4]
    assert [event.seq for event in told.events] == [1, 2, 3, 4]


async def test_a_cancelled_caller_does_not_undo_its_job(told: StoreScene) -> None:
    operation = told.command()
    call = asyncio.create_task(told.enqueue(operation))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await told.store.write(emit)
    assert operation.request_id in await told.statuses()


async def test_callers_beyond_the_bound_await_room(tmp_path: Path, groups: list[int]) -> None:
    async with scene(tmp_path / "queue.db", max_waiting=8) as told:
        assert len(await asyncio.gather(*(told.store.write(emit) for _ in range(50)))) == 50
    assert max(groups) == 8


async def test_a_listener_that_fails_costs_the_others_nothing(told: StoreScene, caplog) -> None:
    def faulty(events) -> None:
        msg = "no"
        raise RuntimeError(msg)

    heard: list[Event] = []
    told.store.subscribe(faulty)
    told.store.subscribe(heard.extend)
    await told.store.write(emit)
    await told.store.write(emit)
    assert [event.seq for event in heard] == [1, 2]
    assert "a listener failed" in caplog.text


async def test_a_read_sees_every_commit_that_was_answered(told: StoreScene) -> None:
    for n in range(1, 30):
        await told.store.write(emit)
        assert await told.store.read(lambda reader: reader.last_seq()) == n


async def test_closing_finishes_what_waits_and_takes_no_more(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db") as told:
        waiting = [asyncio.create_task(told.store.write(emit)) for _ in range(30)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*waiting) == list(range(1, 31))
    with pytest.raises(MisuseError):
        await told.store.write(emit)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("store-")] == []


async def test_a_writer_that_is_stuck_is_noticed(told: StoreScene) -> None:
    release, entered = threading.Event(), threading.Event()

    def stuck(tx: Tx) -> None:
        entered.set()
        assert release.wait(10)

    assert told.store.writer_alive()
    call = asyncio.create_task(told.store.write(stuck))
    await asyncio.to_thread(entered.wait, 10)
    assert told.store.writer_alive()
    told.clock.advance(writer.STALLED_AFTER_S)
    assert not told.store.writer_alive()
    release.set()
    await call
    assert told.store.writer_alive()


# --- disk full, IO errors -----------------------------------------------------------------------------------------


async def refused(call) -> Code:
    with pytest.raises(Refusal) as why:
        await call
    return why.value.code


def big(told: StoreScene, **more) -> Operation:
    return told.command(description="x" * 2000, **more)


async def enqueue_until_refused(told: StoreScene, stored: list[Operation]) -> None:
    while True:
        stored.append(await told.enqueue(big(told), MANY))


async def test_a_full_database_refuses_new_work_and_still_ends_the_old(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db", max_bytes=1 << 20) as told:
        stored: list[Operation] = []
        assert await refused(enqueue_until_refused(told, stored)) is Code.STORAGE_FULL
        assert set(await told.statuses()) <= {each.request_id for each in stored}
        urgent = told.pairing("module-04", request_type=RequestType.EMERGENCY)
        await told.enqueue(urgent)  # a little is kept for what cannot wait
        for _ in range(5):
            await told.finish(await told.claimed())
        assert told.path.stat().st_size <= 1 << 20
    async with scene(tmp_path / "queue.db", told.clock, max_bytes=2 << 20) as told:
        await told.enqueue(told.command(), MANY)
        depth = (await told.store.read(lambda reader: reader.load(NOW))).queue_depth
        assert depth == len(stored) - 5 + 2


async def test_a_group_that_hits_the_quota_is_told_and_the_next_one_fits(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db", max_bytes=1 << 20) as told:
        one = await told.enqueue(told.command())
        results = await asyncio.gather(
            told.store.write(emit), told.store.write(partial(flood, 2000)), return_exceptions=True
        )
        assert [getattr(each, "code", None) for each in results] == [Code.STORAGE_FULL] * 2
        two = await told.enqueue(told.command())
        assert [event.seq for event in await told.stored_events()] == [1, 2]
        assert [event.attributes["queue_position"] for event in told.events] == [1, 2]
        assert set(await told.statuses()) == {one.request_id, two.request_id}


@contextmanager
def files_may_not_grow(path: Path):
    """Every write past the present end of the database's log fails, as on a disk that is gone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name(path.name + "-wal").stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_commit_that_the_disk_fails_is_told_to_all_of_it_and_leaves_the_store_usable(told: StoreScene) -> None:
    before = await told.enqueue(told.command())
    with files_may_not_grow(told.path):
        calls = [told.enqueue(told.command()) for _ in range(10)]
        results = await asyncio.gather(*calls, told.claim(), return_exceptions=True)
        assert [getattr(each, "code", None) for each in results] == [Code.INTERNAL] * 11
        assert set(await told.statuses()) == {before.request_id}  # reading goes on
    after = await told.enqueue(told.command(), Parameters(max_requests_per_component=2))
    assert await told.statuses() == {before.request_id: "QUEUED", after.request_id: "QUEUED"}
    assert [event.seq for event in await told.stored_events()] == [1, 2]
    assert [event.attributes["queue_position"] for event in told.events] == [1, 2]
    assert (await told.claimed()).sequence == 1


async def test_a_lock_held_by_somebody_else_is_waited_for(told: StoreScene) -> None:
    other = sqlite3.connect(told.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    call = asyncio.create_task(told.store.write(emit))
    done, _ = await asyncio.wait({call}, timeout=0.05)
    assert not done
    other.execute("ROLLBACK")
    other.close()
    assert await call == 1


async def test_the_log_beside_the_database_is_bounded(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db", outbox_max_bytes=10_000, upstream=False) as told:
        for _ in range(60):
            await told.store.write(partial(flood, 1000))
        wal = told.path.with_name(told.path.name + "-wal").stat().st_size
    assert wal < 2 * WAL_BYTES  # of more than 60 MB that went through it


async def test_a_store_is_opened_with_its_epoch_one_higher(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        async with SqliteStore.open(tmp_path / "queue.db", clock=FakeClock()) as store:
            assert store.epoch == epoch
