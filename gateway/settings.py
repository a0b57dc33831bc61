"""Configuration: one TOML file, unknown keys refused, every value overridable as BMS_GATEWAY__SECTION__KEY.

`load` reads the file and names every problem with its place. Parameters that may change at run time are `Parameters`.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from gateway.access import Role
from gateway.component import Component, ComponentKind, DrainMode, QueueMode
from gateway.errors import ConfigError
from gateway.ids import NAME_PATTERN

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Milliseconds = Annotated[int, Field(gt=0, le=86_400_000)]
ENV_PREFIX: Final = "BMS_GATEWAY__"
KEY_BYTES: Final = 16  # AES-128


class Section(BaseModel):
    """A section of the file: frozen, and a misspelt key must not pass silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GatewaySection(Section):
    """Who this gateway is and where it keeps things."""

    id: Name
    state_dir: Path = Path("/var/lib/bms-gateway")
    socket: Path = Path("/run/bms-gateway/control.sock")
    socket_group: str | None = None


class BusSection(Section):
    """One CAN bus. `options` go to python-can as they are; `bitrate` in bit/s; `receive_buffer_bytes` for socketcan."""

    name: Name
    interface: str
    channel: str | int | None = None
    bitrate: Annotated[int, Field(gt=0)] | None = None
    dbc: list[Path] = []
    options: dict[str, Any] = {}
    receive_buffer_bytes: Annotated[int, Field(ge=4096)] = 4 * 1024 * 1024


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
    node: Annotated[int, Field(ge=0, le=249)]
    parent: Name | None = None
    owner: Name
    serial: int | str | None = None  # 64 bits; text as "0x00A3000012345678"
    key_file: Path | None = None
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

    @model_validator(mode="after")
    def _serial_fits(self) -> Self:
        if isinstance(self.serial, str):
            try:
                number = int(self.serial, 16)
            except ValueError:
                msg = f'serial "{self.serial}" is no hexadecimal number'
                raise ValueError(msg) from None
            object.__setattr__(self, "serial", number)
        if isinstance(self.serial, int) and not 0 < self.serial < 1 << 64:
            msg = "serial does not fit in 64 bits"
            raise ValueError(msg)
        return self

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
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 60
    processing_timeout_s: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 60


class QueueSection(Parameters):
    """The queue: its bound on disk, and the first values of every parameter."""

    max_database_bytes: Annotated[int, Field(ge=1_048_576)] = 1 << 30

    def parameters(self) -> Parameters:
        """Return the first values of the parameters."""
        return Parameters(**{name: getattr(self, name) for name in Parameters.model_fields})


class SyncSection(Section):
    """Upstream. `broker`: mqtt://host[:port] or mqtts://host[:port]; seconds and bytes as the names say."""

    broker: Annotated[str, StringConstraints(pattern=r"^mqtts?://[^/\s]+$")]
    protocol: Literal["5", "3.1.1"] = "5"
    encoding: Literal["msgpack", "json"] = "msgpack"
    client_id: str | None = None
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    keepalive_s: Annotated[int, Field(ge=2, le=3600)] = 30
    session_expiry_s: Annotated[int, Field(ge=0, le=4_294_967_295)] = 86_400
    outbox_max_bytes: Annotated[int, Field(ge=65_536)] = 268_435_456
    allow_plaintext: bool = False


class AccessSection(Section):
    """Where the actors stand, and which roles must sign what they ask over MQTT."""

    file: Path | None = None
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
    presence: PresenceSection = PresenceSection()
    queue: QueueSection = QueueSection()
    sync: SyncSection | None = None
    access: AccessSection = AccessSection()
    log: LogSection = LogSection()

    def components(self) -> list[Component]:
        """Return the registry records. Raises ConfigError for a key file that cannot be used."""
        problems: list[str] = []
        made = [_component(section, problems) for section in self.component]
        if problems:
            raise ConfigError(problems)
        return made


