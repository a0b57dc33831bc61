"""How long a start takes with 10,000 operations queued, and the memory it then holds. Run: python -m bench.start.

From exec to READY=1, as the service manager would hear it. The interpreter takes a part of that for the same imports;
the limit is for the rest.
"""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench._table import row
from bench.steady import NODES, config, resident_mib
from gateway.clock import SystemClock
from gateway.ids import RequestIds
from gateway.operation import Kind, Operation
from gateway.ports import Tx
from gateway.queue.store import SqliteStore
from gateway.settings import Parameters
from tests.integration.broker import Mosquitto

QUEUED: Final = 10_000
STARTS: Final = 3
LIMIT_S: Final = 1.0
LIMIT_MIB: Final = 60.0
SETTLED_S: Final = 10.0  # until the outbox has gone up, too
BUS: Final = 'interface = "virtual"\nchannel = "quiet"'  # as light as SocketCAN, and to be had everywhere
IMPORTS: Final = "import gateway.cli, gateway.daemon"

clock = SystemClock()
ids = RequestIds()


def _queue(tx: Tx) -> None:
    now = clock.wall_ms()
    for n in range(QUEUED):
        operation = Operation(
            ids.new("cmd", now),
            Kind.COMMAND,
            f"module-{n % NODES:03d}",
            "bench",
            now,
            now + 86_400_000,
            command_type="read_parameter",
            arguments={"id": 1},
        )
        tx.enqueue(operation, Parameters())


async def fill(folder: Path) -> None:
    (folder / "state").mkdir()
    async with SqliteStore.open(folder / "state" / "gateway.db", clock=clock) as store:
        await store.write(_queue)


def imports_s() -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return time.monotonic() - started


def start(folder: Path) -> tuple[float, subprocess.Popen[bytes]]:
    """Start the daemon; return the seconds until it says that it is ready, and its process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = folder / "notify.sock"
        address.unlink(missing_ok=True)
        manager.bind(str(address))
        manager.settimeout(60)
        line = [sys.executable, "-m", "gateway", "run", "--config", str(folder / "gateway.toml")]
        with (folder / "daemon.log").open("ab") as log:
            started = time.monotonic()
            daemon = subprocess.Popen(line, stdout=log, stderr=log, env={**os.environ, "NOTIFY_SOCKET": str(address)})
        while b"READY=1" not in manager.recv(4096):
            pass
        return time.monotonic() - started, daemon


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        asyncio.run(fill(folder))
        broker = Mosquitto(folder / "broker").start()
        (folder / "gateway.toml").write_text(config(folder, BUS, broker.url))
        try:
            taken, resident = [], 0.0
            imports = min(imports_s() for _ in range(STARTS))
            for _ in range(STARTS):
                ready_s, daemon = start(folder)
                try:
                    taken.append(ready_s)
                    time.sleep(SETTLED_S)
                    resident = max(resident, resident_mib(daemon.pid))
                finally:
                    daemon.terminate()
                    daemon.wait(15)
        finally:
            broker.stop()
    told = f"limit {LIMIT_S:g} s and the imports, {imports:.2f} s"
    met = min(taken) <= LIMIT_S + imports
    row(f"start with {QUEUED:,} queued, best of {STARTS}", f"{min(taken):.2f} s", told, met=met)
    limit = f"limit {LIMIT_MIB:g} MiB"
    row(f"memory, {NODES} components, {QUEUED:,} queued", f"{resident:.1f} MiB", limit, met=resident <= LIMIT_MIB)


if __name__ == "__main__":
    main()
