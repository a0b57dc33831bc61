"""How a device may be heard: the `heartbeat` of its section, from the ids that are its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.bus.dbc import cycle_ms
from gateway.bus.foreign.fields import Field
from gateway.bus.foreign.protection import PROFILES
from gateway.bus.frames import load_codecs
from gateway.bus.learn.groups import Group
from gateway.bus.learn.knowledge import Databases
from gateway.bus.learn.lives import households
from gateway.bus.learn.patterns import Checksum, Counter, candidates, checksum, counters
from gateway.bus.learn.trace import SILENCE, Trace, spelled
from gateway.presence.rhythm import TOLERANCE
from gateway.settings.heartbeats import MOST_MESSAGES

if TYPE_CHECKING:
    from cantools.database.can.message import Message

_LONGEST_COUNTER: Final = 16


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How a device is heard.

    `table`: as in its section; None: in our own protocol. `heard`: the ids that are listened to. `learned_s`: the
    period that decides, the second-shortest of them. `declared_ms`: what that would be by the database.
    `notes`: what else is worth knowing, in words.
    """

    table: Mapping[str, Any] | None
    heard: Sequence[Trace]
    learned_s: float | None
    declared_ms: int | None
    notes: Sequence[str] = ()

    @property
    def differs(self) -> bool:
        """Whether the declared period is so far off the learned one that the gateway must be told."""
        if self.declared_ms is None or self.learned_s is None:
            return False
        return abs(1000 * self.learned_s - self.declared_ms) > TOLERANCE * self.declared_ms


def heartbeat_of(group: Group, databases: Databases) -> Heartbeat | None:
    """Return how a device is best heard; None: nothing that it sends comes regularly."""
    if group.node is not None:
        return _ours(group)
    regular = [trace for trace in group.traces if trace.is_regular]
    if not regular:
        return None
    if group.heartbeat is not None:
        return Heartbeat(group.heartbeat, regular, _deciding(regular).period_s, None)
    heard = _steady(regular)
    known = [trace for trace in heard if databases.message(trace) is not None]
    if not known:
        return _by_id(heard)
    return _by_messages(known, databases)


def _ours(group: Group) -> Heartbeat:
    codecs = {codec.id_for(group.node or 0): codec for name, codec in load_codecs().items() if name.startswith("HB_")}
    trace = next(trace for trace in group.traces if trace.can_id in codecs)
    return Heartbeat(None, [trace], trace.period_s, codecs[trace.can_id].cycle_ms)


def _steady(regular: list[Trace]) -> list[Trace]:
    """Return what comes and goes together, but for what comes too seldom to matter."""
    home = max(households(regular), key=lambda home: len(home.traces))
    longest_s = SILENCE * (_deciding(home.traces).period_s or 0.0)
    heard = [trace for trace in home.traces if (trace.period_s or 0.0) <= longest_s]
    return sorted(heard, key=lambda trace: trace.can_id)


def _deciding(traces: Sequence[Trace]) -> Trace:
    """Return the second-fastest: two must fail to come before a device is lost."""
    return sorted(traces, key=lambda trace: trace.period_s or 0.0)[min(1, len(traces) - 1)]


def _by_id(heard: list[Trace]) -> Heartbeat:
    best = min(heard, key=lambda trace: (round(trace.jitter, 1), trace.period_s or 0.0))
    table: dict[str, Any] = {"type": "raw", "id": best.number}
    if best.is_extended:
        table["extended"] = True
    protected = _protected(best, [*candidates(min(best.lengths))])
    return Heartbeat(table, [best], best.period_s, None, [*_told(best, *protected)] if protected else [])


def _by_messages(known: list[Trace], databases: Databases) -> Heartbeat:
    known = known[:MOST_MESSAGES]
    messages = [message for trace in known if (message := databases.message(trace)) is not None]
    learned_s, declared_ms = _deciding(known).period_s, _declared_ms(known, messages)
    if len(known) > 1:
        table: dict[str, Any] = {"type": "dbc", "any_of": [message.name for message in messages]}
        notes = [note for trace, message in zip(known, messages, strict=True) for note in _noted(trace, message)]
        return Heartbeat(table, known, learned_s, declared_ms, notes)
    table = {"type": "dbc", "message": messages[0].name, **_protection(known[0], messages[0])}
    return Heartbeat(table, known, learned_s, declared_ms)


def _declared_ms(known: Sequence[Trace], messages: "Sequence[Message]") -> int | None:
    """Return the period that would decide if every declaration were believed; None: there is none."""
    declared = [cycle_ms(message) for message in messages]
    if not any(declared):
        return None
    believed = sorted(told or 1000 * (trace.period_s or 0.0) for told, trace in zip(declared, known, strict=True))
    return round(believed[min(1, len(believed) - 1)])


def _noted(trace: Trace, message: "Message") -> list[str]:
    """Say how one of several messages could be checked, which they can only be one by one."""
    protection = _protection(trace, message)
    if "crc" not in protection:
        return []
    return [f"{message.name} has a checksum ({protection['profile']}): named alone, as message, it can be checked"]


def _protection(trace: Trace, message: "Message") -> dict[str, Any]:
    """Return the keys that say how a message protects itself, as far as its frames prove and signals name it."""
    fields = _fields(message)
    found = _protected(trace, list(fields))
    if found is None:
        return {}
    counter, summed = found
    keys: dict[str, Any] = {}
    if counter is not None:
        keys["counter"] = fields[counter.field]
        keys["counter_max"] = counter.top
    crc = next((name for field, name in fields.items() if summed is not None and _fills(field, summed)), None)
    if summed is not None and crc is not None:
        data_id = summed.data_id if isinstance(summed.data_id, int) else list(summed.data_id)
        keys |= {"crc": crc, "profile": summed.profile, "data_id": data_id}
    return keys


def _fills(field: Field, summed: Checksum) -> bool:
    return field.place == summed.place and (field.little or PROFILES[summed.profile].width == 1)


def _fields(message: "Message") -> dict[Field, str]:
    """Return the plain numbers of a message, the widest first."""
    found = {}
    for signal in message.signals:
        if not signal.is_float and not signal.multiplexer_ids and 1 < signal.length <= _LONGEST_COUNTER:
            found[Field.of(signal)] = signal.name
    return dict(sorted(found.items(), key=lambda pair: -pair[0].length))


def _protected(trace: Trace, fields: list[Field]) -> tuple[Counter | None, Checksum | None] | None:
    """Return what counts and what sums up in the frames of an id; None: nothing, or they have several lengths."""
    if len(trace.lengths) > 1:
        return None
    counting = counters(trace.payloads, fields)
    counter = counting[0] if counting else None
    summed = checksum(trace.payloads, counter)
    return None if counter is None and summed is None else (counter, summed)


def _told(trace: Trace, counter: Counter | None, summed: Checksum | None) -> list[str]:
    """Say what only a database could make use of."""
    name, told = spelled(trace.can_id), []
    if counter is not None:
        field = counter.field
        told.append(f"{name} counts to {counter.top} in bits {field.at} to {field.at + field.length - 1}")
    if summed is not None:
        told.append(f"{name} has a checksum in byte {summed.place.start}: {summed.profile}, data id {summed.data_id}")
    return [*told, "a database with these signals lets the gateway check them"]
