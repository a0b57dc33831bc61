"""Whose a frame is, among components of somebody else's make: asked once an id, then remembered."""

from collections.abc import Callable, Iterator
from typing import Final

from gateway.bus.foreign.j1939 import ADDRESS_CLAIM, CLAIM_MASK, Claims
from gateway.bus.foreign.watch import ForeignWatch, Unusual, Voice

Taker = Callable[[bytes, float], None]
MOST_IDS: Final = 8192  # remembered, those of nobody included; a babbling bus may have any number


class Ears:
    """Finds who takes a frame. `unusual`: told of every frame that is not plain routine."""

    def __init__(self, unusual: Unusual) -> None:
        self._unusual = unusual
        self._watches: list[ForeignWatch] = []
        self._by_id: dict[int, Taker | None] = {}

    def __len__(self) -> int:
        return len(self._watches)

    def add(self, watch: ForeignWatch) -> None:
        """Listen for one more component."""
        self._watches.append(watch)
        self._by_id.clear()

    def drop(self, watch: ForeignWatch) -> None:
        """Listen for a component no more."""
        self._watches.remove(watch)
        self._by_id.clear()

    def find(self, can_id: int) -> Taker | None:
        """Return who takes frames of an id; None: nobody."""
        try:
            return self._by_id[can_id]
        except KeyError:
            if len(self._by_id) >= MOST_IDS:
                self._by_id.clear()
            taker = self._by_id[can_id] = self._resolve(can_id)
            return taker

    def _resolve(self, can_id: int) -> Taker | None:
        named = [watch.listening.claims for watch in self._watches if watch.listening.claims is not None]
        if named and can_id & CLAIM_MASK == ADDRESS_CLAIM:
            return self._claims(can_id, named)
        voices = list(self._voices(can_id))
        if not voices:
            return None
        if len(voices) == 1 and voices[0][0].listening.node is None:
            return voices[0][1].take
        return _shared(voices)

    def _voices(self, can_id: int) -> Iterator[tuple[ForeignWatch, Voice]]:
        for watch in self._watches:
            if watch.listening.owns(can_id):
                yield watch, watch.voice(can_id, self._unusual)

    def _claims(self, can_id: int, named: list[Claims]) -> Taker:
        """Return who takes claims of this address: whoever has a name learns whether it is his."""

        def take(data: bytes, at: float) -> None:
            for claims in named:
                if claims.take(can_id & 0xFF, data):
                    self._by_id.clear()
            for _, voice in self._voices(can_id):
                voice.take(data, at)

        return take


def _shared(voices: list[tuple[ForeignWatch, Voice]]) -> Taker:
    """Return what hands a frame to those among several whose it is."""

    def take(data: bytes, at: float) -> None:
        for watch, voice in voices:
            node = watch.listening.node
            if node is None or node(data) == watch.component.node:
                voice.take(data, at)

    return take
