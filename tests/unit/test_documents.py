"""The documents people build against say what the code does."""

import ast
import json
import re
import tomllib
from dataclasses import fields
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.api import REQUESTS
from gateway.bus.commands import Catalogue
from gateway.bus.commands.base import Command, OpcodeCommand
from gateway.bus.commands.reset import OPCODE as RESET
from gateway.bus.exchange.executor import _FINAL_REFUSALS
from gateway.bus.monitor.health import BusHealth
from gateway.bus.monitor.notices import Notices
from gateway.cli import cli
from gateway.component import ComponentKind
from gateway.errors import CODES, Code, ErrorClass
from gateway.operation import TRANSITIONS as LIFECYCLE
from gateway.operation import Kind, Operation
from gateway.presence import TRANSITIONS, Finding, Presence
from gateway.requests import QueueCommand, Queuing, RouteCommand
from gateway.settings import PresenceSection, Settings, load
from gateway.settings.toml_source import section_model
from tests.doubles import FakeClock

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REQUESTS_MD = (DOCS / "requests.md").read_text()
BUS_PROTOCOL = (DOCS / "bus-protocol.md").read_text()
MQTT_PROTOCOL = (DOCS / "mqtt-protocol.md").read_text()
CONFIGURATION = (DOCS / "configuration.md").read_text()
COMMAND_LINE = (DOCS / "command-line.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+) \|$", re.MULTILINE)


def table(section: str) -> dict[str, str]:
    """Return the default of every key that the document lists for a section."""
    (text,) = re.findall(rf"^## `\[+{section}\]+`$(.*?)(?=^## |\Z)", CONFIGURATION, re.MULTILINE | re.DOTALL)
    return {key: default.strip("`") for key, _, default, _ in ROW.findall(text)}


def default_of(field: FieldInfo) -> str:
    """Spell the default of a field as TOML does."""
    value: Any = field.get_default(call_default_factory=True)
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
    """Return the options of a command, and of those below it."""
    below = command.commands.values() if isinstance(command, click.Group) and command is not cli else ()
    own = {option for each in command.params if isinstance(each, click.Option) for option in each.opts}
    return own.union(*map(options_of, below))


@pytest.mark.parametrize("name", list(cli.commands))
def test_every_command_and_option_is_explained(name: str) -> None:
    assert f"`{name}" in COMMAND_LINE
    for option in options_of(cli.commands[name]) | options_of(cli):
        assert option in COMMAND_LINE, option


def test_no_option_is_explained_that_does_not_exist() -> None:
    every = set.union(options_of(cli), *(options_of(command) for command in cli.commands.values())) | {"--help"}
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]+", COMMAND_LINE)) <= every


# --- requests.md: requests, records, command types, error codes -------------------------------------------------------


