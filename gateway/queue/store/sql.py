"""SQL kept as SQL: connections, numbered migrations, and the named statements of the `.sql` files beside this one."""

import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConfigError

Execute = Callable[[str, tuple[Any, ...]], sqlite3.Cursor]

FOLDER: Final = Path(__file__).parent
MIGRATIONS: Final = tuple(file.read_text(encoding="utf-8") for file in sorted((FOLDER / "migrations").glob("*.sql")))
# The log is folded into the file at about this size, and cut back to it. The larger, the fewer syncs, and the fewer
# times a page that changes again and again is written to flash; the smaller, the faster a start after a power cut.
WAL_BYTES: Final = 16 * 1024 * 1024
CACHE_KIB: Final = 2 * 1024  # more makes nothing faster: the system keeps the pages of the file, too
READING_CACHE_KIB: Final = 512  # a reader seldom asks the same thing twice
BUSY_MS: Final = 5_000  # somebody else's shell may hold the lock for a moment


def _named(script: str) -> Mapping[str, str]:
    """Split a script at its `-- name:` lines; what is said about a statement before it is for readers alone."""
    parts = re.split(r"^-- name: (\w+)\n(?:-- .*\n)*", script, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True))


QUERIES: Final = _named("".join(file.read_text(encoding="utf-8") for file in sorted(FOLDER.glob("*.sql"))))


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a database that hands no transaction out by itself. It may move between threads, one at a time."""
    if not read_only:
        return _writing(_connect(path, "rwc"))
    db = _connect(path, "ro")
    db.execute(f"PRAGMA cache_size = -{READING_CACHE_KIB}")
    return db


def connect_as_it_lies(path: Path) -> sqlite3.Connection:
    """Open a database to look at it, leaving no file beside it that was not there."""
    return _connect(path, "ro" if path.with_name(path.name + "-wal").exists() else "ro&immutable=1")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def _writing(db: sqlite3.Connection) -> sqlite3.Connection:
    try:
        page_size = db.execute("PRAGMA page_size").fetchone()[0]
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {WAL_BYTES // page_size}")
        db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    except sqlite3.Error:
        db.close()
        raise
    return db


def migrate(db: sqlite3.Connection, name: str, scripts: Sequence[str] = MIGRATIONS) -> None:
    """Bring `db` to the newest schema: numbered files, one transaction each; a failed one leaves no trace.

    Raises ConfigError, naming the database, where it is newer than this program.
    """
    (done,) = db.execute("PRAGMA user_version").fetchone()
    if done > len(scripts):
        problem = f"{name}: its schema is version {done}, this program knows {len(scripts)}: install a newer gateway"
        raise ConfigError([problem])
    for number, script in enumerate(scripts[done:], done + 1):
        try:
            db.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
        except sqlite3.Error:
            db.rollback()
            raise


def limit_size(db: sqlite3.Connection, max_bytes: int) -> int:
    """Let `db` grow to `max_bytes` and no further; returns that in pages. A larger one keeps its size."""
    page_size = db.execute("PRAGMA page_size").fetchone()[0]
    pages: int = db.execute(f"PRAGMA max_page_count = {max_bytes // page_size}").fetchone()[0]
    return pages


def used_pages(db: sqlite3.Connection) -> int:
    """Return how many pages hold something."""
    total, free = db.execute("PRAGMA page_count").fetchone()[0], db.execute("PRAGMA freelist_count").fetchone()[0]
    return int(total) - int(free)
