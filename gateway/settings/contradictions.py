"""What no single key of the configuration shows: doubles, dangling references, plaintext to strangers."""

import ipaddress
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from gateway.settings.toml_source import Place, Source

if TYPE_CHECKING:  # gateway/settings/__init__.py asks us
    from gateway.settings import (
        BusSection,
        CommandSection,
        ComponentSection,
        PresenceSection,
        Settings,
        SyncSection,
        TelemetrySection,
    )

LAST_NODE: Final = 249  # of our protocol
T = TypeVar("T")
Rows = list[tuple[int, T]]  # tables with their numbers in the file
Contradiction = tuple[Place, str]


def contradictions(settings: "Settings", source: Source) -> list[Contradiction]:
    """Name what no single field shows, with its place: doubles, dangling references, plaintext to strangers."""
    buses = list(zip(source.rows("bus"), settings.bus, strict=True))
    components = list(zip(source.rows("component"), settings.component, strict=True))
    found = _doubled(buses, components) + _unaddressed(components, source) + _dangling(components, source)
    found += _impatient(settings.presence, components) + _unobserved(buses)
    found += _unaddressable(list(zip(source.rows("command"), settings.command, strict=True)), source)
    if settings.sync is not None:
        found += _unsafe(settings.sync)
    if settings.telemetry.enabled:
        found += _untold(settings.telemetry, source)
    return found


# In a table in which something is wrong, what must be there may be None: the problem is told already.


def _doubled(buses: "Rows[BusSection]", components: "Rows[ComponentSection]") -> list[Contradiction]:
    """Two of what there may be one of."""
    claims: list[tuple[Place, str]] = []
    for n, bus in buses:
        if bus.name is not None:
            claims.append((("bus", n, "name"), f"the name {bus.name}"))
        if bus.channel is not None and bus.interface is not None:
            claims.append((("bus", n, "channel"), f"channel {bus.channel} of interface {bus.interface}"))
    for n, component in components:
        if component.id is not None:
            claims.append((("component", n, "id"), f"the id {component.id}"))
        if component.heartbeat is None and component.node is not None and component.bus is not None:
            claims.append((("component", n, "node"), f"node 0x{component.node:02X} of bus {component.bus}"))
        if component.serial is not None:
            claims.append((("component", n, "serial"), f"serial 0x{component.serial:016X}"))
    first: dict[str, Place] = {}
    return [(place, f"{claim} is used twice") for place, claim in claims if first.setdefault(claim, place) != place]


def _unaddressed(components: "Rows[ComponentSection]", source: Source) -> list[Contradiction]:
    """Who speaks our protocol needs an address in it; how others are heard stands in their heartbeat."""
    found: list[Contradiction] = []
    for n, component in components:
        told = source.raw["component"][n]
        if "heartbeat" in told:
            continue
        if "node" not in told:
            found.append((("component", n, "node"), "is required"))
        elif component.node is not None and component.node > LAST_NODE:
            found.append((("component", n, "node"), f"must be at most {LAST_NODE}"))
    return found


def _dangling(components: "Rows[ComponentSection]", source: Source) -> list[Contradiction]:
    """References to nothing, or to oneself. Asks the file for names: a hurt table still has one."""
    names, ids = source.names("bus", "name"), source.names("component", "id")
    found: list[Contradiction] = []
    for n, component in components:
        if component.bus is not None and component.bus not in names:
            found.append((("component", n, "bus"), f"there is no bus {component.bus}"))
        named = [("parent", component.parent)] if component.parent else []
        for key, name in named + [("proxies", proxy) for proxy in component.proxies]:
            if name == component.id:
                found.append((("component", n, key), f"{name} names itself"))
            elif name not in ids:
                found.append((("component", n, key), f"there is no component {name}"))
    return found


def _unaddressable(commands: "Rows[CommandSection]", source: Source) -> list[Contradiction]:
    """Command types of one name, for nobody, or for who does not speak another protocol than ours."""
    rows = [source.raw["component"][n] for n in source.rows("component")]
    tables = {row["id"]: row for row in rows if isinstance(row.get("id"), str)}
    found: list[Contradiction] = []
    taken: set[str] = set()
    for n, command in commands:
        if command.name in taken:
            found.append((("command", n, "name"), f"the command type {command.name} is used twice"))
        if command.name is not None:
            taken.add(command.name)
        for component in command.components or ():
            if component not in tables:
                found.append((("command", n, "components"), f"there is no component {component}"))
            elif "heartbeat" not in tables[component]:
                found.append((("command", n, "components"), f"{component} speaks the gateway's own protocol"))
    return found


def _unobserved(buses: "Rows[BusSection]") -> list[Contradiction]:
    """A kernel asked to watch what it does not see."""
    return [
        (("bus", n, "observer"), 'must be "frames": the kernel watches interface "socketcan" alone')
        for n, bus in buses
        if bus.observer == "kernel" and bus.interface != "socketcan"
    ]


def _impatient(defaults: "PresenceSection", components: "Rows[ComponentSection]") -> list[Contradiction]:
    """A longest silence shorter than the shortest."""
    tables: list[tuple[Place, PresenceSection]] = [(("presence",), defaults)]
    for n, component in components:
        if {"offline_after_min_ms", "offline_after_max_ms"} & component.model_fields_set:
            tables.append((("component", n), component.presence(defaults)))
    return [
        ((*place, "offline_after_max_ms"), f"{rule.offline_after_max_ms} is below offline_after_min_ms")
        for place, rule in tables
        if rule.offline_after_max_ms < rule.offline_after_min_ms
    ]


def _unsafe(sync: "SyncSection") -> list[Contradiction]:
    """Half a client certificate, a password for nobody, or secrets sent in the clear."""
    url = urlsplit(sync.broker)
    found: list[Contradiction] = []
    if url.scheme == "mqtt":
        if not sync.allow_plaintext and not is_loopback(url.hostname or ""):
            why = "plain MQTT leaves this machine; use mqtts:// or say allow_plaintext = true"
            found.append((("sync", "broker"), why))
        files = [key for key in ("ca_file", "cert_file", "key_file") if getattr(sync, key) is not None]
        found += [(("sync", key), "belongs to TLS, and the broker address says mqtt://") for key in files]
    if (sync.cert_file is None) != (sync.key_file is None):
        found.append((("sync", "cert_file" if sync.cert_file else "key_file"), "cert_file and key_file go together"))
    if sync.password_file is not None and sync.username is None:
        found.append((("sync", "password_file"), "needs a username"))
    return found


def _untold(telemetry: "TelemetrySection", source: Source) -> list[Contradiction]:
    """Telemetry of nobody, for nobody, or twice."""
    found: list[Contradiction] = []
    if "sync" not in source.raw:
        found.append((("telemetry", "enabled"), "there is no broker to tell: section [sync] is missing"))
    ids, told = source.names("component", "id"), set[tuple[str, str]]()
    for n, each in enumerate(telemetry.signals):
        if each.component not in ids:
            found.append((("telemetry", "signals", n, "component"), f"there is no component {each.component}"))
        if (each.component, each.signal) in told:
            found.append((("telemetry", "signals", n, "signal"), f"{each.signal} of {each.component} is used twice"))
        told.add((each.component, each.signal))
    return found


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` stays on this machine. Of names only localhost: others change where they lead."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
