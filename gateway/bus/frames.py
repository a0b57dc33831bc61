"""Our frames, as dbc/bms_gateway.dbc lays them out: bytes to raw signal values and back.

The DBC is read once, with cantools; after that a frame costs a shift and a mask a signal and asks cantools no more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.bus import e2e
from gateway.bus.dbc import load
from gateway.bus.wire import EXTENDED, EXTENDED_MASK, Filter
from gateway.errors import PeerError

if TYPE_CHECKING:
    from cantools.database.can.message import Message

FRAME_LENGTH: Final = 8  # bytes; every one of our messages
GATEWAY_ADDRESS: Final = 0xFB
LAST_NODE: Final = 249
_ALL_ONES: Final = (1 << 64) - 1  # unused bits are sent as 1
_CRC, _COUNTER = "E2E_CRC", "E2E_Counter"


@dataclass(frozen=True, slots=True)
class Signal:
    """Where a signal stands (Intel order) and what it means: physical = raw × scale + offset."""

    start: int
    mask: int  # as wide as the signal, not shifted
    selector: int | None  # the value of the multiplexer that shows it; None: always there
    scale: float
    offset: float


@dataclass(frozen=True, slots=True)
class Codec:
    """One message of the DBC. `can_id` in SocketCAN's spelling, node byte 0; `node_shift` where that byte is."""

    name: str
    role: str
    can_id: int
    node_shift: int
    data_id_base: int
    max_delta: int
    cycle_ms: int | None  # only where the DBC says so for this message
    multiplexer: str | None
    signals: Mapping[str, Signal]

    def id_for(self, node: int) -> int:
        """Return the CAN id this message has from or to `node`."""
        return self.can_id | node << self.node_shift

    def node_of(self, can_id: int) -> int:
        """Return the node address in a CAN id of this message."""
        return can_id >> self.node_shift & 0xFF

    @property
    def filter(self) -> Filter:
        """The one filter that lets this message of all nodes through."""
        return Filter(self.can_id, EXTENDED | EXTENDED_MASK & ~(0xFF << self.node_shift))

    def seed(self, node: int) -> int:
        """Return where the CRC of this message from or to `node` starts."""
        return e2e.seed(self.data_id_base + node)

    def encode(self, node: int, counter: int, values: Mapping[str, int]) -> bytes:
        """Return 8 bytes with raw `values`, counter and CRC in place. Raises KeyError for a signal it has not."""
        word = _ALL_ONES
        for name, value in values.items():
            word = self._put(word, name, value)
        data = self._put(word, _COUNTER, counter).to_bytes(FRAME_LENGTH, "little")
        return bytes((e2e.crc_of(self.seed(node), data),)) + data[1:]

    def _put(self, word: int, name: str, value: int) -> int:
        signal = self.signals[name]
        if not 0 <= value <= signal.mask:
            msg = f"{self.name}.{name}: {value} does not fit"
            raise ValueError(msg)
        return word & ~(signal.mask << signal.start) | value << signal.start

    def is_valid(self, node: int, data: bytes) -> bool:
        """Whether length, CRC and counter range are right; says nothing of the counter's progress."""
        if len(data) != FRAME_LENGTH or data[1] & 0xF == e2e.COUNTER_INVALID:
            return False
        return e2e.crc_of(self.seed(node), data) == data[0]

    def decode(self, data: bytes) -> dict[str, int]:
        """Return the raw values of the signals this frame shows. Raises PeerError for a wrong length."""
        if len(data) != FRAME_LENGTH:
            raise PeerError(f"{self.name}: {len(data)} bytes instead of {FRAME_LENGTH}")
        word = int.from_bytes(data, "little")
        chosen = None
        if self.multiplexer is not None:
            selector = self.signals[self.multiplexer]
            chosen = word >> selector.start & selector.mask
        return {
            name: word >> signal.start & signal.mask
            for name, signal in self.signals.items()
            if signal.selector is None or signal.selector == chosen
        }


def dbc_path() -> Path:
    """Return our DBC: beside this package when installed, in dbc/ of a checkout."""
    packaged = Path(str(files("gateway.bus") / "bms_gateway.dbc"))
    return packaged if packaged.exists() else Path(__file__).parents[2] / "dbc" / "bms_gateway.dbc"


def codecs_of(dbcs: Iterable[Path]) -> Mapping[str, Codec]:
    """Return the messages to use on a bus: ours, and for those of the same name the ones of its own DBC files."""
    codecs = dict(load_codecs())
    for path in dbcs:
        codecs.update(load_codecs(path))
    return codecs


@cache
def load_codecs(path: Path | None = None) -> Mapping[str, Codec]:
    """Read a DBC of our shape (ours by default): message name -> codec.

    Only messages with the attribute GwRole are ours; those without an explicit GenMsgCycleTime have no `cycle_ms`,
    because the attribute's default would apply to every message. Raises ConfigError for a file that cannot be read.
    """
    ours = ((message, _attributes(message)) for message in load(path or dbc_path()).by_name.values())
    return {message.name: _codec(message, attributes) for message, attributes in ours if "GwRole" in attributes}


def _attributes(message: "Message") -> dict[str, Any]:
    return {name: attribute.value for name, attribute in message.dbc.attributes.items()} if message.dbc else {}


def _codec(message: "Message", attributes: Mapping[str, Any]) -> Codec:
    node_shift = (int(attributes["GwNodeMask"]) & -int(attributes["GwNodeMask"])).bit_length() - 1
    multiplexers = [signal.name for signal in message.signals if signal.is_multiplexer]
    return Codec(
        name=message.name,
        role=str(attributes["GwRole"]),
        can_id=EXTENDED | message.frame_id & ~(0xFF << node_shift),
        node_shift=node_shift,
        data_id_base=int(attributes["E2EDataIdBase"]),
        max_delta=int(attributes["E2EMaxDelta"]),
        cycle_ms=int(attributes["GenMsgCycleTime"]) if attributes.get("GenMsgCycleTime") else None,
        multiplexer=multiplexers[0] if multiplexers else None,
        signals={
            signal.name: Signal(
                start=signal.start,
                mask=(1 << signal.length) - 1,
                selector=signal.multiplexer_ids[0] if signal.multiplexer_ids else None,
                scale=float(signal.scale),
                offset=float(signal.offset),
            )
            for signal in message.signals
        },
    )
