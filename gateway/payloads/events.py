"""What happened: the envelope of every event, with the attributes of its type."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast

from pydantic import SerializeAsAny, create_model

from gateway.payloads import attributes as told
from gateway.payloads.base import Count, Seq, Time, Told

_TYPES: Final[Sequence[type[Told]]] = (
    told.ComponentOnline,
    told.ComponentOffline,
    told.ComponentMissing,
    told.ComponentRestarted,
    told.ComponentDegraded,
    told.ComponentFlapping,
    told.ComponentBabbling,
    told.ComponentUnresponsive,
    told.ComponentReplaced,
    told.ComponentDiscovered,
    told.RequestQueued,
    told.RequestStarted,
    told.RequestCompleted,
    told.RequestRetried,
    told.RequestFailed,
    told.RequestExpired,
    told.RequestAbandoned,
    told.RequestCancelled,
    told.RequestSettled,
    told.RequestDiscarded,
    told.RequestProgress,
    told.QueueReordered,
    told.QueueProcessed,
    told.QueueAlert,
    told.PositionNotice,
    told.BusDown,
    told.BusUp,
    told.ObserverDegraded,
    told.DatabaseSalvaged,
    told.EventsDropped,
    told.ParamsChanged,
    told.GatewayStarted,
    told.GatewayStopping,
)
ATTRIBUTES: Final[Mapping[str, type[Told]]] = {
    re.sub(r"(?<=[a-z])(?=[A-Z])", "_", model.__name__).lower(): model for model in _TYPES
}


class Event(Told):
    """One event. `attributes` has the model of its type; of a type that is not known here, whatever there is."""

    seq: Seq
    """Its number: no gaps over the life of the gateway, nothing else takes one."""
    epoch: Count
    """Of the gateway that sends it; a replayed one has the epoch of now."""
    type: str
    subject: str
    """A component_id, or gateway."""
    at: Time
    time_trusted: bool
    """Whether the gateway knew the time."""
    attributes: SerializeAsAny[Told]


def _event_model(event_type: str, attributes: type[Told]) -> type[Event]:
    name, kind = f"{attributes.__name__}Event", cast("Any", Literal[event_type])
    return create_model(
        name, __base__=Event, __doc__=attributes.__doc__, type=(kind, ...), attributes=(attributes, ...)
    )


EVENTS: Final[Mapping[str, type[Event]]] = {kind: _event_model(kind, model) for kind, model in ATTRIBUTES.items()}


def read_event(payload: Mapping[str, Any]) -> Event:
    """Return an event as the model of its type. Raises ValidationError for what is none."""
    return EVENTS.get(str(payload.get("type")), Event).model_validate(payload)
