"""The audit chain: what is read of it, and what a look at the whole of it finds after somebody has been at the file."""

import hashlib
import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from gateway.ports import AuditCheck, AuditEntry, Tx
from gateway.queue.store.audit import GENESIS
from tests.store_scene import StoreScene, scene

NOW = 1_790_000_000_000
DOCUMENT = Path(__file__).parents[2] / "docs" / "record-keeping.md"
ENTRIES = [
    AuditEntry("tech-anna", "mqtt", "cancel_request", "cmd_1", "accepted"),
    AuditEntry("olga", "socket", "queue_command", "module-03", "refused", "NOT_OWNER"),
    AuditEntry("späti", "mqtt", "set_params", 'a "name"\n\u007f', "accepted"),
]
COUNT = 2 * len(ENTRIES)


def append(entry: AuditEntry, tx: Tx) -> None:
    tx.audit(entry, NOW)


async def fill(told: StoreScene) -> None:
    for entry in ENTRIES:
        await told.store.write(partial(append, entry))


async def filled(path: Path) -> StoreScene:
    """Write a chain that goes on after a restart."""
    for _ in range(2):
        async with scene(path) as told:
            await fill(told)
    return told


async def check(path: Path) -> AuditCheck:
    async with scene(path) as told:
        return await told.store.study(lambda reader: reader.check_audit())


def tamper(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


COLUMNS = "at, actor, transport, action, subject, outcome, code, hash"
TAMPERINGS = {  # what somebody does, and the first row that does not fit then
    "a changed value": (["UPDATE audit SET actor = 'nobody' WHERE seq = 3"], 3),
    "a refusal made good": (["UPDATE audit SET outcome = 'accepted', code = NULL WHERE seq = 2"], 2),
    "a time set back by a millisecond": (["UPDATE audit SET at = at - 1 WHERE seq = 6"], 6),
    "a changed hash": (["UPDATE audit SET hash = zeroblob(32) WHERE seq = 3"], 3),
    "a row taken out": (["DELETE FROM audit WHERE seq = 3"], 4),
    "the first row taken": (["DELETE FROM audit WHERE seq = 1"], 2),
    "a row put in": ([f"INSERT INTO audit SELECT 7, {COLUMNS} FROM audit WHERE seq = 6"], 7),
    "two rows that changed places": (
        [
            "UPDATE audit SET seq = 99 WHERE seq = 3",
            "UPDATE audit SET seq = 3 WHERE seq = 4",
            "UPDATE audit SET seq = 4 WHERE seq = 99",
        ],
        3,
    ),
    "a row moved to the end": (["UPDATE audit SET seq = 7 WHERE seq = 2"], 3),
    "two of them": (["DELETE FROM audit WHERE seq = 2", "UPDATE audit SET actor = 'x' WHERE seq = 5"], 3),
    "no tampering": (["SELECT 1"], None),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_a_look_at_the_chain_names_the_first_row_that_does_not_fit(tmp_path: Path, tampering: str) -> None:
    told = await filled(tmp_path / "queue.db")
    statements, broken = TAMPERINGS[tampering]
    tamper(told.path, *statements)
    assert (await check(told.path)).first_broken == broken


async def test_a_gap_shows_even_where_the_hashes_after_it_were_made_anew(tmp_path: Path) -> None:
    told = await filled(tmp_path / "queue.db")
    with closing(sqlite3.connect(told.path)) as db, db:
        db.execute("DELETE FROM audit WHERE seq = 4")
        (previous,) = db.execute("SELECT hash FROM audit WHERE seq = 3").fetchone()
        for *fields, _ in db.execute("SELECT * FROM audit WHERE seq > 4 ORDER BY seq").fetchall():
            row = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
            previous = hashlib.sha256(previous + row).digest()
            db.execute("UPDATE audit SET hash = ? WHERE seq = ?", (previous, fields[0]))
    assert (await check(told.path)).first_broken == 5


async def test_rows_cut_off_at_the_end_show_in_the_last_number_and_the_head(tmp_path: Path) -> None:
    told = await filled(tmp_path / "queue.db")
    noted = await check(told.path)
    assert (noted.entries, noted.last_seq) == (COUNT, COUNT)
    tamper(told.path, "DELETE FROM audit WHERE seq > 4")
    cut = await check(told.path)
    assert cut.first_broken is None  # the rest of the chain is sound
    assert (cut.entries, cut.last_seq) == (4, 4)
    async with scene(told.path) as told:  # writing on gives the numbers again, and other hashes
        await fill(told)
    again = await check(told.path)
    assert (again.first_broken, again.last_seq) == (None, COUNT + 1)
    assert again.head != noted.head


async def test_an_empty_chain_is_sound(tmp_path: Path) -> None:
    assert await check(tmp_path / "queue.db") == AuditCheck(0, 0, None, GENESIS)


async def test_rows_are_read_with_the_hash_of_the_row_before(tmp_path: Path) -> None:
    told = await filled(tmp_path / "queue.db")
    async with scene(told.path) as told:
        rows = await told.store.read(lambda reader: reader.audit_entries(1, 100))
        assert [row.entry for row in rows] == 2 * ENTRIES
        assert [row.seq for row in rows] == list(range(1, COUNT + 1))
        assert rows[0].previous_hash == GENESIS
        assert [row.previous_hash for row in rows[1:]] == [row.hash for row in rows[:-1]]
        assert await told.store.read(lambda reader: reader.audit_entries(3, 2)) == rows[2:4]
        assert await told.store.read(lambda reader: reader.audit_entries(COUNT + 1, 2)) == []


BY_HAND = re.findall(r"^```python$(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


def follow_by_hand(path: Path) -> str:
    """Run the recipe of the documentation, as anybody would who has nothing but the file."""
    (script,) = BY_HAND
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False, timeout=60)
    return (done.stdout + done.stderr).strip()


async def test_the_chain_can_be_followed_by_hand(tmp_path: Path) -> None:
    told = await filled(tmp_path / "queue.db")
    noted = await check(told.path)
    assert follow_by_hand(told.path) == f"sound up to {COUNT}, head {noted.head.hex()}"
    tamper(told.path, "UPDATE audit SET subject = 'cmd_2' WHERE seq = 4")
    assert follow_by_hand(told.path) == "broken at 4"


async def test_a_job_that_is_undone_leaves_no_gap_in_the_chain(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db") as told:
        await fill(told)

        def spoiled(tx: Tx) -> None:
            tx.audit(ENTRIES[0], NOW)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await told.store.write(spoiled)
        await fill(told)
        found = await told.store.write(lambda tx: tx.check_audit())
    assert (found.first_broken, found.entries) == (None, COUNT)
