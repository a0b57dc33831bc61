"""The installed gateway under its unit: vcan0, devices simulated by processes of their own, a real mosquitto."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.host.kernel_clock import keep
from tests.host.scene import (
    COMMAND,
    CONFIG,
    DATABASE,
    NODES,
    UNIT,
    ask,
    command,
    run,
    show,
    told_by,
    until,
    with_status,
)

ROOT = Path("/project")
COMMANDS = 6  # queued while a module is away
PROBE = Path("/etc/systemd/system/bms-gateway-probe.service")
SEEN = Path("/run/probe.json")
PROBING = f"""
[Service]
Type=oneshot
ExecStart=
ExecStart=/opt/bms-gateway/bin/python -m tests.host.probe
WorkingDirectory={ROOT}
StandardOutput=truncate:{SEEN}
WatchdogSec=0
Restart=no
RuntimeDirectoryPreserve=yes
"""


def test_all_that_send_heartbeats_are_online_upstream(host):
    for component in NODES:
        assert host.upstream.await_presence(component, "ONLINE")["reason"] is None
    there = {told["component_id"]: told["presence"] for told in told_by(command("components"))["components"]}
    assert there == dict.fromkeys(NODES, "ONLINE")


def test_a_silent_module_is_offline_with_evidence_and_its_pairing_is_done_once_when_it_is_back(host):
    device = host.devices["module-01"]
    host.upstream.await_presence("module-01", "ONLINE")
    host.upstream.await_presence("pack-01", "ONLINE")
    device.stop()
    offline = host.upstream.await_presence("module-01", "OFFLINE")
    assert offline["reason"] == "heartbeat_timeout"
    assert offline["evidence"]["window_ms"] == 1750  # 3.5 periods

    paired = len(host.deeds("pack-01", "PAIRING"))
    queued = told_by(command("pair", "pack-01", "module-01", "--priority", "HIGH"))["request"]
    assert queued["status"] == "QUEUED"
    assert host.deeds("module-01", "PAIRING") == []

    device.start()
    host.upstream.await_presence("module-01", "ONLINE")
    until(lambda: queued["request_id"] in with_status("COMPLETED", "module-01"), "the pairing")
    assert len(host.deeds("module-01", "PAIRING")) == 1
    assert len(host.deeds("pack-01", "PAIRING")) == paired + 1


def test_a_killed_daemon_is_restarted_and_works_off_all_that_was_queued(host):
    device = host.devices["module-02"]
    host.upstream.await_presence("module-02", "ONLINE")
    device.stop()
    host.upstream.await_presence("module-02", "OFFLINE")
    before = len(host.deeds("module-02", "COMMAND"))
    identify = {"command_type": "identify", "target_component": "module-02"}
    queued = [ask("queue_command", **identify, arguments={"seconds": n + 1}) for n in range(COMMANDS)]
    ids = {each["request"]["request_id"] for each in queued}

    def done():
        return [deed.arg0 for deed in host.deeds("module-02", "COMMAND")[before:]]

    for moment in range(2):
        restarts = host.restarts()
        run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", UNIT)
        host.await_restart(restarts)
        if moment == 0:
            assert with_status("QUEUED", "module-02") == ids
            device.start()
            until(done, "the first command")  # the second kill comes amid the drain

    until(lambda: with_status("COMPLETED", "module-02") >= ids, "all commands")
    assert done() == list(range(1, COMMANDS + 1))
    seqs = [event["seq"] for event in host.upstream.events()]
    assert sorted(set(seqs)) == list(range(min(seqs), max(seqs) + 1))


def test_a_daemon_that_stood_still_for_four_seconds_finds_nobody_offline(host):
    for component in NODES:
        host.upstream.await_presence(component, "ONLINE")
    before = host.upstream.events()[-1]["seq"]
    pid = str(host.main_pid())
    run("kill", "-STOP", pid)
    time.sleep(4)
    run("kill", "-CONT", pid)
    time.sleep(3)  # longer than the deadline of any component
    missed = {"component_offline", "bus_down"}
    assert [event for event in host.upstream.events() if event["seq"] > before and event["type"] in missed] == []
    assert {told["presence"] for told in ask("get_presence")["components"]} == {"ONLINE"}


def test_a_hung_daemon_is_restarted_by_the_watchdog(host):
    before, pid = host.restarts(), host.main_pid()
    run("kill", "-STOP", str(pid))
    host.await_restart(before)
    assert host.main_pid() != pid
    assert "Watchdog timeout" in run("journalctl", "--no-pager", "-u", UNIT)
    until(lambda: ask("get_health")["healthy"], "health")
    host.upstream.await_presence("module-03", "ONLINE")


def test_a_configuration_that_cannot_be_used_is_not_tried_for_ever(host):
    good = CONFIG.read_text()
    try:
        run("systemctl", "stop", UNIT)
        CONFIG.write_text(good.replace('interface = "socketcan"', 'interfaze = "socketcan"'))
        assert subprocess.run(["systemctl", "start", UNIT], check=False, capture_output=True).returncode != 0
        until(lambda: show("ActiveState") == "failed", "giving up")
        assert show("ExecMainStatus") == "78"
        assert "interfaze" in run("journalctl", "--no-pager", "-u", UNIT)
    finally:
        CONFIG.write_text(good)
        run("systemctl", "reset-failed", UNIT)
        run("systemctl", "start", UNIT)


def test_the_service_runs_as_its_own_user_in_a_narrow_box(host, capsys):
    assert run("stat", "-c", "%U:%G %a", "/run/bms-gateway/control.sock") == "bms-gateway:bms-gateway 660\n"
    assert run("stat", "-c", "%U:%G %a", "/var/lib/bms-gateway") == "bms-gateway:bms-gateway 750\n"
    assert run("stat", "-c", "%a", str(DATABASE)) == "600\n"  # technicians ask; they do not read
    status = Path(f"/proc/{host.main_pid()}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000001000" in status  # CAP_NET_ADMIN, for the receive buffers, and nothing else
    rating = run("systemd-analyze", "security", "--no-pager", UNIT)
    verdict = rating.strip().splitlines()[-1]
    with capsys.disabled():
        print(f"\n{verdict}")
    exposure = float(verdict.rpartition(": ")[2].split()[0])
    assert exposure <= 2.1


@pytest.mark.parametrize("kept", [True, False])
def test_in_its_box_the_service_may_ask_whether_the_clock_is_kept_and_neither_set_it_nor_vouch_for_it(host, kept):
    unit = Path("/etc/systemd/system") / UNIT
    PROBE.write_text(unit.read_text() + PROBING)
    run("systemctl", "daemon-reload")
    keep(kept=kept)
    try:
        run("systemctl", "start", PROBE.name)
    finally:
        keep(kept=False)
    assert json.loads(SEEN.read_text()) == {"kept": kept, "set": "EPERM", "vouch": "EPERM"}


def test_the_example_configuration_has_no_problems(tmp_path):
    assert "no problems" in run(COMMAND, "check", "--config", str(ROOT / "systemd" / "gateway.toml"))
