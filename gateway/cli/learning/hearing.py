"""Where `learn` gets its frames from: a log, or a live bus until there were enough of them."""

import asyncio
import random
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from gateway.bus.dbc import load as load_database
from gateway.bus.learn.knowledge import Databases
from gateway.bus.learn.proposals import Findings, propose
from gateway.bus.learn.survey import Survey
from gateway.bus.link import Link
from gateway.bus.link.replay import INTERFACE as REPLAY
from gateway.bus.link.replay import recording_of
from gateway.bus.logs import Recording
from gateway.bus.wire import BusEvent, Condition, Filter, Frame, Lane
from gateway.cli.learning.progress import Progress
from gateway.clock import Clock
from gateway.errors import ConfigError, LinkDown
from gateway.ids import is_name
from gateway.settings import BusSection, load

GATEWAY: Final = "gw-0001"
MOST_BUSES: Final = 8  # of one log; a gateway has no more
AT_ONCE: Final = 4096
EVERYTHING: Final = Filter(0, 0)
WITHIN_ONE_PROCESS: Final = "virtual"


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard of a bus, and what the configuration says of it.

    `bus`: the keys of its section; `notes`: what its reader should know.
    """

    findings: Findings
    gateway: str
    bus: Mapping[str, Any]
    notes: Sequence[str] = ()


def from_log(log: Path, source: str | None, dbcs: Sequence[Path], folder: Path | None, tell: Progress) -> Heard:
    """Return what a log tells of one of its buses: `source`, else the one on which a battery is the surest.

    `folder`: where the configuration will stand, if that is known. Raises ConfigError.
    """
    recording = Recording(log)
    surveys, damage = _surveys(recording, tell)
    if not surveys:
        raise ConfigError(damage or [f"{log}: holds no frames"])
    if source is not None and source not in surveys:
        raise ConfigError([f"{log}: has no bus {source}; it has {_listed(surveys)}"])
    databases = Databases([load_database(path) for path in dbcs])
    found = {name: propose(survey, databases) for name, survey in surveys.items() if source in {None, name}}
    chosen = max(found, key=lambda name: (found[name].sureness, found[name].survey.frames))
    bus: dict[str, Any] = {"name": _name(chosen), "interface": REPLAY, "channel": _path(log, folder)}
    notes = [f"Learned from {log.name}: {_heard(found[chosen].survey)}.", *_known(surveys[chosen], databases, dbcs)]
    if len(surveys) > 1:
        bus["options"] = {"source": chosen}
        notes.append(f"The log holds the buses {_listed(surveys)}; this is {chosen}. --source chooses another.")
    if recording.skipped:
        notes.append(f"Lines of the log that could not be read: {recording.skipped}.")
    notes += [f"{problem}; this is what came before." for problem in damage]
    bus |= {"dbc": [_path(path, folder) for path in dbcs]} if dbcs else {}
    notes.append('On a vehicle, the bus is one such as: interface = "socketcan", channel = "can0".')
    return Heard(found[chosen], GATEWAY, bus, notes)


def _surveys(recording: Recording, tell: Progress) -> tuple[dict[str, Survey], list[str]]:
    """Read a log as far as that goes; return what was heard on each of its buses, and why no more could be read.

    Raises ConfigError.
    """
    surveys: dict[str, Survey] = {}
    damage: list[str] = []
    frames = _until_damage(recording, damage)
    read, until = 0, 0.0
    while several := list(islice(frames, AT_ONCE)):
        read, until = read + len(several), several[-1][1][2]
        for name, each in _sorted(several).items():
            if name not in surveys and len(surveys) >= MOST_BUSES:
                raise ConfigError([f"{recording.path}: holds more than {MOST_BUSES} buses"])
            surveys.setdefault(name, Survey(0.0)).take(each)
        tell(f"{read:,} frames, {until:.0f} s of the recording")
    for survey in surveys.values():
        survey.listened(0.0, until)
    return surveys, damage


def _until_damage(recording: Recording, damage: list[str]) -> Iterator[tuple[str, Frame]]:
    """Yield the frames of a log up to where it cannot be read any more, as where it was cut off; then say why."""
    try:
        yield from recording.by_channel()
    except ConfigError as why:
        damage.extend(why.problems)


def _sorted(several: Sequence[tuple[str, Frame]]) -> dict[str, list[Frame]]:
    by_channel: dict[str, list[Frame]] = {}
    for channel, frame in several:
        by_channel.setdefault(channel, []).append(frame)
    return by_channel


async def from_bus(
    config: Path, bus: str, seconds: float, dbcs: Sequence[Path], *, folder: Path | None, clock: Clock, tell: Progress
) -> Heard:
    """Return what is heard on a bus of a configuration within `seconds`, or until Ctrl-C.

    Raises ConfigError, and LinkDown where nothing is heard.
    """
    settings = load(config)
    section = next((each for each in settings.bus if each.name == bus), None)
    if section is None:
        raise ConfigError([f"there is no bus {bus}; there are: {', '.join(each.name for each in settings.bus)}"])
    if section.interface == WITHIN_ONE_PROCESS:
        raise ConfigError([f"bus {bus}: nobody outside the gateway's own process hears a virtual bus"])
    known = [*section.dbc, *dbcs]
    if section.interface == REPLAY:
        path, options = recording_of(section)
        source = None if options.source is None else str(options.source)
        return replace(from_log(path, source, known, folder, tell), gateway=settings.gateway.id)
    databases = Databases([load_database(path) for path in known])
    survey = await listen(section, seconds, clock, tell)
    notes = [f"Learned on {bus} of {config.name}: {_heard(survey)}.", *_known(survey, databases, known)]
    notes.append(f"Other sections and components of {config.name} are not repeated.")
    return Heard(propose(survey, databases), settings.gateway.id, _repeated(section, known, folder), notes)


async def listen(section: BusSection, seconds: float, clock: Clock, tell: Progress) -> Survey:
    """Take whatever is said on a bus for `seconds` since it was opened, or until Ctrl-C.

    Raises LinkDown where that was nothing.
    """
    survey = Survey()
    up = asyncio.Event()
    last = f"{section.name} was not opened"

    def note(event: BusEvent) -> None:
        nonlocal last
        if event.condition is Condition.UP:
            up.set()
        last = f"{section.name} {event.condition}: {event.detail}"
        tell.note(last)

    link = Link(section.name, section, clock, random.Random())  # noqa: S311 - spreads retries
    link.listen(Lane.PRESENCE, [EVERYTHING], survey.take)
    link.watch(note)
    running = asyncio.create_task(link.run(), name=f"link {section.name}")
    waiting = asyncio.create_task(_progress(survey, up, seconds, clock, tell), name="listen")
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, waiting.cancel)  # there is an end, with what there is
    try:
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        for task in (running, waiting):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    if not survey.traces:
        raise LinkDown(f"Nothing was heard within {seconds:g} s. {last}")
    return survey


async def _progress(survey: Survey, up: asyncio.Event, seconds: float, clock: Clock, tell: Progress) -> None:
    """Return when it was listened for so long, or the bus was away for so long; say on the way how far that is."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await up.wait()
    if not up.is_set():
        return
    began = clock.monotonic()
    survey.listened(began, began)
    try:
        while (passed := clock.monotonic() - began) < seconds:
            tell(f"{passed:.0f} of {seconds:g} s, {survey.frames:,} frames, {len(survey.traces)} ids; Ctrl-C ends it")
            await asyncio.sleep(min(1.0, seconds - passed))
    finally:
        survey.listened(began, clock.monotonic())


