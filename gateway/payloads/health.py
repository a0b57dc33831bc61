"""How the gateway is: what get_health tells of its buses, its queue and its way to the broker."""

from typing import Annotated, Literal

from pydantic import Field

from gateway.payloads.base import Count, Milliseconds, Share, Time, Told


class AnswersDropped(Told):
    """Answers of components that nobody was waiting for."""

    invalid: Count
    """Damaged."""
    late: Count
    double: Count
    foreign: Count
    """Never asked for, or by another."""


class Talker(Told):
    """An id that is heard often on a bus, as a look of a second at all frames shows."""

    can_id: str
    """Hexadecimal; three digits: of 11 bits, eight: of 29."""
    frames_per_s: float
    component_id: str | None
    """The component that is heard by it; null: none is, or several are."""


class KernelObserver(Told):
    """The kernel as the observer of components in whose messages there is nothing to judge."""

    components: Count
    """Those that it may watch."""
    resting: Count
    """Those that it watches now: their frames do not reach the gateway."""
    lost: Count
    """Messages of the kernel that found no room; each makes the gateway listen to all frames again."""
    disagreements: Count
    """Silences that the kernel had to tell of and did not; the frames showed them."""


class BusHealth(Told):
    """How one bus is, and what is counted on it since the gateway started."""

    name: str
    interface: str
    """As python-can calls it."""
    state: str
    """UP, DOWN, GONE, BUS_OFF or ERROR_PASSIVE."""
    heard: str
    """The state, or SILENT: up, and nobody is heard."""
    frames: Count
    sent: Count
    send_retries: Count
    """How often there was no room to send."""
    transmit_full_ms: Count
    """Milliseconds for which there has been no room, up to the last try; 0: there was room."""
    overflow: Count
    """Frames lost on our side of the wire."""
    error_frames: Count
    errors: dict[str, Count]
    """What these told, by kind: bus_off, restarted, receive_passive, transmit_passive, no_acknowledgement, …"""
    controller: Literal["active", "warning", "passive", "bus_off"] | None
    """Its error state; null: it has told nothing yet."""
    transmit_error_counter: Count | None
    """As last told; from 96 a warning, from 128 passive, from 256 the bus is off."""
    receive_error_counter: Count | None
    bitrate: Count | None
    """Bits a second; null: not known."""
    frames_per_s: Annotated[float, Field(ge=0)]
    """Frames of anybody, over the last seconds."""
    load: Share | None
    """Part of the bit rate that they take by an estimate; null: the bit rate is not known."""
    load_peak: Share | None
    """Its highest in any second."""
    talkers: list[Talker]
    """Who was heard most when last looked at, at most 8."""
    faults: Count
    """Errors of the adapter, and frames that could not be read."""
    reconnects: Count
    last_error: str | None
    frames_judged: Count
    invalid: Count
    """Heartbeats that were damaged."""
    strangers: Count
    """Heartbeats of nodes in no configuration."""
    components: Count
    online: Count
    flapping: Count
    babbling: Count
    observer_troubles: Count
    """How often we could not listen."""
    off_period: list[str]
    """component_ids that do not keep the period declared for them."""
    kernel_observer: KernelObserver | None
    """Null: the bus is observed by its frames alone."""
    answers_dropped: AnswersDropped
    exchange_load: float | None
    """Part of the bit rate that exchanges took lately; null: the bit rate is not known."""
    budget_waits: Count
    """Frames that waited for the bus's budget."""


class ControlSocketHealth(Told):
    """The control socket since the gateway started."""

    turned_away: dict[str, Count]
    """Connections, users and frames, by reason."""


class UpstreamHealth(Told):
    """How the way to the broker is; no more than configured false where there is none."""

    configured: bool
    state: Literal["connected", "slow", "refused", "away"] | None = None
    """slow: the broker takes its time. refused: its access rules forbid something, see refused."""
    connected: bool | None = None
    broker: str | None = None
    since: Time | None = None
    """When it was connected or lost."""
    reconnects: Count | None = None
    sessions_lost: Count | None = None
    """How often the broker had forgotten the session, and so perhaps requests that waited in it."""
    losses: dict[str, Count] | None = None
    """Connections lost or not made, by cause."""
    cause: str | None = None
    """Of the last loss, until a connection has held for a minute."""
    last_error: str | None = None
    """The last loss in words, until a connection has held for a minute."""
    outbox: Count | None = None
    """Events that have not reached the broker."""
    outbox_bytes: Count | None = None
    """What those take, in bytes."""
    events_dropped: Count | None = None
    """Events that the outbox had no room for."""
    under_way: Count | None = None
    """Messages that the broker has not acknowledged yet."""
    oldest_under_way_ms: Count | None = None
    """Milliseconds since the oldest of them was sent."""
    refused: list[str] | None = None
    """Kinds of topic that the broker's access rules forbid now."""
    refused_by_broker: dict[str, Count] | None = None
    """What they forbade so far, by kind."""
    turned_away: dict[str, Count] | None = None
    """Requests that were not served, by reason."""
    dropped: Count | None = None
    """Messages from the broker that could not be read, or found no room."""


class Health(Told):
    """What is well and what is not."""

    healthy: bool
    """Every bus is heard, and the broker connected where there is one."""
    queue_depth: Count
    """Operations that wait."""
    active_operations: Count
    """Operations that are PROCESSING."""
    attempts: dict[str, Count]
    """How many attempts ended in which action since the start; broken: by our own fault."""
    average_wait_ms: Milliseconds
    """Milliseconds; of the last hour."""
    average_processing_ms: Milliseconds
    """Milliseconds; of the last hour."""
    failure_rate: Share
    """Of the last hour."""
    buses: list[BusHealth]
    upstream: UpstreamHealth
    control_socket: ControlSocketHealth
    timestamp: Time
    time_trusted: bool
