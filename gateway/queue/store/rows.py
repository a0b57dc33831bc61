"""Between rows and records: how an operation, an event and a component lie in the database."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

from pydantic_core import from_json, to_json

from gateway.event import Event
from gateway.operation import Delivery, Kind, Operation, Priority, Reach, RequestType, Settlement, Status, Strategy
from gateway.ports import ComponentRow
from gateway.presence import Presence

Row = tuple[Any, ...]

decode: Final[Callable[[str], Any]] = from_json

_KINDS: Final = {str(each): each for each in Kind}
_STATUSES: Final = {str(each): each for each in Status}
_PRIORITIES: Final = {int(each): each for each in Priority}
_REACHES: Final = {int(each): each for each in Reach}
_REQUEST_TYPES: Final[Mapping[str | None, RequestType | None]] = {
    None: None,
    **{str(each): each for each in RequestType},
}
_DETAILS: Final[Mapping[str, Any]] = {  # with those of `_details`, one JSON map; what is as said here is left out
    "proxy_component": None,
    "timeout_s": None,
    "strategy": None,
    "targets": (),
    "aggregation": None,
    "barrier": False,
    "depends_on": (),
    "pass_through": False,
    "arms": False,
    "bound_serial": None,
    "source": None,
    "source_ref": None,
    "title": None,
    "description": None,
    "expected_duration_s": None,
    "hold_ref": None,
    "hold_amount": None,
}
_OUTCOME: Final[Mapping[str, Any]] = {  # kept so, too
    "retry_count": 0,
    "reached": {},
    "result": None,
    "last_error": None,
    "cancellation_reason": None,
    "settlement": None,
    "release_reason": None,
    "settled_at": None,
    "settlement_ref": None,
}
_REVIVED: Final[Mapping[str, Callable[[Any], Any]]] = {  # what JSON does not tell apart
    "delivery": Delivery,
    "strategy": Strategy,
    "targets": tuple,
    "depends_on": tuple,
    "settlement": Settlement,
}
_DETAIL_VALUES: Final = attrgetter(*_DETAILS)
_NO_DETAILS: Final = tuple(_DETAILS.values())
_OUTCOME_VALUES: Final = attrgetter(*_OUTCOME)
_NO_OUTCOME: Final = tuple(_OUTCOME.values())
_NOTHING: Final = "{}"


def encode(value: Any) -> str:
    """Return JSON, compact. Raises ValueError for what is none, as half a character."""
    return to_json(value).decode()  # a quarter of the time of json.dumps, and every change encodes two or three


def operation_row(operation: Operation) -> Row:
    """Return the values of `insert_operation`: plain ones, as the database takes no others without asking around."""
    key = operation.idempotency_key
    request_type = operation.request_type
    return (
        operation.request_id,
        str(operation.kind),
        operation.target_component,
        operation.carrier,
        int(request_type is RequestType.PROXY),
        int(operation.priority),
        operation.created_at,
        operation.expires_at,
        operation.creator,
        operation.initiator_component,
        None if request_type is None else str(request_type),
        key,
        None if key is None else operation.content_digest(),
        _details(operation),
        operation.urgency,
        int(operation.reach),
        operation.blocked,
        operation.parent_id,
        operation.conflict_key,
    )


def moved_row(operation: Operation) -> Row:
    """Return the values of `move_operation`."""
    return (
        str(operation.status),
        int(operation.resumes),
        operation.not_before,
        operation.waits_for,
        operation.sequence,
        operation.partner_sequence,
        operation.started_at,
        operation.finished_at,
        _outcome(operation),
        operation.request_id,
    )


def _details(operation: Operation) -> str:
    """Return what the caller said, as JSON. Most say no more than what is named here, so that is looked at first."""
    told: dict[str, Any] = {}
    if operation.command_type is not None:
        told["command_type"] = operation.command_type
    if operation.arguments:
        told["arguments"] = operation.arguments
    if operation.metadata:
        told["metadata"] = operation.metadata
    if operation.delivery is not Delivery.AT_LEAST_ONCE:
        told["delivery"] = operation.delivery
    values = _DETAIL_VALUES(operation)
    if values != _NO_DETAILS:
        told |= _differing(_DETAILS, values)
    return encode(told) if told else _NOTHING


def _outcome(operation: Operation) -> str:
    values = _OUTCOME_VALUES(operation)
    return _NOTHING if values == _NO_OUTCOME else encode(_differing(_OUTCOME, values))


def _differing(defaults: Mapping[str, Any], values: Row) -> dict[str, Any]:
    return {name: value for (name, default), value in zip(defaults.items(), values, strict=True) if value != default}


def operation_of(row: Row) -> Operation:
    """Return the operation of a row of table `operation`."""
    details, outcome = row[14], row[24]
    told = decode(details) if details != _NOTHING else {}
    if outcome != _NOTHING:
        told |= decode(outcome)
    for name, revive in _REVIVED.items():
        if name in told:
            told[name] = revive(told[name])
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
        urgency=row[25],
        rank=row[26],
        reach=_REACHES[row[27]],
        blocked=row[28],
        parent_id=row[29],
        conflict_key=row[30],
        discarded_at=row[31],
        **told,
    )


def event_row(event: Event) -> Row:
    """Return the values of `insert_event`."""
    return event.seq, event.type, event.subject, event.at, int(event.time_trusted), encode(event.attributes)


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
