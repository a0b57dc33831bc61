"""A mob: hostile publishes, control connections and CAN frames in bulk, from seeds, each kind in its own thread."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, Self

import can
import msgpack  # type: ignore[import-untyped] # it ships no types

from gateway.bus.frames import FRAME_LENGTH, load_codecs
from gateway.clock import rfc3339
from tests import hostile_mqtt as raw
from tests.hostile import corpus, mutated

STRANGERS: Final = tuple(f"stranger-{n}" for n in range(40))
KNOWN: Final = ("screen", "tech-bert")  # a viewer, and a technician who was granted nothing
BATCH: Final = (
    200  # messages between two questions that wait for their answer: who floods a broker only fills its queue
)
BATCHES_PER_S: Final = 20  # at most: the question is not to be a flood itself
LORIS: Final = 20
HUGE: Final = 1 / 2000  # the part of messages that are far too large
_REQUESTS: Final = """
    queue_command queue_pairing_request set_params cancel_request adopt_component mark_offline settle get_health
    get_history replay reorder_queue no_such_request get_audit process_offline_queue
""".split()
_FIELDS: Final[dict[str, Any]] = {
    "component_id": "module-03",
    "target_component": "module-03",
    "initiator_component": "pack-01",
    "request_id": "cmd_" + "0" * 26,
    "command_type": "write_parameter",
    "arguments": {"id": 1, "value": 666},
    "params": {"max_queue_depth": 1},
    "reason": "x",
    "from_seq": 1,
    "to_seq": 9,
    "cursor": "AAAA",
    "bus": "can0",
    "node": 9,
    "kind": "PACK",
    "owner": "stranger-0",
}
_ENDS: Final = (None, "", 5, "2020-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59")
_REPEATED_ID: Final = "the-same-id-again-and-again"


@dataclass
class Attack:
    """One kind of hostility. `sent`: inputs so far; `work` sends some and returns how many."""

    name: str
    total: int
    batch: Callable[[], int]
    close: Callable[[], None]
    sent: int = 0
    trouble: list[BaseException] = field(default_factory=list)

    def run(self, stopped: threading.Event) -> None:
        try:
            while self.sent < self.total and not stopped.is_set():
                self.sent += self.batch()
        except BaseException as why:  # noqa: BLE001 - told by the test, not by a thread that dies unseen
            self.trouble.append(why)
        finally:
            self.close()


class Mob:
    """All attacks at once, in threads. Use as a context manager."""

    def __init__(self, *attacks: Attack) -> None:
        self.attacks = attacks
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=each.run, args=(self._stopped,), daemon=True) for each in attacks]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(30)

    @property
    def sent(self) -> int:
        return sum(each.sent for each in self.attacks)

    @property
    def over(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)


# --- MQTT -------------------------------------------------------------------------------------------------------------


class Publisher:
    """Publishes what nobody should, as anybody. Every batch ends with a question of a known actor and its answer."""

    def __init__(self, port: int, gateway_id: str, seed: int) -> None:
        self._rng = Random(f"publisher {seed}")
        self._port, self._root, self._name = port, f"bms/v1/{gateway_id}", f"mob-{seed}"
        self._seeds = [case.data for case in corpus("payload") if len(case.data) < 4096]
        self._signed = [case.data for case in corpus("signed")]
        self._topics = [case.data for case in corpus("topic") if _is_publishable(case.data)]
        self._kinds: dict[Callable[[], bytes], int] = {
            self._garbage: 50,
            self._forbidden: 15,
            self._misshapen: 7,
            self._untimely: 5,
            self._repeated: 5,
            self._badly_signed: 5,
            self._misplaced: 5,
            self._retained: 2,
            self._decorated: 6,
        }
        self._connection: raw.Intruder | None = None
        self._n = 0

    def batch(self) -> int:
        if self._connection is None:
            self._connection = raw.Intruder(self._port, self._name)
            self._connection.subscribe(f"{self._root}/replies/patience/+")
        self._connection.say(b"".join(self._message() for _ in range(BATCH)))
        question = f"{self._name}-{self._n:08}"
        topic, payload = f"{self._root}/requests/patience/get_presence", self._sound(question, component_id="pack-01")
        self._connection.say(raw.publish(topic, payload, qos=1, mid=self._mid()))
        self._connection.until(question.encode())
        time.sleep(1 / BATCHES_PER_S)
        return BATCH + 1

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _message(self) -> bytes:
        (make,) = self._rng.choices(list(self._kinds), list(self._kinds.values()))
        return make()

    def _garbage(self) -> bytes:
        return self._publish(mutated(self._rng, self._rng.choice(self._seeds), self._seeds))

    def _forbidden(self) -> bytes:
        return self._publish(self._sound(self._id(), **self._some_fields()))

    def _misshapen(self) -> bytes:
        rng = self._rng
        names = ("priority", "ttl_s", "page_size", "metadata", "request_ids", "x" * rng.choice((1, 60, 20_000)))
        value: Any = rng.choice((None, -1, 1 << 63, 1e308, [], {}, "\0", ["a"] * 500, {"a": {"b": {}}}, True))
        return self._publish(self._sound(self._id(), **self._some_fields(), **{rng.choice(names): value}))

    def _untimely(self) -> bytes:
        return self._publish(self._sound(self._id(), expires_at=self._rng.choice(_ENDS)))

    def _repeated(self) -> bytes:
        return self._publish(self._sound(_REPEATED_ID, reason=self._rng.random()))

    def _badly_signed(self) -> bytes:
        return self._publish(mutated(self._rng, self._rng.choice(self._signed), self._signed))

    def _misplaced(self) -> bytes:
        return raw.publish(self._rng.choice(self._topics), b"\x80", qos=1, mid=self._mid())

    def _retained(self) -> bytes:
        return self._publish(self._sound(self._id()), retain=True)

    def _decorated(self) -> bytes:
        return self._publish(self._sound(self._id()), properties=self._properties())

    def _properties(self) -> bytes:
        """Return one property of a publish that a broker hands on, whether it should or not."""
        rng = self._rng
        aims = (f"{self._root}/state", f"{self._root}/replies/tech-anna/x", "$SYS/x", "a/#", "\ufeff", "")
        pairs = raw.USER_PROPERTY + raw.text("k" * 50) + raw.text("v" * 50)
        correlation = rng.randbytes(60_000 if rng.random() < HUGE else 8)
        return rng.choice(
            (
                raw.RESPONSE_TOPIC + raw.text(rng.choice(aims)),
                raw.CORRELATION + raw.text(correlation),
                raw.CONTENT_TYPE + raw.text(rng.choice(("\ufeff", "application/json", "text/html", "x" * 1000))),
                pairs * rng.randrange(30),
                raw.PAYLOAD_FORMAT + bytes((rng.randrange(256),)),
                raw.EXPIRY + struct.pack(">I", rng.choice((1, 3600, 0xFFFF_FFFF))),
            )
        )

    def _publish(self, payload: bytes, **more: Any) -> bytes:
        rng = self._rng
        topic = f"{self._root}/requests/{rng.choice(STRANGERS + KNOWN * 8)}/{rng.choice(_REQUESTS)}"
        padding = bytes(131_072 if rng.random() < HUGE else 0)
        if not more and rng.random() < 0.1:
            return raw.publish(topic, payload + padding)
        return raw.publish(topic, payload + padding, qos=1, mid=self._mid(), **more)

    def _sound(self, call_id: str, **fields: Any) -> bytes:
        """Return a payload that is what it should be, but for `fields`."""
        end = rfc3339(time.time_ns() // 1_000_000 + 60_000)
        request = {"id": call_id, "expires_at": end, **fields}
        return json.dumps(request).encode() if self._rng.random() < 0.5 else bytes(msgpack.packb(request))

    def _some_fields(self) -> dict[str, Any]:
        return {name: value for name, value in _FIELDS.items() if self._rng.random() < 0.5}

    def _id(self) -> str:
        return f"{self._name}-{self._rng.getrandbits(40):010x}"

    def _mid(self) -> int:
        self._n += 1
        return self._n % 65_535 + 1


def _is_publishable(topic: bytes) -> bool:
    """Whether a broker takes it: others cost the connection, and reach nobody."""
    text = topic.decode()
    return 0 < len(text) < 4096 and not any(c in "+#$" or ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in text)


# --- the control socket -----------------------------------------------------------------------------------------------


class Knocker:
    """Opens control connections and says nothing sensible; some stay, and say a byte now and then."""

    def __init__(self, path: Path, seed: int) -> None:
        self._path, self._rng = path, Random(f"knocker {seed}")
        self._seeds = [case.data for case in corpus("socket") if len(case.data) < 4096]
        self._loris: list[socket.socket] = []

    def batch(self) -> int:
        if len(self._loris) < LORIS:
            self._loris.append(self._connect())
        for slow in self._loris:
            with suppress(OSError):
                slow.send(b"\0")  # the third byte of a length is the last it will ever say
                break
        for _ in range(20):
            with suppress(OSError), self._connect() as connection:
                connection.sendall(mutated(self._rng, self._rng.choice(self._seeds), self._seeds))
                connection.shutdown(socket.SHUT_WR)
                if self._rng.random() < 0.7:  # others hang up without waiting for the answer
                    while connection.recv(65_536):
                        pass
        return 20

    def close(self) -> None:
        for each in self._loris:
            each.close()

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(str(self._path))
        return connection


# --- CAN --------------------------------------------------------------------------------------------------------------


class Babbler:
    """Puts frames on the bus that nobody meant: no heartbeat among them is valid, no answer was ever asked for.

    `nodes`: in whose name it speaks most; `spared`: in whose never.
    """

    def __init__(self, url: str, seed: int, nodes: tuple[int, ...], spared: int, per_s: int) -> None:
        self._rng, self._nodes, self._per_s = Random(f"babbler {seed}"), nodes, per_s
        self._strangers = [node for node in range(256) if node != spared]
        self._bus = can.Bus(interface="remote", channel=url)
        self._codecs = load_codecs()
        self._due = time.monotonic()

    def batch(self) -> int:
        for can_id, data in self._frames(50):
            self._bus.send(
                can.Message(
                    arbitration_id=can_id & 0x1FFF_FFFF,
                    is_extended_id=bool(can_id >> 31),
                    is_remote_frame=len(data) == 0 and self._rng.random() < 0.5,
                    is_fd=len(data) > FRAME_LENGTH,
                    data=data,
                )
            )
        self._due += 50 / self._per_s
        time.sleep(max(0.0, self._due - time.monotonic()))
        return 50

    def close(self) -> None:
        self._bus.shutdown()

    def _frames(self, count: int) -> Iterator[tuple[int, bytes]]:
        rng = self._rng
        for _ in range(count):
            match rng.randrange(10):
                case kind if kind < 3:
                    yield self._spoofed(rng.choice(("HB_PACK", "HB_MODULE")), rng.choice(self._nodes))
                case kind if kind < 5:
                    yield self._spoofed(rng.choice(("HB_PACK", "HB_MODULE")), rng.choice(self._strangers))
                case kind if kind < 7:
                    yield self._unasked(rng.choice(("PAIR_RSP", "CMD_RSP")), rng.choice(self._nodes))
                case 7:
                    yield 0x8000_0000 | rng.getrandbits(26), rng.randbytes(rng.choice((8, 8, 64, 0)))
                case _:
                    yield rng.randrange(0x800), rng.randbytes(rng.randrange(9))

    def _spoofed(self, message: str, node: int) -> tuple[int, bytes]:
        """Return a heartbeat that is too short, too long, or whose checksum is wrong."""
        codec, rng = self._codecs[message], self._rng
        sound = codec.encode(node, rng.randrange(15), {})
        broken = bytes((sound[0] ^ rng.randrange(1, 256),)) + sound[1:]
        return codec.id_for(node), rng.choice((broken, broken, broken, sound[:7], b"", sound + bytes(8)))

    def _unasked(self, message: str, node: int) -> tuple[int, bytes]:
        """Return an answer that is sound by itself, to what is never asked."""
        codec, rng = self._codecs[message], self._rng
        wanted = {"Opcode": rng.randrange(0x80, 0x100), "CmdSeq": rng.randrange(256)}
        if message == "PAIR_RSP":
            wanted = {"PairOp": rng.randrange(7, 16), "TxnId": rng.randrange(256)}
        return codec.id_for(node), codec.encode(node, rng.randrange(15), wanted)
