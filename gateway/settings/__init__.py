"""Configuration: one TOML file, unknown keys refused, every value overridable as BMS_GATEWAY__SECTION__KEY.

Here stands what the file may say; `load` reads it and names every problem with its place. Parameters that may change at
run time are `Parameters`.
"""

from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from gateway.access import Role
from gateway.component import Component, ComponentKind, DrainMode, QueueMode
from gateway.errors import ConfigError
from gateway.ids import NAME_PATTERN
from gateway.operation import Mode
from gateway.settings.base import FROZEN, hexadecimal
from gateway.settings.commands import MOST_COMMANDS
from gateway.settings.commands import CommandSection as CommandSection
from gateway.settings.commands import RequestSection as RequestSection
from gateway.settings.commands import ResponseSection as ResponseSection
from gateway.settings.commands import UdsSection as UdsSection
from gateway.settings.heartbeats import HeartbeatSection as HeartbeatSection
from gateway.settings.telemetry import SignalSection as SignalSection
from gateway.settings.telemetry import TelemetrySection as TelemetrySection

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Milliseconds = Annotated[int, Field(gt=0, le=86_400_000)]
KEY_BYTES: Final = 16  # AES-128


def _broker_address(broker: str) -> str:
    """Return a broker address that can be used. Raises ValueError for one that cannot, or that tells a password."""
    url = urlsplit(broker)  # reading .port raises ValueError for a port that is none
    if url.scheme not in {"mqtt", "mqtts"} or not url.hostname or url.port == 0 or url.path or url.query:
        raise ValueError("write mqtt://host, mqtts://host or mqtts://host:port")
    if "@" in url.netloc:
        raise ValueError("credentials do not belong here; use username and password_file")
    return broker


