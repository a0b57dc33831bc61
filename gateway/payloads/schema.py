"""JSON Schemas (draft 2020-12) of all payloads, made from their models.

Fields that the gateway may leave out are optional there and never null. What the gateway sends may hold more than a
schema tells, since fields may be added; what it is sent may not.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from gateway import requests as ask
from gateway.payloads import (
    CONTRACTS,
    EVENTS,
    Contract,
    Event,
    GatewayOffline,
    GatewayOnline,
    PresenceState,
    QueueState,
    Refused,
    Telemetry,
)
from gateway.payloads.docstrings import field_docs
from gateway.payloads.envelope import Envelope, SignedRequest

Schema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
BUNDLE_ID: Final = "urn:bms-gateway:v1"
_DEFS: Final = "#/$defs/"
_REQUESTS: Final[Sequence[type[ask.Model]]] = tuple(contract.request for contract in CONTRACTS.values())
_PARTS: Final[Sequence[type[ask.Model]]] = (ask.Aggregation, ask.Selector)  # of requests
_VALIDATION: Final[JsonSchemaMode] = "validation"


class _Asked(GenerateJsonSchema):
    """Says of each model what it takes; the names of fields are titles enough."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - as pydantic calls it
        return False


class _Told(_Asked):
    """Says of an optional field that it may be left out, not that it may be null."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        inner = schema["schema"]
        if inner["type"] != "nullable" or inner.get("metadata"):  # one with a schema of its own says what it may be
            return self.generate_inner(inner)
        return self.generate_inner(inner["schema"])


@cache
def definitions() -> Mapping[str, Schema]:
    """Return the schema of every payload by its name, and of whatever they share.

    `GatewayState`, `PresenceState`, `QueueState`, `Telemetry`; `Event` and one each as `ComponentOnlineEvent`; for each
    request its `QueueCommandRequest` and `QueueCommandReply`; `SignedRequest`, `Refused`.
    """
    told: list[type[BaseModel]] = [
        GatewayOnline,
        GatewayOffline,
        PresenceState,
        QueueState,
        Telemetry,
        Event,
        *EVENTS.values(),
        Refused,
        SignedRequest,
    ]
    results = [model for contract in CONTRACTS.values() for model in contract[1:] if model is not None]
    found = _definitions(_Told, [*told, *results, Envelope])
    envelope = found.pop("Envelope")
    found["GatewayState"] = _either("GatewayState", "What the gateway is.", ["GatewayOnline", "GatewayOffline"])
    asked = _documented(_definitions(_Asked, [*_REQUESTS, *_PARTS]))
    for contract in CONTRACTS.values():
        name = contract.request.__name__
        found[f"{name}Request"] = _request(asked.pop(name), envelope)
        found[f"{name}Reply"] = _reply(name, contract)
    assert found.keys().isdisjoint(asked)
    return dict(sorted({**found, **asked}.items()))


def bundle() -> Schema:
    """Return one schema file with all of them as `$defs`."""
    return {
        "$schema": DIALECT,
        "$id": BUNDLE_ID,
        "title": "bms-gateway",
        "description": "Every payload of the gateway's MQTT protocol and control socket. Refer to one as #/$defs/NAME.",
        "$defs": definitions(),
    }


def alone(name: str) -> Schema:
    """Return the schema of one payload, with whatever it refers to. Raises KeyError where there is none."""
    every = definitions()
    used = _closure(name, every)
    own = {"$schema": DIALECT, "$id": f"{BUNDLE_ID}:{name}", **every[name]}
    others = {each: every[each] for each in every if each in used}
    return {**own, "$defs": others} if others else own


def names() -> list[str]:
    """Return the names of the payloads, without those of their parts."""
    heads = ["GatewayState", "PresenceState", "QueueState", "Telemetry", "Event"]
    heads += sorted(model.__name__ for model in EVENTS.values())
    requests = sorted(contract.request.__name__ for contract in CONTRACTS.values())
    heads += [f"{name}{kind}" for name in requests for kind in ("Request", "Reply")]
    return [*heads, "SignedRequest", "Refused", "Error", "Operation"]


def moved(schema: Any, prefix: str) -> Any:
    """Return a schema whose references lead to `prefix`, not to $defs."""
    if isinstance(schema, list):
        return [moved(each, prefix) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: prefix + value.removeprefix(_DEFS) if key == "$ref" and isinstance(value, str) else moved(value, prefix)
        for key, value in schema.items()
    }


def _definitions(generator: type[GenerateJsonSchema], models: Iterable[type[BaseModel]]) -> dict[str, Schema]:
    pairs = [(model, _VALIDATION) for model in dict.fromkeys(models)]
    _, schema = models_json_schema(pairs, schema_generator=generator)
    found: dict[str, Schema] = schema["$defs"]
    for each in found.values():
        if "properties" in each and each.get("additionalProperties") is True:  # as if nothing were said
            del each["additionalProperties"]
    return found


def _documented(asked: dict[str, Schema]) -> dict[str, Schema]:
    """Write into the schemas of requests what stands below the fields of their models."""
    for model in (*_REQUESTS, *_PARTS):
        for name, text in field_docs(model).items():
            asked[model.__name__]["properties"][name]["description"] = text
    return asked


def _request(fields: Schema, envelope: Schema) -> Schema:
    """Return the schema of a request as it travels: its own fields and those of every request."""
    whole = copy.deepcopy(fields)
    whole["title"] += "Request"
    whole["properties"] = {**envelope["properties"], **fields.get("properties", {})}
    whole["required"] = [*envelope["required"], *fields.get("required", [])]
    return whole


def _reply(name: str, contract: Contract) -> Schema:
    refs = [_ref(model.__name__) for model in contract[1:] if model is not None]
    accepted = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "ok": {"const": True},
            "result": refs[0] if len(refs) == 1 else {"oneOf": refs},
        },
        "required": ["id", "ok", "result"],
    }
    described = f"The answer to {name}Request."
    return {"title": f"{name}Reply", "description": described, "oneOf": [accepted, _ref("Refused")]}


def _either(title: str, description: str, names: Iterable[str]) -> Schema:
    return {"title": title, "description": description, "oneOf": [_ref(name) for name in names]}


def _ref(name: str) -> Schema:
    return {"$ref": _DEFS + name}


def _closure(name: str, every: Mapping[str, Schema]) -> set[str]:
    """Return what a definition refers to, directly or not."""
    used: set[str] = set()
    waiting = [name]
    while waiting:
        new = _referred(every[waiting.pop()]) - used
        used |= new
        waiting += new
    return used


def _referred(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(_referred, schema))
    if not isinstance(schema, dict):
        return set()
    ref = schema.get("$ref")
    own = {ref.removeprefix(_DEFS)} if isinstance(ref, str) else set()
    return own.union(*map(_referred, schema.values()))
