"""Whose a frame is, among components of somebody else's make: asked once an id, then remembered."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from gateway.bus.foreign.j1939 import is_claim
from gateway.bus.foreign.watch import ForeignWatch, Unusual, Voice

if TYPE_CHECKING:
    from gateway.bus.foreign.fields import Field

Taker = Callable[[bytes, float], None]
MOST_IDS: Final = 8192  # remembered, those of nobody included; a babbling bus may have any number


class Ears:
    """Finds who takes a frame. `unusual`: told of every frame that is not plain routine."""

    def __init__(self, unusual: Unusual) -> None:
        self._unusual = unusual
        self._watches: list[ForeignWatch] = []
        self._by_id: dict[int, Taker | None] = {}
        self._owners: dict[int, dict[int, list[ForeignWatch]]] | None = None  # by mask, then by what it leaves of an id

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, watch: ForeignWatch) -> None:
        """Listen for one more component."""
        self._watches.append(watch)
        self._forget()

    def drop(self, watch: ForeignWatch) -> None:
        """Listen for a component no more."""
        self._watches.remove(watch)
        self._forget()

    def find(self, can_id: int) -> Taker | None:
        """Return who takes frames of an id; None: nobody."""
        try:
            return self._by_id[can_id]
        except KeyError:
            if len(self._by_id) >= MOST_IDS:
                self._by_id.clear()
            taker = self._by_id[can_id] = self._resolve(can_id)
            return taker

    def _forget(self) -> None:
        self._by_id.clear()
        self._owners = None

    def _resolve(self, can_id: int) -> Taker | None:
        if is_claim(can_id) and any(watch.listening.claims is not None for watch in self._watches):
            return lambda data, at: self._claimed(can_id, data, at)
        voices = list(self._voices(can_id))
        if not voices:
            return None
        if len(voices) == 1 and voices[0][0].listening.node is None:
            return voices[0][1].take
        return _shared(voices)

    def _voices(self, can_id: int) -> Iterator[tuple[ForeignWatch, Voice]]:
        if self._owners is None:
            self._owners = _by_mask(self._watches)
        for mask, owners in self._owners.items():
            for watch in owners.get(can_id & mask, ()):
                yield watch, watch.voice(can_id, self._unusual)

    def _claimed(self, can_id: int, data: bytes, at: float) -> None:
        """Take a claim of an address: whoever has a name learns whether it is his."""
        moved = [watch for watch in self._watches if watch.claimed(can_id, data)]
        if moved:
            self._forget()
        for _, voice in self._voices(can_id):
            voice.take(data, at)


def _by_mask(watches: Sequence[ForeignWatch]) -> dict[int, dict[int, list[ForeignWatch]]]:
    """Return whose an id is: masks are few, however many components there are."""
    owners: dict[int, dict[int, list[ForeignWatch]]] = defaultdict(lambda: defaultdict(list))
    for watch in watches:
        for own in watch.listening.owned:
            there = owners[own.mask][own.can_id & own.mask]
            if watch not in there:
                there.append(watch)
    return owners


def _shared(voices: Sequence[tuple[ForeignWatch, Voice]]) -> Taker:
    """Return what hands a frame to those among several whose it is."""
    everybody = [voice.take for watch, voice in voices if watch.listening.node is None]
    by_node: dict[Field, dict[int | None, list[Taker]]] = defaultdict(lambda: defaultdict(list))
    for watch, voice in voices:
        if watch.listening.node is not None:
            by_node[watch.listening.node][watch.component.node].append(voice.take)

    def take(data: bytes, at: float) -> None:
        for heard in everybody:
            heard(data, at)
        for field, takers in by_node.items():
            if len(data) >= field.end:
                for mine in takers.get(field.read(data), ()):
                    mine(data, at)

    return take
