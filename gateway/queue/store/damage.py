"""A damaged database is set aside under a dated name, and what can be read of it goes into a new one.

The new file is complete under another name before anything is replaced, so a power cut at any point loses nothing more.
"""

import itertools
import logging
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from gateway.event import GATEWAY, Event
from gateway.queue.store.rows import Row, event_row
from gateway.queue.store.sql import QUERIES, connect, connect_as_it_lies, migrate

log = logging.getLogger(__name__)

TABLES: Final = tuple(
    """
    meta parameter component registration operation dependency archive export event audit call
    """.split()
)
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BESIDE: Final = ("-wal", "-shm")


def is_damage(why: sqlite3.Error) -> bool:
    """Whether an error says that the file itself is broken."""
    return getattr(why, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def is_sound(db: sqlite3.Connection) -> bool:
    """Whether SQLite finds nothing wrong with the structure of a database."""
    return bool(db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))


def finish_interrupted(path: Path) -> None:
    """Complete the replacement that a power cut interrupted, or clear away what was not complete."""
    _beside(path, ".salvaging").unlink(missing_ok=True)
    if _beside(path, ".salvaged").exists():
        _replace(path)


def salvage(path: Path, now_ms: int, *, time_trusted: bool) -> None:
    """Replace the database at `path` with what can be read of it, and an event `database_salvaged` that tells so."""
    set_aside = _set_aside(path, now_ms)
    partial = _beside(path, ".salvaging")
    db = connect(partial)
    try:
        migrate(db, partial.name)
        db.execute("BEGIN IMMEDIATE")
        rows, damaged = _copy(set_aside, db)
        db.execute(QUERIES["forget_counts"])
        seq = _next_seq(db, now_ms, lost="event" in damaged and not rows["event"])
        _keep_epoch_growing(db, now_ms)
        attributes = {"set_aside": set_aside.name, "salvaged": rows, "damaged": damaged}
        event = Event("database_salvaged", GATEWAY, now_ms, attributes, time_trusted, seq)
        db.execute(QUERIES["insert_event"], event_row(event))
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        db.close()
    partial.rename(_beside(path, ".salvaged"))
    _replace(path)
    log.error("the database was damaged: set aside as %s, salvaged rows: %s", set_aside.name, rows)


def _set_aside(path: Path, now_ms: int) -> Path:
    """Give the damaged files a second, dated name; they lose the first when the new database takes it."""
    stamp = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%S")
    names = (_beside(path, f".damaged-{stamp}" + (f"-{n}" if n else "")) for n in itertools.count())
    aside = next(name for name in names if not name.exists())
    for suffix in ("", "-wal"):  # the log belongs to it; the shared memory is made anew
        if _beside(path, suffix).exists():
            _beside(aside, suffix).hardlink_to(_beside(path, suffix))
    _sync(path.parent)
    return aside


def _copy(source: Path, target: sqlite3.Connection) -> tuple[dict[str, int], list[str]]:
    """Copy what can be read; returns the rows copied of each table, and the tables that could not be read whole."""
    rows, damaged = dict.fromkeys(TABLES, 0), []
    try:
        db = connect_as_it_lies(source)
    except sqlite3.Error:
        return rows, list(TABLES)
    try:
        for table in TABLES:
            rows[table], whole = _copy_table(db, target, table)
            damaged += [] if whole else [table]
    finally:
        db.close()
        _beside(source, "-shm").unlink(missing_ok=True)
    return rows, damaged


def _copy_table(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> tuple[int, bool]:
    """Read a table from both ends until each meets damage; returns the rows copied and whether it was read whole."""
    try:
        kept = {row[1] for row in source.execute(f"PRAGMA table_info({table})")}
    except sqlite3.Error:
        return 0, False
    known = [row[1] for row in target.execute(f"PRAGMA table_info({table})") if row[1] in kept]
    if not known:
        return 0, False
    key = known[0]
    columns = ", ".join(known)
    places = ", ".join("?" for _ in known)
    insert = f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})"  # noqa: S608 - names of our own schema
    before = target.total_changes
    whole = True
    for direction in ("ASC", "DESC"):
        query = f"SELECT {columns} FROM {table} NOT INDEXED ORDER BY {key} {direction}"  # noqa: S608 - the same
        for row in _until_damage(source, query):
            if row is None:
                whole = False
            else:
                _insert(target, insert, row)
        if whole:
            break
    return target.total_changes - before, whole


def _until_damage(db: sqlite3.Connection, query: str) -> Iterator[Row | None]:
    """Yield rows; None, as the last, where the rest cannot be read."""
    try:
        yield from db.execute(query)
    except (sqlite3.Error, UnicodeDecodeError, OverflowError):
        yield None


def _insert(db: sqlite3.Connection, insert: str, row: tuple[Any, ...]) -> None:
    try:
        db.execute(insert, row)
    except sqlite3.IntegrityError as why:  # a value of the wrong type: its row is as lost as an unreadable one
        log.warning("a salvaged row does not fit: %s", why)


def _next_seq(db: sqlite3.Connection, now_ms: int, *, lost: bool) -> int:
    """Return the next seq. Where the newest is unknown: the time in seconds, above any number that was ever given."""
    last = int(db.execute(QUERIES["last_seq"]).fetchone()[0])
    return max(last, now_ms // 1000 if lost else 0) + 1


def _keep_epoch_growing(db: sqlite3.Connection, now_ms: int) -> None:
    if db.execute(QUERIES["meta"], ("epoch",)).fetchone() is None:
        db.execute(QUERIES["put_meta"], ("epoch", now_ms // 1000))


def _replace(path: Path) -> None:
    """Let the salvaged database take the place; the damaged log must be gone before, or it would be played back."""
    for suffix in _BESIDE:
        _beside(path, suffix).unlink(missing_ok=True)
    _sync(path.parent)
    _beside(path, ".salvaged").replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
