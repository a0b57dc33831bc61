"""What travels on a bus, and what is asked of a link: the words shared by link, monitor, exchange and simulator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, Protocol

Frame = tuple[int, bytes, float]
"""(can_id as SocketCAN spells it: bit 31 set for a 29-bit id; data; arrival in s, monotonic)."""

EXTENDED: Final = 0x8000_0000  # CAN_EFF_FLAG
ERROR_FRAME: Final = 0x2000_0000  # CAN_ERR_FLAG
EXTENDED_MASK: Final = 0x1FFF_FFFF
CLASSIC_BYTES: Final = 8  # data of a frame at most; with CAN FD 64

Receiver = Callable[[Sequence[Frame]], None]


class Lane(Enum):
    """How soon frames must be handed on: heartbeats may come in batches (10 ms), answers may not wait."""

    PRESENCE = "presence"
    ANSWERS = "answers"


@dataclass(frozen=True, slots=True)
class Filter:
    """Frames wanted: those with `can_id & mask == self.can_id & mask`, all in SocketCAN's spelling."""

    can_id: int
    mask: int


class Condition(StrEnum):
    """The state of a bus, as far as its link can tell."""

    UP = "UP"
    DOWN = "DOWN"  # interface down, or not to be opened
    GONE = "GONE"  # adapter unplugged
    BUS_OFF = "BUS_OFF"
    ERROR_PASSIVE = "ERROR_PASSIVE"
    OVERFLOW = "OVERFLOW"  # we lost frames ourselves; passes at once


@dataclass(frozen=True, slots=True)
class BusEvent:
    """A change of a bus's condition. `at`: s, monotonic."""

    condition: Condition
    at: float
    detail: str = ""


class Wire(Protocol):
    """A link as its users see it. `listen` and `watch` before it runs."""

    name: str

    def listen(self, lane: Lane, filters: Sequence[Filter], receiver: Receiver) -> None:
        """Hand frames that match any filter to `receiver`, in batches; it may get others too and must not mind."""
        ...

    def relisten(self, lane: Lane, before: Sequence[Filter], filters: Sequence[Filter]) -> None:
        """Let `filters` take the place of `before`, which were asked for; frames that nobody wants may go on coming."""
        ...

    def watch(self, watcher: Callable[[BusEvent], None]) -> None:
        """Tell `watcher` of every change of condition."""
        ...

    async def send(self, can_id: int, data: bytes, *, deadline: float) -> None:
        """Put one frame on the bus, waiting for room in the transmit queue until `deadline` (s, monotonic).

        More than 8 bytes make a CAN FD frame, filled up with zeros to the next length there is.
        Raises LinkDown where the bus is not up, has no room by then, or does not carry such a frame.
        """
        ...

    def read_now(self) -> None:
        """Hand on everything the kernel holds already, before a verdict about silence."""
        ...

    def frames_received(self) -> int:
        """How many frames of any kind this interface has received so far, ours to read or not."""
        ...
