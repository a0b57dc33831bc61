"""From what the configuration says of a heartbeat to what is listened for."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from gateway.bus.dbc import can_id_of, cycle_ms
from gateway.bus.foreign import canopen
from gateway.bus.foreign.fields import Field
from gateway.bus.foreign.j1939 import LAST_ADDRESS, Claims
from gateway.bus.foreign.protection import PROFILES, Checksum, Protection
from gateway.bus.foreign.watch import Listening, Reading, Said
from gateway.bus.wire import EXTENDED, EXTENDED_MASK, Filter
from gateway.errors import ConfigError
from gateway.settings import ComponentSection, HeartbeatSection

if TYPE_CHECKING:
    from cantools.database.can.message import Message

_WHOLE_ID: Final = EXTENDED | EXTENDED_MASK
_STANDARD_MASK: Final = 0x7FF
_LONGEST_COUNTER: Final = 16  # bits

Messages = Mapping[str, "Message"]


def listenings_of(components: Iterable[ComponentSection], databases: Iterable[Messages]) -> Mapping[str, Listening]:
    """Return how each component of others is heard, by its id. Raises ConfigError with every problem.

    `databases`: those of their bus; of messages of the same name the last one counts.
    """
    messages = {name: message for database in databases for name, message in database.items()}
    found: dict[str, Listening] = {}
    problems: list[str] = []
    for component in components:
        assert component.heartbeat is not None
        try:
            found[component.id] = listening_of(component.heartbeat, component.node, messages)
        except ConfigError as why:
            problems += [f"component {component.id}: heartbeat: {problem}" for problem in why.problems]
    if problems:
        raise ConfigError(problems)
    return found


def listening_of(heartbeat: HeartbeatSection, node: int | None, messages: Messages) -> Listening:
    """Return what is listened for. `node`: of the component; `messages`: of its bus. Raises ConfigError."""
    return _KINDS[heartbeat.type](heartbeat, node, messages)


def _of_database(heartbeat: HeartbeatSection, node: int | None, messages: Messages) -> Listening:
    named = [_message(name, messages) for name in heartbeat.any_of or [heartbeat.message or ""]]
    ids = {can_id_of(message) for message in named}
    periods_ms = {can_id_of(message): cycle_ms(message) for message in named}
    protection = _protection(heartbeat, named[0])
    return Listening(
        filters=tuple(Filter(can_id, _WHOLE_ID) for can_id in sorted(ids)),
        reading=None if protection is None else _reading(protection),
        protection=protection,
        node=_node(heartbeat, node, named[0]),
        periods_s={can_id: period_ms / 1000 for can_id, period_ms in periods_ms.items() if period_ms},
        counter_max=None if protection is None else _counter_max(heartbeat, protection),
    )


def _message(name: str, messages: Messages) -> "Message":
    message = messages.get(name)
    if message is None:
        close = difflib.get_close_matches(name, messages, n=1)
        hint = f'; did you mean "{close[0]}"?' if close else ""
        raise ConfigError([f'the databases of its bus have no message "{name}"{hint}'])
    return message


def _field(name: str, message: "Message") -> Field:
    found = next((signal for signal in message.signals if signal.name == name), None)
    if found is None:
        close = difflib.get_close_matches(name, [signal.name for signal in message.signals], n=1)
        hint = f'; did you mean "{close[0]}"?' if close else ""
        raise ConfigError([f'message {message.name} has no signal "{name}"{hint}'])
    try:
        return Field.of(found)
    except ValueError as why:
        raise ConfigError([f"message {message.name}: {why}"]) from why


def _protection(heartbeat: HeartbeatSection, message: "Message") -> Protection | None:
    """Return how a message protects itself; None: not at all. Raises ConfigError."""
    counter = None if heartbeat.counter is None else _field(heartbeat.counter, message)
    if counter is not None and counter.length > _LONGEST_COUNTER:
        raise ConfigError([f"message {message.name}: {heartbeat.counter} is no counter: it has {counter.length} bits"])
    checksum = _checksum(heartbeat, message)
    return None if counter is None and checksum is None else Protection(counter, checksum)


def _checksum(heartbeat: HeartbeatSection, message: "Message") -> Checksum | None:
    if heartbeat.crc is None or heartbeat.profile is None:
        return None
    profile, crc = PROFILES[heartbeat.profile], _field(heartbeat.crc, message)
    if crc.place is None or len(crc.place) != profile.width or not (crc.little or profile.width == 1):
        raise ConfigError(
            [f"message {message.name}: {heartbeat.crc} must fill {profile.width} whole bytes for {heartbeat.profile}"]
        )
    told = heartbeat.data_id
    ids = (0,) if told is None else (told,) if isinstance(told, int) else tuple(told)
    return Checksum(profile, crc, crc.place, ids, max(message.length, crc.end))


def _counter_max(heartbeat: HeartbeatSection, protection: Protection) -> int | None:
    """Return the greatest counter: as told, else the profile's, but no more than fits. Raises ConfigError."""
    if protection.counter is None:
        return None
    fits = (1 << protection.counter.length) - 1
    if (heartbeat.counter_max or 0) > fits:
        raise ConfigError([f"counter_max {heartbeat.counter_max} does not fit into {heartbeat.counter}: {fits} does"])
    profile = PROFILES[heartbeat.profile].counter_max if heartbeat.profile else None
    return min(heartbeat.counter_max or profile or fits, fits)


