"""The bound of the outbox: what has reached the broker goes first, then what matters least, and a tombstone tells."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Refusal
from gateway.event import Event
from gateway.ports import OutboxFigures, Tx
from gateway.queue.store.outbox import MOST_ROWS, NOTE_EVERY, OVERHEAD_BYTES
from gateway.queue.store.sql import connect
from gateway.queue.store.tombstone import MAX_RANGES
from tests.store_scene import StoreScene, scene

NOW = 1_790_000_000_000
LASTING, STEP, HISTORY, NOTICE = "gateway_started", "request_started", "bus_up", "position_notice"


def emit(told: StoreScene, *types: str, **attributes: Any) -> Any:
    return told.store.write(lambda tx: [tx.emit(Event(each, "gateway", NOW, attributes)) for each in types])


async def acknowledge(told: StoreScene, seq: int) -> None:
    await told.store.write(lambda tx: tx.acknowledge(seq))


async def kept(told: StoreScene) -> list[tuple[int, str]]:
    return [(event.seq, event.type) for event in await told.stored_events() if event.type != "events_dropped"]


async def tombstones(told: StoreScene) -> list[Event]:
    return [event for event in await told.stored_events() if event.type == "events_dropped"]


async def missing_before(told: StoreScene, grave: Event) -> set[int]:
    return set(range(1, grave.seq)) - {event.seq for event in await told.stored_events()}


def covered(grave: Event) -> set[int]:
    return {seq for first, last in grave.attributes["ranges"] for seq in range(first, last + 1)}


def bytes_of(*types: str) -> int:
    return sum(len(each) + len("gateway") + len("{}") + OVERHEAD_BYTES for each in types)


def meta(path: Path) -> dict[str, int]:
    db = connect(path, read_only=True)
    try:
        return dict(db.execute("SELECT name, value FROM meta"))
    finally:
        db.close()


# --- counting -----------------------------------------------------------------------------------------------------


async def test_what_waits_is_counted_in_events_and_bytes(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db") as told:
        assert told.store.outbox() == OutboxFigures(0, 0, 0)
        await emit(told, LASTING, HISTORY, NOTICE)
        assert told.store.outbox() == OutboxFigures(3, bytes_of(LASTING, HISTORY, NOTICE), 0)
        await acknowledge(told, 2)
        assert told.store.outbox() == OutboxFigures(1, bytes_of(NOTICE), 0)


async def test_a_character_counts_as_the_bytes_it_takes(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db") as told:
        await emit(told, HISTORY, detail="größer 電池")
        size = len(json.dumps({"detail": "größer 電池"}, separators=(",", ":"), ensure_ascii=False).encode())
        assert told.store.outbox().bytes == bytes_of(HISTORY) - len("{}") + size
        await acknowledge(told, 1)
        assert told.store.outbox() == OutboxFigures(0, 0, 0)


async def test_a_job_that_was_undone_does_not_count_and_its_neighbour_does(tmp_path: Path) -> None:
    def spoiled(tx: Tx) -> None:
        tx.emit(Event(HISTORY, "gateway", NOW))
        tx.acknowledge(1)
        raise ZeroDivisionError

    async with scene(tmp_path / "queue.db") as told:
        results = await asyncio.gather(
            emit(told, LASTING), told.store.write(spoiled), emit(told, NOTICE), return_exceptions=True
        )
        assert isinstance(results[1], ZeroDivisionError)
        assert told.store.outbox() == OutboxFigures(2, bytes_of(LASTING, NOTICE), 0)


async def test_a_group_that_was_undone_does_not_count(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db", outbox_max_bytes=1000) as told:
        await emit(told, *[NOTICE] * 10)
        before = told.store.outbox(), await told.stored_events()
        with pytest.raises(Refusal):
            await emit(told, "\ud800", *[LASTING] * 9)
        assert (told.store.outbox(), await told.stored_events()) == before


async def test_a_group_that_was_undone_after_it_had_dropped_events_has_dropped_none(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db", outbox_max_bytes=10 * bytes_of(NOTICE)) as told:
        await emit(told, *[NOTICE] * 9)
        before = told.store.outbox(), await told.stored_events()
        db = connect(told.path)
        refuse = "BEFORE INSERT ON event WHEN NEW.type = 'events_dropped' BEGIN SELECT RAISE(ABORT, 'no'); END"
        db.execute(f"CREATE TRIGGER refuse {refuse}")
        with pytest.raises(Refusal):
            await emit(told, *[NOTICE] * 5)
        assert (told.store.outbox(), await told.stored_events()) == before
        db.execute("DROP TRIGGER refuse")
        db.close()
        await emit(told, *[NOTICE] * 5)
        stored = await told.stored_events()
        assert told.store.outbox().events == len(stored)
        assert told.store.outbox().dropped == 15 - len(stored)
        assert [event.seq for event in stored] == list(range(16 - len(stored), 16))


@pytest.mark.parametrize("count", [3, NOTE_EVERY, NOTE_EVERY + 1, 2 * NOTE_EVERY + 7])
async def test_a_start_knows_what_is_stored_and_counts_little(tmp_path: Path, count: int) -> None:
    async with scene(tmp_path / "queue.db") as told:
        for _ in range(count):
            await emit(told, HISTORY)
        before = told.store.outbox()
        assert before == OutboxFigures(count, count * bytes_of(HISTORY), 0)
        assert count - meta(told.path).get("counted_seq", 0) < NOTE_EVERY
    async with scene(tmp_path / "queue.db") as told:
        assert told.store.outbox() == before


async def test_a_database_in_which_nothing_was_counted_is_counted_once(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db") as told:
        await emit(told, *[HISTORY] * 2000)
        await acknowledge(told, 1500)
    db = connect(told.path)
    db.execute("DELETE FROM meta WHERE name NOT IN ('epoch', 'acknowledged_seq')")
    db.close()
    async with scene(tmp_path / "queue.db") as told:
        assert told.store.outbox() == OutboxFigures(500, 500 * bytes_of(HISTORY), 0)
        await emit(told, HISTORY)
        assert meta(told.path)["stored_bytes"] == 2001 * bytes_of(HISTORY)


async def test_the_bound_is_about_what_the_events_take_on_disk(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db") as told:
        empty = await told.store.read(lambda reader: reader.fullness())
        for _ in range(50):
            await told.store.write(
                lambda tx: [tx.emit(Event(HISTORY, "module-03", NOW, {"detail": "x" * 350})) for _ in range(100)]
            )
        taken = (await told.store.read(lambda reader: reader.fullness()) - empty) * (1 << 30)
        assert 0.9 < taken / told.store.outbox().bytes < 1.1


# --- what has reached the broker ----------------------------------------------------------------------------------


async def test_what_must_not_be_lost_goes_only_once_it_is_acknowledged(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db", outbox_max_bytes=100 * bytes_of(LASTING)) as told:
        await emit(told, *[LASTING] * 1000)
        assert len(await told.stored_events()) == 1000
        await acknowledge(told, 600)
        assert (await told.stored_events())[0].seq == 601
        await acknowledge(told, 5000)  # more than there is
        assert await told.store.read(lambda reader: reader.acknowledged_seq()) == 1000
        assert (await told.stored_events())[0].seq == 906  # a little below the bound, not for each one again
        await acknowledge(told, 10)  # never backwards
        assert await told.store.read(lambda reader: reader.acknowledged_seq()) == 1000
        assert told.store.outbox() == OutboxFigures(0, 0, 0)
        assert await tombstones(told) == []


async def test_what_has_reached_the_broker_is_kept_for_replay_and_goes_before_what_waits(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db", outbox_max_bytes=100 * bytes_of(NOTICE)) as told:
        await emit(told, *[NOTICE] * 60)
        await acknowledge(told, 60)
        await emit(told, *[NOTICE] * 40)
        assert len(await kept(told)) == 100
        await emit(told, NOTICE)
        assert (await kept(told))[0][0] == 7
        await emit(told, *[NOTICE] * 59)
        assert (await kept(told))[0][0] == 66  # all that were acknowledged, and then some
        (grave,) = await tombstones(told)
        assert grave.attributes["ranges"] == [[61, 65]]


async def test_no_commit_drops_more_than_so_many_at_once(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db", outbox_max_bytes=1000) as told:
        await emit(told, *[LASTING] * (MOST_ROWS + 500))
        await acknowledge(told, MOST_ROWS + 400)
        assert (await told.stored_events())[0].seq == MOST_ROWS + 1
        await emit(told, LASTING)
        assert (await told.stored_events())[0].seq == MOST_ROWS + 401


async def test_without_an_upstream_the_oldest_go_and_nobody_is_told(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db", outbox_max_bytes=100 * bytes_of(LASTING), upstream=False) as told:
        for _ in range(10):
            await emit(told, *[LASTING] * 200)
        seqs = [event.seq for event in await told.stored_events()]
        assert seqs == list(range(1906, 2001))
        assert told.store.outbox() == OutboxFigures(95, 95 * bytes_of(LASTING), 0)


async def test_without_an_upstream_the_newest_stays_so_that_its_number_is_not_given_again(tmp_path: Path) -> None:
    for last in (1, 2):
        async with scene(tmp_path / "queue.db", outbox_max_bytes=100, upstream=False) as told:
            await emit(told, HISTORY, detail="x" * 200)
            assert [event.seq for event in await told.stored_events()] == [last]


# --- what still waits ---------------------------------------------------------------------------------------------


async def test_the_least_important_go_first_and_of_them_the_oldest(tmp_path: Path) -> None:
    types = [LASTING, STEP, HISTORY, NOTICE] * 25
    async with scene(tmp_path / "queue.db", outbox_max_bytes=bytes_of(*types)) as told:
        await emit(told, *types)
        await emit(told, LASTING)
        notices = [seq for seq, kind in await kept(told) if kind == NOTICE]
        assert 0 < len(notices) < 25
        assert notices == list(range(104 - 4 * len(notices), 101, 4))
        assert [kind for _, kind in await kept(told) if kind != NOTICE] == [LASTING, STEP, HISTORY] * 25 + [LASTING]
        (grave,) = await tombstones(told)
        gone = 25 - len(notices)
        assert (grave.subject, grave.seq, grave.at) == ("gateway", 102, told.clock.wall_ms())
        assert grave.attributes == {
            "count": gone,
            "types": {NOTICE: gone},
            "ranges": [[4 * n, 4 * n] for n in range(1, gone + 1)],
        }
        assert told.events[-1] == grave  # those who listen hear of it, too
        assert told.store.outbox().dropped == gone


async def test_one_class_after_the_other_goes_and_what_must_not_be_lost_stays(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db", outbox_max_bytes=4 * bytes_of(LASTING)) as told:
        await emit(told, LASTING, STEP, HISTORY, NOTICE)
        await emit(told, LASTING, LASTING)
        assert [kind for _, kind in await kept(told)] == [LASTING, LASTING, LASTING]
        await emit(told, *[LASTING] * 20)
        assert [kind for _, kind in await kept(told)] == [LASTING] * 23
        assert len(await tombstones(told)) == 1


async def test_a_tombstone_that_waits_is_replaced_by_one_that_covers_it(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db", outbox_max_bytes=20 * bytes_of(NOTICE)) as told:
        for _ in range(100):
            await emit(told, NOTICE)
        (grave,) = await tombstones(told)
        assert grave.attributes["types"].keys() == {NOTICE, "events_dropped"}
        missing = await missing_before(told, grave)
        assert covered(grave) == missing
        assert grave.attributes["count"] == len(missing) == told.store.outbox().dropped


async def test_one_that_has_reached_the_broker_stays_and_the_next_tells_of_what_came_after(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db", outbox_max_bytes=20 * bytes_of(LASTING)) as told:
        await emit(told, *[NOTICE] * 12, *[LASTING] * 12)
        (first,) = await tombstones(told)
        await acknowledge(told, first.seq)
        await emit(told, *[NOTICE] * 30)
        *_, second = await tombstones(told)
        assert second.attributes["types"] == {NOTICE: second.attributes["count"]}
        assert second.attributes["ranges"] == [[first.seq + 1, first.seq + second.attributes["count"]]]
        assert told.store.outbox().dropped == first.attributes["count"] + second.attributes["count"]


async def test_a_tombstone_outlives_a_restart_and_is_replaced_then_too(tmp_path: Path) -> None:
    for _ in range(5):
        async with scene(tmp_path / "queue.db", outbox_max_bytes=20 * bytes_of(NOTICE)) as told:
            await emit(told, *[NOTICE] * 30)
    async with scene(tmp_path / "queue.db", outbox_max_bytes=20 * bytes_of(NOTICE)) as told:
        (grave,) = await tombstones(told)
        missing = await missing_before(told, grave)
        assert covered(grave) == missing
        assert grave.attributes["count"] == len(missing) == told.store.outbox().dropped


async def test_a_tombstone_that_was_lost_with_a_damaged_page_is_not_missed(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db", outbox_max_bytes=20 * bytes_of(NOTICE)) as told:
        await emit(told, *[NOTICE] * 30)
    db = connect(told.path)
    db.execute("DELETE FROM event WHERE type = 'events_dropped'")
    db.execute("DELETE FROM meta WHERE name IN ('counted_seq', 'stored_bytes', 'waiting_events', 'waiting_bytes')")
    db.close()
    async with scene(tmp_path / "queue.db", outbox_max_bytes=20 * bytes_of(NOTICE)) as told:
        await emit(told, *[NOTICE] * 30)
        assert len(await tombstones(told)) == 1


async def test_where_nothing_is_left_that_may_go_not_every_new_one_brings_a_tombstone(tmp_path: Path) -> None:
    bound = 100 * bytes_of(NOTICE)
    async with scene(tmp_path / "queue.db", outbox_max_bytes=bound) as told:
        await emit(told, *[LASTING] * 100)
        for _ in range(60):
            await emit(told, NOTICE)
        assert sum(event.type == "events_dropped" for event in told.events) <= 60 // 5 + 1
        assert len(await tombstones(told)) == 1
        await acknowledge(told, 100)  # the bound is what it was, again
        seqs = [event.seq for event in await told.stored_events()]
        assert len(seqs) < 100


async def test_work_finds_room_in_a_small_database_however_much_waits_for_the_broker(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db", max_bytes=2 << 20) as told:
        for _ in range(40):
            await emit(told, *[NOTICE] * 200, detail="x" * 300)
        assert await told.store.read(lambda reader: reader.fullness()) < 0.75
        assert told.store.outbox().bytes <= 1.1 * (1 << 20)
        await told.enqueue(told.command())


# --- gaps ---------------------------------------------------------------------------------------------------------


async def test_who_asks_is_told_how_many_of_a_range_are_gone(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db", outbox_max_bytes=20 * bytes_of(NOTICE)) as told:
        await emit(told, *[NOTICE] * 30)
        (grave,) = await tombstones(told)
        gone = grave.attributes["count"]

        async def of(first: int, last: int) -> int:
            return await told.store.read(lambda reader: reader.gone(first, last))

        assert await of(1, 1) == 1
        assert await of(gone, gone + 1) == 1
        assert await of(1, 10_000) == gone  # those to come are not gone
        assert await of(500, 600) == 0
        assert await told.store.read(lambda reader: [each.seq for each in reader.events_after(0, 2)]) == [
            gone + 1,
            gone + 2,
        ]


# --- a long outage ------------------------------------------------------------------------------------------------


async def test_a_long_outage_takes_no_more_than_its_bound_nor_memory_for_each_event(tmp_path: Path) -> None:
    bound = 64 * 1024
    async with scene(tmp_path / "queue.db", outbox_max_bytes=bound) as told:
        told.store._listeners.clear()  # ours keeps all events
        for n in range(300):
            await emit(told, *[STEP, HISTORY, NOTICE, STEP] * 25, *[LASTING] * (n % 100 == 0))
        stored = await told.stored_events()
        (grave,) = await tombstones(told)
        missing = await missing_before(told, grave)
        assert told.store.outbox().bytes < 1.1 * bound
        assert sum(event.type == LASTING for event in stored) == 3
        assert len(grave.attributes["ranges"]) == MAX_RANGES
        assert covered(grave) >= missing
        assert grave.attributes["count"] == len(missing) == told.store.outbox().dropped
        assert told.path.stat().st_size < 32 * bound
        state = told.store._outbox._state
        held = [getattr(state, name) for name in state.__slots__]
        assert sum(len(each) if hasattr(each, "__len__") else 1 for each in held) < 20
