"""After a power cut amid a storm of requests (`tests.host.storm`): what was acknowledged is there, and all fits."""

import json
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.bus.simulator.journal import read_journal
from tests.host.scene import DATABASE, UNIT, Devices, ask, command, configure, run, show, told_by, until, with_status
from tests.host.storm import ACKNOWLEDGED, HERE, JOURNAL, KEPT

ENDED = {"COMPLETED", "ABANDONED", "FAILED"}


@pytest.fixture(scope="module", autouse=True)
def started_again():
    configure()
    run("systemctl", "start", UNIT)  # returns with READY=1


@pytest.fixture(scope="module")
def acknowledged():
    """What was acknowledged last of each operation, by its id."""
    files = sorted(KEPT.glob(f"*/{ACKNOWLEDGED}"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines(keepends=True)]
    return {each["request_id"]: each for each in (json.loads(line) for line in lines if line.endswith("\n"))}


def records() -> dict[str, Any]:
    found: dict[str, Any] = {}
    cursor: dict[str, str] = {}
    while True:
        page = ask("get_history", command_type="write_parameter", page_size=200, **cursor)
        found.update((each["request_id"], each) for each in page["requests"])
        if "next_cursor" not in page:
            return found
        cursor = {"cursor": page["next_cursor"]}


def test_every_acknowledged_operation_is_there_as_it_was_acknowledged(acknowledged):
    kept = records()
    assert len(acknowledged) >= 20
    assert acknowledged.keys() <= kept.keys()
    for name, told in acknowledged.items():
        if told["target_component"] != HERE:
            cancelled = {"CANCELLED"} if "may_be_cancelled" in told else set()
            assert kept[name]["status"] in {told["status"], *cancelled}
    unchanged = "arguments", "priority", "created_at", "expires_at", "creator"
    for name, told in acknowledged.items():
        assert [kept[name][field] for field in unchanged] == [told[field] for field in unchanged]


def test_what_was_being_carried_out_ends_and_nothing_is_done_twice(acknowledged, capsys):
    devices = Devices(Path(tempfile.mkdtemp(dir=KEPT)), HERE)
    devices.start()
    try:
        until(lambda: not with_status("QUEUED", HERE) | with_status("PROCESSING", HERE), "the end of all of them")
    finally:
        devices.stop()
    kept = records()
    mine = {name for name, told in acknowledged.items() if told["target_component"] == HERE}
    assert {kept[name]["status"] for name in mine} <= ENDED
    deeds = [deed for file in KEPT.glob(f"*/{JOURNAL}") for deed in read_journal(file)]
    times = Counter(deed.arg1 for deed in deeds if deed.kind == "COMMAND" and not deed.repeat)
    assert set(times.values()) == {1}
    done = {kept[name]["arguments"]["value"] for name in mine if kept[name]["status"] == "COMPLETED"}
    assert done <= times.keys()
    abandoned = [kept[name] for name in mine if kept[name]["status"] == "ABANDONED"]
    assert {each["last_error"]["code"] for each in abandoned} <= {"OUTCOME_UNKNOWN"}
    with capsys.disabled():
        print(
            f"\n{len(acknowledged)} acknowledged; of {len(mine)} to be carried out {len(abandoned)} of unknown outcome"
        )


def test_the_database_is_whole_its_events_are_without_gaps_and_the_audit_chain_holds(acknowledged):
    with closing(sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        events = db.execute("SELECT seq, type, attributes FROM event ORDER BY seq").fetchall()
    seqs = [seq for seq, _, _ in events]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    queued = (json.loads(attributes) for _, kind, attributes in events if kind == "request_queued")
    assert acknowledged.keys() <= {each["request"]["request_id"] for each in queued if "request" in each}
    assert told_by(command("audit", "verify"))["first_broken"] is None
    assert show("NRestarts") == "0"
