"""A million events while no broker takes any: how fast they go in, what they take on disk and in memory, a start after.

`python -m bench.outage [--events 1000000] [--bound-mib 64]`. One event in five is an outcome, which is never dropped.
"""

import argparse
import asyncio
import resource
import tempfile
import time
from pathlib import Path
from typing import Final

from bench._table import row
from gateway.clock import SystemClock
from gateway.event import Event
from gateway.ports import Tx
from gateway.queue.store import SqliteStore

TYPES: Final = (
    *("request_queued", "request_started", "request_completed", "component_offline", "component_online"),
    *("position_notice", "request_retried", "request_started", "request_completed", "queue_processed"),
)
DETAIL: Final = {"request_id": "cmd_01JABCDEFGHJKMNPQRSTVWXYZ0", "kind": "COMMAND", "detail": "x" * 350}
WARM: Final = 10  # first tenth: caches fill
MEMORY_MIB: Final = 8  # may be added after that

clock = SystemClock()


def ten(tx: Tx) -> None:
    now = clock.wall_ms()
    for each in TYPES:
        tx.emit(Event(each, "module-03", now, DETAIL))


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


async def outage(path: Path, events: int, bound: int) -> None:
    groups, slowest, warm = events // 100, 0.0, 0.0
    async with SqliteStore.open(path, clock=clock, outbox_max_bytes=bound) as store:
        began = time.perf_counter()
        for group in range(groups):
            started = time.perf_counter()
            await asyncio.gather(*(store.write(ten) for _ in range(10)))
            slowest = max(slowest, time.perf_counter() - started)
            if group == groups // WARM:
                warm = resident_mib()
        rate, grown, waiting = events / (time.perf_counter() - began), resident_mib() - warm, store.outbox()
    size = path.stat().st_size
    row(f"{events:,} events, nobody takes them", f"{rate:,.0f}/s", f"slowest group {slowest * 1000:.0f} ms")
    row(f"of them kept, bound {bound >> 20} MiB", f"{waiting.events:,}", f"dropped {waiting.dropped:,}")
    row("what they take", f"{waiting.bytes / (1 << 20):.0f} MiB", f"on disk {size / (1 << 20):.0f} MiB")
    row("memory after the first tenth", f"{grown:+.1f} MiB", f"limit {MEMORY_MIB} MiB", met=grown <= MEMORY_MIB)
    began = time.perf_counter()
    async with SqliteStore.open(path, clock=clock, outbox_max_bytes=bound) as store:
        row("a start after it", f"{time.perf_counter() - began:.2f} s", "most of it looks for damage")
        counted = store.outbox() == waiting
        row("what waits, after the start", f"{store.outbox().events:,}", "as before", met=counted)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--events", type=int, default=1_000_000)
    asked.add_argument("--bound-mib", type=int, default=64)
    told = asked.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # a disk, which /tmp need not be
        asyncio.run(outage(Path(folder) / "queue.db", told.events, told.bound_mib << 20))


if __name__ == "__main__":
    main()
