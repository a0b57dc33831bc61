"""The durable store beside litequeue, persist-queue and huey, each at synchronous=FULL, in the same run.

`python -m bench.store [--million]`. Ours stores three rows an operation (operation, event, audit), theirs one. More
callers do not help the others: each put is a transaction of its own, and so is each acknowledgement. huey knows none:
it deletes a task when it hands it out, and a crash loses it; its figure stands by itself. The same again with every
sync to disk delayed by 5 ms, as slow flash has it, by strace in a child process.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import persistqueue
from huey.storage import SqliteStorage
from litequeue import LiteQueue

from bench._table import row
from gateway.clock import SystemClock
from gateway.operation import Action, Ending, Kind, Operation, Outcome, Verdict
from gateway.ports import AuditEntry, Tx
from gateway.queue.store import SqliteStore, open_database
from gateway.queue.store.transaction import Transaction
from gateway.settings import Parameters

COMPONENTS = 50
SECONDS = 0.5  # each measurement runs for about so long,
ROUNDS = (
    3  # and so many times, ours and theirs in turn: the best of each counts, as neighbours on the machine only slow
)
DELAY_US = 5_000
STRACE = ("strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=fdatasync,fsync")  # stops at syncs alone
NO_BOUND = Parameters(max_requests_per_component=1_000_000, max_queue_depth=10_000_000)
DONE = Verdict(Action.COMPLETE), Outcome(Ending.DONE, result={"result_code": 0, "data": 5})

clock = SystemClock()
numbers = itertools.count()  # who asks makes the id; it is no part of the store


def operation(component: int) -> Operation:
    now = clock.wall_ms()
    return Operation(
        f"cmd_{next(numbers):026}",
        Kind.COMMAND,
        f"module-{component:02}",
        "tech-anna",
        now,
        now + 3_600_000,
        command_type="identify",
        arguments={"seconds": 10},
    )


def enqueue(wanted: Operation, tx: Tx) -> None:
    tx.enqueue(wanted, NO_BOUND)
    tx.audit(AuditEntry("tech-anna", "mqtt", "queue_command", wanted.request_id, "accepted"), wanted.created_at)


def claim(component_id: str, tx: Tx) -> Operation | None:
    return tx.claim(component_id, clock.wall_ms())


def finish(current: Operation, tx: Tx) -> None:
    tx.finish(current, *DONE, clock.wall_ms())


def finish_and_claim(current: Operation, tx: Tx) -> Operation | None:
    now = clock.wall_ms()
    tx.finish(current, *DONE, now)
    return tx.claim(current.target_component, now)


# --- ours -----------------------------------------------------------------------------------------------------------


async def enqueue_rate(store: SqliteStore, callers: int, seconds: float) -> float:
    """Operations stored per second by callers that each wait for the commit."""
    began = time.perf_counter()

    async def call(caller: int) -> int:
        stored = 0
        while time.perf_counter() - began < seconds:
            await store.write(partial(enqueue, operation((caller + stored) % COMPONENTS)))
            stored += 1
        return stored

    return sum(await asyncio.gather(*map(call, range(callers)))) / (time.perf_counter() - began)


async def drain_rate(store: SqliteStore, drains: int, seconds: float) -> float:
    """Operations finished, and the next one claimed, per second; `drains` share the components."""
    began = time.perf_counter()

    async def drain(first: int) -> int:
        finished = 0
        for component in range(first, COMPONENTS, drains):
            if time.perf_counter() - began >= seconds:
                break
            current = await store.write(partial(claim, f"module-{component:02}"))
            while current is not None and time.perf_counter() - began < seconds:
                current = await store.write(partial(finish_and_claim, current))
                finished += 1
            if current is not None:
                await store.write(partial(finish, current))
        return finished

    return sum(await asyncio.gather(*map(drain, range(drains)))) / (time.perf_counter() - began)


async def our_rates(folder: Path, seconds: float) -> dict[str, float]:
    async with SqliteStore.open(folder / "ours.db", clock=clock) as store:
        rates = {f"enqueue, {n} callers": await enqueue_rate(store, n, seconds) for n in (1, 100)}
        for _ in range(100):  # enough for both drains
            await asyncio.gather(
                *(store.write(partial(enqueue, operation(n % COMPONENTS))) for n in range(int(seconds * 500)))
            )
            depth = await store.read(lambda reader: reader.load(clock.wall_ms()).queue_depth)
            if depth > rates["enqueue, 100 callers"] * seconds:
                break
        rates |= {f"{TAKES}, {n} drains": await drain_rate(store, n, seconds) for n in (1, COMPONENTS)}
    return rates


# --- the others -----------------------------------------------------------------------------------------------------

TAKES: Final = "finish and claim"  # a peer: take and acknowledge
FORGETS: Final = f"{TAKES} beside a mere hand-out"
JUDGED_BY: Final = {"enqueue": ("enqueue",), TAKES: (TAKES, FORGETS)}  # our figure: those of the others

Peer = tuple[Callable[[str], Any], Callable[[], Any], str]  # put; take, and acknowledge where it can; which that is


def lite(folder: Path) -> Peer:
    queue = LiteQueue(folder / "lite.db")
    queue.conn.execute("PRAGMA synchronous = FULL")

    def work_off() -> None:
        queue.done(queue.pop().message_id)

    return queue.put, work_off, TAKES


def persist(folder: Path) -> Peer:
    queue = persistqueue.SQLiteAckQueue(str(folder / "persist"))
    queue._conn.execute("PRAGMA synchronous = FULL")

    def work_off() -> None:
        queue.ack(queue.get(block=False))

    return queue.put, work_off, TAKES


def huey(folder: Path) -> Peer:
    storage = SqliteStorage(filename=str(folder / "huey.db"), fsync=True)
    return lambda text: storage.enqueue(text.encode()), storage.dequeue, FORGETS


PEERS = {"litequeue": lite, "persist-queue": persist, "huey": huey}


def peer_rates(folder: Path, seconds: float) -> dict[str, dict[str, float]]:
    told: dict[str, dict[str, float]] = {"enqueue": {}, TAKES: {}, FORGETS: {}}
    text = json.dumps(operation(0).payload())
    for name, make in PEERS.items():
        put, work_off, figure = make(folder)
        told["enqueue"][name], stored = timed(partial(put, text), seconds)
        told[figure][name], _ = timed(work_off, seconds, most=stored)
    return told


def timed(step: Callable[[], Any], seconds: float, most: int = 1 << 30) -> tuple[float, int]:
    began, done = time.perf_counter(), 0
    while done < most and time.perf_counter() - began < seconds:
        step()
        done += 1
    return done / (time.perf_counter() - began), done


# --- claims, syncs, bytes -------------------------------------------------------------------------------------------


class Waiting:
    """A store in which so many operations wait for one component."""

    def __init__(self, folder: Path, queued: int) -> None:
        self.queued = queued
        self.took: list[float] = []
        self.db = open_database(folder / f"claim-{queued}.db", clock)
        self.db.execute("PRAGMA synchronous = OFF")  # what a sync takes is measured elsewhere
        self.tx = Transaction(self.db, clock, max_pages=1 << 22, outbox_max_bytes=65_536, upstream=False)
        for start in range(0, queued, 1000):
            self.tx.begin()
            for _ in range(start, min(start + 1000, queued)):
                self.tx.enqueue(operation(0), NO_BOUND)
            self.tx.commit()
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def claim(self) -> None:
        """Time one claim up to its commit, then put the operation back."""
        began = time.perf_counter()
        self.tx.begin()
        current = self.tx.claim("module-00", clock.wall_ms())
        self.tx.commit()
        self.took.append((time.perf_counter() - began) * 1e6)
        assert current is not None
        self.tx.begin()
        self.tx.finish(current, Verdict(Action.RELEASE), Outcome(Ending.NOT_STARTED), clock.wall_ms())
        self.tx.commit()


def claims_us(folder: Path, depths: tuple[int, ...]) -> dict[int, float]:
    """Median time of a claim, in µs, for each number of waiting operations; measured in turn."""
    stores = [Waiting(folder, queued) for queued in depths]
    for _ in range(500):
        for store in stores:
            store.claim()
    for store in stores:
        store.db.close()
    return {store.queued: statistics.median(store.took) for store in stores}


async def full_drain(folder: Path, operations: int) -> None:
    """Queue operations for fifty components, then work all of them off."""
    async with SqliteStore.open(folder / "drain.db", clock=clock) as store:
        jobs = [partial(enqueue, operation(n % COMPONENTS)) for n in range(operations)]
        await asyncio.gather(*map(store.write, jobs))
        await drain_rate(store, COMPONENTS, seconds=60)


def written_bytes() -> int:
    return int(re.findall(r"^write_bytes: (\d+)", Path("/proc/self/io").read_text(), re.MULTILINE)[0])


# --- the run --------------------------------------------------------------------------------------------------------


def rates(seconds: float) -> dict[str, Any]:
    ours: dict[str, float] = {}
    peers: dict[str, dict[str, float]] = {}
    for _ in range(ROUNDS):
        with folder() as place:
            keep_best(ours, asyncio.run(our_rates(place, seconds)))
            for figure, told in peer_rates(place, seconds).items():
                keep_best(peers.setdefault(figure, {}), told)
    return {"ours": ours, "peers": peers}


def keep_best(best: dict[str, float], told: dict[str, float]) -> None:
    for name, rate in told.items():
        best[name] = max(rate, best.get(name, 0.0))


def drain_figures(operations: int) -> dict[str, float]:
    with folder() as place:
        before = written_bytes()
        asyncio.run(full_drain(place, operations))
        return {"bytes": (written_bytes() - before) / operations}


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:  # a disk, which /tmp need not be
        yield Path(name)


def in_child(argument: str, *tracer: str) -> tuple[dict[str, Any], str]:
    command = [*tracer, sys.executable, "-m", "bench.store", "--child", argument]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    figures: dict[str, Any] = json.loads(ran.stdout)
    return figures, ran.stderr


def compare(measured: dict[str, Any], times: float, label: str) -> None:
    for figure, ours in measured["ours"].items():
        what, _, by = figure.partition(",")
        for theirs in JUDGED_BY[what]:
            name, peer = max(measured["peers"][theirs].items(), key=lambda item: item[1])
            one = " 1 " in by  # nothing to share a commit with: shown, not judged
            beside = f"{name} {peer:,.0f}/s, × {ours / peer:.1f}"
            met = None if one else ours >= times * peer
            row(f"{theirs},{by}{label}", f"{ours:,.0f}/s", beside if one else f"{beside} of {times:g}", met=met)


def limited(figure: str, ours: float, unit: str, limit: float) -> None:
    row(figure, f"{ours:,.3g} {unit}".rstrip(), f"limit {limit:,.3g} {unit}".rstrip(), met=ours <= limit)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--quick", action="store_true", help="do not claim among 1,000,000, which takes minutes")
    asked.add_argument("--child", choices=["rates", "drain"], help=argparse.SUPPRESS)
    arguments = asked.parse_args()
    if arguments.child:
        print(json.dumps(rates(SECONDS) if arguments.child == "rates" else drain_figures(2_000)))
        return
    compare(rates(SECONDS), 2, "")
    if shutil.which("strace"):
        delay = f"inject=fdatasync,fsync:delay_exit={DELAY_US}"
        delayed, _ = in_child("rates", *STRACE, "-o", "/dev/null", "-e", delay)
        compare(delayed, 20, ", syncs + 5 ms")
        drain, counted = in_child("drain", *STRACE, "-c")
        syncs = sum(
            int(line.split()[3]) for line in counted.splitlines() if line.split()[-1:] in (["fsync"], ["fdatasync"])
        )
        limited("syncs per operation, queued and drained", syncs / 2_000, "", 0.3)
    else:
        drain, _ = in_child("drain")
        print("strace is not installed: nothing is said about slow syncs and their number")
    row("written per operation, queued and drained", f"{drain['bytes']:,.0f} bytes", "")
    with folder() as place:
        took = claims_us(place, (100, 10_000, *([] if arguments.quick else [1_000_000])))
    few = took.pop(100)
    for queued, us in took.items():
        limited(f"claim and commit among {queued:,} (among 100: {few:.0f} µs)", us, "µs", 1.5 * few)


if __name__ == "__main__":
    main()
