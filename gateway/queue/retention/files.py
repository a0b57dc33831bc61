"""The files of an export: a month's operations as compressed JSON lines, and the manifest that says what must be in it.

Both are written under another name, synced and renamed, the manifest last: a file without its manifest is unfinished.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from gateway.clock import rfc3339
from gateway.operation import Operation
from gateway.ports import Export

DATA_SUFFIX: Final = ".jsonl.gz"


def names_in(folder: Path) -> frozenset[str]:
    """Return the names in `folder`, which is made if it is missing."""
    folder.mkdir(exist_ok=True)
    return frozenset(path.name for path in folder.iterdir())


def write_export(folder: Path, export: Export, operations: Iterable[Operation], now_ms: int) -> str:
    """Write the file of an export and its manifest, over whatever has these names. Returns the file's SHA-256."""
    path = folder / export.file
    count = 0
    with _replacing(path) as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        for operation in operations:
            packed.write(json.dumps(operation.payload(), separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
            count += 1
    digest = _sha256(path)
    told = {
        "file": export.file,
        "month": export.month,
        "count": count,
        "first_seq": export.first_seq,
        "last_seq": export.last_seq,
        "sha256": digest,
        "created_at": rfc3339(now_ms),
    }
    with _replacing(folder / manifest_of(export.file)) as file:
        file.write(json.dumps(told, indent=2).encode() + b"\n")
    return digest


def manifest_of(file: str) -> str:
    """Return the name of the manifest of a file."""
    return file.removesuffix(DATA_SUFFIX) + ".json"


def is_intact(folder: Path, export: Export) -> bool:
    """Whether the file of a finished export can be read, and is as it was written."""
    try:
        return _sha256(folder / export.file) == export.sha256
    except OSError:
        return False


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write; only once it is whole and on the disk it gets its name."""
    partial = path.with_name(f".{path.name}.part")
    with partial.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
