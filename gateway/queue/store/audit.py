"""The audit chain: every row carries a hash over itself and the row before, so that a later change shows."""

import hashlib
import sqlite3
from typing import Final

from gateway.ports import AuditEntry
from gateway.queue.store.rows import Row, encode
from gateway.queue.store.sql import QUERIES

GENESIS: Final = bytes(32)  # what the first row is chained to


def audit_row(previous_hash: bytes, seq: int, at: int, entry: AuditEntry) -> Row:
    """Return the values of `insert_audit`; the last is SHA-256 of `previous_hash` and the row as a JSON list."""
    fields = (seq, at, entry.actor, entry.transport, entry.action, entry.subject, entry.outcome, entry.code)
    return (*fields, chain_hash(previous_hash, fields))


def chain_hash(previous_hash: bytes, fields: Row) -> bytes:
    """Return the hash of one row: 32 bytes."""
    return hashlib.sha256(previous_hash + encode(fields).encode()).digest()


def first_broken(db: sqlite3.Connection) -> int | None:
    """Return the seq of the first audit row that was changed, or follows one taken away; None: the chain holds.

    Rows cut off at the end leave no trace in the chain itself: compare the last seq with what was announced.
    """
    previous = GENESIS
    for row in db.execute(QUERIES["audit"]):
        *fields, digest = row
        if digest != chain_hash(previous, tuple(fields)):
            return int(fields[0])
        previous = digest
    return None
