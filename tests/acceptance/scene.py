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
from typing import Any

from gateway.bus.simulator.journal import Journal
from gateway.bus.simulator.scenario import load_scenario
from gateway.bus.simulator.trouble import Override
from gateway.settings import load
from gateway.sync.caller import NobodyAnswers, SocketCaller
from tests.acceptance.devices import Devices
from tests.integration.broker import Mosquitto, free_port
from tests.integration.watcher import Watcher

GATEWAY = "gw-test"
ME = pwd.getpwuid(os.getuid()).pw_name
START_WITHIN_S = 60.0  # a machine that is busy with other tests is slow
MODULES = {f"module-{n:02d}": 0xA0 + n for n in range(1, 5)}


@dataclass(frozen=True)
class Fleet:
    """Which components there are on which buses. `extra`: further lines of a component's section."""

    buses: tuple[str, ...]
    components: tuple[tuple[str, str, str, int, str], ...]  # id, kind, bus, node, extra

    def config(self, folder: Path, can_ports: Mapping[str, int], sync: str, period_ms: int, more: str) -> str:
        """Return the configuration of their gateway. `sync`: the lines of [sync]; `more`: of [queue], then sections."""
        buses = "".join(
            f'[[bus]]\nname = "{bus}"\ninterface = "remote"\nchannel = "ws://127.0.0.1:{can_ports[bus]}/"\n'
            for bus in self.buses
        )
        sections = "".join(
            f'[[component]]\nid = "{name}"\nkind = "{kind}"\nbus = "{bus}"\nnode = {node}\nowner = "{ME}"\n{extra}\n'
            for name, kind, bus, node, extra in self.components
        )
        return f"""
[gateway]
id = "{GATEWAY}"
state_dir = "{folder}/state"
socket = "{folder}/control.sock"
{buses}{sections}
[presence]
period_ms = {period_ms}
settle_ms = 100
settle_jitter_ms = 50
[sync]
{sync}
[queue]
requests_per_minute = 1000000
{more}
"""


FAMILY = Fleet(
    ("can0",),
    (
        ("pack-01", "PACK", "can0", 0x12, ""),
        *((name, "MODULE", "can0", node, 'parent = "pack-01"') for name, node in MODULES.items()),
    ),
)


class CanServer:
    """A bus that processes share: python-can-remote over a virtual bus, on loopback."""

    def __init__(self, log_file: Path) -> None:
        self.port = free_port()
        line = [sys.executable, "-m", "can_remote", "-H", "127.0.0.1", "-p", str(self.port), "-i", "virtual", "-c", "x"]
        with log_file.open("wb") as log:
            self._process = subprocess.Popen(line, stdout=log, stderr=log)
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise RuntimeError(log_file.read_text())

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)


@dataclass
class Daemon:
    """The daemon as a process of its own: started, stalled, killed."""

    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    measured: bool = False
    process: subprocess.Popen[bytes] | None = None
    caller: SocketCaller = field(init=False)

    def __post_init__(self) -> None:
        self.caller = SocketCaller(self.folder / "control.sock")

    async def start(self) -> None:
        line = [sys.executable, "-m", "gateway", "run", "--config", str(self.folder / "gateway.toml")]
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(line, stdout=log, stderr=log, env={**self._ours(), **self.environ})
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline:
            with suppress(NobodyAnswers):
                await self.caller.call("get_params", {}, 1.0)
                return
            assert self.process.poll() is None, self.log()
            await asyncio.sleep(0.02)
        raise AssertionError(self.log())

    def _ours(self) -> dict[str, str]:
        return {k: v for k, v in os.environ.items() if self.measured or not k.startswith("COVERAGE_")}

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
    devices: Devices
    watcher: Watcher

    @property
    def journal(self) -> Journal:
        return self.devices.journal

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

    async def until(self, holds: Callable[[], Any], within_s: float = 60.0) -> Any:
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
        self.do(component_id, "silent")
        await self.until(lambda: self.presence(component_id).get("presence") == "OFFLINE")

    def back(self, component_id: str) -> None:
        self.do(component_id, "return")

    def do(self, component_id: str, deed: str | Override) -> None:
        """Make a device do something: a word of the simulator's, or an answer to give."""
        self.devices.do(component_id, deed)

    async def until_ended(self, request_ids: set[str], within_s: float = 90.0) -> Counter[str]:
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


@asynccontextmanager
async def scene(
    folder: Path,
    *,
    fleet: Fleet = FAMILY,
    period_ms: int = 200,
    more: str = "",
    scenario: str = "",
    environ: Mapping[str, str] | None = None,
    measured: bool = False,
    broker: Mosquitto | None = None,
    sync: str = 'encoding = "json"',
) -> AsyncIterator[Scene]:
    """Set a scene up in `folder` and clear it away.

    `more`: further lines of [queue], then further sections of the configuration. `scenario`: of the devices; empty: all
    that are configured. `environ`: what the daemon finds in its environment beside ours. `measured`: whether coverage
    is taken of the daemon too; it makes it half as fast, and a killed one keeps nothing of it. `broker`: one that is
    set up otherwise than ours; its `url` is the gateway's way there. `sync`: further lines of [sync].
    """
    broker = (broker or Mosquitto(folder / "broker")).start()
    cans = {bus: CanServer(folder / f"{bus}.log") for bus in fleet.buses}
    config = folder / "gateway.toml"
    ports = {bus: can.port for bus, can in cans.items()}
    config.write_text(fleet.config(folder, ports, f'broker = "{broker.url}"\n{sync}', period_ms, more))
    settings = load(config, {})
    script = folder / "scenario.toml"
    script.write_text(scenario)
    daemon = Daemon(folder, environ or {}, measured)
    try:
        with (
            Devices(load_scenario(script, settings), settings.bus, folder / "journal.jsonl") as devices,
            Watcher(broker.port, client_id="backend", clean=False) as watcher,
        ):
            await daemon.start()
            yield Scene(broker, daemon, devices, watcher)
    finally:
        daemon.kill()
        for can in cans.values():
            can.stop()
        broker.stop()
