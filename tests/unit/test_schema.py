"""The schemas in docs/ are those of the models, whole and sound; the AsyncAPI document tells of all topics."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft7Validator, Draft202012Validator, ValidationError

from gateway.api import REQUESTS
from gateway.cli import cli
from gateway.cli.schema import files
from gateway.errors import Code
from gateway.event import EVENT_TYPES
from gateway.payloads import ATTRIBUTES, CONTRACTS, EVENTS, Event, read_event
from gateway.payloads.schema import alone, names
from gateway.sync.topics import CHANNELS, VERSION
from tests.told import SCHEMAS, check_event, validator

ROOT = Path(__file__).parents[2]
BUNDLE = json.loads((SCHEMAS / "bms-gateway.schema.json").read_text())
ASYNCAPI = json.loads((SCHEMAS / "asyncapi.json").read_text())
AWAY: dict[str, Any] = {
    "seq": 7,
    "epoch": 1,
    "type": "component_unresponsive",
    "subject": "module-03",
    "at": "2026-11-21T20:10:00.350Z",
    "time_trusted": True,
    "attributes": {},
}


def refs(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        if isinstance(document.get("$ref"), str):
            yield document["$ref"]
        document = list(document.values())
    if isinstance(document, list):
        for each in document:
            yield from refs(each)


def resolved(document: Any, ref: str) -> Any:
    assert ref.startswith("#/")
    for part in ref[2:].split("/"):
        document = document[part]
    return document


# --- JSON Schema ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", list(files()))
def test_the_files_in_docs_are_those_that_the_command_writes(file: str) -> None:
    assert (SCHEMAS / file).read_text() == files()[file], "run: bms-gateway schema --out docs/schema"


def test_there_is_a_model_for_every_request_and_every_event_and_no_other() -> None:
    assert {name: contract.request for name, contract in CONTRACTS.items()} == {
        name: verb.model for name, verb in REQUESTS.items()
    }
    assert set(ATTRIBUTES) == EVENT_TYPES


def test_every_schema_is_one() -> None:
    Draft202012Validator.check_schema(BUNDLE)
    for ref in refs(BUNDLE):
        assert resolved(BUNDLE, ref)


@pytest.mark.parametrize("name", names())
def test_one_payload_alone_has_all_that_it_refers_to(name: str) -> None:
    schema = alone(name)
    Draft202012Validator.check_schema(schema)
    assert {ref.removeprefix("#/$defs/") for ref in refs(schema)} == set(schema.get("$defs", {})) - {name}
    assert schema["title"]


def test_every_payload_says_what_it_is() -> None:
    silent = [name for name, schema in BUNDLE["$defs"].items() if not schema.get("description")]
    assert silent == []


def test_a_reader_takes_what_a_newer_gateway_adds_and_the_check_of_our_own_does_not() -> None:
    newer = AWAY | {"colour": "red"}
    assert (read_event(newer).model_extra or {})["colour"] == "red"
    Draft202012Validator({**BUNDLE, "$ref": "#/$defs/ComponentUnresponsiveEvent"}).validate(newer)
    with pytest.raises(ValidationError, match="colour"):
        check_event(newer)


def test_an_event_of_a_type_that_is_not_known_keeps_what_it_says() -> None:
    event = read_event(AWAY | {"type": "coffee_ready", "attributes": {"cups": 3}})
    assert type(event) is Event
    assert event.attributes.model_extra == {"cups": 3}
    assert type(read_event(AWAY)) is EVENTS["component_unresponsive"]


@pytest.mark.parametrize(
    "wrong", [{"at": "yesterday"}, {"seq": 0}, {"seq": "7"}, {"time_trusted": None}, {"attributes": {"rule": 1}}]
)
def test_the_check_finds_what_is_wrong(wrong: dict[str, Any]) -> None:
    check_event(AWAY)
    with pytest.raises(ValidationError):
        check_event(AWAY | wrong)


def test_what_is_optional_may_be_left_out_and_is_not_null() -> None:
    error = {"code": "QUEUE_FULL", "message": "full"}
    operation_error = validator("OperationError")
    operation_error.validate(error)
    assert not operation_error.is_valid(error | {"device_status": None})
    assert not operation_error.is_valid(error | {"code": "NO_SUCH_CODE"})
    assert set(BUNDLE["$defs"]["Error"]["properties"]["code"]["enum"]) == {str(code) for code in Code}


def test_a_request_has_its_id_and_its_end_and_nothing_that_nobody_knows() -> None:
    request = validator("CancelRequestRequest")
    asked = {"id": "0123456789", "request_id": f"cmd_{'0' * 26}", "cancellation_reason": "no need"}
    request.validate(asked)
    request.validate(asked | {"expires_at": "2026-11-21T20:30:00+01:00"})
    assert not request.is_valid({name: value for name, value in asked.items() if name != "id"})
    assert not request.is_valid(asked | {"colour": "red"})


def test_a_request_tells_what_its_own_fields_mean_and_those_it_shares() -> None:
    metrics, command = (BUNDLE["$defs"][f"{name}Request"]["properties"] for name in ("GetMetrics", "QueueCommand"))
    assert metrics["from"]["description"] == "From then on."
    assert command["ttl_s"]["description"].startswith("Seconds")
    assert command["timeout_s"]["description"].startswith("Seconds")
    assert BUNDLE["$defs"]["Selector"]["properties"]["capability"]["description"]


# --- AsyncAPI ---------------------------------------------------------------------------------------------------------


KEYS: dict[str, tuple[set[str], set[str]]] = {  # of each kind of object in AsyncAPI 3.0: required, and allowed beside
    "info": ({"title", "version"}, {"description", "license"}),
    "server": ({"host", "protocol"}, {"protocolVersion", "description", "security"}),
    "channel": (set(), {"address", "messages", "parameters", "title", "description"}),
    "parameter": (set(), {"description", "enum", "examples", "default", "location"}),
    "operation": ({"action", "channel"}, {"summary", "description", "messages", "bindings", "reply"}),
    "reply": (set(), {"channel", "messages", "address"}),
    "message": (set(), {"name", "title", "summary", "payload", "contentType", "correlationId"}),
    "binding": (set(), {"qos", "retain", "messageExpiryInterval", "bindingVersion"}),
}


def parts_of_asyncapi() -> Iterator[tuple[str, dict[str, Any]]]:
    operations = list(ASYNCAPI["operations"].values())
    yield "info", ASYNCAPI["info"]
    for kind, parts in {
        "server": ASYNCAPI["servers"].values(),
        "channel": ASYNCAPI["channels"].values(),
        "parameter": [each for channel in ASYNCAPI["channels"].values() for each in channel["parameters"].values()],
        "operation": operations,
        "binding": [operation["bindings"]["mqtt"] for operation in operations],
        "reply": [operation["reply"] for operation in operations if "reply" in operation],
        "message": ASYNCAPI["components"]["messages"].values(),
    }.items():
        for part in parts:
            yield kind, part


def test_the_asyncapi_document_is_made_of_the_parts_that_its_version_knows() -> None:
    assert ASYNCAPI["asyncapi"] == "3.0.0"
    for kind, part in parts_of_asyncapi():
        required, allowed = KEYS[kind]
        assert required <= part.keys() <= required | allowed, kind
    assert {operation["action"] for operation in ASYNCAPI["operations"].values()} == {"send", "receive"}
    names = [*ASYNCAPI["channels"], *ASYNCAPI["operations"], *ASYNCAPI["components"]["schemas"]]
    names += ASYNCAPI["components"]["messages"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in names)


def test_an_operation_names_messages_of_its_channel_alone() -> None:
    for operation in ASYNCAPI["operations"].values():
        for part in (operation, operation.get("reply", {})):
            for message in part.get("messages", ()):
                assert message["$ref"].startswith(part["channel"]["$ref"] + "/messages/")


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    for ref in refs(ASYNCAPI):
        assert resolved(ASYNCAPI, ref)


def test_its_channels_are_the_topics_there_are() -> None:
    told = {
        channel["address"].removeprefix(f"{VERSION}/{{gateway_id}}/"): name
        for name, channel in ASYNCAPI["channels"].items()
    }
    assert told.keys() == {channel.pattern for channel in CHANNELS}
    for channel in CHANNELS:
        name = told[channel.pattern]
        assert set(ASYNCAPI["channels"][name]["parameters"]) == set(
            re.findall(r"\{(\w+)\}", ASYNCAPI["channels"][name]["address"])
        )
        operations = [
            operation
            for operation in ASYNCAPI["operations"].values()
            if name in {ref.split("/")[2] for ref in refs(operation)}
        ]
        assert operations
        if name != "replies":  # which are told of beside what was asked
            assert {operation["action"] for operation in operations} == {
                "send" if channel.direction == "out" else "receive"
            }
            bindings = [operation["bindings"]["mqtt"] for operation in operations]
            assert {(binding["qos"], binding["retain"]) for binding in bindings} == {(channel.qos, channel.retained)}


def test_every_request_is_an_operation_with_its_reply() -> None:
    for name, contract in CONTRACTS.items():
        operation = ASYNCAPI["operations"][name]
        (asked,), (answered,) = operation["messages"], operation["reply"]["messages"]
        model = contract.request.__name__
        message = resolved(ASYNCAPI, resolved(ASYNCAPI, asked["$ref"])["$ref"])
        assert {ref.split("/")[-1] for ref in refs(message["payload"])} == {f"{model}Request", "SignedRequest"}
        reply = resolved(ASYNCAPI, resolved(ASYNCAPI, answered["$ref"])["$ref"])
        assert reply["payload"] == {"$ref": f"#/components/schemas/{model}Reply"}
        for each in (message, reply):
            assert each["correlationId"] == {"location": "$message.payload#/id"}


def test_its_schemas_are_those_of_the_bundle_and_draft_7_reads_them_too() -> None:
    schemas = ASYNCAPI["components"]["schemas"]
    assert json.dumps(schemas).replace("#/components/schemas/", "#/$defs/") == json.dumps(BUNDLE["$defs"])
    for schema in schemas.values():
        Draft7Validator.check_schema(schema)
        assert "prefixItems" not in json.dumps(schema)


# --- the command ------------------------------------------------------------------------------------------------------


def run(*words: str) -> Any:
    return CliRunner().invoke(cli, ["schema", *words])


def test_the_command_prints_one_payload_all_of_them_or_the_asyncapi_document() -> None:
    assert json.loads(run("QueueState").output) == alone("QueueState")
    assert json.loads(run().output) == BUNDLE
    assert json.loads(run("asyncapi").output) == ASYNCAPI


def test_the_command_lists_the_names_it_takes() -> None:
    listed = run("--list").output.split()
    assert listed == ["asyncapi", *names()]
    assert len(set(listed)) == len(listed)


def test_the_command_writes_the_files(tmp_path: Path) -> None:
    told = run("--out", str(tmp_path / "new"))
    assert told.output.split() == [str(tmp_path / "new" / file) for file in files()]
    assert {file.name: file.read_text() for file in (tmp_path / "new").iterdir()} == files()


@pytest.mark.parametrize("words", [("NoSuchPayload",), ("QueueState", "--list"), ("--list", "--out", ".")])
def test_the_command_says_what_it_does_not_understand(words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert "schema" in result.output


def test_the_gateway_itself_reads_none_of_its_models() -> None:
    """They cost memory and time at the start, and it builds plain maps."""
    outside = {"cli", "client", "payloads"}
    importing = [
        str(file)
        for file in (ROOT / "gateway").rglob("*.py")
        if file.relative_to(ROOT / "gateway").parts[0] not in outside and "gateway.payloads" in file.read_text()
    ]
    assert importing == []