def load(file: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read `file` and the overrides in `environ`. Relative paths start at the file's folder.

    Raises ConfigError with every problem found, each with its place (file, section and key).
    """
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as why:
        raise ConfigError([f"{file}: cannot be read: {why.strerror}"]) from why
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as why:
        raise ConfigError([f"{file}: no valid TOML: {why}"]) from why
    problems = _override(raw, environ)
    try:
        settings = Settings.model_validate(_from_folder(raw, file.resolve().parent))
    except ValidationError as why:
        problems += [f"{file}: {_place(error['loc'])}: {error['msg']}" for error in why.errors()]
        raise ConfigError(problems) from why
    problems += [f"{file}: {problem}" for problem in _contradictions(settings)]
    if problems:
        raise ConfigError(problems)
    return settings


def _override(raw: dict[str, Any], environ: Mapping[str, str]) -> list[str]:
    """Put values of the environment into `raw`: TOML values where they parse, else text. Returns what was wrong."""
    problems = []
    for variable, text in environ.items():
        if not variable.startswith(ENV_PREFIX):
            continue
        section, _, key = variable.removeprefix(ENV_PREFIX).lower().partition("__")
        table = raw.setdefault(section, {})
        if not key or not isinstance(table, dict):
            problems.append(f"environment: {variable}: write {ENV_PREFIX}SECTION__KEY, for sections that are no lists")
            continue
        try:
            table[key] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            table[key] = text
    return problems


_PATHS: Final = {
    "gateway": ("state_dir", "socket"),
    "component": ("key_file",),
    "sync": ("password_file", "ca_file", "cert_file", "key_file"),
    "access": ("file",),
}


def _from_folder(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return `raw` with relative paths made to start at `folder`."""
    for section, keys in _PATHS.items():
        tables = raw.get(section, [])
        for table in tables if isinstance(tables, list) else [tables]:
            for key in keys:
                if isinstance(table, dict) and isinstance(table.get(key), str):
                    table[key] = str(folder / table[key])
    for bus in raw.get("bus", []) if isinstance(raw.get("bus"), list) else []:
        if isinstance(bus, dict) and isinstance(bus.get("dbc"), list):
            bus["dbc"] = [str(folder / path) if isinstance(path, str) else path for path in bus["dbc"]]
    return raw


def _place(loc: tuple[int | str, ...]) -> str:
    """Spell a place in the file: ("bus", 0, "name") -> "bus[0].name"."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")


def _contradictions(settings: Settings) -> list[str]:
    """Name what no single field shows: doubles, dangling references, plaintext to strangers."""
    problems: list[str] = []
    buses = [bus.name for bus in settings.bus]
    problems += [f"bus: the name {name} is used twice" for name in _doubles(buses)]
    ids = [component.id for component in settings.component]
    problems += [f"component: the id {name} is used twice" for name in _doubles(ids)]
    places = [f"node 0x{component.node:02X} of bus {component.bus}" for component in settings.component]
    problems += [f"component: {place} is used twice" for place in _doubles(places)]
    for n, component in enumerate(settings.component):
        if component.bus not in buses:
            problems.append(f"component[{n}].bus: there is no bus {component.bus}")
        for key, names in (("parent", [component.parent] if component.parent else []), ("proxies", component.proxies)):
            problems += [f"component[{n}].{key}: there is no component {name}" for name in names if name not in ids]
    sync = settings.sync
    if sync and sync.broker.startswith("mqtt://") and not sync.allow_plaintext and not _is_loopback(sync.broker):
        problems.append("sync.broker: plain MQTT leaves this machine; use mqtts:// or say allow_plaintext = true")
    if sync and (sync.cert_file is None) != (sync.key_file is None):
        problems.append("sync: cert_file and key_file belong together")
    return problems


def _doubles(names: list[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _is_loopback(broker: str) -> bool:
    host = broker.partition("://")[2].rpartition("@")[2]
    host = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    return host in {"localhost", "::1"} or host.startswith("127.")


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
        parent=section.parent,
        owner=section.owner,
        serial=section.serial if isinstance(section.serial, int) else None,
        key=key,
        capabilities=frozenset(section.capabilities),
        proxies=frozenset(section.proxies),
        accepts_proxy=section.accepts_proxy,
        queue_mode=section.queue_mode,
        drain_mode=section.drain_mode,
        probe=section.probe,
    )
