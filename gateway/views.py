"""How records look from outside: the maps that replies and retained topics share."""

from typing import Any

from gateway.clock import rfc3339
from gateway.component import Component
from gateway.ports import ComponentRow, OfflineOperation, QueueStatus, Sighting


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
