"""A whole gateway to try things on: real daemon process, real broker, simulated devices that outlive them both.

The bus is python-can-remote on loopback: the devices live in the test's own process, so that their journal and their
troubles are at hand and a killed daemon does not take them along.
"""

import asyncio
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from gateway.bus.link import Link
from gateway.bus.simulator.journal import Journal
from gateway.bus.simulator.runner import Simulator
from gateway.bus.simulator.scenario import load_scenario
from gateway.clock import SystemClock
from gateway.settings import load
from gateway.sync.caller import NobodyAnswers, SocketCaller
from tests.integration.broker import Mosquitto, free_port
from tests.integration.watcher import Watcher

GATEWAY = "gw-test"
ME = pwd.getpwuid(os.getuid()).pw_name
START_WITHIN_S = 15.0
MODULES = {f"module-{n:02d}": 0xA0 + n for n in range(1, 5)}


def config_text(folder: Path, can_port: int, broker: str, period_ms: int, more: str) -> str:
    components = [("pack-01", "PACK", 0x12, "")] + [
        (name, "MODULE", node, 'parent = "pack-01"') for name, node in MODULES.items()
    ]
    sections = [
        f'[[component]]\nid = "{name}"\nkind = "{kind}"\nbus = "can0"\nnode = {node}\nowner = "{ME}"\n{extra}\n'
        for name, kind, node, extra in components
    ]
    return f"""
[gateway]
id = "{GATEWAY}"
state_dir = "{folder}/state"
socket = "{folder}/control.sock"
[[bus]]
name = "can0"
interface = "remote"
channel = "ws://127.0.0.1:{can_port}/"
{"".join(sections)}
[presence]
period_ms = {period_ms}
settle_ms = 100
settle_jitter_ms = 50
[sync]
broker = "{broker}"
encoding = "json"
{more}
"""


