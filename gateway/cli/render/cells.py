"""How single values are spelled for a terminal, and how cells are laid out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import click

from gateway.cli.render.ages import beside, time_of

Record = Mapping[str, Any]

NOTHING: Final = "–"
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


def node(number: int) -> str:
    """Spell the address of a node, as the configuration does."""
    return f"0x{number:02X}"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out rows of cells below their headers."""
    from tabulate import tabulate  # noqa: PLC0415 - `--version` and `--help` need not wait for it

    laid = tabulate(list(rows), [header.upper() for header in headers], tablefmt="plain", disable_numparse=True)
    return "\n".join(line.rstrip() for line in laid.splitlines())


def sheet(pairs: Iterable[tuple[str, str]]) -> str:
    """Lay out one record: a name and its value a line; what has no value is left out."""
    shown = [(name.replace("_", " "), value) for name, value in pairs if value != NOTHING]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{click.style(name.ljust(width), dim=True)}  {value}" for name, value in shown)


def more(result: Record) -> str:
    """Say that a list goes on, or nothing."""
    return "\nThere is more: see --limit." if result.get("next_cursor") else ""
