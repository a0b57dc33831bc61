"""Damaged, interrupted, older and newer databases."""

import os
import sqlite3
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from gateway.component import ComponentKind
from gateway.errors import ConfigError
from gateway.event import Event
from gateway.ports import AuditEntry, Export, Registration, Tx
from gateway.queue.store import damage
from gateway.queue.store.inspection import inspect
from gateway.queue.store.sql import MIGRATIONS, connect, migrate
from tests.store_scene import StoreScene, scene

NOW = 1_790_000_000_000


def append(entry: AuditEntry, tx: Tx) -> None:
    tx.audit(entry, NOW)


async def fill(told: StoreScene, operations: int = 60) -> list[str]:
    ids = []
    for n in range(operations):
        operation = await told.enqueue(told.command(f"module-{n:02}", description="x" * 500))
        ids.append(operation.request_id)
        entry = AuditEntry("tech-anna", "mqtt", "queue_command", operation.request_id, "accepted")
        await told.store.write(partial(append, entry))
    await told.store.write(lambda tx: tx.set_parameters({"max_queue_depth": 99}))
    return ids


def leaf_pages(path: Path, marker: bytes) -> list[int]:
    """The numbers (from 0) of the table leaves that hold `marker`."""
    data = path.read_bytes()
    return [
        n for n in range(1, len(data) // 4096) if data[n * 4096] == 13 and marker in data[n * 4096 : (n + 1) * 4096]
    ]


def spoil(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"\xff" * 4096)


def beside(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


async def test_a_damaged_database_is_set_aside_and_what_can_be_read_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    async with scene(path) as told:
        ids = await fill(told)
    damaged = path.read_bytes()
    spoil(path, leaf_pages(path, b"x" * 500)[3])
    spoiled = path.read_bytes()
    assert spoiled != damaged
    async with scene(path, told.clock) as told:
        (aside,) = [name for name in beside(path) if ".damaged-" in name and not name.endswith(("-wal", "-shm"))]
        assert (tmp_path / aside).read_bytes() == spoiled
        kept = set(await told.statuses())
        assert kept < set(ids)
        assert len(kept) >= len(ids) - 8  # one page of them
        event = (await told.stored_events())[-1]
        assert (event.type, event.seq) == ("database_salvaged", 61)
        assert event.attributes["set_aside"] == aside
        assert event.attributes["salvaged"]["operation"] == len(kept)
        assert event.attributes["salvaged"]["audit"] == 60
        assert event.attributes["damaged"] == ["operation"]
        assert told.store.epoch == 2
        assert await told.store.write(lambda tx: tx.parameters()) == {"max_queue_depth": 99}
        await told.enqueue(told.command("module-99"))
        assert (await told.stored_events())[-1].seq == 62
        assert await told.claim("module-00") is not None
    async with scene(path, told.clock) as told:  # sound again
        assert (await told.stored_events())[-1].seq == 63
    assert beside(path) == ["queue.db", aside]


def tell(tx: Tx) -> None:
    tx.emit(Event("request_completed", "module-03", NOW, {"detail": "y" * 500}))


async def test_after_a_salvage_what_waits_for_the_broker_is_counted_anew(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    async with scene(path) as told:
        for _ in range(60):
            await told.store.write(tell)
        await told.store.write(lambda tx: tx.acknowledge(10))
        size = told.store.outbox().bytes // 50
    spoil(path, leaf_pages(path, b"y" * 500)[3])
    async with scene(path, told.clock) as told:
        waiting = [event for event in await told.stored_events() if event.seq > 10]
        assert 40 < len(waiting) < 50
        assert told.store.outbox().events == len(waiting)
        await told.store.write(lambda tx: tx.acknowledge(60))
        assert told.store.outbox().events == 1
        assert told.store.outbox().bytes < size  # database_salvaged is all that is left


async def test_something_that_is_no_database_is_set_aside_too(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    path.write_bytes(os.urandom(20_000))
    async with scene(path) as told:
        (event,) = await told.stored_events()
        assert event.type == "database_salvaged"
        assert event.attributes["salvaged"]["event"] == 0
        assert event.seq == NOW // 1000 + 1  # above any number that was ever given
        assert told.store.epoch > NOW // 1000 - 1
    assert any(".damaged-20260921T" in name for name in beside(path))


async def test_what_a_damaged_database_had_in_its_log_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    async with scene(path) as told:
        await fill(told)
        db = connect(path)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        last = await told.enqueue(told.command("module-99"))
        for suffix in ("", "-wal"):  # as a power cut leaves them
            (tmp_path / f"cut.db{suffix}").write_bytes((tmp_path / f"queue.db{suffix}").read_bytes())
        db.close()
    cut = tmp_path / "cut.db"
    spoil(cut, leaf_pages(cut, b"queue_command")[0])
    async with scene(cut, told.clock) as told:
        assert last.request_id in await told.statuses()
        assert (await told.stored_events())[-1].attributes["damaged"] == ["audit"]


@pytest.mark.parametrize("step", ["_replace", "_copy", "migrate", "_next_seq"])
async def test_a_power_cut_during_the_salvage_loses_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "queue.db"
    async with scene(path) as told:
        await fill(told)
    spoil(path, leaf_pages(path, b"queue_command")[0])

    class PowerCutError(Exception):
        pass

    def cut(*_args, **_more) -> None:
        raise PowerCutError

    with monkeypatch.context() as patched:
        patched.setattr(damage, step, cut)
        with pytest.raises(PowerCutError):
            async with scene(path, told.clock):
                pass
    async with scene(path, told.clock) as told:
        assert len(await told.statuses()) == 60
        assert [event.type for event in await told.stored_events()].count("database_salvaged") == 1
    assert not [name for name in beside(path) if ".salvag" in name]


async def test_the_log_of_the_damaged_database_is_never_played_into_the_new_one(tmp_path: Path) -> None:
    path, log = tmp_path / "queue.db", tmp_path / "queue.db-wal"
    async with scene(path) as told:
        await fill(told, 30)
        stale = log.read_bytes()  # whole and valid, of another database
    async with scene(tmp_path / "new.db") as told:
        await fill(told, 5)
    (tmp_path / "new.db").rename(tmp_path / "queue.db.salvaged")  # complete, but the old files had not gone yet
    log.write_bytes(stale)
    async with scene(path, told.clock) as told:
        assert len(await told.statuses()) == 5


# --- migrations -------------------------------------------------------------------------------------------------------


def version(path: Path) -> int:
    db = connect(path)
    try:
        return int(db.execute("PRAGMA user_version").fetchone()[0])
    finally:
        db.close()


def test_migrations_are_applied_once_and_in_order(tmp_path: Path) -> None:
    db = connect(tmp_path / "x.db")
    migrate(db, "x.db", ["CREATE TABLE one (a INTEGER) STRICT;"])
    migrate(db, "x.db", ["this one is done", "CREATE TABLE two (a INTEGER) STRICT;", "INSERT INTO two VALUES (7);"])
    assert db.execute("SELECT a FROM two").fetchall() == [(7,)]
    db.close()
    assert version(tmp_path / "x.db") == 3


def test_a_migration_that_fails_leaves_no_trace(tmp_path: Path) -> None:
    db = connect(tmp_path / "x.db")
    with pytest.raises(sqlite3.OperationalError):
        migrate(db, "x.db", ["CREATE TABLE one (a INTEGER);", "CREATE TABLE two (a INTEGER); CREATE TABLE one (b);"])
    assert [name for (name,) in db.execute("SELECT name FROM sqlite_schema")] == ["one"]
    migrate(db, "x.db", ["CREATE TABLE one (a INTEGER);", "CREATE TABLE two (a INTEGER);"])
    db.close()
    assert version(tmp_path / "x.db") == 2


async def test_the_archive_its_exports_and_registered_components_are_salvaged_too(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    found = Registration("can0-7", ComponentKind.OTHER, "can0", 7)
    async with scene(path) as told:
        old = await told.enqueue(told.command())
        await told.finish(await told.claimed())

        def keep_house(tx: Tx) -> Export:
            tx.register(found)
            assert tx.archive(NOW + 1, 10) == 1
            export = tx.begin_export(1 << 42, 10, ())
            assert export is not None
            tx.exported(export.file, "0" * 64)
            return export

        export = await told.store.write(keep_house)
        await fill(told)
    spoil(path, leaf_pages(path, b"x" * 500)[3])
    async with scene(path, told.clock) as told:
        assert (await told.stored_events())[-1].attributes["damaged"] == ["operation"]
        assert await told.store.read(lambda reader: reader.registrations()) == [found]
        assert (await told.operation(old.request_id)).finished_at == NOW
        kept = await told.store.read(lambda reader: reader.exports_before("2199-12"))
        assert kept == [replace(export, sha256="0" * 64)]


async def test_a_database_newer_than_the_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    async with scene(path) as told:
        await told.enqueue(told.command())
    db = connect(path)
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    newer = rf"queue\.db: its schema is version {len(MIGRATIONS) + 1}"
    with pytest.raises(ConfigError, match=newer):
        async with scene(path):
            pass
    with pytest.raises(ConfigError, match=newer):
        inspect(path)
    assert beside(path) == ["queue.db"]


async def test_a_look_from_outside_counts_rows_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    async with scene(path) as told:
        await told.enqueue(told.command())
        await told.store.write(lambda tx: tx.emit(Event("bus_up", "gateway", NOW)))
        found = inspect(path)
    assert (found.version, found.rows["operation"], found.rows["event"]) == (len(MIGRATIONS), 1, 2)
    assert inspect(path).version == len(MIGRATIONS)


def test_a_look_at_what_is_no_database_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.db: cannot be read"):
        inspect(tmp_path / "none.db")
    (tmp_path / "junk.db").write_bytes(b"junk" * 2000)
    with pytest.raises(ConfigError, match=r"junk\.db: cannot be read"):
        inspect(tmp_path / "junk.db")
    assert beside(tmp_path / "none.db") == ["junk.db"]


def test_a_database_that_cannot_be_opened_at_all_is_an_error_and_no_damage(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        connect(tmp_path / "no-such-folder" / "queue.db")
