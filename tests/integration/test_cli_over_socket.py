"""The command line against a real daemon, over its control socket and over a real broker."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import cli
from tests.integration.broker import Mosquitto

CONFIG = """
[gateway]
id = "gw-test"
state_dir = "state"
socket = "control.sock"

[[bus]]
name = "can0"
interface = "virtual"
channel = "{channel}"

[[component]]
id = "pack-01"
kind = "PACK"
bus = "can0"
node = 0x12
owner = "fleet-north"

[[component]]
id = "module-01"
kind = "MODULE"
bus = "can0"
node = 0xA1
parent = "pack-01"
owner = "fleet-north"

[[component]]
id = "module-03"
kind = "MODULE"
bus = "can0"
node = 0xA3
parent = "pack-01"
owner = "fleet-north"

[presence]
period_ms = 200
settle_ms = 0
settle_jitter_ms = 0

[queue]
requests_per_minute = 100000

[sync]
broker = "{broker}"

[access]
file = "access.toml"
"""
ACCESS = '[actors.tech-anna]\nrole = "technician"\ncomponents = ["module-01"]\n'

SCENARIO = '[[node]]\ncomponent = "pack-01"\n\n[[node]]\ncomponent = "module-01"\n'  # module-03 is never there
UP_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    mosquitto = Mosquitto(tmp_path_factory.mktemp("broker")).start()
    yield mosquitto
    mosquitto.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, broker: Mosquitto) -> Path:
    made = tmp_path_factory.mktemp("gw")
    (made / "state").mkdir()
    (made / "gateway.toml").write_text(CONFIG.format(channel=made.name, broker=broker.url))
    (made / "access.toml").write_text(ACCESS)
    (made / "scenario.toml").write_text(SCENARIO)
    return made


@pytest.fixture(scope="module")
def socket(folder: Path) -> Iterator[Path]:
    """A daemon that is connected upstream, and whose pack-01 and module-01 are online."""
    words = ["run", "--config", str(folder / "gateway.toml"), "--simulate", str(folder / "scenario.toml")]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen([sys.executable, "-m", "gateway", *words], stdout=log, stderr=log)
    try:
        wait_until_up(folder, daemon)
        yield folder / "control.sock"
    finally:
        daemon.terminate()
        code = daemon.wait(timeout=30)
    assert code == 0, (folder / "log").read_text()


def wait_until_up(folder: Path, daemon: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + UP_WITHIN_S
    while time.monotonic() < deadline:
        assert daemon.poll() is None, (folder / "log").read_text()
        result = ask(folder / "control.sock", "status", "--json")
        if result.exit_code == 0:
            status = json.loads(result.stdout)
            there = {each["component_id"] for each in status["components"] if each["ready"]}
            if there == {"pack-01", "module-01"} and status["upstream"]["connected"]:
                return
        time.sleep(0.1)
    pytest.fail((folder / "log").read_text())


def ask(socket: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--socket", str(socket), *words])


def answer(socket: Path, *words: str) -> Any:
    result = ask(socket, *words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_status_and_components_tell_who_is_there(socket: Path) -> None:
    shown = ask(socket, "status").stdout
    assert "healthy" in shown
    assert "connected" in shown
    lines = {line.split()[0]: line for line in shown.splitlines() if line.startswith(("pack", "module"))}
    assert "ONLINE" in lines["pack-01"]
    assert "can0:0xA1" in lines["module-01"]
    assert "UNKNOWN" in lines["module-03"]


def test_a_command_for_one_who_is_there_is_carried_out(socket: Path) -> None:
    done = answer(socket, "command", "write_parameter", "module-01", "id=16", "value=4180", "--wait")
    assert done["request"]["status"] == "COMPLETED"
    read = answer(socket, "command", "read_parameter", "module-01", "id=0x10", "--wait")
    assert read["request"]["result"]["data"] == 4180


def test_a_pairing_of_two_who_are_there_is_carried_out(socket: Path) -> None:
    result = ask(socket, "pair", "pack-01", "module-01", "--priority", "HIGH", "--title", "bay 4", "--wait")
    assert result.exit_code == 0, result.stderr
    assert "COMPLETED" in result.stdout
    assert "bay 4" in result.stdout


def test_what_waits_for_an_absent_one_is_listed_in_order_and_can_be_cancelled(socket: Path) -> None:
    low = answer(socket, "command", "identify", "module-03", "--priority", "LOW")["request"]["request_id"]
    high = answer(socket, "command", "identify", "module-03", "--priority", "HIGH")["request"]["request_id"]
    queue = answer(socket, "queue", "module-03")
    assert [request["request_id"] for request in queue["requests"]] == [high, low]
    assert queue["queue_status"]["priority_queue_size"] == 1
    assert answer(socket, "request-status", low)["queue_position"] == 2
    assert ask(socket, "drain", "module-03").stderr.startswith("COMPONENT_OFFLINE: ")
    cancelled = [answer(socket, "cancel", each, "--reason", "not needed")["request"]["status"] for each in (low, high)]
    assert cancelled == ["CANCELLED", "CANCELLED"]
    assert ask(socket, "queue", "module-03").stdout.startswith("Nothing is waiting.")
    ended = answer(socket, "queue", "module-03", "--status", "CANCELLED", "--limit", "1")
    assert len(ended["requests"]) == 1


def test_show_tells_a_component_and_its_queue(socket: Path) -> None:
    shown = ask(socket, "show", "module-01").stdout
    assert "fleet-north" in shown
    assert "standard queue 0" in shown


def test_parameters_are_shown_and_changed(socket: Path) -> None:
    assert answer(socket, "params")["params"]["max_retry_attempts"] == 3
    assert answer(socket, "params", "set", "max_retry_attempts=4")["params"]["max_retry_attempts"] == 4
    refused = ask(socket, "params", "set", "max_retry_attempts=many")
    assert refused.exit_code == 1
    assert "INVALID_ARGUMENT: max_retry_attempts" in refused.stderr


def test_what_is_changed_is_in_force_in_the_whole_gateway(socket: Path) -> None:
    before = answer(socket, "params")["params"]
    answer(socket, "params", "set", "processing_timeout_s=0.000001", "max_retry_attempts=0")
    assert ask(socket, "command", "identify", "module-01", "--wait").exit_code == 1
    (dead,) = answer(socket, "dead-letters", "module-01")["requests"]
    assert dead["last_error"]["code"] == "EXCHANGE_TIMEOUT"
    answer(socket, "discard", dead["request_id"], "--reason", "meant to fail")
    changed = ("processing_timeout_s", "max_retry_attempts")
    answer(socket, "params", "set", *(f"{name}={before[name]}" for name in changed))
    assert ask(socket, "command", "identify", "module-01", "--wait").exit_code == 0


def test_a_repeat_with_the_same_idempotency_key_is_the_same_operation(socket: Path) -> None:
    words = ["command", "identify", "module-03", "--idempotency-key", "once"]
    first, second = answer(socket, *words), answer(socket, *words)
    assert first["request"]["request_id"] == second["request"]["request_id"]


def test_a_request_that_does_not_exist_is_refused_with_its_code(socket: Path) -> None:
    result = ask(socket, "request", "make_coffee")
    assert result.exit_code == 1
    assert result.stderr.startswith("UNKNOWN_COMMAND: ")


def test_what_is_too_long_for_a_request_is_refused_with_its_code(socket: Path) -> None:
    result = ask(socket, "pair", "pack-01", "module-03", "--description", "x" * 70_000)
    assert result.exit_code == 1
    assert result.stderr.startswith("INVALID_ARGUMENT: ")


def test_a_component_that_does_not_exist_is_guessed(socket: Path) -> None:
    result = ask(socket, "show", "modul-03")
    assert result.exit_code == 1
    assert result.stderr.endswith("Did you mean module-03?\n")


# --- several at once --------------------------------------------------------------------------------------------------


def test_a_command_for_several_tells_of_each_as_it_ends(socket: Path) -> None:
    result = ask(socket, "command", "identify", "pack-01", "module-01", "seconds=3", "--wait")
    assert result.exit_code == 0, result.stderr
    ended = [line for line in result.stderr.splitlines() if " COMPLETED: " in line]
    assert sorted(line.split()[0] for line in ended) == ["module-01", "pack-01"]
    assert "2 of 2 ended (2 COMPLETED)" in result.stdout


def test_a_command_for_all_that_match_waits_for_those_that_are_away(socket: Path) -> None:
    routed = answer(socket, "command", "identify", "--kind", "module", "--policy", "any", "--ttl", "1h")
    parent = routed["request"]
    assert (parent["targets"], len(routed["children"])) == (["module-01", "module-03"], 2)
    assert ask(socket, "cancel", parent["request_id"], "--reason", "enough").exit_code in {0, 1}  # it may have ended


def test_a_plan_tells_whom_it_would_go_to_and_queues_nothing(socket: Path) -> None:
    before = answer(socket, "history", "--limit", "1")["requests"]
    plan = answer(socket, "route", "identify", "--parent", "pack-01", "--strategy", "optimal")["plan"]
    assert [(place["component_id"], place["rank"]) for place in plan] == [("module-01", 1), ("module-03", 2)]
    assert "module-01" in ask(socket, "route", "identify", "--parent", "pack-01").stdout
    assert answer(socket, "history", "--limit", "1")["requests"] == before


# --- an operator's day ------------------------------------------------------------------------------------------------


def test_what_depends_on_what_was_cancelled_is_a_dead_letter_until_it_is_discarded(socket: Path) -> None:
    first = answer(socket, "command", "identify", "module-03")["request"]["request_id"]
    second = answer(socket, "command", "identify", "module-01", "--depends-on", first)["request"]["request_id"]
    assert ask(socket, "cancel", first, "--reason", "not needed").exit_code == 0
    assert f"{second}  identify seconds=10  module-01  FAILED" in re.sub(
        "   +", "  ", ask(socket, "dead-letters").stdout
    )
    assert answer(socket, "request-status", second)["request"]["last_error"]["code"] == "DEPENDENCY_FAILED"
    assert ask(socket, "discard", second, "--reason", "understood").exit_code == 0
    assert answer(socket, "dead-letters", "module-01")["requests"] == []
    assert ask(socket, "requeue", "cmd_" + "0" * 26).stderr.startswith("REQUEST_NOT_FOUND: ")


def test_the_order_of_what_waits_is_changed(socket: Path) -> None:
    ids = [answer(socket, "command", "firmware_id", "module-03")["request"]["request_id"] for _ in range(3)]
    assert ask(socket, "reorder", "module-03", ids[2]).exit_code == 0
    assert answer(socket, "set-priority", ids[1], "high")["request"]["priority"] == "HIGH"
    waiting = [request["request_id"] for request in answer(socket, "queue", "module-03")["requests"]]
    assert [each for each in waiting if each in ids] == [ids[1], ids[2], ids[0]]
    for each in ids:
        assert ask(socket, "cancel", each, "--reason", "done").exit_code == 0


def test_a_hold_is_settled_once_its_operation_has_ended(socket: Path) -> None:
    words = ["command", "identify", "module-03", "--hold-ref", "wo-7", "--hold-amount", "12.5"]
    held = answer(socket, *words)["request"]["request_id"]
    settle = ["settle", held, "released", "--settlement-ref", "s-1"]
    assert ask(socket, *settle).stderr.startswith("INVALID_STATE_TRANSITION: ")
    assert ask(socket, "cancel", held, "--reason", "not needed").exit_code == 0
    assert answer(socket, *settle)["request"]["settlement"] == "RELEASED"


def test_a_component_is_marked_until_there_is_evidence(socket: Path) -> None:
    marked = ["mark", "module-03", "offline", "--reason", "on the bench", "--expected-return", "2h"]
    assert ask(socket, *marked).exit_code == 0
    deadline = time.monotonic() + 10  # it is stored with the events of its bus, not with the answer
    while not (line := _line_of(socket, "module-03")).endswith(("in 2 h", "in 119 min")):
        assert time.monotonic() < deadline, line
    assert "OFFLINE" in line


def _line_of(socket: Path, component_id: str) -> str:
    shown = ask(socket, "components").stdout.splitlines()
    return next(line for line in shown if line.startswith(component_id))


def test_looking_back_tells_what_was_done_and_by_whom(socket: Path) -> None:
    done = answer(socket, "command", "firmware_id", "pack-01", "--wait")["request"]
    (newest,) = answer(socket, "history", "--component", "pack-01", "--from", "1h", "--limit", "1")["requests"]
    assert newest["request_id"] == done["request_id"]
    assert "COMPLETED" in ask(socket, "history", "--type", "firmware_id", "--to", "now").stdout
    groups = {group["key"]: group["count"] for group in answer(socket, "metrics", "day", "--by", "status")["groups"]}
    assert groups["COMPLETED"] >= 1
    assert ask(socket, "metrics", "--from", "1h").stdout.startswith("ended from ")
    assert "firmware_id" in ask(socket, "metrics", "--by", "type").stdout
    entries = answer(socket, "audit", "--limit", "1000")["entries"]
    assert done["creator"] in {entry["actor"] for entry in entries if entry["action"] == "queue_command"}
    assert ask(socket, "audit", "--limit", "1").stdout.endswith("There is more: see --limit.\n")
    verified = ask(socket, "audit", "verify")
    assert (verified.exit_code, verified.stdout.startswith("The audit chain is whole: ")) == (0, True)


def test_events_are_published_again_and_the_clock_is_vouched_for(socket: Path) -> None:
    assert ask(socket, "replay", "1", "3").stdout == "3 of the events 1 to 3 were published again.\n"
    assert ask(socket, "confirm-clock").stdout.startswith("The gateway takes ")
    assert ask(socket, "proxy-queue", "pack-01").stdout.startswith("Nothing is waiting.")


@pytest.mark.usefixtures("socket")
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_the_same_is_asked_over_mqtt_under_the_name_of_the_actor(broker: Mosquitto, protocol: str) -> None:
    where = ["--broker", broker.url, "--gateway", "gw-test", "--actor", "tech-anna", "--protocol", protocol]
    result = CliRunner().invoke(cli, [*where, "command", "firmware_id", "module-01", "--wait", "--json"])
    assert result.exit_code == 0, result.stderr
    request = json.loads(result.stdout)["request"]
    assert (request["status"], request["creator"]) == ("COMPLETED", "tech-anna")
    refused = CliRunner().invoke(cli, [*where, "command", "firmware_id", "module-03"])
    assert refused.exit_code == 1
    assert refused.stderr.startswith("NOT_OWNER: ")


def test_check_has_nothing_to_say_about_a_database_in_use(socket: Path, folder: Path) -> None:
    result = CliRunner().invoke(cli, ["check", "--config", str(folder / "gateway.toml")])
    assert (result.exit_code, result.stderr) == (0, "")


def test_run_ends_with_78_and_every_problem(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text('[gateway]\nid = "gw"\nidd = 1\n')
    for command in ("run", "check"):
        result = CliRunner().invoke(cli, [command, "--config", str(tmp_path / "gateway.toml")])
        assert result.exit_code == 78
        assert "gateway.idd: unknown key" in result.stderr
        assert "bus: is required" in result.stderr


def test_its_version_is_told_without_waiting_for_the_libraries() -> None:
    script = (
        "import sys; before = set(sys.modules); from gateway.cli import cli; cli(['--version'], standalone_mode=False);"
        "heavy = {'asyncio', 'can', 'pydantic', 'aiomqtt', 'cantools', 'tabulate', 'sqlite3'};"
        "print(sorted(heavy & set(sys.modules) - before))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert ran.stdout.splitlines()[-1] == "[]"
