"""The hot path: from a heartbeat's bytes to "nothing new" in well under a microsecond.

A heartbeat that continues what its track knows is checked (length, CRC, counter, state, boot count) and noted here. All
others are handed to the track, and what it finds is handed on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gateway.bus import e2e
from gateway.bus.frames import FRAME_LENGTH, Codec
from gateway.bus.monitor.vitals import vitals_of
from gateway.bus.watch import Watch
from gateway.bus.wire import Frame
from gateway.component import Component
from gateway.presence import Finding, Policy, Reason, State

_FOLLOWING: Final = tuple(head & 0xF0 | ((head & 0xF) + 1) % e2e.COUNTER_MODULO for head in range(256))


class NodeWatch(Watch):
    """The track of a component that speaks our protocol, and how to read its heartbeat.

    Attributes:
        can_id: that of its heartbeat, in SocketCAN's spelling.
        data: its last valid heartbeat; empty before the first.
        boot_byte: the byte of `data` that holds the boot count, whole: the neighbours in it change rarely, and then
            the careful way costs little.
    """

    __slots__ = ("boot_at", "boot_byte", "boot_mask", "can_id", "codec", "data", "start")

    def __init__(
        self, component: Component, codec: Codec, policy: Policy, now: float, origin: tuple[State, Reason | None]
    ) -> None:
        super().__init__(component, policy, now, origin)
        self.codec = codec
        self.can_id = codec.id_for(component.address)
        self.start = codec.seed(component.address)
        boot_count = codec.signals["BootCount"]
        self.boot_at, self.boot_mask = boot_count.start // 8, boot_count.mask << boot_count.start % 8
        self.boot_byte = 0
        self.data = b""

    @property
    def vitals(self) -> Mapping[str, int]:
        """What its last valid heartbeat says of it; nothing before the first."""
        return vitals_of(self.codec, self.data)

    def listens_as(self, other: Watch) -> bool:
        """Whether it is heard by the very frames that `other` is heard by."""
        return isinstance(other, NodeWatch) and other.can_id == self.can_id

    def judge(self, data: bytes, at: float) -> list[Finding]:
        """Take any frame under this component's id, the careful way."""
        if len(data) != FRAME_LENGTH or e2e.crc_of(self.start, data) != data[0]:
            return self.garble(at)
        errors, head = self.counter_errors, data[1]
        found = self.hear(at, head & 0xF, data[self.boot_at] & self.boot_mask, head >> 4)
        if self.counter_errors <= errors:
            self.data, self.boot_byte = data, data[self.boot_at]
        return found


class Heartbeats:
    """All nodes of a bus by CAN id.

    `unusual` is called with every frame that is not plain routine, to be unusual; `unknown` with every frame that has
    no watch. `find_other`: who else may take frames of an id.
    """

    def __init__(
        self,
        unusual: Callable[[NodeWatch, bytes, float], None],
        unknown: Callable[[Frame], None],
        find_other: Callable[[int], Callable[[bytes, float], None] | None],
    ) -> None:
        self.by_id: dict[int, NodeWatch] = {}
        self._unusual = unusual
        self._unknown = unknown
        self._find_other = find_other

    def read(self, frames: Sequence[Frame]) -> None:
        """Take a batch. The chain of look-ups is `e2e.crc_of`, spelt out: a call would cost as much again."""
        find, t, following, find_other = self.by_id.get, e2e.TABLE, _FOLLOWING, self._find_other
        for frame in frames:
            can_id, data, at = frame
            watch = find(can_id)
            if watch is None:
                take = find_other(can_id)
                if take is None:
                    self._unknown(frame)
                else:
                    take(data, at)
                continue
            try:
                crc, head, a, b, c, d, e, f = data
            except ValueError:
                self._unusual(watch, data, at)
                continue
            if (
                head == watch.expect
                and crc == t[t[t[t[t[t[t[watch.start ^ head] ^ a] ^ b] ^ c] ^ d] ^ e] ^ f]
                and data[watch.boot_at] == watch.boot_byte
            ):
                watch.expect = following[head]
                watch.last_valid = at
                watch.data = data
                watch.heard += 1
            else:
                self._unusual(watch, data, at)
