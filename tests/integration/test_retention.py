"""Operations that have ended: archived, exported month by month, deleted; and never one lost, never one twice."""

import gzip
import json
import logging
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Code, Refusal
from gateway.operation import Action, Settlement, Strategy
from gateway.queue import retention
from gateway.queue.retention.files import write_export
from tests.family_scene import end as end_child
from tests.family_scene import route
from tests.retention_scene import RetentionScene, retention_scene
from tests.store_scene import PARAMETERS

DOCUMENT = Path(__file__).parents[2] / "docs" / "record-keeping.md"
YEAR_MS = 366 * 86_400_000
SEPTEMBER, OCTOBER = "operations-2026-09.jsonl.gz", "operations-2026-10.jsonl.gz"


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[RetentionScene]:
    async with retention_scene(tmp_path) as made:
        yield made


def ids(operations: list[Any]) -> list[str]:
    return [operation.request_id for operation in operations]


# --- the archive ------------------------------------------------------------------------------------------------------


async def test_what_ended_long_ago_moves_to_the_archive_and_is_still_found(kept: RetentionScene) -> None:
    (old,) = await kept.end("2026-09-10", idempotency_key="k-1", title="kept")
    (young,) = await kept.end("2026-09-21")
    await kept.look("2026-10-10")
    assert await kept.live() == {old.request_id, young.request_id}  # not quite 30 days
    await kept.look("2026-10-11")
    assert (await kept.archived(), await kept.live()) == ({old.request_id}, {young.request_id})
    assert await kept.told.operation(old.request_id) == old
    assert await kept.remembered() == [young.request_id, old.request_id]


async def test_an_idempotency_key_is_kept_as_long_as_its_operation_is(kept: RetentionScene) -> None:
    (old,) = await kept.end("2026-09-10", idempotency_key="k-1", title="kept")
    await kept.look("2026-10-20")
    assert await kept.archived() == {old.request_id}
    again = await kept.told.enqueue(kept.told.command(idempotency_key="k-1", title="kept"))
    assert again == old
    with pytest.raises(Refusal) as no:
        await kept.told.enqueue(kept.told.command(idempotency_key="k-1", title="other"))
    assert no.value.code is Code.IDEMPOTENCY_CONFLICT
    assert await kept.live() == set()


async def test_how_long_the_live_table_keeps_what_ended_is_a_parameter(tmp_path: Path) -> None:
    async with retention_scene(tmp_path, retention_days=0.5) as kept:
        (old,) = await kept.end("2026-09-10")
        await kept.look("2026-09-11")
        assert await kept.archived() == {old.request_id}


async def test_nothing_is_archived_on_a_time_that_is_doubted(kept: RetentionScene) -> None:
    (old,) = await kept.end("2026-09-10")
    kept.told.clock.is_trusted = False
    await kept.look("2031-01-01")
    assert (await kept.live(), kept.names()) == ({old.request_id}, [])


async def test_what_waits_or_runs_is_never_archived(kept: RetentionScene) -> None:
    kept.at("2026-09-10")
    waiting = await kept.told.enqueue(kept.told.command("module-04"))
    await kept.told.enqueue(kept.told.command("module-05"))
    running = await kept.told.claimed("module-05")
    await kept.look("2027-09-10")
    assert await kept.live() == {waiting.request_id, running.request_id}


async def test_what_is_owed_a_settlement_stays_until_it_is_settled(kept: RetentionScene) -> None:
    (owed,) = await kept.end("2026-09-10", hold_ref="hold-7")
    await kept.look("2026-12-01")
    assert await kept.live() == {owed.request_id}
    settled = (owed.request_id, Settlement.CAPTURED, "ledger-1", "cloud", kept.told.clock.wall_ms())
    await kept.told.store.write(lambda tx: tx.settle(*settled))
    await kept.look("2026-12-01")
    assert await kept.archived() == {owed.request_id}


async def test_a_dead_letter_that_is_queued_again_stays(kept: RetentionScene) -> None:
    (dead,) = await kept.end("2026-09-10", action=Action.FAIL)
    later = kept.told.clock.wall_ms() + 1000
    await kept.told.store.write(lambda tx: tx.requeue(dead.request_id, later, PARAMETERS, "olga", later - 1))
    await kept.look("2027-09-10")
    assert await kept.live() == {dead.request_id}


