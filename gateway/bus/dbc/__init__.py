"""Databases of messages that others wrote: DBC, KCD, SYM and ARXML, read as they are found.

A file is read as it is, and if that fails (a DBC) after repairs; messages that contradict themselves or each other are
tolerated. The report says all of it. Whatever cannot be read is a ConfigError with file and line. How large a file, and
a message, may be is bounded: reading takes half a millisecond a kilobyte of a sane file on a fast machine, thirty times
that of one made for it, and in no case more than in proportion.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.bus.dbc.normalise import normalise
from gateway.bus.dbc.report import Change, Reading, Report, Rule
from gateway.bus.wire import EXTENDED
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from cantools.database.can import Database
    from cantools.database.can.message import Message

MOST_BYTES: Final[Mapping[str, int]] = {".dbc": 4 << 20, ".kcd": 4 << 20, ".sym": 4 << 20, ".arxml": 32 << 20}
LONGEST_MESSAGE: Final = 4096  # bytes; J1939 carries 1785, CAN XL 2048
LONGEST_CYCLE_MS: Final = 86_400_000
CACHED: Final = 16  # files; a gateway has at most 8 buses with a few each
_SIZES: Final[Mapping[str, re.Pattern[str]]] = {  # where a size or a place is written that has six digits or more
    ".dbc": re.compile(r"^[ \t]*(?:BO_[^:\n]*:|SG_[^:\n]*:[ \t]*\d*+\|?)[ \t]*\d{6,}", re.MULTILINE),
    ".kcd": re.compile(r"""\b(?:length|offset)\s*=\s*["']\s*\d{6,}"""),
    ".sym": re.compile(r"^(?:Len|DLC)=\s*\d{6,}|^(?:Sig|Var)=\S+\s+(?:\w+\s+)?\d{6,}", re.MULTILINE),
    ".arxml": re.compile(r"<(?:[A-Z-]*LENGTH|START-POSITION|[A-Z-]*OFFSET)>\s*\d{6,}"),
}
_DIGITS: Final = re.compile(r"(?<!\d)\d{400}")  # the largest float is written with 309
_AT_LINE: Final = re.compile(r"\bat line (\d+)(?:, column (\d+))?", re.IGNORECASE)
_XML: Final = frozenset({".kcd", ".arxml"})
_MARK: Final = re.compile(r">>!<<")  # where the parser points into the line


@dataclass(frozen=True, slots=True)
class Definitions:
    """The messages of a file. `by_id`: under their ids as SocketCAN spells them; `by_name`: under their names."""

    by_name: Mapping[str, "Message"]
    by_id: Mapping[int, "Message"]
    report: Report


def load(path: Path) -> Definitions:
    """Read a database of messages. Raises ConfigError with the place of what cannot be read.

    A file is read once and kept until it changes.
    """
    try:
        known = path.stat()
    except OSError as why:
        raise ConfigError([f"{path}: cannot be read: {why.strerror}"]) from why
    return _load(path, known.st_mtime_ns, known.st_size)


def can_id_of(message: "Message") -> int:
    """Return a message's id as SocketCAN spells it: bit 31 set where it has 29 bits."""
    return int(message.frame_id) | (EXTENDED if message.is_extended_frame else 0)


@lru_cache(maxsize=CACHED)
def _load(path: Path, _changed_ns: int, size: int) -> Definitions:
    suffix = path.suffix.lower()
    most = MOST_BYTES.get(suffix)
    if most is None:
        raise ConfigError([f"{path}: is none of {', '.join(MOST_BYTES)}"])
    if size > most:
        raise ConfigError([f"{path}: has {size} bytes; at most {most} are read"])
    text = _text_of(path, suffix)
    if not text.strip():
        raise ConfigError([f"{path}: is empty"])
    for pattern in (_SIZES[suffix], _DIGITS):  # readers take time and memory in proportion to such numbers
        if absurd := pattern.search(text):
            line = text.count("\n", 0, absurd.end()) + 1
            raise ConfigError([f"{path}:{line}: no message has so much room: {absurd[0].split()[-1]:.40}"])
    try:
        database, reading, changes = _read(text, suffix)
    except _Unreadable as why:
        raise ConfigError([f"{path}{why}"]) from why
    messages: list[Message] = list(database.messages)
    report = Report(
        file=path,
        reading=reading,
        changes=tuple(changes),
        messages=len(messages),
        signals=sum(len(message.signals) for message in messages),
        periodic=sum(cycle_ms(message) is not None for message in messages),
    )
    return Definitions(
        by_name={message.name: message for message in messages},
        by_id={can_id_of(message): message for message in messages},
        report=report,
    )


