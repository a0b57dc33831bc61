"""Between rows and records: how an operation, an event and a component lie in the database."""

import json
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

from gateway.event import Event
from gateway.operation import Delivery, Kind, Operation, Priority, RequestType, Status
from gateway.ports import ComponentRow
from gateway.presence import Presence

Row = tuple[Any, ...]

encode: Final[Callable[[Any], str]] = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), check_circular=False
).encode
decode: Final[Callable[[str], Any]] = json.JSONDecoder().decode

_KINDS: Final = {str(each): each for each in Kind}
_STATUSES: Final = {str(each): each for each in Status}
_DELIVERIES: Final = {str(each): each for each in Delivery}
_PRIORITIES: Final = {int(each): each for each in Priority}
_REQUEST_TYPES: Final[Mapping[str | None, RequestType | None]] = {
    None: None,
    **{str(each): each for each in RequestType},
}
_DETAILS: Final = (  # with arguments and metadata, kept as one JSON map; what says nothing is left out
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
_DETAIL_VALUES: Final = attrgetter(*_DETAILS)
_NO_DETAILS: Final = (None,) * len(_DETAILS)


def operation_row(operation: Operation) -> Row:
    """Return the values of `insert_operation`."""
    key = operation.idempotency_key
    request_type = operation.request_type
    values = _DETAIL_VALUES(operation)
    told = values != _NO_DETAILS
    details = {name: value for name, value in zip(_DETAILS, values, strict=True) if value is not None} if told else {}
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
        str(operation.status),
        operation.created_at,
        operation.expires_at,
        operation.creator,
        str(operation.delivery),
        operation.initiator_component,
        None if request_type is None else str(request_type),
        operation.command_type,
        operation.retry_count,
        operation.not_before,
        operation.waits_for,
        operation.sequence,
        operation.partner_sequence,
        operation.progress,
        operation.started_at,
        operation.finished_at,
        encode(operation.reached) if operation.reached else "{}",
        _text(operation.result),
        _text(operation.last_error),
        operation.cancellation_reason,
        key,
        None if key is None else operation.content_digest(),
        encode(details) if details else "{}",
        operation.resumes,
    )


def moved_row(operation: Operation) -> Row:
    """Return the values of `move_operation` for every step but a claim."""
    return (
        str(operation.status),
        operation.resumes,
        operation.retry_count,
        operation.not_before,
        operation.waits_for,
        operation.finished_at,
        encode(operation.reached),
        _text(operation.result),
        _text(operation.last_error),
        operation.cancellation_reason,
        operation.request_id,
    )


def operation_of(row: Row) -> Operation:
    """Return the operation of a row of table `operation`."""
    details = decode(row[29]) if row[29] != "{}" else {}
    return Operation(
        request_id=row[1],
        kind=_KINDS[row[2]],
        target_component=row[3],
        priority=_PRIORITIES[row[6]],
        status=_STATUSES[row[7]],
        created_at=row[8],
        expires_at=row[9],
        creator=row[10],
        delivery=_DELIVERIES[row[11]],
        initiator_component=row[12],
        request_type=_REQUEST_TYPES[row[13]],
        command_type=row[14],
        retry_count=row[15],
        not_before=row[16],
        waits_for=row[17],
        sequence=row[18],
        partner_sequence=row[19],
        progress=row[20],
        started_at=row[21],
        finished_at=row[22],
        reached=decode(row[23]) if row[23] != "{}" else {},
        result=_value(row[24]),
        last_error=_value(row[25]),
        cancellation_reason=row[26],
        idempotency_key=row[27],
        resumes=bool(row[30]),
        **details,
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


def _text(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else encode(value)


def _value(text: str | None) -> Any:
    return None if text is None else decode(text)
