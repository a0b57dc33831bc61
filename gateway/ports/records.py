"""What the store takes and gives, beside operations and events."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.component import UNOWNED, ComponentKind
from gateway.operation import Operation, Status


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, and what came of it.

    `outcome`: "accepted" or "refused", or the status in which a proxy request ended; `code`: of the refusal or failure.
    """

    actor: str
    transport: str
    action: str
    subject: str
    outcome: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it was received: remembered until `until` (ms), so that a repeat has one effect."""

    actor: str
    call_id: str
    digest: bytes  # of the content; same id with other content is REPLAYED
    until: int


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The queue of one component. `oldest_request`, `last_processed`: ms since the epoch."""

    component_id: str
    standard_queue_size: int
    priority_queue_size: int
    proxy_queue_size: int
    oldest_request: int | None
    last_processed: int | None


@dataclass(frozen=True, slots=True)
class OfflineOperation:
    """The pending work of one component."""

    component_id: str
    pending_request_ids: tuple[str, ...]
    operation_count: int
    last_seen: int | None
    expected_return: int | None
    offline_reason: str | None
    accepts_proxy: bool


@dataclass(frozen=True, slots=True)
class Load:
    """Figures for get_health, from the store: the last hour. Milliseconds."""

    queue_depth: int
    average_wait_ms: float
    average_processing_ms: float
    failure_rate: float


@dataclass(frozen=True, slots=True)
class OutboxFigures:
    """What waits for the broker. `dropped`: events that went to make room without having reached it, ever."""

    events: int
    bytes: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Page:
    """One page of operations; `next_cursor` None: the last one."""

    operations: Sequence[Operation]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class History:
    """Which operations of the past are asked for; None: any. Times in ms: created within [from_ms, to_ms)."""

    creator: str | None = None
    component_id: str | None = None
    command_type: str | None = None
    status: Status | None = None
    from_ms: int | None = None
    to_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """How durations lie: mean and percentiles, ms. All None where nothing was measured."""

    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """What ended within a span of time. `key`: the status or type they share; None: all of them.

    `wait`: from created to first started; `processing`: from the last start to the end. `failure_rate`: FAILED and
    ABANDONED among those and COMPLETED.
    """

    key: str | None
    count: int
    throughput_per_hour: float
    wait: Spread
    processing: Spread
    retries: int
    failure_rate: float


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row of the audit chain; hashes are 32 bytes."""

    seq: int
    at: int
    entry: AuditEntry
    previous_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class AuditCheck:
    """What a look at the whole chain found. `first_broken`: the seq of the first row that does not fit."""

    entries: int
    last_seq: int
    first_broken: int | None
    head: bytes


@dataclass(frozen=True, slots=True)
class ExchangeTimes:
    """What the last exchanges with a component took (mean, ms; None: none yet), and which part of them failed."""

    average_ms: float | None
    failure_rate: float


@dataclass(frozen=True, slots=True)
class Registration:
    """A component that is in no configuration: discovered on the bus, or adopted since (then it has an owner)."""

    component_id: str
    kind: ComponentKind
    bus: str
    node: int
    owner: str = UNOWNED
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """A file for the operations that ended in one month (UTC) and have these numbers in the archive, first to last."""

    file: str  # its name
    month: str  # "2026-11"
    first_seq: int
    last_seq: int
    sha256: str | None = None  # of the file, hexadecimal; None: it is begun