def rows(text: str, heading: str) -> list[list[str]]:
    """Return the cells of every table row of a section, without the headings of the tables."""
    (section,) = re.findall(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [
        row
        for n, row in enumerate(cells)
        if row[0][:3] != "---" and (n + 1 == len(cells) or cells[n + 1][0][:3] != "---")
    ]


def explained(heading: str) -> dict[str, str]:
    return {cells[0].strip("`"): cells[2].strip("`") for cells in rows(REQUESTS_MD, heading)}


def asked_for(model: type[BaseModel]) -> dict[str, str]:
    return {field.alias or name: default_of(field) for name, field in model.model_fields.items()}


def test_every_request_is_explained_and_no_other() -> None:
    assert re.findall(r"^## `(\w+)`$", REQUESTS_MD, re.MULTILINE) == list(REQUESTS)


@pytest.mark.parametrize("request_name", list(REQUESTS))
def test_every_field_of_a_request_is_explained_with_its_default(request_name: str) -> None:
    fields = asked_for(REQUESTS[request_name].model)
    if issubclass(REQUESTS[request_name].model, Queuing):
        shared = asked_for(Queuing)
        assert explained("What may be said of anything queued") == shared
        fields = {name: default for name, default in fields.items() if name not in shared}
    if request_name == "route_command":  # as another one, and the document says so
        assert asked_for(RouteCommand) == asked_for(QueueCommand)
        fields = {}
    assert explained(f"`{request_name}`") == fields


@pytest.mark.parametrize("request_name", list(REQUESTS))
def test_every_request_names_the_roles_that_may_ask_it(request_name: str) -> None:
    (roles,) = re.findall(rf"^## `{request_name}`$.*?Roles: ([^.]*)\.", REQUESTS_MD, re.MULTILINE | re.DOTALL)
    assert re.findall(r"`(\w+)`", roles) == [str(role) for role in REQUESTS[request_name].roles]


def everything_told() -> set[str]:
    """Return every key a record can have."""
    told: set[str] = set()
    reached = {str(status): 1 for status in LIFECYCLE.values()}
    for kind in Kind:
        operation = Operation("", kind, "", "", 0, 0, reached=reached)
        for each in fields(operation):
            if getattr(operation, each.name) in (None, 0):
                setattr(operation, each.name, 1)
        told |= operation.payload().keys()
        operation.targets = operation.depends_on = ("",)
        told |= operation.payload().keys()
    return told


def test_every_key_of_a_record_is_explained() -> None:
    keys = {
        key for cells in rows(REQUESTS_MD, "The record of an operation") for key in re.findall(r"`(\w+)`", cells[0])
    }
    assert keys == everything_told()


def test_every_command_type_is_explained_with_what_it_takes() -> None:
    told = {cells[0].strip("`"): (cells[1], *cells[3:]) for cells in rows(REQUESTS_MD, "Command types")}
    assert told == {
        command.spec.name: (
            arguments_of(command),
            kinds_of(command),
            command.spec.safety_class,
            f"{command.spec.guard.ttl_s:.0f}",
            f"{command.spec.timeout_s:g}",
        )
        for command in Catalogue()
    }


def kinds_of(command: Command[Any]) -> str:
    """Spell who takes a command type: all, or the kinds in their order."""
    return "all" if command.kinds == set(ComponentKind) else ", ".join(k for k in ComponentKind if k in command.kinds)


def arguments_of(command: Command[Any]) -> str:
    """Spell the arguments of a command type: `id`, `value`, or with a default `seconds` = 10."""
    return ", ".join(
        f"`{name}`" + ("" if field.is_required() else f" = {json.dumps(field.default)}")
        for name, field in command.arguments.model_fields.items()
    )


def codes_told() -> dict[Code, set[str]]:
    """Return every code that the gateway's own source gives, and whether in a reply or in a last_error."""
    told: dict[Code, set[str]] = {code: {"last_error"} for code in _FINAL_REFUSALS}
    places = {"Refusal": "reply", "Outcome": "last_error"}
    for file in (ROOT / "gateway").rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in places:
                for code in re.findall(r"\bCode\.([A-Z_]+)\b", ast.unparse(call)):
                    told.setdefault(Code[code], set()).add(places[call.func.id])
    return told


def test_every_error_code_that_can_be_told_is_explained_and_no_other() -> None:
    explained_codes = {
        cells[0].strip("`"): tuple(cells[1:]) for cells in rows(REQUESTS_MD, "Error codes") if cells[0].startswith("`")
    }
    assert explained_codes == {
        str(code): (str(CODES[code].error_class), ", ".join(sorted(places, reverse=True)), CODES[code].advice)
        for code, places in codes_told().items()
    }


def test_every_error_class_is_explained() -> None:
    classes = [cells[0] for cells in rows(REQUESTS_MD, "Error codes") if not cells[0].startswith("`")]
    assert classes == [str(each) for each in ErrorClass]


# --- bus-protocol.md and mqtt-protocol.md -----------------------------------------------------------------------------


def test_the_bus_protocol_says_which_opcodes_are_sent() -> None:
    sent = {cells[1]: int(cells[0], 16) for cells in rows(BUS_PROTOCOL, "Commands")}
    opcodes = {command.spec.name: command.opcode for command in Catalogue() if isinstance(command, OpcodeCommand)}
    assert sent == {**opcodes, "reset": RESET}
    assert {command.spec.name for command in Catalogue()} == {*sent, "unpair"}  # which is a PAIR_REQ


def rules_told() -> set[str]:
    """Return every rule that a track gives as evidence: those of its table, and those it names itself."""
    told = {step.rule for step in TRANSITIONS.values() if step.rule}
    for call in ast.walk(ast.parse((ROOT / "gateway/presence/track.py").read_text())):
        match call:
            case ast.Call(
                func=ast.Attribute(attr="_tell" | "_finding"), args=[_, _, ast.Constant(value=str(rule)), *_]
            ):
                told.add(rule)
    return told


def test_every_rule_of_the_evidence_is_explained() -> None:
    (section,) = re.findall(r"^`evidence`.*?(?=^###)", MQTT_PROTOCOL, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == rules_told()


def test_the_example_of_the_evidence_has_the_keys_of_a_real_one() -> None:
    (example,) = re.findall(r'"evidence": (\{.*?\})', MQTT_PROTOCOL, re.DOTALL)
    never_heard: Any = SimpleNamespace(last_valid=None, last_seen_ms=None)
    finding = Finding("component_offline", 0.0, Presence.OFFLINE, None, "offline_after", 3.5, None, 3, 0, 0)
    notices = Notices("can0", BusHealth(0.0), FakeClock(), lambda _: None, lambda *_: None)
    assert list(json.loads(example)) == list(notices._evidence(never_heard, finding))


# --- the source archive -----------------------------------------------------------------------------------------------


def test_the_source_archive_holds_all_that_is_needed_to_build_test_and_install() -> None:
    included = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    )
    wanted = {"Makefile", "requirements", "tools", ".ci", "bench", "tests", "systemd", "docs", "dbc", "gateway"}
    assert {f"/{each}" for each in wanted} <= included
    assert all((ROOT / each.strip("/")).exists() for each in included)
