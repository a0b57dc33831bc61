"""What the story needs to happen: files in a folder, an embedded broker, the real daemon with a simulated bus in it."""

import asyncio
import logging
import os
import secrets
import socket
import sys
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.bus.simulator.journal import read_journal
from gateway.cli.demo.story import ABSENT, COMPONENTS, LEAD, PACK, TECHNICIAN, DeedKey
from gateway.settings import ENV_PREFIX

GATEWAY_ID: Final = "demo"
HOST: Final = "127.0.0.1"
PERIOD_MS: Final = 500  # of every heartbeat; silence counts after 3.5 of them
STOP_WITHIN_S: Final = 10.0
TAIL_LINES: Final = 20

_CONFIG: Final = """\
[gateway]
id = "{gateway_id}"
state_dir = "state"
socket = "control.sock"

[[bus]]
name = "can0"
interface = "virtual"
channel = "demo"

{components}
[presence]
period_ms = {period_ms}

[sync]
broker = "mqtt://{host}:{port}"
protocol = "3.1.1"
encoding = "json"

[access]
file = "access.toml"
"""
_COMPONENT: Final = """\
[[component]]
id = "{id}"
kind = "{kind}"
bus = "can0"
node = {node:#04x}
owner = "fleet"
{more}
"""
_ACCESS: Final = f"""\
[actors.{TECHNICIAN}]
role = "technician"
components = ["{ABSENT}"]

[actors.{LEAD}]
role = "operator"
"""
_SCENARIO: Final = """\
[[step]]
at = {silent_at_s}
component = "{absent}"
do = "silent"

[[step]]
at = {back_at_s}
component = "{absent}"
do = "return"
"""


@dataclass(frozen=True, slots=True)
class Timetable:
    """When the simulated module goes and comes back, in s after the start of the daemon's bus."""

    silent_at_s: float
    back_at_s: float

    @classmethod
    def of(cls, seconds: float) -> "Timetable":
        """Return the timetable of a story of about so many seconds: the end needs 5 s, whatever the length."""
        return cls(silent_at_s=max(3.0, 0.15 * seconds), back_at_s=max(10.0, seconds - 6.0))

    @property
    def pause_s(self) -> float:
        """How long people take between two requests; all come while the module is away, with time to spare."""
        away_s = self.back_at_s - self.silent_at_s - 4.0
        return min(4.0, 0.6 * away_s / 6)


class Stage:
    """A folder that holds everything of one run of the demo."""

    def __init__(self, folder: Path, port: int, timetable: Timetable) -> None:
        self.port = port
        self._folder = folder
        self._log = folder / "daemon.log"
        self._write(timetable)

    def _write(self, timetable: Timetable) -> None:
        (self._folder / "state").mkdir()
        (self._folder / "module.key").write_bytes(secrets.token_bytes(16))
        (self._folder / "access.toml").write_text(_ACCESS)
        scenario = _SCENARIO.format(silent_at_s=timetable.silent_at_s, back_at_s=timetable.back_at_s, absent=ABSENT)
        (self._folder / "scenario.toml").write_text(scenario)
        config = _CONFIG.format(
            gateway_id=GATEWAY_ID, components=_components(), period_ms=PERIOD_MS, host=HOST, port=self.port
        )
        (self._folder / "gateway.toml").write_text(config)

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run the daemon as anybody would; on leaving, stop it, kindly first."""
        words = [
            "run",
            "--config",
            str(self._folder / "gateway.toml"),
            "--simulate",
            str(self._folder / "scenario.toml"),
        ]
        ours = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
        ours.pop("JOURNAL_STREAM", None)
        with self._log.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gateway",
                *words,
                stdout=log,
                stderr=log,
                stdin=asyncio.subprocess.DEVNULL,
                env=ours,
            )
        try:
            yield process
        finally:
            await stop(process)

    def log_tail(self) -> str:
        """Return the last lines the daemon has logged."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines() if self._log.exists() else []
        return "\n".join(lines[-TAIL_LINES:])

    def deeds(self) -> list[DeedKey]:
        """Return what the absent module notes of what it did, in order, each as often as it did it."""
        file = self._folder / "state" / "journal.jsonl"
        deeds = read_journal(file) if file.exists() else []
        return [
            (deed.kind, deed.opcode, deed.arg0) for deed in deeds if deed.component_id == ABSENT and not deed.repeat
        ]


async def stop(process: asyncio.subprocess.Process) -> int:
    """End a process, by force if it does not listen; return its exit code."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_WITHIN_S):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()


def _components() -> str:
    tables = []
    for n, component_id in enumerate(COMPONENTS):
        more = "" if component_id == PACK else f'parent = "{PACK}"'
        if component_id == ABSENT:
            more += '\nkey_file = "module.key"'  # its pairing is proved, not believed
        kind, node = ("PACK", 0x12) if component_id == PACK else ("MODULE", 0xA0 + n)
        tables.append(_COMPONENT.format(id=component_id, kind=kind, node=node, more=more))
    return "\n".join(tables)


def free_port() -> int:
    """Return a TCP port of this machine that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def embedded_broker(port: int) -> AsyncIterator[None]:
    """Run an MQTT broker within this process. Raises ImportError where amqtt is not installed."""
    for name in ("amqtt", "transitions", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # it logs every connection, and tells of every lost one
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of its own configuration
        from amqtt.broker import Broker  # noqa: PLC0415 - an extra: only the demo needs it

        broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        await broker.start()
    try:
        yield
    finally:
        async with asyncio.timeout(STOP_WITHIN_S):
            await broker.shutdown()