def _location(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("must be a path")
    return path


Location = Annotated[Path, AfterValidator(_location)]
Serial = Annotated[int, BeforeValidator(hexadecimal), Field(gt=0, lt=1 << 64)]
Protocol = Annotated[Literal["5", "3.1.1"], BeforeValidator(lambda value: "5" if value == 5 else value)]  # noqa: PLR2004 - MQTT 5 written as a number
Broker = Annotated[str, AfterValidator(_broker_address)]


class Section(BaseModel):
    """A section of the file: frozen, and a misspelt key must not pass silently."""

    model_config = FROZEN


class GatewaySection(Section):
    """Who this gateway is and where it keeps things."""

    id: Name
    state_dir: Location = Path("/var/lib/bms-gateway")
    socket: Location = Path("/run/bms-gateway/control.sock")
    socket_group: str | None = None

    @property
    def database(self) -> Path:
        """Where the queue and the events are kept."""
        return self.state_dir / "gateway.db"


class BusSection(Section):
    """One CAN bus. `options` go to python-can as they are; `bitrate` in bit/s; `receive_buffer_bytes` for socketcan.

    `fd`: whether frames of CAN FD are carried. `observer`: whether the kernel may watch in our place, for socketcan.
    """

    name: Name
    interface: str
    channel: str | int | None = None
    bitrate: Annotated[int, Field(gt=0)] | None = None
    dbc: list[Location] = []
    fd: bool = False
    options: dict[str, Any] = {}
    receive_buffer_bytes: Annotated[int, Field(ge=4096)] = 4 * 1024 * 1024
    observer: Literal["frames", "kernel"] = "frames"


class PresenceSection(Section):
    """When silence counts and when a return does. Milliseconds and seconds as the names say."""

    period_ms: Milliseconds | None = None  # None: the DBC's explicit cycle time, else learned
    offline_after_periods: Positive = 3.5
    offline_after_min_ms: Milliseconds = 1000
    offline_after_max_ms: Milliseconds = 180_000
    online_after_frames: Annotated[int, Field(ge=1, le=100)] = 2
    missing_after_s: Positive = 30.0
    flap_changes: Annotated[int, Field(ge=1)] = 5
    flap_window_s: Positive = 600.0
    flap_hold_s: Positive = 60.0
    settle_ms: Annotated[int, Field(ge=0)] = 500
    settle_jitter_ms: Annotated[int, Field(ge=0)] = 250


class ComponentSection(Section):
    """One pack, module or other node. The presence keys override section [presence] for this one."""

    id: Name
    kind: ComponentKind
    bus: Name
    node: Annotated[int, Field(ge=0)] | None = None  # in our protocol required, and at most 249
    heartbeat: HeartbeatSection | None = None  # None: it speaks our protocol
    parent: Name | None = None
    owner: Name
    serial: Serial | None = None  # 64 bits; text as "0x00A3000012345678"
    key_file: Location | None = None
    proxies: list[Name] = []
    accepts_proxy: bool = True
    capabilities: list[str] = []
    queue_mode: QueueMode = QueueMode.QUEUE
    drain_mode: DrainMode = DrainMode.AUTO
    probe: bool = True
    period_ms: Milliseconds | None = None
    offline_after_periods: Positive | None = None
    offline_after_min_ms: Milliseconds | None = None
    offline_after_max_ms: Milliseconds | None = None
    online_after_frames: Annotated[int, Field(ge=1, le=100)] | None = None
    missing_after_s: Positive | None = None
    flap_changes: Annotated[int, Field(ge=1)] | None = None
    flap_window_s: Positive | None = None
    flap_hold_s: Positive | None = None
    settle_ms: Annotated[int, Field(ge=0)] | None = None
    settle_jitter_ms: Annotated[int, Field(ge=0)] | None = None

    def presence(self, defaults: PresenceSection) -> PresenceSection:
        """Return the presence settings of this component: its own keys over `defaults`."""
        own = {name: value for name in PresenceSection.model_fields if (value := getattr(self, name)) is not None}
        return defaults.model_copy(update=own)


class Parameters(Section):
    """What `set_params` may change at run time; kept in the database, first values from section [queue]."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_queue_time_hours: Annotated[float, Field(gt=0, le=8760, allow_inf_nan=False)] = 168
    max_requests_per_component: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    max_queue_depth: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    max_batch_processing_size: Annotated[int, Field(ge=1, le=10_000)] = 10
    max_concurrent_operations: Annotated[int, Field(ge=1, le=250)] = 10
    enable_proxy_processing: bool = True
    auto_cancel_expired: bool = True
    enable_retry: bool = True
    max_retry_attempts: Annotated[int, Field(ge=0, le=20)] = 3
    processing_timeout_s: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 60
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 60  # of one actor
    max_bus_load: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.20  # part of a bus's bit rate
    alert_queue_size: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    alert_oldest_hours: Annotated[float, Field(gt=0, le=8760, allow_inf_nan=False)] = 24
    retention_days: Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)] = 30
    archive_months: Annotated[int, Field(ge=1, le=240)] = 18


class QueueSection(Parameters):
    """The queue: its mode, the safety commands it takes, its bound on disk, and the first values of every parameter."""

    mode: Annotated[Mode, Field(strict=False)] = Mode.PRIORITY  # a file holds texts, which the strict would refuse
    safety_commands: list[str] = []
    max_database_bytes: Annotated[int, Field(ge=1_048_576)] = 1 << 30

    def parameters(self) -> Parameters:
        """Return the first values of the parameters."""
        return Parameters(**{name: getattr(self, name) for name in Parameters.model_fields})


class SyncSection(Section):
    """Upstream. `broker`: mqtt://host[:port] or mqtts://host[:port]; seconds and bytes as the names say."""

    broker: Broker
    protocol: Protocol = "5"
    encoding: Literal["msgpack", "json"] = "msgpack"
    client_id: str | None = None
    username: str | None = None
    password_file: Location | None = None
    ca_file: Location | None = None
    cert_file: Location | None = None
    key_file: Location | None = None
    keepalive_s: Annotated[int, Field(ge=2, le=3600)] = 30
    session_expiry_s: Annotated[int, Field(ge=0, le=4_294_967_295)] = 86_400
    outbox_max_bytes: Annotated[int, Field(ge=65_536)] = 268_435_456
    allow_plaintext: bool = False


class AccessSection(Section):
    """Where the actors stand, and which roles must sign what they ask over MQTT."""

    file: Location | None = None
    require_signature: list[Role] = [Role.ADMIN]


class LogSection(Section):
    """How the log looks."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Settings(Section):
    """The whole file. `sync` absent: no upstream, the gateway works alone."""

    gateway: GatewaySection
    bus: Annotated[list[BusSection], Field(min_length=1, max_length=8)]
    component: Annotated[list[ComponentSection], Field(max_length=1000)] = []
    command: Annotated[list[CommandSection], Field(max_length=MOST_COMMANDS)] = []
    presence: PresenceSection = PresenceSection()
    queue: QueueSection = QueueSection()
    sync: SyncSection | None = None
    telemetry: TelemetrySection = TelemetrySection()
    access: AccessSection = AccessSection()
    log: LogSection = LogSection()

    def components(self) -> list[Component]:
        """Return the registry records. Raises ConfigError for a key file that cannot be used."""
        problems: list[str] = []
        made = [_component(section, problems) for section in self.component]
        if problems:
            raise ConfigError(problems)
        return made


def _component(section: ComponentSection, problems: list[str]) -> Component:
    key = None
    if section.key_file is not None:
        try:
            key = section.key_file.read_bytes()
        except OSError as why:
            problems.append(f"component {section.id}: key_file {section.key_file}: {why.strerror}")
        if key is not None and len(key) != KEY_BYTES:
            problems.append(f"component {section.id}: key_file must hold {KEY_BYTES} bytes, not {len(key)}")
    return Component(
        component_id=section.id,
        kind=section.kind,
        bus=section.bus,
        node=section.node,
        foreign=section.heartbeat is not None,
        parent=section.parent,
        owner=section.owner,
        serial=section.serial,
        key=key,
        capabilities=frozenset(section.capabilities),
        proxies=frozenset(section.proxies),
        accepts_proxy=section.accepts_proxy,
        queue_mode=section.queue_mode,
        drain_mode=section.drain_mode,
        probe=section.probe and section.heartbeat is None,  # who speaks no protocol of ours has no answer
    )


from gateway.settings.loading import ENV_PREFIX as ENV_PREFIX  # noqa: E402 - loading needs the models above
from gateway.settings.loading import Survey as Survey  # noqa: E402
from gateway.settings.loading import examine as examine  # noqa: E402
from gateway.settings.loading import load as load  # noqa: E402