async def test_families_stay_until_all_of_them_have_ended(kept: RetentionScene) -> None:
    kept.at("2026-09-10")
    parent, children = await route(kept.told, strategy=Strategy.FAILOVER, ttl_ms=YEAR_MS)
    first, *_, last = children
    everybody = {parent.request_id, *ids(children)}
    await end_child(kept.told, first.target_component, Action.FAIL)
    await kept.look("2026-11-10")
    assert await kept.live() == everybody  # the parent is not decided
    await end_child(kept.told, children[1].target_component)
    assert (await kept.told.operation(last.request_id)).finished_at is not None
    await kept.look("2027-01-10")
    assert await kept.archived() == everybody
    found = await kept.told.store.read(lambda reader: reader.children(parent.request_id))
    assert ids(found) == ids(children)


async def test_a_parent_waits_for_children_that_run_on_after_its_decision(kept: RetentionScene) -> None:
    kept.at("2026-09-10")
    targets = ("module-01", "module-02")
    parent, (first, second) = await route(kept.told, targets, ttl_ms=YEAR_MS, aggregation={"policy": "ANY"})
    await end_child(kept.told, "module-01")
    assert (await kept.told.operation(parent.request_id)).finished_at is not None
    await kept.look("2026-12-10")
    assert await kept.archived() == {first.request_id}
    await end_child(kept.told, "module-02")
    await kept.look("2027-02-10")
    assert await kept.archived() == {parent.request_id, first.request_id, second.request_id}


async def test_others_may_still_depend_on_what_is_archived(kept: RetentionScene) -> None:
    (done,) = await kept.end("2026-09-10")
    (failed,) = await kept.end("2026-09-10", action=Action.FAIL)
    await kept.look("2026-12-10")
    await kept.told.enqueue(kept.told.command(depends_on=(done.request_id,)))
    assert await kept.told.claim() is not None
    with pytest.raises(Refusal) as no:
        await kept.told.enqueue(kept.told.command(depends_on=(failed.request_id,)))
    assert no.value.code is Code.DEPENDENCY_FAILED


async def test_what_is_archived_is_over(kept: RetentionScene) -> None:
    (dead,) = await kept.end("2026-09-10", action=Action.FAIL)
    await kept.look("2026-12-10")
    later = kept.told.clock.wall_ms() + 1000
    with pytest.raises(Refusal) as no:
        await kept.told.store.write(lambda tx: tx.requeue(dead.request_id, later, PARAMETERS, "olga", later - 1))
    assert no.value.code is Code.REQUEST_NOT_FOUND
    assert await kept.told.claim() is None


async def test_the_archive_has_the_columns_of_the_live_table(kept: RetentionScene) -> None:
    def columns(table: str) -> list[tuple[str, str]]:
        with closing(sqlite3.connect(kept.told.path)) as db:
            return [row[1:3] for row in db.execute(f"PRAGMA table_info({table})")]

    assert columns("archive") == columns("operation")


