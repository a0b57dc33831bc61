"""The access file: which actors may ask over MQTT, in which role, for which components."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, ValidationError

from gateway.access import EVERY_COMPONENT, Actor, Role
from gateway.errors import ConfigError
from gateway.ids import is_name
from gateway.settings import Name, Section, toml_source

KEY_BYTES: Final = 32  # a raw Ed25519 public key


def _public_key(text: str) -> str:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("is no base64") from None
    if len(raw) != KEY_BYTES:
        raise ValueError(f"must be {KEY_BYTES} bytes in base64, not {len(raw)}")
    return text


def _granted(text: str) -> str:
    if text != EVERY_COMPONENT and not is_name(text):
        raise ValueError(f'must be the id of a component, or "{EVERY_COMPONENT}" for all')
    return text


_Granted = Annotated[str, AfterValidator(_granted)]
_PublicKey = Annotated[str, AfterValidator(_public_key)]


class _ActorSection(Section):
    """One actor. `components`: granted beside those owned; "*" is all."""

    role: Role
    components: list[_Granted] = Field(default_factory=list)
    keys: dict[Name, _PublicKey] = Field(default_factory=dict)


class _AccessFile(Section):
    actors: dict[Name, _ActorSection] = Field(default_factory=dict)


@dataclass(slots=True)
class Access:
    """Who may ask over MQTT. `strangers`: the role of an actor nobody has named; None: refused.

    `keys`: actor -> name of the key -> raw Ed25519 public key. Ask it for each request anew: it may be reloaded.
    """

    actors: Mapping[str, Actor] = field(default_factory=dict)
    keys: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    strangers: Role | None = None

    def actor(self, name: str) -> Actor | None:
        """Return the actor of that name, or None for a stranger who may not ask."""
        known = self.actors.get(name)
        if known is not None or self.strangers is None or not is_name(name):
            return known
        return Actor(name, self.strangers, transport="mqtt")

    def reload(self, file: Path | None, components: frozenset[str] | None = None) -> None:
        """Read the access file again, as `load_access` does: who is not in it any more may ask nothing more.

        Raises ConfigError, and then everything stays as it was.
        """
        newer = load_access(file, components)
        self.actors, self.keys, self.strangers = newer.actors, newer.keys, newer.strangers


def load_access(file: Path | None, components: frozenset[str] | None = None) -> Access:
    """Read the access file. None: no file, every actor on MQTT is a viewer.

    `components`: the ids there are, where known: a grant of another is a problem. Raises ConfigError with every
    problem and its place.
    """
    if file is None:
        return Access(strangers=Role.VIEWER)
    try:
        parsed = _AccessFile.model_validate(toml_source.parse(file))
    except ValidationError as why:
        raise toml_source.misfit(file, why, _AccessFile) from why
    problems = _dangling(parsed, components)
    if problems:
        raise ConfigError([f"{file}: {problem}" for problem in problems])
    return Access(
        actors={
            name: Actor(name, section.role, frozenset(section.components), "mqtt")
            for name, section in parsed.actors.items()
        },
        keys={
            name: {key: base64.b64decode(text) for key, text in section.keys.items()}
            for name, section in parsed.actors.items()
        },
    )


def _dangling(parsed: _AccessFile, components: frozenset[str] | None) -> list[str]:
    if components is None:
        return []
    return [
        f"actors.{name}.components: there is no component {granted}"
        for name, section in parsed.actors.items()
        for granted in section.components
        if granted != EVERY_COMPONENT and granted not in components
    ]
