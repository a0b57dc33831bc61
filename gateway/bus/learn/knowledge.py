"""What databases of messages say of the ids that were heard."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from gateway.bus.dbc import Definitions, can_id_of
from gateway.bus.learn.trace import Trace
from gateway.bus.wire import EXTENDED

if TYPE_CHECKING:
    from cantools.database.can.message import Message

NOBODY: Final = frozenset({"XXX", "VECTOR__XXX", ""})
_ANY_SOURCE: Final = 0xFE  # the source address in the ids of a J1939 database
_WORD: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_ABBREVIATION: Final = re.compile(r"So([CHE])(?![a-z])")


class Databases:
    """The messages of a bus. Of messages of the same name the last one counts, as where heartbeats are heard."""

    def __init__(self, definitions: Iterable[Definitions]) -> None:
        self._by_name: dict[str, Message] = {}
        for each in definitions:
            self._by_name.update(each.by_name)
        self._by_id = {can_id_of(message): message for message in self._by_name.values()}
        self._by_group = {
            group_of(can_id): message
            for can_id, message in self._by_id.items()
            if can_id & EXTENDED and can_id & 0xFF == _ANY_SOURCE
        }

    def message(self, trace: Trace) -> "Message | None":
        """Return the message of an id."""
        return self._by_id.get(trace.can_id)

    def meaning(self, trace: Trace) -> "Message | None":
        """Return what an id means: its message, else the J1939 parameter group that anybody may send."""
        found = self._by_id.get(trace.can_id)
        return found or (self._by_group.get(group_of(trace.can_id)) if trace.is_extended else None)

    def sender(self, trace: Trace) -> str | None:
        """Return who sends an id; None: nobody has said."""
        message = self.message(trace)
        named = [sender for sender in message.senders if sender.upper() not in NOBODY] if message else []
        return named[0] if named else None

    def meanings(self, traces: Iterable[Trace]) -> "Sequence[Message]":
        """Return what those of some ids mean that mean anything."""
        return [message for trace in traces if (message := self.meaning(trace)) is not None]


def group_of(can_id: int) -> int:
    """Return the J1939 parameter group of a 29-bit id; one that is sent to an address is the same for all of them."""
    number = can_id >> 8 & 0x3_FFFF
    return number if number >> 8 & 0xFF >= 0xF0 else number & 0x3_FF00  # noqa: PLR2004 - PDU2 from here on


def words(name: str) -> Iterator[str]:
    """Yield the words of a name, in lower case: VBattMax, pack_voltage, SoC."""
    return (word.lower() for word in _WORD.findall(_ABBREVIATION.sub(lambda found: found[0].title(), name)))
