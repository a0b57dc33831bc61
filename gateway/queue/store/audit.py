"""The audit chain: every row carries a hash over itself and the row before, so that a later change shows."""

import hashlib
from typing import Final

from gateway.ports import AuditCheck, AuditEntry, AuditRow
from gateway.queue.store.rows import Row, encode
from gateway.queue.store.sql import QUERIES, Execute

GENESIS: Final = bytes(32)  # what the first row is chained to


def audit_row(previous_hash: bytes, seq: int, at: int, entry: AuditEntry) -> Row:
    """Return the values of `insert_audit`; the last is SHA-256 of `previous_hash` and the row as a JSON list."""
    fields = (seq, at, entry.actor, entry.transport, entry.action, entry.subject, entry.outcome, entry.code)
    return (*fields, chain_hash(previous_hash, fields))


def chain_hash(previous_hash: bytes, fields: Row) -> bytes:
    """Return the hash of one row: 32 bytes."""
    return hashlib.sha256(previous_hash + encode(fields).encode()).digest()


def audit_entries(execute: Execute, from_seq: int, limit: int) -> list[AuditRow]:
    """Return rows of the chain from `from_seq` on, each with the hash of the row before as that one tells it."""
    return [
        AuditRow(seq, at, AuditEntry(*told), previous_hash, digest)
        for seq, at, *told, digest, previous_hash in execute(QUERIES["audit_entries"], (from_seq, limit))
    ]


def check_audit(execute: Execute) -> AuditCheck:
    """Look at the whole chain. The first broken row was changed or moved, or the one before it was, or is missing.

    Rows cut off at the end leave no trace in the chain itself: compare `last_seq` and `head` with earlier ones.
    """
    entries, last_seq, head, first_broken = 0, 0, GENESIS, None
    for row in execute(QUERIES["audit"], ()):
        *fields, digest = row
        follows = fields[0] == last_seq + 1 and digest == chain_hash(head, tuple(fields))
        if first_broken is None and not follows:
            first_broken = fields[0]
        entries, last_seq, head = entries + 1, fields[0], digest
    return AuditCheck(entries, last_seq, first_broken, head)
