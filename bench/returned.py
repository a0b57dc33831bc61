"""How long after a component's return its first queued frame is on the bus, settle delay 0: python -m bench.returned.

The whole daemon runs in this process, with simulated devices on a virtual bus: each falls silent, a command is queued
for it, and it returns. A third participant of the bus notes the times. Counted from the heartbeat that makes the return
certain to the first frame of the command; in between the device is asked for its serial number, and the claim is made
durable.
"""

import asyncio
import os
import pwd
import random
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from statistics import quantiles
from typing import Final

import can

from bench._table import row
from gateway import daemon
from gateway.bus.frames import load_codecs
from gateway.bus.wire import EXTENDED
from gateway.settings import load
from gateway.sync.caller import NobodyAnswers, SocketCaller

NODES: Final = 60  # that come and go; one more stays, as the silence of all is that of the bus
ROUNDS: Final = 3
ROUND_S: Final = 8.0
SILENT_S, BACK_S, SPREAD_S = 1.0, 5.0, 2.0  # after the start of a round; all do it within SPREAD_S
FIRST_ROUND_S: Final = 3.0  # until all are online and known
PERIOD_MS: Final = 400
GONE_S: Final = 1.5  # without a heartbeat: offline
CERTAIN: Final = 2  # with so many heartbeats it is back
LIMIT_MS: Final = 50.0
BARE_EVERY_S: Final = 0.1


def _config(folder: Path) -> str:
    owner = pwd.getpwuid(os.getuid()).pw_name
    components = "".join(
        f'[[component]]\nid = "module-{node:02}"\nkind = "MODULE"\nbus = "can0"\nnode = {node}\nowner = "{owner}"\n'
        for node in range(NODES + 1)
    )
    return f"""
[gateway]
id = "gw-bench"
state_dir = "{folder}/state"
socket = "{folder}/control.sock"
[[bus]]
name = "can0"
interface = "virtual"
channel = "bench-returned"
[presence]
period_ms = {PERIOD_MS}
online_after_frames = {CERTAIN}
flap_changes = 1000
settle_ms = 0
settle_jitter_ms = 0
[queue]
requests_per_minute = 1000000
{components}
"""


def _scenario(rng: random.Random) -> str:
    steps = []
    for number in range(ROUNDS):
        began = FIRST_ROUND_S + number * ROUND_S
        for node in range(NODES):
            for after, deed in ((SILENT_S, "silent"), (BACK_S, "return")):
                at = began + after + rng.random() * (SPREAD_S if deed == "return" else 0.1)
                steps.append(f'[[step]]\nat = {at:.3f}\ncomponent = "module-{node:02}"\ndo = "{deed}"\n')
    return "".join(steps)


async def _queue(folder: Path) -> None:
    """Queue a command for everybody in each round, while all are away."""
    loop, caller = asyncio.get_running_loop(), SocketCaller(folder / "control.sock")
    began = loop.time()
    while True:
        with suppress(NobodyAnswers):
            await caller.call("get_params", {}, 1.0)
            break
        await asyncio.sleep(0.05)
    for number in range(ROUNDS):
        away = began + FIRST_ROUND_S + number * ROUND_S + (SILENT_S + GONE_S + BACK_S) / 2
        await asyncio.sleep(away - loop.time())
        for node in range(NODES):
            fields = {"command_type": "clear_events", "target_component": f"module-{node:02}"}
            reply = await caller.call("queue_command", fields, 10.0)
            assert reply["ok"], reply
    await asyncio.sleep(began + FIRST_ROUND_S + ROUNDS * ROUND_S - loop.time())


def _sync_ms(file: int) -> float:
    began = time.perf_counter()
    os.pwrite(file, bytes(4096), 0)
    os.fdatasync(file)
    return (time.perf_counter() - began) * 1000


async def _bare_syncs(folder: Path, took: list[float]) -> None:
    """The peer: one page written and synced on the same disk now and then. A return waits for three syncs in a row."""
    file = os.open(folder / "bare", os.O_RDWR | os.O_CREAT)
    try:
        while True:
            took.append(await asyncio.to_thread(_sync_ms, file))
            await asyncio.sleep(BARE_EVERY_S)
    finally:
        os.close(file)


async def _run(folder: Path, bare: list[float]) -> None:
    config, scenario = folder / "gateway.toml", folder / "scenario.toml"
    config.write_text(_config(folder))
    scenario.write_text(_scenario(random.Random(3)))
    gateway = daemon.run(load(config, {}), scenario=scenario)
    running = [asyncio.create_task(each) for each in (gateway, _bare_syncs(folder, bare))]
    try:
        await _queue(folder)
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)


def _taken_ms(seen: Iterable[can.Message]) -> Iterator[float]:
    """Yield, for every return, the time from its certain heartbeat to the first frame of a command."""
    codecs = load_codecs()
    heartbeat, command = codecs["HB_MODULE"], codecs["CMD_REQ"]
    beats: dict[int, list[float]] = {}  # since it is back, by node
    for message in seen:
        can_id = message.arbitration_id | EXTENDED
        if can_id == heartbeat.id_for(node := heartbeat.node_of(can_id)):
            here = beats.setdefault(node, [])
            if here and message.timestamp - here[-1] > GONE_S:
                here.clear()
            here.append(message.timestamp)
        elif can_id == command.id_for(node := command.node_of(can_id)):
            yield (message.timestamp - beats[node][CERTAIN - 1]) * 1000


def main() -> None:
    bare: list[float] = []
    with tempfile.TemporaryDirectory(dir=".") as name, can.Bus("bench-returned", interface="virtual") as observer:
        asyncio.run(_run(Path(name).absolute(), bare))
        taken = list(_taken_ms(iter(lambda: observer.recv(0), None)))
    assert len(taken) == NODES * ROUNDS, f"{len(taken)} commands for {NODES * ROUNDS} returns"
    ours, peer = quantiles(taken, n=100), quantiles(bare, n=100)
    row("return to the first queued frame, p50", f"{ours[49]:.1f} ms", f"bare sync of the disk, p50 {peer[49]:.1f} ms")
    row("the same, p99", f"{ours[98]:.1f} ms", f"that sync, p99 {peer[98]:.1f} ms")
    row("the same, p99", f"{ours[98]:.1f} ms", f"limit {LIMIT_MS:g} ms", met=ours[98] <= LIMIT_MS)


if __name__ == "__main__":
    main()
