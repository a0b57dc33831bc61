"""Every way to say no: one closed list of codes, and few classes that carry facts.

A code has a fixed meaning, a class (whose turn it is to act) and one sentence of advice; all three stand in `CODES`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class ErrorClass(StrEnum):
    """Whose turn it is, as HTTP's classes tell it."""

    REFUSED = "REFUSED"  # the caller may not, or asks for what cannot be: ask differently
    NOT_FOUND = "NOT_FOUND"  # the named thing does not exist
    CONFLICT = "CONFLICT"  # the thing is not in a state for this
    BUSY = "BUSY"  # not now: the same request may succeed later
    INTERNAL = "INTERNAL"  # our fault: report it


@dataclass(frozen=True, slots=True)
class CodeInfo:
    """What a code means for the caller."""

    error_class: ErrorClass
    advice: str


class Code(StrEnum):
    """The closed list of error codes."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNKNOWN_COMMAND = "UNKNOWN_COMMAND"
    COMPONENT_NOT_FOUND = "COMPONENT_NOT_FOUND"
    REQUEST_NOT_FOUND = "REQUEST_NOT_FOUND"
    INITIATOR_OFFLINE = "INITIATOR_OFFLINE"
    COMPONENT_OFFLINE = "COMPONENT_OFFLINE"
    NOT_CAPABLE = "NOT_CAPABLE"
    PROXY_NOT_AUTHORIZED = "PROXY_NOT_AUTHORIZED"
    NOT_OWNER = "NOT_OWNER"
    NOT_AUTHORIZED = "NOT_AUTHORIZED"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    REPLAYED = "REPLAYED"
    REQUEST_EXPIRED = "REQUEST_EXPIRED"
    EXPIRY_OUT_OF_RANGE = "EXPIRY_OUT_OF_RANGE"
    REASON_REQUIRED = "REASON_REQUIRED"
    QUEUE_FULL = "QUEUE_FULL"
    RATE_LIMITED = "RATE_LIMITED"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    DEPENDENCY_FAILED = "DEPENDENCY_FAILED"
    PRECONDITION_FAILED = "PRECONDITION_FAILED"
    NOT_ALLOWED = "NOT_ALLOWED"
    CLOCK_UNTRUSTED = "CLOCK_UNTRUSTED"
    NOTHING_PENDING = "NOTHING_PENDING"
    INVALID_STATE_TRANSITION = "INVALID_STATE_TRANSITION"
    ALREADY_PROCESSING = "ALREADY_PROCESSING"
    EXCHANGE_TIMEOUT = "EXCHANGE_TIMEOUT"
    DEVICE_REFUSED = "DEVICE_REFUSED"
    SERIAL_MISMATCH = "SERIAL_MISMATCH"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    BUS_DOWN = "BUS_DOWN"
    STORAGE_FULL = "STORAGE_FULL"
    INTERNAL = "INTERNAL"


_R, _N, _C, _B, _I = ErrorClass

CODES: Final[Mapping[Code, CodeInfo]] = {
    Code.INVALID_ARGUMENT: CodeInfo(_R, "Correct the named field and ask again."),
    Code.UNKNOWN_COMMAND: CodeInfo(_R, "Use a request or command type this gateway knows; see its documentation."),
    Code.COMPONENT_NOT_FOUND: CodeInfo(_N, "Check the component id against get_presence."),
    Code.REQUEST_NOT_FOUND: CodeInfo(
        _N, "Check the request id; what ended long ago can be looked at, and not changed."
    ),
    Code.INITIATOR_OFFLINE: CodeInfo(_B, "Bring the initiator online, then ask again."),
    Code.COMPONENT_OFFLINE: CodeInfo(_B, "Wait until the component is online, then ask again."),
    Code.NOT_CAPABLE: CodeInfo(_R, "Choose a component whose capabilities name this command type."),
    Code.PROXY_NOT_AUTHORIZED: CodeInfo(_R, "Name a proxy that the target's configuration lists."),
    Code.NOT_OWNER: CodeInfo(_R, "Ask the component's owner, or have the component granted to you."),
    Code.NOT_AUTHORIZED: CodeInfo(_R, "Have an administrator give your actor the role this needs."),
    Code.BAD_SIGNATURE: CodeInfo(
        _R, "Sign the request with a key of yours that the access file names; see bms-gateway access."
    ),
    Code.REPLAYED: CodeInfo(_C, "Use a fresh id for every new request."),
    Code.REQUEST_EXPIRED: CodeInfo(_R, "Send it again with a later end, at most one hour away."),
    Code.EXPIRY_OUT_OF_RANGE: CodeInfo(_R, "Choose a waiting time within these bounds."),
    Code.REASON_REQUIRED: CodeInfo(_R, "Say why, in the reason field."),
    Code.QUEUE_FULL: CodeInfo(_B, "Cancel or drain waiting operations, or wait for them to end."),
    Code.RATE_LIMITED: CodeInfo(_B, "Wait retry_after_ms, then ask again."),
    Code.IDEMPOTENCY_CONFLICT: CodeInfo(_C, "Use a new idempotency key for other content."),
    Code.DEPENDENCY_FAILED: CodeInfo(_C, "Mend or requeue the operation this one depends on."),
    Code.PRECONDITION_FAILED: CodeInfo(_C, "Ask again once that is otherwise."),
    Code.NOT_ALLOWED: CodeInfo(_R, "The gateway's configuration must allow it first."),
    Code.CLOCK_UNTRUSTED: CodeInfo(_B, "Give the gateway the right time, then ask again."),
    Code.NOTHING_PENDING: CodeInfo(_C, "There is nothing to do."),
    Code.INVALID_STATE_TRANSITION: CodeInfo(_C, "Read the request's status: this cannot happen to it any more."),
    Code.ALREADY_PROCESSING: CodeInfo(_B, "Wait until the component's current operation has ended."),
    Code.EXCHANGE_TIMEOUT: CodeInfo(_B, "Check that the component answers on the bus."),
    Code.DEVICE_REFUSED: CodeInfo(_C, "The component said no: see device_status and the bus protocol."),
    Code.SERIAL_MISMATCH: CodeInfo(_C, "Another device sits at this address: queue new work for it if it is meant."),
    Code.OUTCOME_UNKNOWN: CodeInfo(_C, "Look at the component itself before you repeat this."),
    Code.BUS_DOWN: CodeInfo(_B, "Check the CAN interface and its wiring."),
    Code.STORAGE_FULL: CodeInfo(_B, "Free space on the gateway; what is stored is safe."),
    Code.INTERNAL: CodeInfo(_I, "Report this with the gateway's log."),
}


class GatewayError(Exception):
    """Base of every error we raise on purpose."""


class MisuseError(GatewayError):
    """We broke a rule of our own: a bug. Leave the TaskGroup, let systemd restart us, mend it."""


class LinkDown(GatewayError):  # noqa: N818 - a state of the weather, named as the event it becomes
    """CAN bus or broker away. No bug: the same work may be tried again."""


class StoreUnavailable(GatewayError):  # noqa: N818 - a state of the disk
    """The database cannot be opened: disk full, no rights, no file. The next start may find it better."""


class PeerError(GatewayError):
    """A component or client broke the protocol: count it, log it (rate-limited), carry on."""


class ConfigError(GatewayError):
    """The configuration cannot be used. `problems`: one sentence each, with its place."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Refusal(GatewayError):  # noqa: N818 - an answer, not a fault
    """A coded no to a request. Never logged as an error; it is an answer."""

    def __init__(
        self, code: Code, message: str = "", *, retry_after_ms: int | None = None, details: dict[str, Any] | None = None
    ) -> None:
        advice = CODES[code].advice
        self.code = code
        self.message = f"{message} {advice}" if message else advice
        self.retry_after_ms = retry_after_ms
        self.details = details
        super().__init__(f"{code}: {self.message}")

    def payload(self) -> dict[str, Any]:
        """Return the error map of a reply: {code, message, class, retry_after_ms?, details?}."""
        answer: dict[str, Any] = {
            "code": str(self.code),
            "message": self.message,
            "class": str(CODES[self.code].error_class),
        }
        if self.retry_after_ms is not None:
            answer["retry_after_ms"] = self.retry_after_ms
        if self.details:
            answer["details"] = self.details
        return answer
