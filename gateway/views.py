"""How records look from outside: the maps that replies and retained topics share."""

from typing import Any

from gateway.clock import rfc3339
from gateway.component import Component
from gateway.ports import (
    AuditCheck,
    AuditRow,
    ComponentRow,
    Figures,
    OfflineOperation,
    Page,
    QueueStatus,
    Sighting,
    Spread,
)


def time_or_none(at_ms: int | None) -> str | None:
    """Spell a time that may be missing."""
    return None if at_ms is None else rfc3339(at_ms)


def serial_text(serial: int | None) -> str | None:
    """Spell a serial number: 0x and 16 hexadecimal digits."""
    return None if serial is None else f"0x{serial:016X}"


def component_view(component: Component, sighting: Sighting, row: ComponentRow | None) -> dict[str, Any]:
    """Return a component as get_presence tells it: registry record and live part. Keys and key files stay inside."""
    return {
        "component_id": component.component_id,
        "kind": str(component.kind),
        "bus": component.bus,
        "node": component.node,
        "parent": component.parent,
        "owner": component.owner or None,
        "serial": serial_text(component.serial),
        "capabilities": sorted(component.capabilities),
        "proxies": sorted(component.proxies),
        "accepts_proxy": component.accepts_proxy,
        "queue_mode": str(component.queue_mode),
        "drain_mode": str(component.drain_mode),
        "presence": str(sighting.presence),
        "reason": sighting.reason,
        "since": rfc3339(sighting.since_ms),
        "last_seen": time_or_none(sighting.last_seen_ms),
        "expected_return": time_or_none(row.expected_return) if row else None,
        "ready": sighting.ready,
        "flapping": sighting.flapping,
        "evidence": dict(sighting.evidence),
        "vitals": dict(sighting.vitals),
    }


def queue_view(status: QueueStatus) -> dict[str, Any]:
    """Return a QueueStatus as replies and the queue topic tell it."""
    return {
        "component_id": status.component_id,
        "standard_queue_size": status.standard_queue_size,
        "priority_queue_size": status.priority_queue_size,
        "proxy_queue_size": status.proxy_queue_size,
        "oldest_request": time_or_none(status.oldest_request),
        "last_processed": time_or_none(status.last_processed),
    }


def offline_view(pending: OfflineOperation) -> dict[str, Any]:
    """Return an OfflineOperation as replies tell it."""
    return {
        "component_id": pending.component_id,
        "pending_request_ids": list(pending.pending_request_ids),
        "operation_count": pending.operation_count,
        "last_seen": time_or_none(pending.last_seen),
        "expected_return": time_or_none(pending.expected_return),
        "offline_reason": pending.offline_reason,
        "accepts_proxy": pending.accepts_proxy,
    }


def page_view(page: Page) -> dict[str, Any]:
    """Return a page of operations as every list tells it; without `next_cursor` it is the last."""
    told: dict[str, Any] = {"requests": [operation.payload() for operation in page.operations]}
    if page.next_cursor is not None:
        told["next_cursor"] = page.next_cursor
    return told


def figures_view(figures: Figures) -> dict[str, Any]:
    """Return what get_metrics tells of all operations, or of those that share a `key`."""
    told = {
        "count": figures.count,
        "throughput_per_hour": figures.throughput_per_hour,
        "wait_ms": _spread_view(figures.wait),
        "processing_ms": _spread_view(figures.processing),
        "retries": figures.retries,
        "failure_rate": figures.failure_rate,
    }
    return told if figures.key is None else {"key": figures.key, **told}


def _spread_view(spread: Spread) -> dict[str, float | None]:
    return {"mean": spread.mean, "p50": spread.p50, "p95": spread.p95, "p99": spread.p99}


def audit_view(row: AuditRow) -> dict[str, Any]:
    """Return a row of the audit chain; hashes in hexadecimal."""
    return {
        "seq": row.seq,
        "at": rfc3339(row.at),
        "actor": row.entry.actor,
        "transport": row.entry.transport,
        "action": row.entry.action,
        "subject": row.entry.subject,
        "outcome": row.entry.outcome,
        "code": row.entry.code,
        "previous_hash": row.previous_hash.hex(),
        "hash": row.hash.hex(),
    }


def audit_check_view(check: AuditCheck) -> dict[str, Any]:
    """Return what a look at the whole audit chain found."""
    return {
        "entries": check.entries,
        "last_seq": check.last_seq,
        "first_broken": check.first_broken,
        "head": check.head.hex(),
    }