def cycle_ms(message: "Message") -> int | None:
    """Return the cycle time that is written for this very message; the attribute's default would be everybody's."""
    attributes = message.dbc.attributes if message.dbc else None
    if attributes is None:
        return _cycle(message.cycle_time)
    own = attributes.get("GenMsgCycleTime")
    return None if own is None else _cycle(own.value)


def _cycle(told: object) -> int | None:
    """Return a cycle time as whole ms; None for 0, which means none, and for what is no such time."""
    try:
        cycle = float(str(told))
    except ValueError:  # the file may declare the attribute as text
        return None
    return int(cycle) if 1 <= cycle <= LONGEST_CYCLE_MS else None


class _Unreadable(Exception):  # noqa: N818 - carried to where the file's name is known
    """A text that cannot be read. Its text begins with the place in the file, `:line` or nothing."""


def _text_of(path: Path, suffix: str) -> str:
    """Return a file's text: UTF-8 where it is, else the code page of the tools that write such files."""
    try:
        raw = path.read_bytes()
    except OSError as why:
        raise ConfigError([f"{path}: cannot be read: {why.strerror}"]) from why
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="replace")
    if suffix in _XML and "<!DOCTYPE" in text:
        raise ConfigError([f"{path}: a document type has no place in it; entities are not read"])
    return text.replace("\r\n", "\n")


def _read(text: str, suffix: str) -> "tuple[Database, Reading, list[Change]]":
    """Return the database, how it could be read, and what was changed or tolerated. Raises _Unreadable."""
    kind = suffix.removeprefix(".")
    try:
        database, changes = _parse(text, kind), list[Change]()
    except _Unreadable as first:
        if kind != "dbc":
            raise
        text, changes = normalise(text)
        try:
            database = _parse(text, kind)
        except _Unreadable:
            raise first from None  # the repairs did not help: the file's own first fault is what its owner must see
    tolerated = [*_doubles(database), *_misfits(database)]
    reading = Reading.NORMALISED if changes else Reading.LAX if tolerated else Reading.STRICT
    return database, reading, [*changes, *tolerated]


def _doubles(database: "Database") -> Iterator[Change]:
    """Name every message that stands in for another one of its name or id."""
    names, ids = dict[str, str](), dict[int, str]()
    for message in database.messages:
        told = f"message {message.name}, id {message.frame_id:#x}"
        before = {names.get(message.name, told), ids.get(can_id_of(message), told)} - {told}
        names[message.name] = ids[can_id_of(message)] = told
        for each in sorted(before):
            yield Change(Rule.DOUBLE, 0, f"{told}, for {each}")


def _misfits(database: "Database") -> Iterator[Change]:
    """Name every message that a strict reader would not take."""
    from cantools.database.errors import Error  # noqa: PLC0415 - as in `_parse`

    for message in database.messages:
        try:
            message.refresh(strict=True)
        except Error as why:
            yield Change(Rule.MISFIT, 0, str(why).rstrip("."))


def _parse(text: str, kind: str) -> "Database":
    import cantools.database  # noqa: PLC0415 - half a second on a slow board; what never speaks a foreign protocol never pays it

    logging.getLogger("cantools").setLevel(logging.ERROR)  # it warns of every double, a line each: our report does
    with _told():  # not strict: a strict reader makes room for every bit of a message, whatever length the file says
        parsed: Any = cantools.database.load_string(text, database_format=kind, strict=False)
    if not hasattr(parsed, "messages"):
        raise _Unreadable(": describes diagnostics, not messages")
    for message in parsed.messages:
        if message.length > LONGEST_MESSAGE:
            raise _Unreadable(
                f": message {message.name} has {message.length} bytes; at most {LONGEST_MESSAGE} are read"
            )
    return parsed  # type: ignore[no-any-return] # cantools is not typed here


@contextmanager
def _told() -> Iterator[None]:
    """Turn whatever a parser may raise on a text that is not what it should be into one sentence with its place."""
    try:
        yield
    except RecursionError as why:
        raise _Unreadable(": is nested too deep") from why
    except Exception as why:  # parsers of four formats, over whatever people have
        words = " ".join(_MARK.sub("", str(why)).split()) or type(why).__name__
        place = _AT_LINE.search(words)
        raise _Unreadable(f":{place[1]}: {words:.300}" if place else f": {words:.300}") from why
