"""kill -9 at random moments: what was acknowledged is there, and nothing half."""

import asyncio
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gateway.operation import Status
from gateway.queue.store.audit import check_audit
from gateway.queue.store.sql import connect
from tests.store_scene import scene

SEED = 7
KILLS = 12

WORKER = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from gateway.clock import SystemClock
    from gateway.ports import AuditEntry
    from gateway.settings import Parameters
    from tests.store_scene import scene

    MANY = Parameters(max_requests_per_component=1_000_000, max_queue_depth=1_000_000)

    async def main():
        async with scene(Path(sys.argv[1]), SystemClock()) as told:
            await told.store.write(lambda tx: tx.recover(told.clock.wall_ms()))

            async def call(target):
                while True:
                    operation = told.command(target)
                    entry = AuditEntry("a", "mqtt", "queue_command", operation.request_id, "accepted")
                    def job(tx):
                        tx.enqueue(operation, MANY)
                        tx.audit(entry, operation.created_at)
                    await told.store.write(job)
                    sys.stdout.write(f"queued {operation.request_id}\\n")
                    claimed = await told.claim(target)
                    if claimed is not None:
                        await told.finish(claimed)
                        sys.stdout.write(f"done {claimed.request_id}\\n")
                    sys.stdout.flush()

            await asyncio.gather(*(call(f"module-{n}") for n in range(8)))

    asyncio.run(main())
    """
)


def run_and_kill(path: Path, after_lines: int) -> list[list[str]]:
    """Let a process work until it has acknowledged so many changes, then kill it; returns what it said."""
    with subprocess.Popen([sys.executable, "-c", WORKER, str(path)], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        said = [worker.stdout.readline() for _ in range(after_lines)]
        worker.send_signal(signal.SIGKILL)
        said += worker.stdout.readlines()
    assert worker.returncode == -signal.SIGKILL
    return [line.split() for line in said if line.endswith("\n")]


@pytest.mark.timeout(300)
async def test_every_acknowledged_change_outlives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    moments = random.Random(SEED)
    acknowledged: list[list[str]] = []
    for _ in range(KILLS):
        acknowledged += await asyncio.to_thread(run_and_kill, path, moments.randrange(1, 200))
        db = connect(path)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert check_audit(db.execute).first_broken is None
        (operations,), (audited,) = db.execute("SELECT count(*) FROM operation UNION ALL SELECT count(*) FROM audit")
        assert operations == audited  # both or neither
        db.close()
    async with scene(path) as told:
        for what, request_id in acknowledged:
            operation = await told.operation(request_id)
            assert what == "queued" or operation.status is Status.COMPLETED
        seqs = [event.seq for event in await told.stored_events()]
        assert seqs == list(range(1, len(seqs) + 1))
        assert told.store.epoch == KILLS + 1
    assert len(acknowledged) > KILLS
