"""The gateway under its unit on the throw-away host, its simulated devices, its subscriber, and ways to ask it."""

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from gateway.bus.simulator.journal import Deed, read_journal
from gateway.sync.caller import SocketCaller

T = TypeVar("T")
COMMAND: Final = "/opt/bms-gateway/bin/bms-gateway"
CONFIG: Final = Path("/etc/bms-gateway/gateway.toml")
DATABASE: Final = Path("/var/lib/bms-gateway/gateway.db")
SOCKET: Final = Path("/run/bms-gateway/control.sock")
UNIT: Final = "bms-gateway.service"
GROUP: Final = "bms-gateway"
TECHNICIAN: Final = "anna"  # a user of the host, in the group of the socket
WITHIN_S: Final = 60.0  # the guest shares one slow processor among everything
NODES: Final = {"pack-01": 0x12, "module-01": 0xA1, "module-02": 0xA2, "module-03": 0xA3}
MODULES: Final = tuple(name for name in NODES if name.startswith("module"))

CONFIGURATION: Final = """
[gateway]
id = "gw-host"
socket_group = "bms-gateway"

[[bus]]
name = "can0"
interface = "socketcan"
channel = "vcan0"

[presence]
period_ms = 500
settle_ms = 100

[queue]
safety_commands = ["contactor_close"]
requests_per_minute = 1000000
max_requests_per_component = 10000

[sync]
broker = "mqtt://127.0.0.1:1883"
encoding = "json"
"""

COMPONENT: Final = """
[[component]]
id = "{id}"
kind = "{kind}"
bus = "can0"
node = {node}
owner = "anna"
"""


def configure() -> None:
    """Put the configuration where the service reads it, and nobody else."""
    kinds = {name: name.partition("-")[0].upper() for name in NODES}
    components = (COMPONENT.format(id=name, kind=kinds[name], node=node) for name, node in NODES.items())
    CONFIG.write_text(CONFIGURATION + "".join(components))
    run("chgrp", GROUP, str(CONFIG))
    CONFIG.chmod(0o640)


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def show(name: str) -> str:
    """Return a property of the unit."""
    return run("systemctl", "show", "--value", "--property", name, UNIT).strip()


def command(*words: str, user: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Run the command line: as root, or as a user in the group of the socket."""
    groups: list[str | int] | None = [GROUP] if user else None
    return subprocess.run(
        [COMMAND, "--json", *words],
        check=False,
        capture_output=True,
        text=True,
        user=user,
        group=user,
        extra_groups=groups,
    )


def told_by(done: "subprocess.CompletedProcess[str]") -> Any:
    """Return what a command printed; it must have succeeded."""
    assert done.returncode == 0, f"{done.args}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def ask(request: str, **fields: Any) -> Any:
    """Ask as root, over the socket, without the second or two that the command line takes to start in the guest."""
    reply = asyncio.run(SocketCaller(SOCKET).call(request, fields, WITHIN_S))
    assert reply["ok"], reply
    return reply["result"]


def with_status(status: str, component: str) -> set[str]:
    found = ask("get_queued_requests", component_id=component, status_filter=status)
    return {request["request_id"] for request in found["requests"]}


def until(told: Callable[[], T | None], what: str) -> T:
    """Wait until `told` returns something; return it."""
    ends = time.monotonic() + WITHIN_S
    while time.monotonic() < ends:
        if found := told():
            return found
        time.sleep(0.1)
    pytest.fail(f"{what} did not happen within {WITHIN_S:.0f} s")


class Devices:
    """Simulated components as one process: on the bus while it runs, silent otherwise. Their journal stays."""

    def __init__(self, folder: Path, *components: str) -> None:
        self._journal = folder / f"{components[0]}.jsonl"
        self._scenario = folder / f"{components[0]}.toml"
        self._scenario.write_text("".join(f'[[node]]\ncomponent = "{component}"\n' for component in components))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["--scenario", self._scenario, "--config", CONFIG, "--journal", self._journal]
        self._process = subprocess.Popen([COMMAND, "simulate", *map(str, words)])

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(WITHIN_S)
            self._process = None

    def signal(self, what: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(what)

    def deeds(self, component: str, kind: str) -> list[Deed]:
        """What a component carried out; what it only answered again is left out."""
        if not self._journal.exists():
            return []
        wanted = component, kind, False
        return [deed for deed in read_journal(self._journal) if (deed.component_id, deed.kind, deed.repeat) == wanted]


class Upstream:
    """What a subscriber at the broker has heard."""

    def __init__(self, file: Path) -> None:
        self._file = file
        words = ["mosquitto_sub", "-v", "-q", "1", "-t", "bms/v1/gw-host/#"]
        with file.open("wb") as output:
            self._process = subprocess.Popen(words, stdout=output)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def messages(self, topic: str) -> list[dict[str, Any]]:
        """What came on a topic, or (with # at its end) below it. A line that is being written is left out."""
        prefix = f"bms/v1/gw-host/{topic.removesuffix('#')}" + " " * (not topic.endswith("#"))
        lines = self._file.read_text().splitlines(keepends=True)
        whole = (line for line in lines if line.startswith(prefix) and line.endswith("\n"))
        return [json.loads(line.split(" ", 1)[1]) for line in whole]

    def presence(self, component: str) -> list[dict[str, Any]]:
        return self.messages(f"components/{component}/presence")

    def await_presence(self, component: str, presence: str) -> dict[str, Any]:
        def last() -> dict[str, Any] | None:
            told = self.presence(component)
            return told[-1] if told and told[-1]["presence"] == presence else None

        return until(last, f"{component} {presence}")

    def events(self) -> list[dict[str, Any]]:
        return self.messages("events/#")


class Host:
    """The gateway, its devices and its subscriber."""

    def __init__(self, folder: Path) -> None:
        steady = Devices(folder, "pack-01", "module-03")
        fickle = {name: Devices(folder, name) for name in ("module-01", "module-02")}
        self.devices = {"pack-01": steady, "module-03": steady, **fickle}
        self.upstream = Upstream(folder / "mqtt.log")

    def start_devices(self) -> None:
        for devices in set(self.devices.values()):
            devices.start()

    def stop_devices(self) -> None:
        for devices in set(self.devices.values()):
            devices.stop()

    def signal_devices(self, what: signal.Signals) -> None:
        for devices in set(self.devices.values()):
            devices.signal(what)

    def deeds(self, component: str, kind: str) -> list[Deed]:
        return self.devices[component].deeds(component, kind)

    def main_pid(self) -> int:
        return int(show("MainPID"))

    def restarts(self) -> int:
        return int(show("NRestarts"))

    def await_restart(self, before: int) -> None:
        until(lambda: self.restarts() > before, "a restart by systemd")
        until(lambda: show("ActiveState") == "active", "READY=1")
