"""What stands in a TOML file and in the environment over it, and how a problem in either is told to people."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway import wording
from gateway.errors import ConfigError

Place = tuple[int | str, ...]  # as pydantic spells it: ("bus", 0, "name")


@dataclass(slots=True)
class Source:
    """One file as it was read.

    `overridden`: which environment variable stands behind a (section, key).
    """

    file: Path
    raw: dict[str, Any]
    overridden: dict[tuple[str, str], str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def place(self, place: Place) -> str:
        """Spell where something stands: the file with section and key, or the environment variable."""
        variable = self._variable(place)
        if variable is not None:
            return f"environment: {variable}"
        return f"{self.file}: {wording.path(place)}{self._named(place)}"

    def tell(self, error: ErrorDetails, model: type[BaseModel]) -> str:
        """Tell one error of a validation of `raw` as `model`: its place, and what to do."""
        return f"{self.place(error['loc'])}: {_phrase(error, model)}"

    def names(self, section: str, key: str) -> list[str]:
        """Return what `key` says in each table of a list section, sound or not."""
        tables = self.raw.get(section)
        rows = tables if isinstance(tables, list) else []
        return [row[key] for row in rows if isinstance(row, dict) and isinstance(row.get(key), str)]

    def rows(self, section: str) -> list[int]:
        """Return the numbers of the tables of a list section."""
        tables = self.raw.get(section)
        return [n for n, table in enumerate(tables) if isinstance(table, dict)] if isinstance(tables, list) else []

    def _variable(self, place: Place) -> str | None:
        if len(place) == 1:  # a section that only the environment knows
            return next((name for (section, _), name in self.overridden.items() if section == place[0]), None)
        return self.overridden.get((str(place[0]), str(place[1])))

    def _named(self, place: Place) -> str:
        """Return the name of the list entry meant, in brackets: nobody counts tables."""
        tables = self.raw.get(str(place[0])) if place else None
        if len(place) < 2 or not isinstance(tables, list) or not isinstance(place[1], int):  # noqa: PLR2004 - a pair
            return ""
        entry = tables[place[1]]
        name = entry.get("id", entry.get("name")) if isinstance(entry, dict) else None
        return f" ({name})" if isinstance(name, str) else ""


def parse(file: Path) -> dict[str, Any]:
    """Return what a TOML file says. Raises ConfigError where it cannot be read or is no TOML."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as why:
        raise ConfigError([f"{file}: cannot be read: {why.strerror}"]) from why
    except RecursionError as why:
        raise ConfigError([f"{file}: no valid TOML: nested too deep"]) from why
    except ValueError as why:  # no UTF-8, no TOML, an integer of thousands of digits
        raise ConfigError([f"{file}: no valid TOML: {why}"]) from why


def read(file: Path, environ: Mapping[str, str], prefix: str) -> Source:
    """Read `file` and lay the variables PREFIX + SECTION__KEY over it.

    A variable's value is TOML where it parses as that, else text. Raises ConfigError where the file is no TOML.
    """
    source = Source(file, parse(file))
    for variable, text in sorted(environ.items()):
        if variable.startswith(prefix):
            _override(source, variable, variable.removeprefix(prefix).lower(), text)
    return source


def _override(source: Source, variable: str, path: str, text: str) -> None:
    section, _, key = path.partition("__")
    table = source.raw.setdefault(section, {})
    if not key or not isinstance(table, dict):
        source.problems.append(f"environment: {variable}: names no key of a section; lists stand in the file alone")
        return
    try:
        table[key] = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        table[key] = text
    source.overridden[section, key] = variable


def keys_at(model: type[BaseModel], place: Iterable[int | str]) -> list[str]:
    """Return the keys a table at `place` of `model` may have; none where no table of ours stands there."""
    current: type[BaseModel] | None = model
    for part in place:
        if isinstance(part, str) and current is not None:
            current = section_model(current, part)
    return [] if current is None else list(current.model_fields)


def section_model(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """Return the model behind a field: itself, of its list, or of its union with None."""
    described = model.model_fields.get(key)
    waiting = [described.annotation] if described else []
    while waiting:
        annotation: Any = waiting.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
        waiting += getattr(annotation, "__args__", ())
    return None


_HEADERS: Final[Mapping[str, str]] = {  # what a misplaced header is called in a TOML file
    "list_type": "is a list: write [[{key}]] above each of its tables, or [ ] around its values",
    "tuple_type": "is a list: write [[{key}]] above each of its tables, or [ ] around its values",
    "dict_type": "is a section: write [{key}] above its keys",
    "model_type": "is a section: write [{key}] above its keys",
}


def misfit(file: Path, why: ValidationError, model: type[BaseModel]) -> ConfigError:
    """Return every problem, with its place, of a file that is no `model`."""
    return ConfigError([f"{file}: {wording.path(error['loc'])}: {_phrase(error, model)}" for error in why.errors()])


def _phrase(error: ErrorDetails, model: type[BaseModel]) -> str:
    """Say an error of a validation as `model` in the words of a TOML file."""
    place = error["loc"]
    header = _HEADERS.get(error["type"])
    if header is not None:
        return header.format(key=".".join(part for part in place if isinstance(part, str)))
    return wording.phrase(error, keys_at(model, place[:-1]))
