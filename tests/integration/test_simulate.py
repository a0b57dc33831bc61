"""`simulate`: packs and modules as a process of their own, on a bus that processes share."""

import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import can
import pytest
from can_remote.server import RemoteServer
from click.testing import CliRunner

from gateway.bus.frames import load_codecs
from gateway.cli import cli, logs

CONFIG = """
[gateway]
id = "gw-test"
state_dir = "state"

[[bus]]
name = "can0"
interface = "remote"
channel = "ws://127.0.0.1:{port}/"

[[bus]]
name = "inner"
interface = "virtual"

[[component]]
id = "pack-01"
kind = "PACK"
bus = "can0"
node = 0x12
owner = "fleet-north"
serial = "0x0012000000000001"

[presence]
period_ms = 200
"""
FIRMWARE_ID = 0x08
WITHIN_S = 30.0


class QuietServer(RemoteServer):  # type: ignore[misc] # it has no types
    """Says nothing of clients that leave without a word."""

    daemon_threads = True

    def handle_error(self, request, client_address) -> None:
        pass


@contextmanager
def shared_bus() -> Iterator[tuple[int, can.BusABC]]:
    """A bus that other processes reach over loopback: its port, and our own end of it."""
    channel = f"test-{uuid.uuid4()}"
    with can.Bus(interface="virtual", channel=channel) as ours:
        server = QuietServer("127.0.0.1", 0, channel=channel, interface="virtual")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port, ours
        finally:
            server.shutdown()
            server.server_close()


def heard(bus: can.BusABC, can_id: int) -> bytes:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        message = bus.recv(1)
        if message is not None and message.arbitration_id == can_id:
            return bytes(message.data)
    pytest.fail(f"{can_id:08X} was not heard")


def written(folder: Path, port: int = 1, scenario: str = "") -> list[str]:
    (folder / "gateway.toml").write_text(CONFIG.format(port=port))
    (folder / "scenario.toml").write_text(scenario)
    return ["simulate", "--config", str(folder / "gateway.toml"), "--scenario", str(folder / "scenario.toml")]


def test_a_process_of_its_own_beats_answers_and_keeps_what_it_was_told(tmp_path: Path) -> None:
    codecs = load_codecs()
    with shared_bus() as (port, bus):
        words = [*written(tmp_path, port), "--journal", str(tmp_path / "journal.jsonl")]
        process = subprocess.Popen([sys.executable, "-m", "gateway", *words], stdout=subprocess.PIPE, text=True)
        try:
            beat = heard(bus, 0x18FF1012)
            assert codecs["HB_PACK"].is_valid(0x12, beat)
            values = {"CmdFlags": 0, "CmdSeq": 7, "Opcode": FIRMWARE_ID, "Arg0": 0, "Arg1": 0}
            request = codecs["CMD_REQ"].encode(0x12, 0, values)
            bus.send(can.Message(arbitration_id=0x0DEF12FB, data=request))
            answer = codecs["CMD_RSP"].decode(heard(bus, 0x19EFFB12))
            assert (answer["CmdSeq"], answer["CmdStatus"]) == (7, 0)
        finally:
            process.send_signal(signal.SIGTERM)
            told, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0
    assert told == "1 requests carried out\n"
    (line,) = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert (json.loads(line)["component_id"], json.loads(line)["opcode"]) == ("pack-01", FIRMWARE_ID)


def test_it_ends_after_the_seconds_it_was_given(tmp_path: Path) -> None:
    with shared_bus() as (port, _):
        words = [*written(tmp_path, port), "--bus", "can0", "--seconds", "0.2"]
        ran = subprocess.run([sys.executable, "-m", "gateway", *words], capture_output=True, timeout=60, check=False)
    assert ran.returncode == 0


@pytest.mark.parametrize(
    ("more", "scenario", "problem"),
    [
        (["--bus", "can9"], "", "there is no bus can9"),
        (["--bus", "inner"], "", "bus inner: nobody outside this process hears a virtual bus; use: run --simulate"),
        ([], '[[node]]\ncomponent = "x"\nbus = "y"\naddress = 1\nkind = "PACK"\n', "no node on a configured bus"),
        ([], "[[stop]]\n", "stop"),
    ],
)
def test_what_cannot_be_simulated_ends_with_78(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], scenario: str, problem: str
) -> None:
    monkeypatch.setattr(logs, "configure", lambda settings: None)  # the log of this process is pytest's
    result = CliRunner().invoke(cli, [*written(tmp_path, scenario=scenario), *more])
    assert result.exit_code == 78
    assert problem in result.stderr