def _reading(protection: Protection) -> Reading:
    def read(data: bytes) -> Said | None:
        counter = protection.judge(data)
        if counter is None:
            return None
        return Said(counter if protection.counter is not None else None)

    return read


def _node(heartbeat: HeartbeatSection, node: int | None, message: "Message") -> Field | None:
    if heartbeat.node_signal is None:
        return None
    field = _field(heartbeat.node_signal, message)
    if node is None:
        raise ConfigError(["node_signal needs the component's node"])
    if node >> field.length:
        raise ConfigError([f"node {node} does not fit into {heartbeat.node_signal}, which has {field.length} bits"])
    return field


def _of_id(heartbeat: HeartbeatSection, node: int | None, _: Messages) -> Listening:
    kind = EXTENDED if heartbeat.extended else 0
    every = EXTENDED_MASK if heartbeat.extended else _STANDARD_MASK
    mask = every if heartbeat.mask is None else heartbeat.mask & every
    can_id = (heartbeat.id or 0) & mask
    free = every & ~mask
    if node is not None and free:
        placed = node << (free & -free).bit_length() - 1  # in the lowest bits that do not count
        if placed & ~free:
            raise ConfigError([f"node {node} does not fit beside mask {mask:#x}"])
        can_id, mask = can_id | placed, every
    return Listening(filters=(Filter(can_id | kind, mask | EXTENDED),))


def _of_canopen(heartbeat: HeartbeatSection, node: int | None, _: Messages) -> Listening:
    address = heartbeat.node if heartbeat.node is not None else node
    if address is None or not 1 <= address <= canopen.LAST_NODE:
        raise ConfigError([f"a CANopen node is one of 1 to {canopen.LAST_NODE}"])
    return Listening(filters=(Filter(canopen.HEARTBEAT + address, _WHOLE_ID),), reading=canopen.read)


def _of_j1939(heartbeat: HeartbeatSection, node: int | None, _: Messages) -> Listening:
    address = heartbeat.node if heartbeat.node is not None else node
    if address is None and heartbeat.name is None:
        raise ConfigError(["a J1939 device needs its node or its name"])
    if address is not None and address > LAST_ADDRESS:
        raise ConfigError([f"a J1939 address is at most {LAST_ADDRESS}"])
    claims = Claims(address, heartbeat.name)
    return Listening(filters=claims.filters, claims=claims)


_KINDS: Final = {"dbc": _of_database, "raw": _of_id, "canopen": _of_canopen, "j1939": _of_j1939}