def _repeated(section: BusSection, dbcs: Sequence[Path], folder: Path | None) -> Mapping[str, Any]:
    """Return the keys of a bus as its section has them."""
    told = section.model_dump(mode="json", exclude_unset=True, exclude={"dbc"})
    return told | ({"dbc": [_path(path, folder) for path in dbcs]} if dbcs else {})


def _name(channel: str) -> str:
    """Name a bus after its channel in a log, where that is a name."""
    return f"can{channel}" if channel.isdigit() and len(channel) < 3 else channel if is_name(channel) else "can0"  # noqa: PLR2004 - a number, not an id


def _path(file: Path, folder: Path | None) -> str:
    """Spell a file as a configuration in `folder` finds it: relative where it is below, else whole."""
    whole = file.resolve()
    base = folder.resolve() if folder is not None else None
    return str(whole.relative_to(base) if base is not None and whole.is_relative_to(base) else whole)


def _known(survey: Survey, databases: Databases, dbcs: Sequence[Path]) -> Iterator[str]:
    """Say how many of the ids the databases explain: one of another bus explains few, and those wrongly."""
    if dbcs:
        explained = len(databases.meanings(survey.traces))
        yield f"The databases know {explained} of the {len(survey.traces)} ids."


def _heard(survey: Survey) -> str:
    return " ".join(_parts(survey))


def _parts(survey: Survey) -> Iterator[str]:
    yield f"{survey.frames:,} frames of {len(survey.traces)} ids in {survey.seconds:.1f} s"
    if survey.errors:
        yield f"({survey.errors:,} of them error frames)"
    if survey.unnoticed:
        yield f"({survey.unnoticed:,} more were of too many ids)"


def _listed(names: Mapping[str, Survey]) -> str:
    return ", ".join(f"{name} ({survey.frames:,} frames)" for name, survey in names.items())
