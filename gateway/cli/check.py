"""`check`: everything the daemon would read, read without running it, and every problem named with its place."""

import difflib
import grp
import os
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

from can.interfaces import BACKENDS
from pydantic import ValidationError

from gateway.bus.commands import Catalogue
from gateway.bus.dbc import load
from gateway.bus.described.compiling import described_of
from gateway.bus.foreign.listening import listenings_of
from gateway.bus.frames import load_codecs
from gateway.bus.link.replay import INTERFACE as REPLAY
from gateway.bus.link.replay import recording_of
from gateway.bus.logs import Recording
from gateway.bus.telemetry.wanted import resolve
from gateway.errors import ConfigError
from gateway.queue.store.inspection import inspect
from gateway.settings import BusSection, CommandSection, Survey, examine
from gateway.settings.loading import CREDENTIALS, is_credential
from gateway.sync.access import load_access
from gateway.sync.broker import Broker

Problems = Iterator[str]

_SECRETS: Final = ("password_file", "ca_file", "cert_file", "key_file")  # of [sync]


def problems_of(file: Path, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return every problem of a configuration and of all it names; changes nothing."""
    try:
        survey = examine(file, environ)
    except ConfigError as why:
        return why.problems
    found = (problem for look in _CHECKS for problem in look(survey))
    return survey.problems + [f"{file}: {problem}" for problem in found]


def _interfaces(survey: Survey) -> Problems:
    """Each python-can interface must be known, and its library installed."""
    for bus in survey.settings.bus:
        if bus.interface is None:  # the file says something else that is wrong, and that is told
            continue
        if bus.interface == REPLAY:
            yield from _recording(bus)
            continue
        backend = BACKENDS.get(bus.interface)
        if backend is None:
            close = difflib.get_close_matches(bus.interface, BACKENDS, n=1)
            hint = f'; did you mean "{close[0]}"?' if close else ""
            yield f'bus {bus.name}: interface "{bus.interface}" is not known to python-can{hint}'
            continue
        try:
            import_module(backend[0])
        except (ImportError, OSError) as why:
            yield f'bus {bus.name}: interface "{bus.interface}" needs what is not installed: {why}'


def _recording(bus: BusSection) -> Problems:
    """What is to be played must be there, and begin as a recording does."""
    try:
        path, options = recording_of(bus)
    except ConfigError as why:
        yield from why.problems
        return
    try:
        next(iter(Recording(path, options.source)), None)
    except ConfigError as why:
        yield from (f"bus {bus.name}: {problem}" for problem in why.problems)


def _dbcs(survey: Survey) -> Problems:
    for bus in survey.settings.bus:
        readable = True
        for path in bus.dbc:
            try:
                load_codecs(path)
            except ConfigError as why:
                readable = False
                yield from (f"bus {bus.name}: dbc {problem}" for problem in why.problems)
            except KeyError as why:
                yield f"bus {bus.name}: dbc {path}: a message with GwRole lacks the attribute {why}"
        if readable:
            yield from _heartbeats(survey, bus)


def _heartbeats(survey: Survey, bus: BusSection) -> Problems:
    """Messages and signals by which components of others are heard must be in the databases of their bus."""
    here = [each for each in survey.settings.component if each.bus == bus.name and each.heartbeat is not None]
    try:
        listenings_of(here, [load(path).by_name for path in bus.dbc] if here else [])
    except ConfigError as why:
        yield from why.problems


def _telemetry(survey: Survey) -> Problems:
    """Every signal must stand in just one message that its component can be heard by."""
    settings = survey.settings
    if not settings.telemetry.enabled or any(True for look in (_dbcs, _keys) for _ in look(survey)):
        return
    dbcs = {bus.name: bus.dbc for bus in settings.bus}
    components = {
        each.component_id: each
        for each in settings.components()
        if each.bus in dbcs and each.kind is not None and (each.foreign or each.node is not None)
    }
    try:
        resolve(settings.telemetry.signals, components, dbcs)
    except ConfigError as why:
        yield from why.problems


def _commands(survey: Survey) -> Problems:
    """What is described must be such as can be asked of every component it names."""
    settings = survey.settings
    if any(True for _ in _dbcs(survey)):
        return
    dbcs = {bus.name: bus.dbc for bus in settings.bus}
    foreign = {each.id for each in settings.component if each.heartbeat is not None and each.bus in dbcs}
    whole = [each for each in settings.command if _is_whole(each) and foreign.issuperset(each.components)]
    try:
        described_of(whole, settings.component, dbcs)
    except ConfigError as why:
        yield from why.problems


def _is_whole(command: CommandSection) -> bool:
    """Whether nothing is wrong with a table that is told already."""
    try:
        CommandSection.model_validate(command.model_dump())
    except ValidationError:
        return False
    return True


def _capabilities(survey: Survey) -> Problems:
    """Capabilities of our own components are types of ours; of others, types that are described for them."""
    known = Catalogue()
    for component in survey.settings.component:
        foreign = component.heartbeat is not None
        described = {each.name for each in survey.settings.command if component.id in (each.components or ())}
        for name in component.capabilities:
            if foreign and name not in described:
                yield f'component {component.id}: capabilities: no [[command]] called "{name}" is described for it'
            elif not foreign and known.spec(name) is None:
                yield f'component {component.id}: capabilities: there is no command type "{name}"'


def _safety_commands(survey: Survey) -> Problems:
    """What the file allows must be there, and must be such as needs to be allowed."""
    known = Catalogue()
    for name in survey.settings.queue.safety_commands:
        spec = known.spec(name)
        if spec is None:
            yield f'queue.safety_commands: there is no command type "{name}"'
        elif not spec.guard.listed:
            yield f'queue.safety_commands: "{name}" is taken without being named here'


def _keys(survey: Survey) -> Problems:
    try:
        survey.settings.components()
    except ConfigError as why:
        yield from (problem for problem in why.problems if f"${CREDENTIALS}/" not in problem)  # which is told already


def _access(survey: Survey) -> Problems:
    try:
        load_access(survey.settings.access.file, survey.component_ids)
    except ConfigError as why:
        yield from (f"access: {problem}" for problem in why.problems)


def _sync_files(survey: Survey) -> Problems:
    """Password, certificates and key must be there, and be such."""
    sync = survey.settings.sync
    if sync is None or any(is_credential(getattr(sync, key, None)) for key in _SECRETS):
        return
    broker = Broker.of(sync, "")
    for look in (broker.password, broker.tls_context):
        try:
            look()
        except ConfigError as why:
            yield from (f"sync.{problem}" for problem in why.problems)


def _socket_group(survey: Survey) -> Problems:
    gateway = survey.settings.gateway if "gateway" in survey.settings.model_fields_set else None
    group = gateway.socket_group if gateway else None
    if group is not None and group not in {entry.gr_name for entry in grp.getgrall()}:
        yield f'gateway.socket_group: there is no group "{group}"'


def _database(survey: Survey) -> Problems:
    """The database must be ours and not newer than this program; there need not be one yet."""
    if "gateway" not in survey.settings.model_fields_set:
        return
    path = survey.settings.gateway.database
    if not path.exists():
        return
    try:
        inspect(path)
    except ConfigError as why:
        yield from (f"gateway.state_dir: {problem}" for problem in why.problems)


_CHECKS: Final[tuple[Callable[[Survey], Problems], ...]] = (
    _interfaces,
    _dbcs,
    _telemetry,
    _commands,
    _capabilities,
    _safety_commands,
    _keys,
    _access,
    _sync_files,
    _socket_group,
    _database,
)
