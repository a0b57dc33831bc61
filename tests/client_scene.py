"""What tests of the client share: payloads as a gateway tells them."""

from typing import Any

from gateway.payloads import Event, GatewayOffline, GatewayOnline, PresenceState, QueueState, read_event

AT = "2026-11-21T20:10:00.350Z"


def event_payload(seq: int, kind: str = "bus_up", subject: str = "gateway", **attributes: Any) -> dict[str, Any]:
    told = attributes or {"bus": "can0", "bus_state": "UP", "down_ms": 5}
    return {
        "seq": seq,
        "epoch": 1,
        "type": kind,
        "subject": subject,
        "at": AT,
        "time_trusted": True,
        "attributes": told,
    }


def event(seq: int, kind: str = "bus_up", subject: str = "gateway", **attributes: Any) -> Event:
    return read_event(event_payload(seq, kind, subject, **attributes))


def birth_payload(epoch: int = 1, session: int = 1, *components: str, started_at: str = AT) -> dict[str, Any]:
    return {
        "state": "ONLINE",
        "epoch": epoch,
        "session": session,
        "version": "0.1.0",
        "started_at": started_at,
        "config_hash": "abc",
        "components": sorted(components),
        "buses": ["can0"],
    }


def offline_payload(epoch: int = 1, session: int = 1, reason: str = "connection_lost") -> dict[str, Any]:
    return {"state": "OFFLINE", "epoch": epoch, "session": session, "reason": reason}


def birth(epoch: int = 1, session: int = 1, *components: str, started_at: str = AT) -> GatewayOnline:
    return GatewayOnline.model_validate(birth_payload(epoch, session, *components, started_at=started_at))


def offline(epoch: int = 1, session: int = 1) -> GatewayOffline:
    return GatewayOffline.model_validate(offline_payload(epoch, session))


def presence_payload(component_id: str, presence: str = "ONLINE", epoch: int = 1, as_of_seq: int = 1) -> dict[str, Any]:
    return {
        "component_id": component_id,
        "presence": presence,
        "since": AT,
        "last_seen": AT,
        "reason": None if presence == "ONLINE" else "heartbeat_timeout",
        "evidence": {},
        "expected_return": None,
        "kind": "MODULE",
        "parent": None,
        "serial": None,
        "epoch": epoch,
        "as_of_seq": as_of_seq,
    }


def presence(component_id: str, presence: str = "ONLINE", epoch: int = 1, as_of_seq: int = 1) -> PresenceState:
    return PresenceState.model_validate(presence_payload(component_id, presence, epoch, as_of_seq))


def queue_payload(component_id: str, size: int, epoch: int = 1, as_of_seq: int = 1) -> dict[str, Any]:
    return {
        "component_id": component_id,
        "standard_queue_size": size,
        "priority_queue_size": 0,
        "proxy_queue_size": 0,
        "oldest_request": None,
        "last_processed": None,
        "epoch": epoch,
        "as_of_seq": as_of_seq,
    }


def queue(component_id: str, size: int, epoch: int = 1, as_of_seq: int = 1) -> QueueState:
    return QueueState.model_validate(queue_payload(component_id, size, epoch, as_of_seq))
