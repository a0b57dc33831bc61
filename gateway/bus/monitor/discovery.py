"""Nodes that speak our protocol and are in no configuration: told of once each, and never more than a bus can hold."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from gateway.bus import e2e
from gateway.bus.frames import LAST_NODE, Codec
from gateway.bus.wire import Frame
from gateway.component import ComponentKind

LIMIT: Final = LAST_NODE + 1  # nodes of a bus
KINDS: Final = {"HB_PACK": ComponentKind.PACK, "HB_MODULE": ComponentKind.MODULE}


@dataclass(frozen=True, slots=True)
class Stranger:
    """An unknown node, heard twice in a row."""

    node: int
    kind: ComponentKind
    message: str


class Strangers:
    """Listens to frames that belong to nobody. `heard`: how many of them were heartbeats of our protocol.

    `known`: nodes that were told of in an earlier life; they are no news.
    """

    def __init__(self, codecs: Iterable[Codec], known: Collection[int] = ()) -> None:
        self._codecs = [(codec, codec.filter) for codec in codecs]
        self._last: dict[int, int] = {}  # CAN id -> its last counter, while it waits for the second valid frame
        self._known: set[int] = {codec.id_for(node) for codec, _ in self._codecs for node in known}
        self._limit = LIMIT + len(self._known)
        self.heard = 0

    def hear(self, frame: Frame) -> Stranger | None:
        """Take a frame without a watch. Returns the node behind it when that is news, and proven by two frames."""
        can_id, data, _ = frame
        for codec, accepted in self._codecs:
            if can_id & accepted.mask == accepted.can_id:
                self.heard += 1
                return self._judge(codec, can_id, data)
        return None

    def _judge(self, codec: Codec, can_id: int, data: bytes) -> Stranger | None:
        node = codec.node_of(can_id)
        if can_id in self._known or node > LAST_NODE or not codec.is_valid(node, data):
            return None
        counter = data[1] & 0xF
        before = self._last.get(can_id)
        self._last[can_id] = counter
        if before is None or not 1 <= e2e.delta(before, counter) <= codec.max_delta or len(self._known) >= self._limit:
            return None
        del self._last[can_id]
        self._known.add(can_id)
        return Stranger(node, KINDS[codec.name], codec.name)
