"""What comes in from outside, as bytes: who reads it, a corpus of bad ones, and ways to make more of them."""

import asyncio
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding as KeyEncoding
from cryptography.hazmat.primitives.serialization import PublicFormat

from gateway.bus.exchange import Exchange
from gateway.bus.frames import load_codecs
from gateway.bus.monitor import Monitor
from gateway.bus.simulator.scenario import load_scenario
from gateway.bus.wire import Condition
from gateway.component import Component, ComponentKind
from gateway.errors import ConfigError, Refusal
from gateway.queue.store.cursor import read_cursor
from gateway.settings import PresenceSection, load
from gateway.sync.access import load_access
from gateway.sync.frames import read_frame, read_map
from gateway.sync.payload import decode
from gateway.sync.signed import check, is_sealed, open_envelope
from gateway.sync.topics import Topics
from tests.doubles import FakeClock
from tests.doubles_bus import FakeWire

CORPUS: Final = Path(__file__).parent / "corpus"
TOPIC: Final = "bms/v1/gw-0042/requests/tech-anna/get_health"
KEYS: Final = {
    "phone": Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    .public_key()
    .public_bytes(KeyEncoding.Raw, PublicFormat.Raw)
}
CALL_ID: Final = "01J00000000000000000000001"
_PLACES: Final = ((False, False, 0, 0, 0, ""), (0, ""))  # what the cursors of our lists hold


@dataclass(frozen=True)
class Case:
    """One piece of the corpus. `taken`: whether it must be read; else it must be refused."""

    edge: str
    name: str
    data: bytes

    @property
    def taken(self) -> bool:
        return self.name.startswith("read-")

    def __str__(self) -> str:
        return f"{self.edge}/{self.name}"


_LARGE: Final[Mapping[str, bytes]] = {
    "payload/refused-msgpack-65536-deep": b"\x91" * 65_536,
    "payload/refused-msgpack-65000-values": b"\x81\xa1a\xdc\xfd\xe8" + b"\xc0" * 65_000,
    "payload/refused-65537-bytes": b"\x81\xa1a\xc6\x00\x00\xff\xf9" + b"\0" * 65_529,
    "payload/read-65536-bytes": b"\x81\xa1a\xc6\x00\x00\xff\xf8" + b"\0" * 65_528,
    "payload/refused-json-integer-of-60000-digits": b'{"a":' + b"9" * 60_000 + b"}",
    "payload/refused-json-number-of-60000-digits": b'{"a":0.' + b"9" * 60_000 + b"e400}",
    "payload/refused-json-exponent-of-60000-digits": b'{"a":1e' + b"9" * 60_000 + b"}",
    "payload/refused-json-60000-deep": b'{"a":' + b"[" * 60_000,
    "payload/refused-json-closed-60000-times": b'{"a":1' + b"}" * 60_000,
    "payload/refused-json-ups-and-downs": b'{"a":' + b"[]," * 20_000,
    "payload/refused-json-5000-values": b'{"a":[' + b"1," * 5000 + b"1]}",
    "payload/refused-json-backslashes": b'{"a":"' + b"\\" * 60_001,
    "payload/refused-json-open-quotes": b'{"a":' + b'"\\' * 30_000,
    "payload/read-json-marks-in-texts": b'{"a":"' + b"{[:," * 1000 + b'"}',
    "topic/refused-65000-levels": TOPIC.encode() + b"/" * 65_000,
    "topic/refused-65000-characters": TOPIC.encode() + b"a" * 65_000,
    "response_topic/refused-65000-characters": b"bms/v1/gw-0042/replies/tech-anna/" + b"a" * 65_000,
    "socket/refused-65536-zero-bytes": b"\0\1\0\0" + b"\0" * 65_536,
    "socket/refused-60000-deep": b"\0\0\xea\x60" + b"\x91" * 60_000,
    "config/refused-integer-of-60000-digits": b"a = " + b"9" * 60_000,
    "config/refused-60000-deep": b"a = " + b"[" * 60_000,
    "access/refused-60000-deep": b"a = " + b"{a=" * 20_000,
    "scenario/refused-60000-deep": b"a = " + b"[" * 60_000,
    "scenario/refused-integer-of-60000-digits": b"a = " + b"9" * 60_000,
}


def corpus(edge: str) -> list[Case]:
    """Return all that is kept for one edge, and the large ones."""
    kept = [Case(edge, file.name, file.read_bytes()) for file in sorted((CORPUS / edge).iterdir())]
    made = [Case(edge, path.partition("/")[2], data) for path, data in _LARGE.items() if path.startswith(f"{edge}/")]
    return kept + made


# --- who reads them: True for what is taken, False for a coded no; whatever else they raise is a bug ------------------


def read_payload(data: bytes) -> bool:
    try:
        decode(data)
    except Refusal:
        return False
    return True


def read_topic(data: bytes) -> bool:
    return Topics("gw-0042").parse_request(data.decode(errors="surrogateescape")) is not None


def read_response_topic(data: bytes) -> bool:
    wanted = data.decode(errors="surrogateescape")
    return Topics("gw-0042").reply("tech-anna", CALL_ID, wanted) == wanted


def read_signed(data: bytes) -> bool:
    try:
        fields, encoding = decode(data)
        sealed = open_envelope(fields, encoding) if is_sealed(fields) else None
        if sealed is None:
            return False
        check(sealed, TOPIC, KEYS)
        decode(sealed.body)
    except Refusal:
        return False
    return True


