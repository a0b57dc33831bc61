"""How the daemon starts, what it remembers, whom it discovers, and how it takes its leave."""

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.acceptance.scene import scene

STRANGER = """
[[node]]
component = "pack-01"
[[node]]
component = "nobody-knows"
bus = "can0"
address = 0xB7
kind = "MODULE"
period_ms = 200
"""


async def test_systemd_is_told_of_the_start_of_progress_and_of_the_stop(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager:
        manager.bind(str(tmp_path / "notify"))
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
        async with scene(tmp_path, environ=environ, measured=True) as at:
            told: list[list[str]] = []
            await at.until(lambda: ["WATCHDOG=1", "STATUS=5 of 5 components online"] in hear(manager, told))
            assert at.daemon.stop() == 0
            hear(manager, told)
            assert ["READY=1", "STATUS=5 components on can0"] in told
            assert ["STOPPING=1"] in told  # a busy stop is watched on: that may be told after it


def hear(manager: socket.socket, told: list[list[str]]) -> list[list[str]]:
    """Add what has been said to the manager meanwhile, a list of lines each, to `told`."""
    with suppress(BlockingIOError):
        while True:
            told.append(manager.recv(500).decode().splitlines())
    return told


async def test_a_stop_is_told_upstream_before_the_connection_ends(tmp_path: Path) -> None:
    async with scene(tmp_path, measured=True) as at:
        await at.until_online()
        assert at.daemon.stop() == 0
        await at.until(lambda: at.watcher.states()[-1] == "OFFLINE")
        assert at.watcher.on("/state")[-1]["reason"] == "stopping"
        kinds = [event["type"] for event in at.events()]
        assert (kinds[0], kinds[-1]) == ("gateway_started", "gateway_stopping")
        await at.daemon.start()
        await at.until(lambda: len(at.events("gateway_started")) == 2)
        assert [event["attributes"]["epoch"] for event in at.events("gateway_started")] == [1, 2]
        at.assert_gap_free()


async def test_who_is_still_there_after_a_restart_is_no_news_and_who_is_not_is_found_gone(tmp_path: Path) -> None:
    async with scene(tmp_path, measured=True) as at:
        await at.until_known()
        at.daemon.kill()
        at.do("module-02", "silent")
        before = len(at.events())
        await at.daemon.start()
        await at.until(lambda: at.events("component_offline"))
        (gone,) = at.events("component_offline")
        assert (gone["subject"], gone["attributes"]["reason"]) == ("module-02", "gateway_restart")
        assert [event["type"] for event in at.events()[before:]] == ["gateway_started", "component_offline"]
        waiting = {await at.write("module-03", 7)}
        assert await at.until_ended(waiting) == {"request_completed": 1}


async def test_a_stranger_on_the_bus_is_announced_watched_and_left_alone(tmp_path: Path) -> None:
    async with scene(tmp_path, measured=True, scenario=STRANGER) as at:
        await at.until(lambda: at.events("component_discovered"))
        (found,) = at.events("component_discovered")
        assert found["attributes"]["node"] == 0xB7
        await at.until_online(found["subject"])
        (told,) = (await at.ask("get_presence", component_id=found["subject"]))["components"]
        assert (told["kind"], told["owner"], told["presence"]) == ("MODULE", None, "ONLINE")
        fields = {"command_type": "wake", "target_component": found["subject"]}
        reply = await at.daemon.caller.call("queue_command", fields, 5)
        assert reply["error"]["code"] == "NOT_ALLOWED"
        assert at.journal.deeds("nobody-knows") == []


async def test_a_command_that_may_run_once_is_given_up_when_a_kill_hides_its_outcome(tmp_path: Path) -> None:
    async with scene(tmp_path, measured=True) as at:
        await at.until_known()
        at.do("module-01", "mute_answers")
        request_id = await at.write("module-01", 5, delivery="AT_MOST_ONCE", timeout_s=30)
        await at.until(lambda: at.journal.deeds("module-01"))
        at.daemon.kill()
        at.do("module-01", "clear")
        await at.daemon.start()
        assert await at.until_ended({request_id}) == {"request_abandoned": 1}
        (event,) = at.events("request_abandoned")
        assert event["attributes"]["last_error"]["code"] == "OUTCOME_UNKNOWN"
        assert [deed.arg1 for deed in at.journal.deeds("module-01")] == [5]


async def test_a_second_gateway_keeps_its_hands_off_the_first_ones_database(tmp_path: Path) -> None:
    async with scene(tmp_path, measured=True) as at:
        await at.until_online()
        other = {"BMS_GATEWAY__GATEWAY__SOCKET": str(tmp_path / "other.sock")}
        line = [sys.executable, "-m", "gateway", "run", "--config", str(tmp_path / "gateway.toml")]
        environ = {**os.environ, **other}
        second = await asyncio.to_thread(
            subprocess.run, line, capture_output=True, text=True, check=False, timeout=60, env=environ
        )
        assert (second.returncode, "another gateway uses" in second.stderr) == (78, True)
        assert await at.until_ended({await at.write("module-03", 7)}) == {"request_completed": 1}


def test_a_database_that_cannot_be_opened_is_one_line_and_worth_another_start(tmp_path: Path) -> None:
    (tmp_path / "gateway.db").mkdir()
    config = tmp_path / "gateway.toml"
    config.write_text(f"""
[gateway]
id = "gw"
state_dir = "{tmp_path}"
socket = "{tmp_path}/control.sock"
[[bus]]
name = "can0"
interface = "virtual"
""")
    line = [sys.executable, "-m", "gateway", "run", "--config", str(config)]
    ended = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert str(tmp_path / "gateway.db") in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_configuration_that_cannot_be_used_is_status_78_with_every_problem_named(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text('[gateway]\nid = "a/b"\n[[bus]]\nname = "can0"\ninterface = "virtual"\nsurprise = 1\n')
    line = [sys.executable, "-m", "gateway", "run", "--config", str(config)]
    ended = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 78
    assert "gateway.id" in ended.stderr
    assert "surprise" in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_who_is_configured_no_more_holds_up_nobody_who_is(tmp_path: Path) -> None:
    partner = '[[component]]\nid = "pack-02"\nkind = "PACK"\nbus = "can0"\nnode = 19\nowner = "anna"\n'
    async with scene(tmp_path, more=partner) as at:
        await at.until_online("pack-02")
        await at.until_known()
        await at.away("module-01")
        told = await at.ask("queue_pairing_request", initiator_component="pack-02", target_component="module-01")
        pairing = told["request"]["request_id"]
        fields = {"command_type": "identify", "targets": ["module-01", "pack-02"], "barrier": True, "ttl_s": 3600}
        at.do("pack-02", "silent")
        await at.until(lambda: at.presence("pack-02")["presence"] == "OFFLINE")
        await at.ask("queue_command", **fields)
        at.daemon.stop()
        config = tmp_path / "gateway.toml"
        config.write_text(config.read_text().replace(partner, ""))
        await at.daemon.start()
        alive = await at.write("module-01", 7)
        at.back("module-01")
        await at.until_ended({pairing, alive})
        (failed,) = at.events("request_failed")
        assert failed["attributes"]["request_id"] == pairing
        assert failed["attributes"]["last_error"]["code"] == "COMPONENT_NOT_FOUND"
        assert (await at.ask("get_health"))["queue_depth"] == 2  # those that were to start together