async def test_more_than_a_batch_is_archived_in_several_transactions(
    kept: RetentionScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    ended = await kept.end("2026-09-10", 10)
    moved: list[int] = []
    write = kept.told.store.write

    async def counting(job):
        value = await write(job)
        moved.append(value)
        return value

    monkeypatch.setattr(kept.told.store, "write", counting)
    await kept.look("2026-10-20")
    assert moved[:4] == [3, 3, 3, 1]
    assert await kept.archived() == set(ids(ended))


# --- the exports ------------------------------------------------------------------------------------------------------


async def test_a_month_is_exported_once_it_is_over_and_archived(kept: RetentionScene) -> None:
    kept.at("2026-09-30")
    september = await kept.end("2026-09-10", 3)
    september += await kept.end("2026-09-30")
    october = await kept.end("2026-10-01", 2)
    await kept.look("2026-10-20")
    assert kept.names() == []  # the end of September is younger than 30 days
    await kept.look("2026-10-30")
    assert kept.exported() == {}
    await kept.look("2026-10-31")
    assert kept.exported() == {SEPTEMBER: ids(september)}
    await kept.look("2026-11-05")
    assert kept.exported() == {SEPTEMBER: ids(september)}
    await kept.look("2026-12-02")
    assert kept.exported() == {SEPTEMBER: ids(september), OCTOBER: ids(october)}
    assert await kept.archived() == set(ids(september + october))  # far from old enough to go


async def test_months_are_those_of_utc(kept: RetentionScene) -> None:
    kept.told.clock.set_wall(1_790_812_799_999)  # 2026-09-30T23:59:59.999Z
    for _ in "ab":
        await kept.told.enqueue(kept.told.command())
        await kept.told.finish(await kept.told.claimed())
        kept.told.clock.advance(0.001)
    await kept.look("2026-12-15")
    assert {file: len(lines) for file, lines in kept.exported().items()} == {SEPTEMBER: 1, OCTOBER: 1}


async def test_a_line_of_an_export_is_the_record_as_replies_spell_it(kept: RetentionScene) -> None:
    (ended,) = await kept.end("2026-09-10", title="Größe\n2", metadata={"bay": "7"})
    await kept.look("2026-11-01")
    (line,) = gzip.decompress((kept.folder / SEPTEMBER).read_bytes()).splitlines()
    assert json.loads(line) == ended.payload()
    assert json.loads((kept.folder / "operations-2026-09.json").read_text()) | {"sha256": ""} == {
        "file": SEPTEMBER,
        "month": "2026-09",
        "count": 1,
        "first_seq": 1,
        "last_seq": 1,
        "sha256": "",
        "created_at": "2026-11-01T12:00:00.000Z",
    }


async def test_every_key_of_a_manifest_is_explained(kept: RetentionScene) -> None:
    await kept.end("2026-09-10")
    await kept.look("2026-11-01")
    section = DOCUMENT.read_text().split("### The files")[1].split("### ")[0]
    explained = [
        key for row in re.findall(r"^\| (`.*?) \| ", section, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)
    ]
    assert list(json.loads((kept.folder / "operations-2026-09.json").read_text())) == explained


async def test_what_comes_late_to_the_archive_gets_a_file_of_its_own(kept: RetentionScene) -> None:
    (owed,) = await kept.end("2026-09-09", hold_ref="hold-7")
    (ended,) = await kept.end("2026-09-10")
    await kept.look("2026-11-15")
    settled = (owed.request_id, Settlement.CAPTURED, "ledger-1", "cloud", kept.told.clock.wall_ms())
    await kept.told.store.write(lambda tx: tx.settle(*settled))
    await kept.look("2026-11-16")
    assert kept.exported() == {SEPTEMBER: [ended.request_id], "operations-2026-09-2.jsonl.gz": [owed.request_id]}


async def test_a_big_month_goes_into_several_files(kept: RetentionScene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MAX_EXPORT", 4)
    ended = await kept.end("2026-09-10", 10)
    await kept.look("2026-11-01")
    assert kept.exported() == {
        SEPTEMBER: ids(ended[:4]),
        "operations-2026-09-2.jsonl.gz": ids(ended[4:8]),
        "operations-2026-09-3.jsonl.gz": ids(ended[8:]),
    }


async def test_a_file_that_somebody_else_left_is_not_overwritten(kept: RetentionScene) -> None:
    kept.folder.mkdir()
    (kept.folder / SEPTEMBER).write_bytes(b"of another database")
    (ended,) = await kept.end("2026-09-10")
    await kept.look("2026-11-01")
    assert (kept.folder / SEPTEMBER).read_bytes() == b"of another database"
    assert kept.exported() == {"operations-2026-09-2.jsonl.gz": [ended.request_id]}


class PowerCutError(Exception):
    """Everything stops here."""


class Cuts:
    """Cuts the power at the n-th place where it matters: before and after each step that lasts."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise PowerCutError


def cut(kept: RetentionScene, monkeypatch: pytest.MonkeyPatch, cuts: Cuts) -> None:
    """Have `cuts` asked before and after every write to the store and every file that gets its name."""
    write, replace = kept.told.store.write, Path.replace

    async def writing(job):
        cuts()
        value = await write(job)
        cuts()
        return value

    def replacing(path: Path, target: Path) -> Path:
        cuts()
        replaced = replace(path, target)
        cuts()
        return replaced

    monkeypatch.setattr(kept.told.store, "write", writing)
    monkeypatch.setattr(Path, "replace", replacing)


CUTS = 20  # 1 transaction archives; 2 exports have 2 transactions and 2 files each; 1 transaction finds no more


@pytest.mark.parametrize("steps", range(CUTS))
async def test_a_power_cut_between_any_two_steps_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    monkeypatch.setattr(retention, "MAX_EXPORT", 3)
    async with retention_scene(tmp_path) as kept:
        ended = await kept.end("2026-09-09", 2)
        ended += await kept.end("2026-09-10", 3)
        clock = kept.told.clock
        with monkeypatch.context() as patch:
            cut(kept, patch, Cuts(steps))
            with pytest.raises(PowerCutError):
                await kept.look("2026-11-01")
    async with retention_scene(tmp_path, clock) as kept:
        late = await kept.end("2026-09-12", 2)  # the bundle that was begun must not grow by these
        await kept.look("2026-11-02")
        found = kept.exported()
        assert sorted(line for lines in found.values() for line in lines) == sorted(ids(ended + late))
        assert await kept.archived() == set(ids(ended + late))
        assert [name for name in kept.names() if name.endswith(".jsonl.gz")] == sorted(found)
        before = kept.names()
        await kept.look("2026-11-03")
        assert kept.names() == before


# --- deletion ---------------------------------------------------------------------------------------------------------


async def test_what_is_exported_is_deleted_once_it_is_old(tmp_path: Path) -> None:
    async with retention_scene(tmp_path, archive_months=18) as kept:
        september = await kept.end("2026-09-10", 3)
        october = await kept.end("2026-10-10")
        await kept.look("2026-12-15")
        await kept.look("2028-03-31")
        assert await kept.archived() == set(ids(september + october))
        await kept.look("2028-04-01")
        assert await kept.archived() == set(ids(october))
        assert await kept.remembered() == ids(october)
        assert kept.exported() == {SEPTEMBER: ids(september), OCTOBER: ids(october)}  # the files stay
        assert await kept.told.store.read(lambda reader: reader.operation(september[0].request_id)) is None


@pytest.mark.parametrize("damage", ["missing", "changed"])
async def test_what_its_file_does_not_hold_any_more_is_not_deleted(
    kept: RetentionScene, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    september = await kept.end("2026-09-10", 3)
    october = await kept.end("2026-10-10")
    await kept.look("2026-12-15")
    file = kept.folder / SEPTEMBER
    whole = file.read_bytes()
    file.unlink() if damage == "missing" else file.write_bytes(whole[:-1] + b"!")
    await kept.look("2030-01-01")
    assert await kept.archived() == set(ids(september))
    assert [record.levelno for record in caplog.records if SEPTEMBER in record.message] == [logging.ERROR]
    assert ids(october)[0] not in await kept.remembered()
    file.write_bytes(whole)
    await kept.look("2030-01-02")
    assert await kept.archived() == set()


async def test_nothing_is_ever_deleted_that_was_not_exported(kept: RetentionScene) -> None:
    ended = await kept.end("2026-09-10", 2)
    kept.folder.write_bytes(b"no folder")
    with pytest.raises(FileExistsError):
        await kept.look("2040-01-01")
    with pytest.raises(FileExistsError):
        await kept.look("2040-01-02")
    assert await kept.archived() == set(ids(ended))
    kept.folder.unlink()
    await kept.look("2040-01-03")
    assert kept.exported() == {SEPTEMBER: ids(ended)}
    assert await kept.archived() == set(ids(ended))
    await kept.look("2040-01-04")
    assert await kept.archived() == set()


async def test_an_export_that_is_only_begun_lets_nothing_be_deleted(
    kept: RetentionScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ended,) = await kept.end("2026-09-10")

    def disk_full(*_: Any) -> str:
        raise OSError

    monkeypatch.setattr(retention, "write_export", disk_full)
    for day in ("2040-01-01", "2040-01-02"):
        with pytest.raises(OSError):
            await kept.look(day)
    assert await kept.told.store.write(lambda tx: tx.drop_exported(SEPTEMBER, 100)) == 0
    assert await kept.archived() == {ended.request_id}
    monkeypatch.setattr(retention, "write_export", write_export)
    await kept.look("2040-01-03")
    assert kept.exported() == {SEPTEMBER: [ended.request_id]}


async def test_a_number_of_the_archive_is_never_given_twice(tmp_path: Path) -> None:
    async with retention_scene(tmp_path) as kept:
        await kept.end("2026-09-10", 3)
        await kept.look("2026-12-15")
        await kept.look("2030-01-01")
        assert await kept.archived() == set()
        (late,) = await kept.end("2026-09-11")
        await kept.look("2030-02-01")
        assert kept.exported()["operations-2026-09-2.jsonl.gz"] == [late.request_id]
        manifest = json.loads((kept.folder / "operations-2026-09-2.json").read_text())
        assert (manifest["first_seq"], manifest["last_seq"]) == (4, 4)


async def test_a_file_is_written_beside_its_name_before_it_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr("os.fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").readlink().name))
    async with retention_scene(tmp_path) as kept:
        await kept.end("2026-09-10")
        synced.clear()
        await kept.look("2026-11-01")
        data, manifest = f".{SEPTEMBER}.part", ".operations-2026-09.json.part"
        assert synced == [data, "archive", manifest, "archive"]
        assert kept.names() == ["operations-2026-09.json", SEPTEMBER]
