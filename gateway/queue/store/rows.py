"""Between rows and records: how an operation, an event and a component lie in the database."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

from pydantic_core import from_json, to_json

from gateway.event import Event
from gateway.operation import Delivery, Kind, Operation, Priority, RequestType, Status
from gateway.ports import ComponentRow
from gateway.presence import Presence

Row = tuple[Any, ...]

decode: Final[Callable[[str], Any]] = from_json

_KINDS: Final = {str(each): each for each in Kind}
_STATUSES: Final = {str(each): each for each in Status}
_DELIVERIES: Final = {str(each): each for each in Delivery}
_PRIORITIES: Final = {int(each): each for each in Priority}
_REQUEST_TYPES: Final[Mapping[str | None, RequestType | None]] = {
    None: None,
    **{str(each): each for each in RequestType},
}
_DETAILS: Final = (  # with those that `operation_row` names itself, kept as one JSON map; what says nothing is left out
    "proxy_component",
    "timeout_s",
    "bound_serial",
    "source",
    "source_ref",
    "title",
    "description",
    "expected_duration_s",
    "hold_ref",
    "hold_amount",
)
_OUTCOME: Final = ("retry_count", "reached", "result", "last_error", "cancellation_reason")  # kept so, too
_NO_OUTCOME: Final[Row] = (0, {}, None, None, None)
_DETAIL_VALUES: Final = attrgetter(*_DETAILS)
_NO_DETAILS: Final = (None,) * len(_DETAILS)
_OUTCOME_VALUES: Final = attrgetter(*_OUTCOME)
_NOTHING: Final = "{}"


def encode(value: Any) -> str:
    """Return JSON, compact. Raises ValueError for what is none, as half a character."""
    return to_json(value).decode()  # a quarter of the time of json.dumps, and every change encodes two or three


def operation_row(operation: Operation) -> Row:
    """Return the values of `insert_operation`."""
    key = operation.idempotency_key
    request_type = operation.request_type
    details: dict[str, Any] = {}
    values = _DETAIL_VALUES(operation)
    if values != _NO_DETAILS:
        details = {name: value for name, value in zip(_DETAILS, values, strict=True) if value is not None}
    if operation.command_type is not None:
        details["command_type"] = operation.command_type
    if operation.delivery is not Delivery.AT_LEAST_ONCE:
        details["delivery"] = operation.delivery
    if operation.arguments:
        details["arguments"] = operation.arguments
    if operation.metadata:
        details["metadata"] = operation.metadata
    return (
        operation.request_id,
        str(operation.kind),
        operation.target_component,
        operation.carrier,
        request_type is RequestType.PROXY,
        int(operation.priority),
        operation.created_at,
        operation.expires_at,
        operation.creator,
        operation.initiator_component,
        None if request_type is None else str(request_type),
        key,
        None if key is None else operation.content_digest(),
        encode(details) if details else _NOTHING,
    )


def moved_row(operation: Operation) -> Row:
    """Return the values of `move_operation`."""
    values = _OUTCOME_VALUES(operation)
    outcome = {}
    if values != _NO_OUTCOME:
        told = zip(_OUTCOME, values, _NO_OUTCOME, strict=True)
        outcome = {name: value for name, value, default in told if value != default}
    return (
        str(operation.status),
        operation.resumes,
        operation.not_before,
        operation.waits_for,
        operation.sequence,
        operation.partner_sequence,
        operation.started_at,
        operation.finished_at,
        encode(outcome) if outcome else _NOTHING,
        operation.request_id,
    )


def operation_of(row: Row) -> Operation:
    """Return the operation of a row of table `operation`."""
    details, outcome = row[14], row[24]
    told = decode(details) if details != _NOTHING else {}
    if "delivery" in told:
        told["delivery"] = _DELIVERIES[told["delivery"]]
    if outcome != _NOTHING:
        told |= decode(outcome)
    return Operation(
        request_id=row[1],
        kind=_KINDS[row[2]],
        target_component=row[3],
        priority=_PRIORITIES[row[6]],
        created_at=row[7],
        expires_at=row[8],
        creator=row[9],
        initiator_component=row[10],
        request_type=_REQUEST_TYPES[row[11]],
        idempotency_key=row[12],
        status=_STATUSES[row[15]],
        resumes=bool(row[16]),
        not_before=row[17],
        waits_for=row[18],
        sequence=row[19],
        partner_sequence=row[20],
        progress=row[21],
        started_at=row[22],
        finished_at=row[23],
        **told,
    )


def event_row(event: Event) -> Row:
    """Return the values of `insert_event`."""
    return event.seq, event.type, event.subject, event.at, event.time_trusted, encode(event.attributes)


def event_of(row: Row) -> Event:
    """Return the event of a row of table `event`."""
    seq, kind, subject, at, time_trusted, attributes = row
    return Event(kind, subject, at, decode(attributes), bool(time_trusted), seq)


def component_of(row: Sequence[Any]) -> ComponentRow:
    """Return the live part of a component of the first columns of query `component`."""
    component_id, presence, reason, since, last_seen, expected_return, serial, evidence = row[:8]
    return ComponentRow(
        component_id=component_id,
        presence=Presence(presence),
        reason=reason,
        since=since,
        last_seen=last_seen,
        expected_return=expected_return,
        serial=None if serial is None else int(serial, 16),
        evidence=decode(evidence),
    )
