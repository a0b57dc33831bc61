"""The documents people build against say what the code does."""

import json
import re
from enum import Enum
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.cli import cli
from gateway.settings import PresenceSection, Settings, load
from gateway.settings.toml_source import section_model

DOCS = Path(__file__).parents[2] / "docs"
CONFIGURATION = (DOCS / "configuration.md").read_text()
COMMAND_LINE = (DOCS / "command-line.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+) \|$", re.MULTILINE)


def table(section: str) -> dict[str, str]:
    """Return the default of every key that the document lists for a section."""
    (text,) = re.findall(rf"^## `\[+{section}\]+`$(.*?)(?=^## |\Z)", CONFIGURATION, re.MULTILINE | re.DOTALL)
    return {key: default.strip("`") for key, _, default, _ in ROW.findall(text)}


def default_of(field: FieldInfo) -> str:
    """Spell the default of a field as TOML does."""
    value: Any = field.default
    if field.is_required():
        return "required"
    if value is None:
        return "–"
    return json.dumps(value, default=lambda other: other.value if isinstance(other, Enum) else str(other))


def model_of(section: str) -> type[BaseModel]:
    model = section_model(Settings, section)
    assert model is not None
    return model


@pytest.mark.parametrize("section", list(Settings.model_fields))
def test_every_key_of_the_configuration_is_explained_with_its_default(section: str) -> None:
    fields = dict(model_of(section).model_fields)
    if section == "component":  # it may have those of [presence] too, and the document says so
        assert set(PresenceSection.model_fields) < set(fields)
        fields = {name: field for name, field in fields.items() if name not in PresenceSection.model_fields}
    assert table(section) == {name: default_of(field) for name, field in fields.items()}


def test_no_section_is_explained_that_does_not_exist() -> None:
    assert re.findall(r"^## `\[+(\w+)\]+`$", CONFIGURATION, re.MULTILINE) == list(Settings.model_fields)


def test_the_example_of_the_configuration_can_be_loaded(tmp_path: Path) -> None:
    example = re.findall(r"```toml\n(.*?)```", CONFIGURATION, re.DOTALL)[0]
    (tmp_path / "gateway.toml").write_text(example)
    assert load(tmp_path / "gateway.toml", {}).gateway.id == "gw-0042"


def options_of(command: click.Command) -> set[str]:
    return {option for each in command.params if isinstance(each, click.Option) for option in each.opts}


@pytest.mark.parametrize("name", list(cli.commands))
def test_every_command_and_option_is_explained(name: str) -> None:
    assert f"`{name}" in COMMAND_LINE
    for option in options_of(cli.commands[name]) | options_of(cli):
        assert option in COMMAND_LINE, option


def test_no_option_is_explained_that_does_not_exist() -> None:
    every = set.union(options_of(cli), *(options_of(command) for command in cli.commands.values())) | {"--help"}
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]+", COMMAND_LINE)) <= every