def read_socket(data: bytes, sizes: Callable[[], int] = lambda: 65_536) -> bool:
    """Read a connection to its end, in chunks of `sizes`."""

    async def converse() -> None:
        reader, at = asyncio.StreamReader(), 0
        feeding = asyncio.get_running_loop().create_task(feed(reader, at))
        try:
            while (body := await read_frame(reader, 10.0)) is not None:
                read_map(body)
        finally:
            feeding.cancel()
            with suppress(asyncio.CancelledError):
                await feeding

    async def feed(reader: asyncio.StreamReader, at: int) -> None:
        while at < len(data):
            size = max(1, sizes())
            reader.feed_data(data[at : at + size])
            at += size
            await asyncio.sleep(0)
        reader.feed_eof()

    try:
        asyncio.run(converse())
    except Refusal:
        return False
    return True


def read_cursors(data: bytes) -> bool:
    cursor = data.decode(errors="surrogateescape")
    for place in _PLACES:
        with suppress(Refusal):
            read_cursor(cursor, ["history", {}], place)
            return True
    return False


@dataclass
class Ear:
    """The bus side of a gateway that knows a pack at 0x12 and a module at 0xA0. It tells how much it has counted."""

    clock: FakeClock = field(default_factory=FakeClock)
    wire: FakeWire = field(default_factory=FakeWire)
    told: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        here = (("pack-01", ComponentKind.PACK, 0x12), ("module-01", ComponentKind.MODULE, 0xA0))
        self.monitor = Monitor(
            wire=self.wire,
            components=[(Component(name, kind, "can0", node), PresenceSection()) for name, kind, node in here],
            codecs=load_codecs(),
            clock=self.clock,
            rows={},
            sink=self.told.extend,
            on_ready=lambda *_: None,
            suspended=lambda: 0.0,
        )
        self.exchange = Exchange(self.wire, self.clock)
        self.wire.tell(Condition.UP, self.clock.now)

    def hear(self, *frames: tuple[int, bytes]) -> None:
        for can_id, data in frames:
            self.clock.advance(0.01)
            self.wire.deliver((can_id, data, self.clock.now))

    @property
    def taken(self) -> bool:
        return any(self.monitor.sighting(name).last_valid is not None for name in ("pack-01", "module-01"))

    def counted(self) -> int:
        """Return how many frames it turned away, each for a reason."""
        counts, stats = self.exchange.counts, self.monitor.stats()
        dropped = counts.invalid + counts.late + counts.double + counts.foreign
        return dropped + int(stats["invalid"]) + int(stats["strangers"])


def frames_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Read frames as a file of the corpus spells them; half a one at the end is as long as it is."""
    at = 0
    while at + 5 <= len(data):
        can_id, length = struct.unpack_from(">IB", data, at)
        yield can_id, data[at + 5 : at + 5 + length]
        at += 5 + length


def read_can(data: bytes) -> bool:
    ear, frames = Ear(), list(frames_of(data))
    ear.hear(*frames)
    ear.clock.advance(1.0)
    ear.monitor.look(ear.clock.now)
    return ear.taken or not frames


def _read_file(reader: Callable[[Path], object], data: bytes) -> bool:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "file.toml"
        file.write_bytes(data)
        try:
            reader(file)
        except ConfigError:
            return False
    return True


def _read_config(file: Path) -> None:
    load(file, {}).components()


def _read_scenario(file: Path) -> None:
    config = file.with_name("gateway.toml")
    config.write_bytes((CORPUS / "config" / "read-the-least.toml").read_bytes())
    load_scenario(file, load(config, {}))


READERS: Final[Mapping[str, Callable[[bytes], bool]]] = {
    "payload": read_payload,
    "topic": read_topic,
    "response_topic": read_response_topic,
    "signed": read_signed,
    "socket": read_socket,
    "can": read_can,
    "cursor": read_cursors,
    "config": partial(_read_file, _read_config),
    "access": partial(_read_file, load_access),
    "scenario": partial(_read_file, _read_scenario),
}


# --- more of them -----------------------------------------------------------------------------------------------------

_SPICES: Final = (
    b"\0", b"\xff", b"\x80", b"\xc1", b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
    b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\xc7\x0c\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xef\xbb\xbf", b"{", b"[", b'"',
    b"\\", b"\\ud800", b"NaN", b"1e999", b"9" * 30, b"\n", b"/", b"+", b"#", b"=", b"[[", b"1979-05-27", b"\xd9\xa1",
)  # fmt: skip


def mutated(rng: Random, data: bytes, others: list[bytes]) -> bytes:
    """Return `data` hurt in one to four ways: bits turned, cut, doubled, spiced, grafted with one of `others`."""
    hurt = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, end = sorted((rng.randint(0, len(hurt)), rng.randint(0, len(hurt))))
        match rng.randrange(7):
            case 0 if hurt:
                hurt[rng.randrange(len(hurt))] ^= 1 << rng.randrange(8)
            case 1 if hurt:
                hurt[rng.randrange(len(hurt))] = rng.randrange(256)
            case 2:
                del hurt[at:end]
            case 3:
                del hurt[at:]
            case 4:
                hurt[at:at] = rng.choice(_SPICES) * rng.choice((1, 1, 1, 2, 9))
            case 5:
                hurt[at:at] = hurt[at : min(end, at + 256)]
            case _:
                other = rng.choice(others)
                cut = rng.randint(0, len(other))
                hurt[at:end] = other[cut : cut + rng.randint(0, 64)]
    return bytes(hurt[:70_000])
