"""How fast the events of an outage go up by the way up, and by how much memory grows, beside bare paho.

`python -m bench.replay`. The same payloads to a real mosquitto: ours read from the store and encoded, the peer's ready
made, QoS 1, twenty at a time; in turn, and the best of each counts.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bench._table import row
from bench.steady import resident_mib
from bench.store import folder
from gateway.clock import SystemClock
from gateway.component import Component, ComponentKind, Registry
from gateway.event import Event
from gateway.ports import AuditEntry, Tx
from gateway.queue.store import SqliteStore
from gateway.sync.access import Access
from gateway.sync.broker import Broker
from gateway.sync.message import Outgoing
from gateway.sync.payload import Encoding
from gateway.sync.requests import RequestServer
from gateway.sync.state import Birth, States
from gateway.sync.topics import Topics
from gateway.sync.uplink import Uplink
from tests.integration.broker import Mosquitto

MODULES: Final = 50
TOGETHER: Final = 50  # events in a transaction: that many modules that come back at once
REPLAYED: Final = 20_000
ROUNDS: Final = 3
SHARE: Final = 0.5  # of bare paho, at least
GROWTH_MIB: Final = 8.0  # above what it was with the store filled, at most
WINDOW: Final = 20
WITHIN_S: Final = 120.0
LOOK_S: Final = 0.005

clock = SystemClock()


def happened(first: int, number: int) -> Iterator[Event]:
    """Yield such events as a drain makes: an operation is queued, begun and done, and its neighbour moves up."""
    for n in range(first, first + number):
        request_id, module, now = f"cmd_{n // 4:026}", f"module-{n // 4 % MODULES:02}", clock.wall_ms()
        common = {"request_id": request_id, "kind": "COMMAND", "component_id": module, "priority": "NORMAL"}
        kinds: list[tuple[str, dict[str, Any]]] = [
            ("request_queued", {"request": {**common, **RECORD}, "queue_position": 7}),
            ("request_started", {**common, "status": "PROCESSING", "retry_count": 0, "command_type": "read_parameter"}),
            ("request_completed", {**common, "status": "COMPLETED", "retry_count": 0, "result": {"data": n % 65_536}}),
            ("position_notice", {"request_id": request_id, "component_id": module, "position": 1}),
        ]
        kind, told = kinds[n % 4]
        yield Event(kind, module, now, told)


RECORD: Final = {
    "command_type": "read_parameter",
    "arguments": {"id": 1},
    "creator": "tech-anna",
    "status": "QUEUED",
    "delivery": "AT_LEAST_ONCE",
    "metadata": {},
    "retry_count": 0,
    "created_at": "2026-11-21T20:00:00.000Z",
    "expires_at": "2026-11-22T20:00:00.000Z",
}


class Nobody:
    """Answers no requests."""

    async def call(self, *_: Any) -> dict[str, Any]:
        return {"ok": False}


async def _no_audit(_: AuditEntry) -> None: ...


def states() -> States:
    modules = [Component(f"module-{n:02}", ComponentKind.MODULE, "can0", n) for n in range(MODULES)]
    return States(Topics("gw-bench"), Birth(1, clock.wall_ms(), "", ("can0",)), Registry(modules), Encoding.MSGPACK)


@asynccontextmanager
async def way_up(store: SqliteStore, port: int):
    """Run the way up to the broker at `port`."""
    topics = Topics("gw-bench")
    uplink = Uplink(
        broker=Broker("127.0.0.1", port, tls=False, client_id="bench", session_expiry_s=3600),
        topics=topics,
        states=states(),
        store=store,
        requests=RequestServer(api=Nobody(), access=Access(), topics=topics, clock=clock, audit=_no_audit),
        clock=clock,
        rng=random.Random(1),
    )
    task = asyncio.create_task(uplink.run())
    try:
        yield uplink
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def fill(store: SqliteStore, first: int, number: int) -> None:
    for start in range(first, first + number, TOGETHER):
        await store.write(partial(_emit, start, min(TOGETHER, first + number - start)))


def _emit(first: int, number: int, tx: Tx) -> None:
    for event in happened(first, number):
        tx.emit(event)


# --- ours and the peer ----------------------------------------------------------------------------------------------


async def replay(place: Path, port: int) -> dict[str, float]:
    """Send the events of an outage up; return how many a second, and by how much memory grew meanwhile."""
    async with SqliteStore.open(place / "gateway.db", clock=clock) as store:
        await fill(store, 0, REPLAYED)
        before, most = resident_mib(_pid()), 0.0
        began = time.perf_counter()
        async with way_up(store, port) as uplink, asyncio.timeout(WITHIN_S):
            while not uplink.status()["connected"] or uplink.status()["outbox"]:
                await asyncio.sleep(LOOK_S)
                most = max(most, resident_mib(_pid()))
            seconds = time.perf_counter() - began
    return {"rate": REPLAYED / seconds, "grown": most - before}


def payloads() -> list[Outgoing]:
    """Return the same messages ready made: the peer neither reads them from disk nor encodes them."""
    made = states()
    return [made.event(event) for event in happened(0, REPLAYED)]


def bare(port: int) -> dict[str, float]:
    """Publish the same with plain paho; return how many a second."""
    messages = payloads()
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages_set(WINDOW)
    began = time.perf_counter()
    client.connect("127.0.0.1", port)
    client.loop_start()
    sent = [client.publish(each.topic, each.payload, 1) for each in messages]
    for each in sent:
        each.wait_for_publish(WITHIN_S)
    seconds = time.perf_counter() - began
    client.disconnect()
    client.loop_stop()
    return {"rate": REPLAYED / seconds}


# --- the run --------------------------------------------------------------------------------------------------------


def child(what: str, port: int) -> Any:
    if what == "bare":
        return bare(port)
    with folder() as place:
        return asyncio.run(replay(place, port))


def in_child(what: str, port: int) -> Any:
    """Measure in a process of its own: memory that another measurement has freed would hide what this one takes."""
    command = [sys.executable, "-m", "bench.replay", "--child", what, "--port", str(port)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=600).stdout)


def tell() -> None:
    ours: dict[str, float] = {"rate": 0.0, "grown": 0.0}
    theirs = 0.0
    with folder() as place:
        broker = Mosquitto(place / "broker").start()
        try:
            for _ in range(ROUNDS):
                ours = {name: max(ours[name], told) for name, told in in_child("replay", broker.port).items()}
                theirs = max(theirs, in_child("bare", broker.port)["rate"])
        finally:
            broker.stop()
    share = ours["rate"] / theirs
    beside = f"bare paho {theirs:,.0f}/s, × {share:.2f} of {SHARE:g}"
    row(f"{REPLAYED:,} events sent up after an outage", f"{ours['rate']:,.0f}/s", beside, met=share >= SHARE)
    grown = ours["grown"]
    row("memory grown meanwhile", f"{grown:.1f} MiB", f"limit {GROWTH_MIB:g} MiB", met=grown <= GROWTH_MIB)


def _pid() -> int:
    return int(Path("/proc/self").readlink().name)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--child", choices=["replay", "bare"], help=argparse.SUPPRESS)
    asked.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    arguments = asked.parse_args()
    if arguments.child:
        print(json.dumps(child(arguments.child, arguments.port)))
        return
    tell()


if __name__ == "__main__":
    main()
