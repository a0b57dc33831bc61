"""What the retained topics say: the gateway itself, and presence and queue of every component."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, WithJsonSchema

from gateway.component import ComponentKind
from gateway.payloads.base import TIME_SCHEMA, Count, Serial, Time, Told
from gateway.presence import Presence, Reason

TimeOrNull = Annotated[Time | None, WithJsonSchema({"anyOf": [TIME_SCHEMA, {"type": "null"}]})]  # null even if optional


class GatewayOnline(Told):
    """The birth: the gateway is there."""

    state: Literal["ONLINE"]
    epoch: Count
    """Grows with every start of the gateway."""
    session: Count
    """Counts the connections of this epoch."""
    version: str
    started_at: Time
    config_hash: str
    """Tells one configuration from another."""
    components: list[str]
    """component_ids, sorted."""
    buses: list[str]


class GatewayOffline(Told):
    """The gateway is gone. One whose epoch, or session in the same epoch, is older than the newest birth's is stale."""

    state: Literal["OFFLINE"]
    epoch: Count
    session: Count
    reason: Literal["connection_lost", "stopping"]
    """connection_lost: the broker noticed (the Will). stopping: the gateway said goodbye."""


GatewayState = Annotated[GatewayOnline | GatewayOffline, Field(discriminator="state")]
GATEWAY_STATE: TypeAdapter[GatewayOnline | GatewayOffline] = TypeAdapter(GatewayState)


class Evidence(Told):
    """What a presence rests on. Empty before the first change."""

    rule: str | None = None
    """Which rule decided."""
    window_ms: Count | None = None
    """Milliseconds of silence that mean OFFLINE."""
    last_valid: TimeOrNull = None
    """When its last valid heartbeat came."""
    missed: Count | None = None
    """Heartbeats that were due since."""
    crc_errors: Count | None = None
    """Since five heartbeats in a row were good."""
    counter_errors: Count | None = None
    """Since five heartbeats in a row were good."""
    bus: str | None = None
    bus_state: str | None = None
    """UP, DOWN, GONE, BUS_OFF, ERROR_PASSIVE or SILENT."""


class PresenceState(Told):
    """Whether a component is heard. Holds only while the gateway is ONLINE."""

    component_id: str
    presence: Presence
    since: Time
    """When it became so."""
    last_seen: Time | None
    """Its last valid heartbeat, as of the last change."""
    reason: Reason | None
    """Why it is not ONLINE; marked: an operator said so."""
    evidence: Evidence
    expected_return: Time | None
    """When it should be back; null: nobody knows."""
    kind: ComponentKind
    parent: str | None
    serial: Serial | None
    """Serial number: 0x and 16 hexadecimal digits."""
    epoch: Count
    """Of the gateway that says so."""
    as_of_seq: Count
    """The last event that this reflects."""


class QueueStatus(Told):
    """How much waits for a component, in each of its three queues."""

    component_id: str
    standard_queue_size: Count
    priority_queue_size: Count
    proxy_queue_size: Count
    oldest_request: Time | None
    """When the oldest that waits was queued."""
    last_processed: Time | None
    """When the last one ended."""


class Telemetry(Told):
    """Values that have changed. Those that it does not name are as they were told last."""

    component_id: str
    epoch: Count
    """Of the gateway that says so."""
    at: Time
    """When the newest of the values was heard."""
    values: dict[str, int | float | str]
    """By signal, as the gateway's configuration calls it: physical values, or the names that the DBC gives to them."""


class QueueState(QueueStatus):
    """The queue of a component on its retained topic."""

    epoch: Count
    """Of the gateway that says so."""
    as_of_seq: Count
    """The last event that this reflects."""
