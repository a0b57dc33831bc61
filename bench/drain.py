"""Operations per second of a whole drain over devices that answer at once, beside the limit; and syncs an operation.

`python -m bench.drain`. Real store, real drain: each operation is claimed, attempted and finished durably, with its
events. A sync is counted for each group that the store commits.
"""

import asyncio
import os
import random
import tempfile
import time
from pathlib import Path

from bench._table import row
from gateway.clock import SystemClock
from gateway.component import Component, ComponentKind, Registry
from gateway.guards import SafetyClass
from gateway.ids import RequestIds
from gateway.operation import FINAL, Ending, Kind, Operation, Outcome, QueueType
from gateway.ports import Attempt, CommandSpec, Sighting, Tx
from gateway.presence import Presence
from gateway.queue.drain import Drain
from gateway.queue.store import SqliteStore, writer
from gateway.settings import Parameters, PresenceSection

OPERATIONS = 4_000
ROUNDS = 3
LIMIT = 1_000  # operations a second, at least
BARE_S = 1.0
PAGES = 8  # of the database, which the end of one operation and the beginning of the next change
SYNCS = 0.3  # an operation, at most, where many components drain
PARAMETERS = Parameters(max_requests_per_component=1_000_000, max_queue_depth=1_000_000)
IDENTIFY = CommandSpec("identify", SafetyClass.HARMLESS)

clock = SystemClock()
ids = RequestIds()


class Devices:
    """Everybody is here and answers at once. `done` is set with the last answer."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.done = asyncio.Event()

    def sighting(self, _: str) -> Sighting:
        return Sighting(Presence.ONLINE, None, True, 0, 0, clock.monotonic(), None)

    async def identify(self, _: str) -> int | None:
        return 1

    async def execute(self, attempt: Attempt) -> Outcome:
        attempt.sent_at = clock.monotonic()
        self.expected -= 1
        if self.expected == 0:
            self.done.set()
        return Outcome(Ending.DONE, result={"result_code": 0, "data": 5})

    def spec(self, _: str) -> CommandSpec | None:
        return IDENTIFY

    def validate(self, _: str, arguments):
        return dict(arguments)

    def capable(self, *_: object) -> bool:
        return True


def _sync(file: int) -> None:
    os.pwrite(file, bytes(PAGES * 4096), 0)
    os.fdatasync(file)


async def _bare(folder: Path) -> float:
    """The peer of one component: hand a write of as many bytes over to a thread, wait until it is synced; a second."""
    file = os.open(folder / "bare", os.O_RDWR | os.O_CREAT)
    try:
        done = 0
        async with asyncio.timeout(BARE_S):
            while True:
                await asyncio.to_thread(_sync, file)
                done += 1
    except TimeoutError:
        return done / BARE_S
    finally:
        os.close(file)


def _fill(tx: Tx, components: list[Component]) -> None:
    for n in range(OPERATIONS):
        now, target = clock.wall_ms(), components[n % len(components)].component_id
        request_id = ids.new("cmd", now)
        kept = Operation(request_id, Kind.COMMAND, target, "bench", now, now + 3_600_000, command_type="identify")
        tx.enqueue(kept, PARAMETERS)


async def _drained(folder: Path, count: int) -> tuple[float, float]:
    """Return operations a second and syncs an operation with `count` components."""
    components = [Component(f"module-{n:02}", ComponentKind.MODULE, "can0", n) for n in range(count)]
    devices, groups = Devices(OPERATIONS), 0
    folder.mkdir(exist_ok=True)
    async with SqliteStore.open(folder / f"{count}.db", clock=clock) as store:
        await store.write(lambda tx: _fill(tx, components))
        drain = Drain(
            store=store,
            roster=devices,
            executor=devices,
            registry=Registry(components),
            commands=devices,
            presence=lambda _: PresenceSection(settle_ms=0, settle_jitter_ms=0),
            parameters=lambda: PARAMETERS,
            clock=clock,
            rng=random.Random(1),
        )
        running = asyncio.create_task(drain.run())
        commit = writer.commit

        def counted(*what):
            nonlocal groups
            groups += 1
            return commit(*what)

        writer.commit = counted
        began = time.perf_counter()
        for component in components:
            drain.ready(component.component_id)
        await devices.done.wait()
        while drain.active:
            await asyncio.sleep(0.001)  # not 0: a loop that never sleeps keeps the writer from the interpreter
        took = time.perf_counter() - began
        writer.commit = commit
        running.cancel()
        await asyncio.wait([running])
        page = await store.read(
            lambda r: r.operations(component_id=None, queue_type=QueueType.ALL, status=None, page_size=1, cursor=None)
        )
        assert not [each for each in page.operations if each.status not in FINAL]
    return OPERATIONS / took, groups / OPERATIONS


def main() -> None:
    with tempfile.TemporaryDirectory(dir=".") as folder:
        place = Path(folder)
        bare = max(asyncio.run(_bare(place)) for _ in range(ROUNDS))
        row("a thread that writes and syncs, no database", f"{bare:,.0f}/s", "")
        for count in (1, 50):
            rate, syncs = max(asyncio.run(_drained(place / str(n), count)) for n in range(ROUNDS))
            told = f"drain of {count} component(s), best of {ROUNDS}"
            row(told, f"{rate:,.0f}/s", f"limit {LIMIT:,}/s, × {rate / bare:.2f} of that thread", met=rate >= LIMIT)
    row("syncs per operation of the last", f"{syncs:.2f}", f"limit {SYNCS}", met=syncs <= SYNCS)


if __name__ == "__main__":
    main()
