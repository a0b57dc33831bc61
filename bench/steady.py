"""What the whole daemon costs while all is quiet: 250 components at 1 Hz. Run: python -m bench.steady.

Measured from outside, over one minute less the warm-up: CPU time by the kernel's account of the process, bytes that it
caused to be written, MQTT messages that a subscriber of everything saw. The peer is a process that does nothing but
receive the same frames with python-can, on the same bus and in the same seconds.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench._table import row
from tests.acceptance.scene import CanServer, Daemon
from tests.integration.broker import Mosquitto
from tests.integration.watcher import Watcher

NODES: Final = 250
WARM_UP_S: Final = 20.0  # until all are online and have told their serial numbers
MEASURED_S: Final = 20.0
TICK: Final = os.sysconf("SC_CLK_TCK")
LISTENER: Final = """
import sys, can
with can.Bus(interface="remote", channel=sys.argv[1]) as bus:
    while True:
        bus.recv(1.0)
"""


def config(folder: Path, bus: str, broker: str) -> str:
    """Return the configuration of 250 modules. `bus`: the lines that say how it is reached."""
    components = "".join(
        f'[[component]]\nid = "module-{node:03d}"\nkind = "MODULE"\nbus = "can0"\nnode = {node}\nowner = "bench"\n'
        for node in range(NODES)
    )
    return f"""
[gateway]
id = "gw-bench"
state_dir = "{folder}/state"
socket = "{folder}/control.sock"
[[bus]]
name = "can0"
{bus}
[sync]
broker = "{broker}"
{components}
"""


def bus_of(server: CanServer) -> str:
    return f'interface = "remote"\nchannel = "ws://127.0.0.1:{server.port}/"'


def cpu_s(pid: int) -> float:
    """Return the CPU time a process has had, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def written_bytes(pid: int) -> int:
    lines = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(lines["write_bytes"])


def resident_mib(pid: int) -> float:
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return next(int(line[1]) / 1024 for line in lines if line[0] == "VmRSS:")


async def measure(folder: Path) -> None:
    broker, bus, daemon = Mosquitto(folder / "broker").start(), CanServer(folder / "can.log"), Daemon(folder)
    config_file, scenario = folder / "gateway.toml", folder / "scenario.toml"
    config_file.write_text(config(folder, bus_of(bus), broker.url))
    scenario.write_text("")
    simulate = [sys.executable, "-m", "gateway", "simulate", "--config", str(config_file), "--scenario", str(scenario)]
    with (folder / "others.log").open("wb") as log:
        devices = subprocess.Popen(simulate, stdout=log, stderr=log)
        peer = subprocess.Popen([sys.executable, "-c", LISTENER, f"ws://127.0.0.1:{bus.port}/"], stdout=log, stderr=log)
    try:
        with Watcher(broker.port) as watcher:
            await daemon.start()
            assert daemon.process is not None
            pids = daemon.process.pid, peer.pid
            await asyncio.sleep(WARM_UP_S)
            before = [cpu_s(pid) for pid in pids]
            health = (await daemon.caller.call("get_health", {}, 5))["result"]
            frames, bytes_before, seen = health["buses"][0]["frames_judged"], written_bytes(pids[0]), len(watcher.seen)
            started = time.monotonic()
            await asyncio.sleep(MEASURED_S)
            ours_s, peer_s = (cpu_s(pid) - had for pid, had in zip(pids, before, strict=True))
            seconds = time.monotonic() - started
            wrote, published = written_bytes(pids[0]) - bytes_before, len(watcher.seen) - seen
            health = (await daemon.caller.call("get_health", {}, 5))["result"]
        frames = health["buses"][0]["frames_judged"] - frames
        print(f"{health['buses'][0]['online']} of {NODES} online, {frames} heartbeats in {seconds:.1f} s")
        row("bytes written", f"{wrote}", "limit 0", met=wrote == 0)
        row("messages published", f"{published}", "limit 0", met=published == 0)
        report_cpu(seconds, frames, ours_s, peer_s)
        resident = resident_mib(pids[0])
        row(
            "resident memory, with the client of that bus", f"{resident:.1f} MiB", ""
        )  # a vehicle has SocketCAN: see start
    finally:
        daemon.stop()
        for process in (devices, peer):
            process.kill()
            process.wait(10)
        bus.stop()
        broker.stop()


def report_cpu(seconds: float, frames: int, ours_s: float, peer_s: float) -> None:
    per_frame, peer = ours_s / frames * 1e6, peer_s / frames * 1e6
    row("CPU per heartbeat, whole daemon", f"{per_frame:.0f} µs", f"bare python-can listener {peer:.0f} µs")
    row("share of one core", f"{ours_s / seconds:.1%}", f"that listener {peer_s / seconds:.1%}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder)))


if __name__ == "__main__":
    main()
