"""A look at a database from outside, without the daemon: for `check` and for tests."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from gateway.errors import ConfigError
from gateway.queue.store.sql import MIGRATIONS, connect_as_it_lies


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a database holds. `rows`: how many of each table."""

    version: int
    rows: dict[str, int]


def inspect(path: Path) -> Inspection:
    """Look into the database at `path`, changing nothing. Raises ConfigError for one that is unreadable or newer."""
    try:
        db = Database(connect_as_it_lies(path))
        try:
            (version,) = db.conn.execute("PRAGMA user_version").fetchone()
            rows = {name: db[name].count for name in db.table_names()}
        finally:
            db.close()
    except sqlite3.Error as why:
        raise ConfigError([f"{path}: cannot be read: {why}"]) from why
    if version > len(MIGRATIONS):
        newer = f"its schema is version {version}, this program knows {len(MIGRATIONS)}: install a newer gateway"
        raise ConfigError([f"{path}: {newer}"])
    return Inspection(version, rows)
