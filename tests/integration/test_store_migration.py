"""Databases of earlier versions: opened, and worked off as if they had been filled today."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from gateway.operation import Action, Priority, Reach, RequestType, Status
from gateway.queue.store.sql import MIGRATIONS, connect, migrate
from tests.doubles import FakeClock
from tests.store_scene import HOUR_MS, PARAMETERS, scene

NOW = FakeClock().wall_ms()


def insert(db: sqlite3.Connection, request_id: str, target: str = "module-03", **columns: Any) -> None:
    """Store an operation as the first version did."""
    row = {
        "request_id": request_id,
        "kind": "COMMAND",
        "target_component": target,
        "carrier": target,
        "is_proxy": 0,
        "priority": 2,
        "created_at": NOW - 1000,
        "expires_at": NOW + HOUR_MS,
        "creator": "tech-anna",
        "details": '{"command_type":"identify","arguments":{"seconds":10}}',
        **columns,
    }
    names, places = ", ".join(row), ", ".join("?" * len(row))
    db.execute(f"INSERT INTO operation ({names}) VALUES ({places})", tuple(row.values()))


@pytest.fixture
def first_version(tmp_path: Path) -> Path:
    path = tmp_path / "queue.db"
    db = connect(path)
    migrate(db, "queue", MIGRATIONS[:1])
    insert(db, "cmd_low", priority=1)
    insert(db, "cmd_high", priority=3, outcome='{"retry_count":2}', sequence=7)
    emergency = {"kind": "PAIRING", "request_type": "EMERGENCY", "initiator_component": "pack-01", "details": "{}"}
    insert(db, "req_urgent", priority=4, **emergency)
    insert(db, "cmd_running", "module-04", status="PROCESSING", started_at=NOW - 10, sequence=1)
    error = '{"last_error":{"code":"DEVICE_REFUSED","message":"No."},"reached":{"FAILED":5}}'
    insert(db, "cmd_dead", status="FAILED", finished_at=NOW - 5, outcome=error)
    insert(db, "cmd_done", status="COMPLETED", finished_at=NOW - 5, outcome='{"result":{"data":1}}')
    db.execute("INSERT INTO event VALUES (1, 'gateway_started', 'gateway', ?, 1, '{}')", (NOW - 2000,))
    db.close()
    return path


async def test_what_the_first_version_queued_is_worked_off_in_its_order(first_version: Path) -> None:
    async with scene(first_version) as told:
        listed = (await told.page(status=Status.QUEUED)).operations
        assert [each.request_id for each in listed] == ["req_urgent", "cmd_high", "cmd_low"]
        assert [(each.urgency, each.rank, each.blocked) for each in listed] == [(4, 0, 0), (3, 0, 0), (1, 0, 0)]
        (running,) = await told.store.write(lambda tx: tx.recover(NOW))
        assert (running.request_id, running.urgency) == ("cmd_running", 2)
        urgent = await told.claimed(reach=Reach.EMERGENCY)
        assert (urgent.request_id, urgent.request_type) == ("req_urgent", RequestType.EMERGENCY)
        await told.finish(urgent)
        high = await told.claimed()
        assert (high.request_id, high.sequence, high.retry_count) == ("cmd_high", 7, 2)
        assert await told.claim("module-04") is not None


async def test_what_the_first_version_ended_is_a_dead_letter_that_can_be_requeued(first_version: Path) -> None:
    async with scene(first_version) as told:
        letters = await told.store.read(lambda reader: reader.dead_letters(component_id=None, page_size=9, cursor=None))
        assert [each.request_id for each in letters.operations] == ["cmd_dead"]
        assert (letters.operations[0].last_error or {})["code"] == "DEVICE_REFUSED"
        assert (await told.operation("cmd_done")).result == {"data": 1}
        until, bounds = NOW + HOUR_MS, PARAMETERS
        again = await told.store.write(lambda tx: tx.requeue("cmd_dead", until, bounds, "op-otto", NOW))
        assert (again.status, again.priority, again.urgency) == (Status.QUEUED, Priority.NORMAL, 2)
        assert [event.seq for event in await told.stored_events()] == [1, 2]
        finished = await told.finish(await told.claimed(), Action.COMPLETE)
        assert finished.request_id == "req_urgent"


def test_every_step_of_the_schema_is_taken_once(first_version: Path) -> None:
    db = connect(first_version)
    migrate(db, "queue")
    migrate(db, "queue")
    assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with pytest.raises(sqlite3.IntegrityError):  # still at most one at a time
        insert(db, "cmd_second", "module-04", status="PROCESSING")
    for n in range(2):  # but any number of parents, whom nobody speaks to
        insert(db, f"cmd_parent_{n}", "", status="PROCESSING")
    db.close()
