"""Databases of messages that others wrote: DBC, KCD, SYM and ARXML, read as they are found.

A file is read strictly, else laxly, else (a DBC) after repairs; the report says which, and what was changed. Whatever
cannot be read is a ConfigError with file and line. How large a file may be is bounded, since reading takes half a
millisecond a kilobyte on a fast machine, and twenty times that on a small one.
"""

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
CACHED: Final = 16  # files; a gateway has at most 8 buses with a few each
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
        return message.cycle_time or None
    own = attributes.get("GenMsgCycleTime")
    return int(own.value) or None if own is not None else None


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
    """Return the database, how it could be read, and what was changed. Raises _Unreadable."""
    kind = suffix.removeprefix(".")
    try:
        return _parse(text, kind, strict=True), Reading.STRICT, []
    except _Unreadable as first:
        try:
            return _lax(text, kind, Reading.LAX, [])
        except _Unreadable:
            if kind != "dbc":
                raise first from None
        text, changes = normalise(text)
        try:
            return _lax(text, kind, Reading.NORMALISED, changes)
        except _Unreadable:
            raise first from None  # the repairs did not help: the file's own first fault is what its owner must see


def _lax(text: str, kind: str, reading: Reading, changes: list[Change]) -> "tuple[Database, Reading, list[Change]]":
    database = _parse(text, kind, strict=False)
    return database, reading, [*changes, *_misfits(database)]


def _misfits(database: "Database") -> Iterator[Change]:
    """Name every message that a strict reader would not take."""
    from cantools.database.errors import Error  # noqa: PLC0415 - as in `_parse`

    for message in database.messages:
        try:
            message.refresh(strict=True)
        except Error as why:
            yield Change(Rule.MISFIT, 0, str(why).rstrip("."))
        message.refresh(strict=False)


def _parse(text: str, kind: str, *, strict: bool) -> "Database":
    import cantools.database  # noqa: PLC0415 - half a second on a slow board; what never speaks a foreign protocol never pays it

    with _told():
        parsed: Any = cantools.database.load_string(text, database_format=kind, strict=strict)
    if not hasattr(parsed, "messages"):
        raise _Unreadable(": describes diagnostics, not messages")
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
