"""A request answered over MQTT, its effect on disk, beside a bare echo of the same bytes by the same broker.

`python -m bench.mqtt`. The whole daemon is asked to queue commands for a module that is away, one after the other, by a
plain paho client; in turn the same client asks a plain paho process that sends back what it gets and keeps nothing. The
same again with every sync to disk delayed by 5 ms, as slow flash has it, by strace.
"""

import asyncio
import os
import queue
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgpack  # type: ignore[import-untyped] # it ships no types
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bench._table import row
from bench.steady import config
from bench.store import DELAY_US, STRACE, folder
from gateway.clock import SystemClock, rfc3339
from gateway.sync.caller import NobodyAnswers, SocketCaller
from tests.integration.broker import Mosquitto

ASKED: Final = 300  # in a round
ROUNDS: Final = 5  # ours and the echo in turn: the best of each counts, as neighbours on the machine only slow
WARM_UP: Final = 50
LIMITS_MS: Final = {"p50": 10.0, "p99": 50.0}
START_WITHIN_S: Final = 30.0
ANSWER_WITHIN_S: Final = 10.0
HOUR_MS: Final = 3_000_000  # nearly: a request may not live longer
BUS: Final = 'interface = "virtual"\nchannel = "quiet"'
ROOT: Final = "bms/v1/gw-bench"
ECHO: Final = """
import socket, sys
from paho.mqtt import client as paho
client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
client.on_socket_open = lambda _c, _u, link: link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
client.on_connect = lambda *_: client.subscribe("echo/request", 1)
client.on_message = lambda _c, _u, message: client.publish("echo/reply", message.payload, 1)
client.on_subscribe = lambda *_: print("ready", flush=True)
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_forever()
"""

clock = SystemClock()
numbers = count()


class Asker:
    """A plain client that asks and waits; `ask` returns how long the answer took, in ms."""

    def __init__(self, port: int) -> None:
        self._answers: queue.SimpleQueue[bytes | bytearray] = queue.SimpleQueue()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = lambda _c, _u, message: self._answers.put(message.payload)
        self._client.on_socket_open = _at_once
        ready: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._client.on_subscribe = lambda *_: ready.put(True)
        self._client.connect("127.0.0.1", port)
        self._client.subscribe([(f"{ROOT}/replies/bench/+", 1), ("echo/reply", 1)])
        self._client.loop_start()
        ready.get(timeout=ANSWER_WITHIN_S)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def gateway(self) -> float:
        took, answer = self._ask(f"{ROOT}/requests/bench/queue_command")
        assert msgpack.unpackb(answer)["ok"], answer
        return took

    def echo(self) -> float:
        return self._ask("echo/request")[0]

    def _ask(self, topic: str) -> tuple[float, bytes | bytearray]:
        body = {
            "id": f"bench-{next(numbers):08}",
            "expires_at": rfc3339(clock.wall_ms() + HOUR_MS),
            "command_type": "read_parameter",
            "target_component": "module-000",
            "arguments": {"id": 1},
        }
        payload = msgpack.packb(body)
        began = time.perf_counter()
        self._client.publish(topic, payload, 1)
        answer = self._answers.get(timeout=ANSWER_WITHIN_S)
        return (time.perf_counter() - began) * 1000, answer


def _at_once(_client: paho.Client, _userdata: object, link: Any) -> None:
    """Let nothing wait for Nagle's algorithm, which paho leaves on: 40 ms for every answer."""
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def settings(place: Path, broker: str) -> str:
    """Return a configuration in which the bench may ask as much as it likes."""
    access = place / "access.toml"
    access.write_text('[actors.bench]\nrole = "backend"\n')
    queue_and_access = (
        "[queue]\nrequests_per_minute = 1000000\nmax_requests_per_component = 100000\nmax_queue_depth = 100000\n"
        f'[access]\nfile = "{access}"\n'
    )
    return config(place, BUS, broker) + queue_and_access


@contextmanager
def running(place: Path, broker: Mosquitto, tracer: tuple[str, ...]) -> Iterator[None]:
    """Run the daemon and the echo. `tracer`: what the daemon runs under."""
    file = place / "gateway.toml"
    file.write_text(settings(place, broker.url))
    command = [*tracer, sys.executable, "-m", "gateway", "run", "--config", str(file)]
    with (place / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    echo = subprocess.Popen([sys.executable, "-c", ECHO, str(broker.port)], stdout=subprocess.PIPE)
    try:
        assert echo.stdout is not None
        assert echo.stdout.readline() == b"ready\n"
        asyncio.run(_until_connected(place / "control.sock"))
        yield
    finally:
        os.killpg(daemon.pid, signal.SIGTERM)  # strace passes nothing on
        echo.kill()
        daemon.wait(20)
        echo.wait(10)


async def _until_connected(control: Path) -> None:
    caller = SocketCaller(control)
    async with asyncio.timeout(START_WITHIN_S):
        while True:
            with suppress(NobodyAnswers):
                if (await caller.call("get_health", {}, 5.0))["result"]["upstream"]["connected"]:
                    return
            await asyncio.sleep(0.1)


def measure(tracer: tuple[str, ...] = ()) -> tuple[list[list[float]], list[list[float]]]:
    """Return how long the answers of each round took, in ms: ours, and the echo's."""
    ours, echoed = [], []
    with folder() as place:
        broker = Mosquitto(place / "broker").start()
        try:
            with running(place, broker, tracer):
                asker = Asker(broker.port)
                for way in (asker.gateway, asker.echo):
                    _many(way, WARM_UP)
                for _ in range(ROUNDS):
                    ours.append(_many(asker.gateway, ASKED))
                    echoed.append(_many(asker.echo, ASKED))
                asker.close()
        finally:
            broker.stop()
    return ours, echoed


def _many(way: Callable[[], float], times: int) -> list[float]:
    return [way() for _ in range(times)]


def tell(label: str, ours: list[list[float]], echoed: list[list[float]]) -> None:
    for name, rank in (("p50", 50), ("p99", 99)):
        mine, theirs = (
            min(statistics.quantiles(told, n=100)[rank - 1] for told in rounds) for rounds in (ours, echoed)
        )
        limit = LIMITS_MS[name]
        beside = f"limit {limit:g} ms; bare echo {theirs:.2f} ms"
        row(f"command queued and answered over MQTT, {name}{label}", f"{mine:.2f} ms", beside, met=mine <= limit)


def main() -> None:
    tell("", *measure())
    if shutil.which("strace"):
        tracer = (*STRACE, "-o", "/dev/null", "-e", f"inject=fdatasync,fsync:delay_exit={DELAY_US}")
        tell(", syncs + 5 ms", *measure(tracer))
    else:
        print("strace is not installed: nothing is said about slow syncs")


if __name__ == "__main__":
    main()
