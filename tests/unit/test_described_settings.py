"""What a `[[command]]` table may say, and how what is wrong with one is told."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from gateway.cli.check import problems_of
from gateway.errors import ConfigError
from gateway.settings import CommandSection, RequestSection, ResponseSection, UdsSection, load
from gateway.settings.commands import ArgumentSection, DataSection, SecuritySection
from tests.described_scene import DBC, LIMIT, READ, WINK, uds

DOCUMENT = (Path(__file__).parents[2] / "docs" / "foreign-buses.md").read_text()


def problem_of(table: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as why:
        CommandSection.model_validate(table)
    return " | ".join(each["msg"] for each in why.value.errors())


def argument(**fields: Any) -> dict[str, Any]:
    return {**LIMIT, "arguments": {"current_a": {"type": "integer", "min": 0, "max": 9, **fields}}}


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({**WINK, "request": None}, "needs request or uds, and not both"),
        ({**READ, "request": WINK["request"]}, "needs request or uds, and not both"),
        ({**READ, "response": LIMIT["response"]}, "a service of UDS has its own"),
        ({**LIMIT, "safety_class": "safety"}, "components that can be armed"),
        ({**WINK, "safety_class": "energy"}, "needs a response: nobody would know what was done"),
        ({**WINK, "safety_class": "safe_direction"}, "needs a response"),
        ({**LIMIT, "response": {"message": "Done", "declined": {"Status": [1]}}}, "declined needs ok beside it"),
        (argument(min=0.5), "whole numbers"),
        (argument(default=10), "must rise in this order"),
        (argument(min=10), "must rise in this order"),
        ({**WINK, "arguments": {"node": {"type": "integer", "min": 0, "max": 1}}}, '"node" is taken'),
        ({**WINK, "arguments": {"copy": {"type": "integer", "min": 0, "max": 1}}}, '"copy" is taken'),
        (uds(did=None), 'service "read_data" needs did'),
        (uds(control="start"), 'control has no meaning for service "read_data"'),
        (uds(data=["00"]), 'data has no meaning for service "read_data"'),
        (uds(service="write_data"), 'service "write_data" needs data'),
        (uds(service="routine", did=None, routine=1, control="adjust"), "control must be one of start, stop, results"),
        (uds(service="io_control", control="start"), "control must be one of return, reset, freeze, adjust"),
        (uds(response_id=0x7E4), "must differ"),
        (uds(response_id=0x800), "say extended = true"),
        (uds(service="write_data", data=["0"]), "no list of hexadecimal bytes"),
        (uds(service="write_data", data=[""]), "must be 1 to 1024 bytes"),
        (uds(security={"level": 2, "hook": "a:b"}), "the odd number that asks for the seed"),
        (uds(security={"level": 1, "hook": "a.b"}), "String should match pattern"),
    ],
)
def test_what_does_not_fit_together_is_refused(table: dict[str, Any], problem: str) -> None:
    assert problem in problem_of(table)


CONFIGURATION = """
[gateway]
id = "gw-1"
state_dir = "state"
socket = "control.sock"

[[bus]]
name = "can0"
interface = "virtual"
dbc = ["other.dbc"]

[[component]]
id = "front"
kind = "PACK"
bus = "can0"
owner = "me"
node = 3
heartbeat = { type = "raw", id = 0x300 }
capabilities = ["limit"]

[[component]]
id = "ours"
kind = "PACK"
bus = "can0"
owner = "me"
node = 4
"""
GOOD = """
[[command]]
name = "limit"
safety_class = "energy"
components = ["front"]
request = { message = "Order", signals = { Verb = "limit" } }
response = { message = "Done" }
"""


def checked(folder: Path, *commands: str) -> list[str]:
    """Return what `check` says of a configuration with these commands."""
    (folder / "other.dbc").write_text(DBC)
    file = folder / "gateway.toml"
    file.write_text(CONFIGURATION + "".join(commands))
    return [each.replace(f"{folder}/gateway.toml: ", "") for each in problems_of(file, {})]


def test_a_sound_command_is_no_problem_and_may_be_named_as_a_capability(tmp_path: Path) -> None:
    assert checked(tmp_path, GOOD) == []
    assert load(tmp_path / "gateway.toml", {}).command[0].timeout_s == 2.0


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("front", "rear", "command[0].components (limit): there is no component rear"),
        ("front", "ours", "command[0].components (limit): ours speaks the gateway's own protocol"),
        ("Order", "Ordr", 'command limit: the databases of bus can0 have no message "Ordr"; did you mean "Order"?'),
        ('Verb = "limit"', "Verb = 201", "command limit: Verb: 201 is above 200, which the database allows"),
        ("safety_class", "safety_clas", 'command[0].safety_clas (limit): unknown key (did you mean "safety_class"?)'),
        ("energy", "safety", 'command[0] (limit): safety_class "safety" is for components that can be armed'),
        ('"limit"\n', '"identify"\n', "command identify: the gateway has a command type of its own of that name"),
        ('name = "limit"\n', "", "command[0].name: is required"),
    ],
)
def test_check_names_what_is_wrong_with_a_command(tmp_path: Path, before: str, after: str, problem: str) -> None:
    assert any(each.startswith(problem) for each in checked(tmp_path, GOOD.replace(before, after)))


def test_check_compiles_sound_commands_beside_one_that_is_not(tmp_path: Path) -> None:
    hurt, unsound = GOOD.replace("energy", "energetic"), GOOD.replace("limit", "other").replace("Order", "Ordr")
    told = checked(tmp_path, hurt, unsound)
    assert len(told) == 2
    assert told[0].startswith("command[0].safety_class (limit): must be one of ")
    assert told[1].startswith("command other: the databases of bus can0")


def test_a_name_that_is_used_twice_is_told(tmp_path: Path) -> None:
    assert checked(tmp_path, GOOD, GOOD) == ["command[1].name (limit): the command type limit is used twice"]


def test_who_runs_a_configuration_that_cannot_be_is_told(tmp_path: Path) -> None:
    checked(tmp_path, GOOD.replace('"energy"', '"safety"'))
    with pytest.raises(ConfigError, match="can be armed"):
        load(tmp_path / "gateway.toml", {})


TABLES: dict[str, type[BaseModel]] = {
    "arguments": ArgumentSection,
    "request": RequestSection,
    "response": ResponseSection,
    "uds": UdsSection,
    "data": DataSection,
    "security": SecuritySection,
}


@pytest.mark.parametrize(("name", "model"), TABLES.items())
def test_every_key_of_a_nested_table_is_explained_and_no_other(name: str, model: type[BaseModel]) -> None:
    keys = re.findall(rf"^\| `{name}\.(\w+)` \|", DOCUMENT, re.MULTILINE)
    assert keys == list(model.model_fields)