class CanServer:
    """A bus that processes share: python-can-remote over a virtual bus, on loopback."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        line = [sys.executable, "-m", "can_remote", "-H", "127.0.0.1", "-p", str(self.port), "-i", "virtual", "-c", "x"]
        with (folder / "can.log").open("wb") as log:
            self._process = subprocess.Popen(line, stdout=log, stderr=log)
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise RuntimeError((folder / "can.log").read_text())

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)


@dataclass
class Daemon:
    """The daemon as a process of its own: started, stalled, killed."""

    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    caller: SocketCaller = field(init=False)

    def __post_init__(self) -> None:
        self.caller = SocketCaller(self.folder / "control.sock")

    async def start(self) -> None:
        line = [sys.executable, "-m", "gateway", "run", "--config", str(self.folder / "gateway.toml")]
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(line, stdout=log, stderr=log, env={**os.environ, **self.environ})
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline:
            with suppress(NobodyAnswers):
                await self.caller.call("get_params", {}, 1.0)
                return
            assert self.process.poll() is None, self.log()
            await asyncio.sleep(0.02)
        raise AssertionError(self.log())

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def _end(self, how: int) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(signal.SIGCONT)
        process.send_signal(how)
        return process.wait(15)

    async def stall(self, seconds: float) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        return (self.folder / "daemon.log").read_text()


@dataclass
class Scene:
    """Everything together, and short ways to ask and to look."""

    broker: Mosquitto
    daemon: Daemon
    simulator: Simulator
    watcher: Watcher

    async def ask(self, request: str, **fields: Any) -> dict[str, Any]:
        reply = await self.daemon.caller.call(request, fields, 20.0)
        assert reply["ok"], reply
        result: dict[str, Any] = reply["result"]
        return result

    async def pair(self, target: str, **fields: Any) -> str:
        told = await self.ask("queue_pairing_request", initiator_component="pack-01", target_component=target, **fields)
        return str(told["request"]["request_id"])

    async def write(self, target: str, value: int, **fields: Any) -> str:
        """Queue a command that the journal shows by its value."""
        told = await self.ask(
            "queue_command",
            command_type="write_parameter",
            target_component=target,
            arguments={"id": 1, "value": value},
            **fields,
        )
        return str(told["request"]["request_id"])

    async def until(self, holds: Callable[[], Any], within_s: float = 20.0) -> Any:
        return await self.watcher.until(holds, within_s)

    def events(self, kind: str = "", subject: str = "") -> list[Mapping[str, Any]]:
        """Return the events seen upstream, without those that came again, in the order they came first."""
        first: dict[int, Mapping[str, Any]] = {}
        for payload in self.watcher.on("/events/"):
            first.setdefault(payload["seq"], payload)
        return [
            event
            for event in first.values()
            if (not kind or event["type"] == kind) and (not subject or event["subject"] == subject)
        ]

    def presence(self, component_id: str) -> Mapping[str, Any]:
        """Return what the retained topic said last."""
        return (self.watcher.on(f"/components/{component_id}/presence") or [{}])[-1]

    async def until_online(self, *names: str) -> None:
        wanted = names or ("pack-01", *MODULES)
        await self.until(lambda: all(self.presence(name).get("presence") == "ONLINE" for name in wanted))

    async def until_known(self) -> None:
        """Wait until everybody is online and has told its serial number, so that nothing is under way."""
        await self.until_online()
        while any(told["serial"] is None for told in (await self.ask("get_presence"))["components"]):
            await asyncio.sleep(0.05)

    async def away(self, component_id: str) -> None:
        self.simulator.do(component_id, _do("silent"))
        await self.until(lambda: self.presence(component_id).get("presence") == "OFFLINE")

    def back(self, component_id: str) -> None:
        self.simulator.do(component_id, _do("return"))

    def do(self, component_id: str, deed: str) -> None:
        self.simulator.do(component_id, _do(deed))

    async def until_ended(self, request_ids: set[str], within_s: float = 60.0) -> Counter[str]:
        """Wait until each has ended; return how often each ending was told upstream."""
        endings = {"request_completed", "request_failed", "request_expired", "request_cancelled", "request_abandoned"}

        def ended() -> dict[str, str]:
            told = (event for event in self.events() if event["type"] in endings)
            return {event["attributes"]["request_id"]: event["type"] for event in told}

        await self.until(lambda: request_ids <= ended().keys(), within_s)
        return Counter(kind for request_id, kind in ended().items() if request_id in request_ids)

    def assert_gap_free(self) -> None:
        """Check that events came in the order of seq, none missing, from the first on."""
        seqs = [event["seq"] for event in self.events()]
        assert seqs == list(range(1, len(seqs) + 1))


def _do(deed: str) -> Any:
    from gateway.bus.simulator.scenario import Do

    return Do(deed)


@asynccontextmanager
async def scene(
    folder: Path, *, period_ms: int = 200, more: str = "", scenario: str = "", environ: Mapping[str, str] | None = None
) -> AsyncIterator[Scene]:
    """Set a scene up in `folder` and clear it away.

    `more`: further lines of the configuration. `scenario`: of the devices; empty: all that are configured. `environ`:
    what the daemon finds in its environment beside ours.
    """
    broker = Mosquitto(folder / "broker").start()
    can = CanServer(folder)
    config = folder / "gateway.toml"
    config.write_text(config_text(folder, can.port, broker.url, period_ms, more))
    settings, clock = load(config, {}), SystemClock()
    link = Link("can0", settings.bus[0], clock, Random(1))
    script = folder / "scenario.toml"
    script.write_text(scenario)
    journal = Journal(clock, folder / "journal.jsonl")
    simulator = Simulator(scenario=load_scenario(script, settings), wire=link, clock=clock, journal=journal)
    daemon = Daemon(folder, environ or {})
    devices = [asyncio.create_task(link.run()), asyncio.create_task(simulator.run())]
    try:
        with Watcher(broker.port, client_id="backend", clean=False) as watcher:
            await daemon.start()
            yield Scene(broker, daemon, simulator, watcher)
    finally:
        daemon.kill()
        for task in devices:
            task.cancel()
        await asyncio.gather(*devices, return_exceptions=True)
        journal.close()
        can.stop()
        broker.stop()
