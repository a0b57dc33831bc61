"""Reading a configuration: the file, the environment over it, and every problem with its place."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from gateway.errors import ConfigError
from gateway.settings import Settings, toml_source
from gateway.settings.contradictions import contradictions
from gateway.settings.toml_source import Source

ENV_PREFIX: Final = "BMS_GATEWAY__"
CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"  # systemd sets it for a unit with LoadCredential=
_CREDENTIAL: Final = f"${CREDENTIALS}/"
_NO_CREDENTIALS: Final = (
    f"${CREDENTIALS} is not set: the unit needs LoadCredential=, and whoever checks by hand a folder of such files"
)


def load(file: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read `file` and the overrides in `environ`. Relative paths start at the file's folder.

    Raises ConfigError with every problem found, each with its place (file, section and key).
    """
    survey = examine(file, environ)
    if survey.problems:
        raise ConfigError(survey.problems)
    return survey.settings


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file says.

    `settings`: its sound parts, whole where there are no problems; see `_sound_parts`. `component_ids`: those of tables
    in which something is wrong, too.
    """

    settings: Settings
    problems: list[str]
    component_ids: frozenset[str]


def examine(file: Path, environ: Mapping[str, str] = os.environ) -> Survey:
    """Read `file` as `load` does, as far as it is sound. Raises ConfigError only where it is no TOML at all."""
    source = toml_source.read(file, environ, ENV_PREFIX)
    _place_paths(source, file.resolve().parent, environ.get(CREDENTIALS))
    problems = source.problems
    try:
        settings = Settings.model_validate(source.raw)
    except ValidationError as why:
        errors = why.errors(include_url=False)
        problems += [source.tell(error, Settings) for error in errors]
        settings = _sound_parts(source)
    problems += [f"{source.place(place)}: {what}" for place, what in contradictions(settings, source)]
    return Survey(settings, problems, frozenset(source.names("component", "id")))


def _sound_parts(source: Source) -> Settings:
    """Return what is sound: sections that have all they must have, and every table of the list sections.

    A value that is wrong has its default; one that must be there and is not, or is wrong, is None in a list's table.
    """
    parts: dict[str, Any] = {"bus": [], "component": [], "command": []}
    for section, content in source.raw.items():
        model = toml_source.section_model(Settings, section)
        if model is None:
            continue
        if isinstance(content, list) and section in parts:
            parts[section] = [_sound_fields(model, content[n]) for n in source.rows(section)]
        elif isinstance(content, dict) and section not in parts:
            part = _sound_fields(model, content)
            if part.model_fields_set >= {key for key, field in model.model_fields.items() if field.is_required()}:
                parts[section] = part
    return Settings.model_construct(**parts)


def _sound_fields(model: type[BaseModel], table: Mapping[str, Any]) -> BaseModel:
    """Return the values of a table that are right by themselves."""
    sound: dict[str, Any] = {}
    for key, field in model.model_fields.items():
        with suppress(ValidationError):
            if key in table:
                kind = cast("Any", Annotated[field.annotation, field])
                sound[key] = TypeAdapter(kind).validate_python(table[key])
    absent = {key: None for key, field in model.model_fields.items() if field.is_required() and key not in sound}
    return model.model_construct(set(sound), **absent, **sound)


_PATHS: Final = {
    "gateway": ("state_dir", "socket"),
    "bus": ("dbc",),
    "component": ("key_file",),
    "sync": ("password_file", "ca_file", "cert_file", "key_file"),
    "access": ("file",),
}


def _place_paths(source: Source, folder: Path, credentials: str | None) -> None:
    """Make relative paths start at `folder`, and secrets of the service at `credentials`, which systemd names."""
    for section, keys in _PATHS.items():
        for place, table in _tables(source, section):
            for key in keys:
                if credentials is None and is_credential(table.get(key)):
                    source.problems.append(f"{source.place((*place, key))}: {_NO_CREDENTIALS}")
                elif key in table:
                    table[key] = _placed(table[key], folder, credentials)
    for _, bus in _tables(source, "bus"):
        if bus.get("interface") == "replay" and "channel" in bus:  # the file of a recording
            bus["channel"] = _placed(bus["channel"], folder, credentials)


def _tables(source: Source, section: str) -> list[tuple[toml_source.Place, dict[str, Any]]]:
    """Return the tables of a section with their places, as far as they are tables."""
    content = source.raw.get(section)
    if isinstance(content, dict):
        return [((section,), content)]
    return [((section, n), content[n]) for n in source.rows(section)] if isinstance(content, list) else []


def is_credential(path: object) -> bool:
    """Whether a path leads to the secrets that systemd keeps for the service."""
    return str(path).startswith(_CREDENTIAL)


def _placed(value: Any, folder: Path, credentials: str | None) -> Any:
    if isinstance(value, list):
        return [_placed(each, folder, credentials) for each in value]
    if not isinstance(value, str):
        return value
    if credentials is not None and is_credential(value):
        return str(Path(credentials, value.removeprefix(_CREDENTIAL)))
    return str(folder / value)
