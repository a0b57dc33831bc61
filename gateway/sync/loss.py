"""Why there is no connection to the broker: one closed list, and which reason code of MQTT means what."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from gateway.errors import LinkDown


class Cause(StrEnum):
    """Why a connection could not be made, or was lost."""

    # No way there.
    UNREACHABLE = "unreachable"
    UNKNOWN_HOST = "unknown_host"
    TLS_FAILED = "tls_failed"
    FILE_UNREADABLE = "file_unreadable"
    NO_ANSWER = "no_answer"
    PROTOCOL_ERROR = "protocol_error"
    # Turned away.
    BAD_CREDENTIALS = "bad_credentials"
    NOT_AUTHORIZED = "not_authorized"
    BANNED = "banned"
    CLIENT_ID_REFUSED = "client_id_refused"
    NOT_SUPPORTED = "not_supported"
    BROKER_FULL = "broker_full"
    BROKER_UNAVAILABLE = "broker_unavailable"
    MOVED = "moved"
    REFUSED = "refused"
    # Lost.
    CLOSED = "closed"
    HALF_OPEN = "half_open"
    STALLED = "stalled"
    TAKEN_OVER = "taken_over"
    PUBLISH_REFUSED = "publish_refused"
    PACKET_TOO_LARGE = "packet_too_large"
    RECEIVE_MAXIMUM = "receive_maximum"
    KEEPALIVE_TIMEOUT = "keepalive_timeout"
    SHUTTING_DOWN = "shutting_down"
    ENDED_BY_OPERATOR = "ended_by_operator"


NOT_AUTHORIZED: Final = 0x87
_BY_CODE: Final[Mapping[int, Cause]] = {  # what CONNACK and DISCONNECT of MQTT 5 say; paho spells 3.1.1's as these
    0x00: Cause.CLOSED,
    0x81: Cause.PROTOCOL_ERROR,
    0x82: Cause.PROTOCOL_ERROR,
    0x84: Cause.NOT_SUPPORTED,
    0x85: Cause.CLIENT_ID_REFUSED,
    0x86: Cause.BAD_CREDENTIALS,
    NOT_AUTHORIZED: Cause.NOT_AUTHORIZED,
    0x88: Cause.BROKER_UNAVAILABLE,
    0x89: Cause.BROKER_UNAVAILABLE,
    0x8A: Cause.BANNED,
    0x8B: Cause.SHUTTING_DOWN,
    0x8C: Cause.BAD_CREDENTIALS,
    0x8D: Cause.KEEPALIVE_TIMEOUT,
    0x8E: Cause.TAKEN_OVER,
    0x93: Cause.RECEIVE_MAXIMUM,
    0x95: Cause.PACKET_TOO_LARGE,
    0x96: Cause.BROKER_FULL,
    0x97: Cause.BROKER_FULL,
    0x98: Cause.ENDED_BY_OPERATOR,
    0x9A: Cause.NOT_SUPPORTED,
    0x9B: Cause.NOT_SUPPORTED,
    0x9C: Cause.MOVED,
    0x9D: Cause.MOVED,
    0x9F: Cause.BROKER_FULL,
    0xA0: Cause.ENDED_BY_OPERATOR,
}
_FOUND_BY_PAHO: Final[Mapping[int, Cause]] = {  # where no packet of the broker ended a connection
    0x82: Cause.PROTOCOL_ERROR,
    0x8D: Cause.HALF_OPEN,
}


class LinkLost(LinkDown):
    """A connection to the broker could not be made, or is gone. `topic`: of the publish that had waited longest."""

    def __init__(self, cause: Cause, why: str, topic: str | None = None) -> None:
        super().__init__(why)
        self.cause = cause
        self.topic = topic


def of_connack(code: int) -> Cause:
    """Return why the broker turns us away."""
    return _BY_CODE.get(code, Cause.REFUSED)


def of_disconnect(code: int, *, by_broker: bool) -> Cause:
    """Return why a connection that stood has ended. `by_broker`: the broker said so, else paho found it."""
    if not by_broker:
        return _FOUND_BY_PAHO.get(code, Cause.CLOSED)
    return Cause.PUBLISH_REFUSED if code == NOT_AUTHORIZED else _BY_CODE.get(code, Cause.REFUSED)
