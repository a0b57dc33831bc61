"""How single values are spelled for a terminal, and how cells are laid out."""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final

import click

from gateway.cli.render.ages import beside, time_of

Record = Mapping[str, Any]

NOTHING: Final = "–"
ROOM: Final[ContextVar[int | None]] = ContextVar("ROOM", default=None)  # columns of the terminal; None: no terminal
_GAP: Final = 2  # between two columns
_NARROW: Final = 12  # no column of text is made narrower
_SPELLED_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_COLOURS: Final[Mapping[str, str]] = {
    "ONLINE": "green",
    "OFFLINE": "red",
    "UNKNOWN": "yellow",
    "COMPLETED": "green",
    "FAILED": "red",
    "ABANDONED": "red",
    "EXPIRED": "yellow",
    "CANCELLED": "yellow",
    "PROCESSING": "cyan",
    "UP": "green",
    "ERROR_PASSIVE": "yellow",
    "OVERFLOW": "yellow",
    "SILENT": "red",
    "DOWN": "red",
    "GONE": "red",
    "BUS_OFF": "red",
}


def text(value: Any, now_ms: int | None = None) -> str:
    """Spell one value: nothing as a dash, times without the T and with `now_ms` their age, no control characters."""
    if isinstance(value, Mapping):
        return ", ".join(f"{text(key)} {text(each, now_ms)}" for key, each in value.items()) or NOTHING
    if isinstance(value, list | tuple):
        return ", ".join(text(each, now_ms) for each in value) or NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    told = f"{value:g}" if isinstance(value, float) else str("" if value is None else value)
    at_ms = time_of(told)
    if at_ms is not None:
        spelled = f"{told[:10]} {told[11:19]}Z"
        return spelled if now_ms is None else f"{spelled} ({beside(at_ms, now_ms)})"
    # What others wrote may hold escape sequences: a title must not repaint a technician's terminal.
    return "".join(character if character.isprintable() else "�" for character in told) or NOTHING


def age(value: Any, now_ms: int) -> str:
    """Spell a time by its distance from now alone, for a narrow column."""
    at_ms = time_of(value) if isinstance(value, str) else None
    return text(value) if at_ms is None else beside(at_ms, now_ms)


def state(value: Any) -> str:
    """Spell a presence, status or condition in its colour."""
    told = text(value)
    return click.style(told, fg=_COLOURS[told]) if told in _COLOURS else told


def node(number: int | None) -> str:
    """Spell the address of a node, as the configuration does; a component of others need not have one."""
    return NOTHING if number is None else f"0x{number:02X}"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out rows of cells below their headers; on a terminal, text that is too long for it goes on below."""
    import tabulate  # noqa: PLC0415 - `--version` and `--help` need not wait for it

    tabulate.MIN_PADDING = 0  # columns are apart as it is, and terminals are narrow
    lines = [[header.upper() for header in headers], *rows]
    widths = _fit([[click.unstyle(cell) for cell in column] for column in zip(*lines, strict=True)])
    laid = tabulate.tabulate(
        lines[1:], lines[0], tablefmt="plain", disable_numparse=True, maxcolwidths=widths if lines[1:] else None
    )
    return "\n".join(line.rstrip() for line in laid.splitlines())


def _fit(columns: Sequence[Sequence[str]]) -> list[int] | None:
    """Return how wide columns may be, so that they fit: the widest text gives way, then times. None: any width."""
    room = ROOM.get()
    widths = [max(map(len, cells)) for cells in columns]
    if room is None:
        return None
    least = [min(width, max(_NARROW, _longest_word(cells))) for width, cells in zip(widths, columns, strict=True)]
    timed = [any(map(_SPELLED_TIME.fullmatch, cells)) for cells in columns]
    excess = sum(widths) + _GAP * (len(widths) - 1) - room
    while excess > 0:
        widest = max(range(len(widths)), key=lambda n: (widths[n] > least[n], not timed[n], widths[n]))
        if widths[widest] == least[widest]:  # an id is never broken: people copy it
            break
        widths[widest] -= 1
        excess -= 1
    return widths


def _longest_word(cells: Sequence[str]) -> int:
    return max(len(word) for cell in cells for word in cell.split() or [""])


def sheet(pairs: Iterable[tuple[str, str]]) -> str:
    """Lay out one record: a name and its value a line; what has no value is left out."""
    shown = [(name.replace("_", " "), value) for name, value in pairs if value != NOTHING]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{click.style(name.ljust(width), dim=True)}  {value}" for name, value in shown)


def more(result: Record) -> str:
    """Say that a list goes on, or nothing."""
    return "\nThere is more: see --limit." if result.get("next_cursor") else ""
