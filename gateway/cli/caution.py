"""What `check` warns of: a configuration that works, and perhaps not as it was meant to."""

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.bus.dbc import load
from gateway.bus.dbc.report import Reading
from gateway.errors import ConfigError
from gateway.settings import Survey, examine
from gateway.sync.access import load_access
from gateway.sync.broker import EXPOSED, Broker

Warnings = Iterator[str]


def warnings_of(file: Path, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return what should be looked at in a configuration; nothing of what `problems_of` tells."""
    try:
        survey = examine(file, environ)
    except ConfigError:
        return []
    return [f"{file}: {warning}" for look in _LOOKS for warning in look(survey)]


def _open_secrets(survey: Survey) -> Warnings:
    """A secret that everybody on this machine can read is none."""
    sync = survey.settings.sync
    secrets = {f"component {each.id}: key_file": each.key_file for each in survey.settings.component}
    if sync is not None:
        secrets |= {"sync.password_file": sync.password_file, "sync.key_file": sync.key_file}
    for place, path in secrets.items():
        if path is not None and _is_open(path):
            yield f"{place}: {path}: everybody on this machine can read it; chmod 640 it"


def _is_open(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:  # told as a problem
        return False


def _in_the_clear(survey: Survey) -> Warnings:
    sync = survey.settings.sync
    if sync is not None and sync.allow_plaintext and Broker.of(sync, "").exposed:
        yield f"sync.broker: {sync.broker}: {EXPOSED}"


def _repaired(survey: Survey) -> Warnings:
    """What had to be done to a database of messages before it could be read."""
    for bus in survey.settings.bus:
        for path in bus.dbc:
            with suppress(ConfigError):  # told as a problem
                report = load(path).report
                if report.reading is not Reading.STRICT:
                    yield f"bus {bus.name}: dbc " + "\n".join(report.lines())


def _powerless(survey: Survey) -> Warnings:
    """Who must sign and has no key can change nothing."""
    try:
        access = load_access(survey.settings.access.file)
    except ConfigError:
        return
    for name, actor in access.actors.items():
        if actor.role in survey.settings.access.require_signature and not access.keys.get(name):
            yield f"access: actors.{name}: {actor.role} must sign what it changes, and has no key: it can only look"


_LOOKS: Final[tuple[Callable[[Survey], Warnings], ...]] = (_open_secrets, _in_the_clear, _powerless, _repaired)
