"""Whether what the gateway says is what its models say and what the checked-in schemas say: all of it, and no more."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from pydantic import BaseModel, TypeAdapter

from gateway.payloads import CONTRACTS, EVENTS, GATEWAY_STATE, REPLY, PresenceState, QueueState, Telemetry

SCHEMAS = Path(__file__).parents[1] / "docs" / "schema"
BUNDLE: dict[str, Any] = json.loads((SCHEMAS / "bms-gateway.schema.json").read_text())
STATES: dict[str, tuple[str, type[BaseModel] | TypeAdapter[Any]]] = {
    "state": ("GatewayState", GATEWAY_STATE),
    "presence": ("PresenceState", PresenceState),
    "queue": ("QueueState", QueueState),
    "telemetry": ("Telemetry", Telemetry),
}


def closed(schema: Any) -> Any:
    """Return a schema that takes no field it does not name."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    return {**made, "additionalProperties": False} if isinstance(made.get("properties"), dict) else made


@cache
def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({**closed(BUNDLE), "$ref": f"#/$defs/{name}"})


def check(name: str, model: type[BaseModel] | TypeAdapter[Any], payload: Mapping[str, Any]) -> None:
    """Raise ValidationError, of one kind or the other, unless the payload is just what both say."""
    validator(name).validate(payload)
    text = json.dumps(payload)
    if isinstance(model, TypeAdapter):
        model.validate_json(text, strict=True, extra="forbid")
    else:
        model.model_validate_json(text, strict=True, extra="forbid")


def check_state(channel: str, payload: Mapping[str, Any]) -> None:
    """Check what a retained topic says. `channel`: state, presence or queue; or telemetry, which is not retained."""
    check(*STATES[channel], payload)


def check_event(payload: Mapping[str, Any]) -> None:
    model = EVENTS[payload["type"]]
    check(model.__name__, model, payload)


def check_request(request: str, fields: Mapping[str, Any]) -> None:
    """Check that the schema allows what the gateway has taken."""
    name = f"{CONTRACTS[request].request.__name__}Request"
    validator(name).validate({"id": "0123456789", "expires_at": "2026-11-21T20:30:00Z", **fields})


def check_reply(request: str, reply: Mapping[str, Any]) -> None:
    """Check the whole reply to a request, yes or no."""
    contract = CONTRACTS[request]
    check(f"{contract.request.__name__}Reply", REPLY, reply)
    if reply["ok"]:
        at_once = contract.at_once is not None and "accepted" in reply["result"]
        model = contract.at_once if at_once else contract.result
        assert model is not None
        model.model_validate_json(json.dumps(reply["result"]), strict=True, extra="forbid")


def check_topic(topic: str, payload: Mapping[str, Any], requests: Mapping[str, str]) -> str:
    """Check whatever came on a topic; return its channel. `requests`: what was asked for, by id of the request."""
    parts = topic.split("/")[3:]  # below bms/v1/{gateway_id}
    channel = parts[-1] if parts[0] == "components" else parts[0]
    if channel == "events":
        check_event(payload)
        assert parts[1:] == [payload["subject"], payload["type"]]
    elif channel == "replies":
        check_reply(requests[payload["id"]], payload)
    else:
        check_state(channel, payload)
    return channel
