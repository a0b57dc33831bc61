"""The AsyncAPI 3.0 document of the MQTT protocol, from the gateway's view: what it sends, what it receives.

Channels are those of `gateway.sync.topics`; payloads are the JSON Schemas of `gateway.payloads.schema`, taken in.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway import __version__
from gateway.api import REQUESTS
from gateway.ids import CALL_ID_PATTERN, NAME_PATTERN
from gateway.payloads import CONTRACTS, EVENTS
from gateway.payloads.schema import definitions, moved
from gateway.sync.payload import CONTENT_TYPE, Encoding
from gateway.sync.topics import CHANNELS, VERSION, Channel

Map = dict[str, Any]

_SCHEMAS: Final = "#/components/schemas/"
_BINDING: Final = "0.2.0"  # of the MQTT bindings
_TOLD: Final[Mapping[str, str]] = {
    "state": "GatewayState",
    "presence": "PresenceState",
    "queue": "QueueState",
    "telemetry": "Telemetry",
}
_PARAMETERS: Final[Mapping[str, Map]] = {
    "gateway_id": {"description": f"Which gateway: {NAME_PATTERN}", "examples": ["gw-0042"]},
    "component_id": {"description": "A component, as the gateway's configuration calls it.", "examples": ["module-03"]},
    "subject": {"description": "A component_id, or gateway.", "examples": ["module-03", "gateway"]},
    "type": {"description": "What happened.", "enum": sorted(EVENTS)},
    "actor": {"description": "Who asks. The broker must let nobody ask under another's name.", "examples": ["cloud"]},
    "request": {"description": "What is asked for.", "enum": sorted(CONTRACTS)},
    "id": {"description": f"The caller's own id of the request: {CALL_ID_PATTERN}"},
}


def document() -> Map:
    """Return the document."""
    return {
        "asyncapi": "3.0.0",
        "info": _INFO,
        "defaultContentType": CONTENT_TYPE[Encoding.MSGPACK],
        "servers": {"broker": _SERVER},
        "channels": {_name(channel): _channel(channel) for channel in CHANNELS},
        "operations": _operations(),
        "components": {
            "schemas": moved(definitions(), _SCHEMAS),
            "messages": _messages(),
            "securitySchemes": _SECURITY,
        },
    }


_INFO: Final = {
    "title": "bms-gateway",
    "version": __version__,
    "description": "What a battery gateway tells of the packs and modules on its CAN buses, and what it may be asked. "
    "Payloads are MessagePack, or JSON where the gateway is configured so; requests may come as either and are "
    "answered in kind. Fields may be added to what the gateway sends: ignore those you do not know. Events have a "
    "seq without gaps: drop what you have seen, ask for what you miss with replay.",
    "license": {"name": "Apache-2.0"},
}
_SERVER: Final = {
    "host": "broker.example.com:8883",
    "protocol": "secure-mqtt",
    "protocolVersion": "5",
    "description": "TLS 1.2 or newer. MQTT 3.1.1 works too: properties only add.",
    "security": [
        {"$ref": "#/components/securitySchemes/password"},
        {"$ref": "#/components/securitySchemes/certificate"},
    ],
}
_SECURITY: Final = {
    "password": {"type": "userPassword", "description": "The user name is the actor."},
    "certificate": {"type": "X509", "description": "A client certificate whose common name is the actor."},
}


# --- channels ---------------------------------------------------------------------------------------------------------


def _name(channel: Channel) -> str:
    """Return a channel's name: the word in its pattern that says what it is about."""
    words = [word for word in channel.pattern.split("/") if not word.startswith("{")]
    return words[-1]


def _channel(channel: Channel) -> Map:
    address = f"{VERSION}/{{gateway_id}}/{channel.pattern}"
    named = [word[1:-1] for word in address.split("/") if word.startswith("{")]
    return {
        "address": address,
        "parameters": {name: _PARAMETERS[name] for name in named},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _CARRIED[_name(channel)]},
    }


_CARRIED: Final[Mapping[str, list[str]]] = {  # messages by channel
    **{name: [name] for name in _TOLD},
    "events": list(EVENTS),
    "requests": list(CONTRACTS),
    "replies": [f"{request}.reply" for request in CONTRACTS],
}


# --- operations -------------------------------------------------------------------------------------------------------


def _operations() -> Map:
    by_name = {_name(channel): channel for channel in CHANNELS}
    requests, _ = by_name.pop("requests"), by_name.pop("replies")  # replies belong to what was asked
    asked = {request: _ask(request, requests) for request in CONTRACTS}
    return asked | {f"tell_{name}": _tell(channel) for name, channel in by_name.items()}


def _tell(channel: Channel) -> Map:
    return {"action": "send", "channel": _to(channel), "bindings": _delivery(channel)}


def _ask(request: str, channel: Channel) -> Map:
    roles = ", ".join(REQUESTS[request].roles)
    return {
        "action": "receive",
        "channel": _to(channel),
        "summary": CONTRACTS[request].request.__doc__,
        "description": f"Roles: {roles}.",
        "messages": [{"$ref": f"#/channels/requests/messages/{request}"}],
        "bindings": _delivery(channel),
        "reply": {
            "channel": {"$ref": "#/channels/replies"},
            "messages": [{"$ref": f"#/channels/replies/messages/{request}.reply"}],
        },
    }


def _to(channel: Channel) -> Map:
    return {"$ref": f"#/channels/{_name(channel)}"}


def _delivery(channel: Channel) -> Map:
    return {"mqtt": {"qos": channel.qos, "retain": channel.retained, "bindingVersion": _BINDING}}


# --- messages ---------------------------------------------------------------------------------------------------------


def _messages() -> Map:
    made = {name: _message(name, _schema(model)) for name, model in _TOLD.items()}
    made |= {kind: _message(kind, _schema(model.__name__), model.__doc__) for kind, model in EVENTS.items()}
    for request, contract in CONTRACTS.items():
        asked = {"oneOf": [_schema(f"{contract.request.__name__}Request"), _schema("SignedRequest")]}
        made[request] = _correlated(request, asked, contract.request.__doc__)
        made[f"{request}.reply"] = _correlated(f"{request}.reply", _schema(f"{contract.request.__name__}Reply"))
    return made


def _message(name: str, payload: Map, summary: str | None = None) -> Map:
    told = {"name": name, "payload": payload}
    return told if summary is None else {**told, "summary": summary}


def _correlated(name: str, payload: Map, summary: str | None = None) -> Map:
    return {**_message(name, payload, summary), "correlationId": {"location": "$message.payload#/id"}}


def _schema(name: str) -> Map:
    return {"$ref": _SCHEMAS + name}
