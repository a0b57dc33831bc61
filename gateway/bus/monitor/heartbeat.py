"""The hot path: from a heartbeat's bytes to "nothing new" in well under a microsecond.

A heartbeat that continues what its track knows is checked (length, CRC, counter, state, boot count) and noted here. All
others are handed to the track, and what it finds is handed on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gateway.bus import e2e
from gateway.bus.frames import FRAME_LENGTH, Codec
from gateway.bus.wire import Frame
from gateway.component import Component
from gateway.presence import Finding, Policy, Reason, State
from gateway.presence.track import Track

_FOLLOWING: Final = tuple(head & 0xF0 | ((head & 0xF) + 1) % e2e.COUNTER_MODULO for head in range(256))


class Watch(Track):
    """The track of one component, how to read its heartbeat, and what the outside was told of it.

    Attributes:
        can_id: that of its heartbeat, in SocketCAN's spelling.
        data: its last valid heartbeat; empty before the first.
        boot_byte: the byte of `data` that holds the boot count, whole: the neighbours in it change rarely, and then
            the careful way costs little.
        since_ms, last_seen_ms: ms since the epoch; the latter as restored, before this process heard it.
        evidence: of its last change.
    """

    __slots__ = (
        "boot_at", "boot_byte", "boot_mask", "can_id", "codec", "component", "data", "dated", "evidence",
        "last_seen_ms", "since_ms", "start",
    )  # fmt: skip

    def __init__(
        self, component: Component, codec: Codec, policy: Policy, now: float, origin: tuple[State, Reason | None]
    ) -> None:
        super().__init__(policy, now, *origin)
        self.component, self.codec = component, codec
        self.can_id = codec.id_for(component.node)
        self.start = codec.seed(component.node)
        boot_count = codec.signals["BootCount"]
        self.boot_at, self.boot_mask = boot_count.start // 8, boot_count.mask << boot_count.start % 8
        self.boot_byte = 0
        self.data = b""
        self.since_ms = 0
        self.dated: float | None = None  # the `since` that `since_ms` was made from
        self.last_seen_ms: int | None = None
        self.evidence: Mapping[str, Any] = {}

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
    """All watches of a bus by CAN id.

    `unusual` is called with every frame that is not plain routine, to be unusual; `unknown` with every frame that has
    no watch.
    """

    def __init__(self, unusual: Callable[[Watch, bytes, float], None], unknown: Callable[[Frame], None]) -> None:
        self.by_id: dict[int, Watch] = {}
        self._unusual = unusual
        self._unknown = unknown

    def read(self, frames: Sequence[Frame]) -> None:
        """Take a batch. The chain of look-ups is `e2e.crc_of`, spelt out: a call would cost as much again."""
        find, t, following = self.by_id.get, e2e.TABLE, _FOLLOWING
        for frame in frames:
            can_id, data, at = frame
            watch = find(can_id)
            if watch is None:
                self._unknown(frame)
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
