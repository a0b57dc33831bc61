"""The bound of the database: an alarm before it, then no new work; and what waits is never deleted for room."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from gateway.errors import Code, Refusal
from gateway.event import Event
from gateway.operation import Operation, Reach, RequestType
from gateway.ports import Tx
from gateway.settings import Parameters
from tests.store_scene import StoreScene, scene

BOUND = 2 << 20
MANY = Parameters(max_requests_per_component=100_000, max_queue_depth=100_000, alert_queue_size=100_000)


def alerts(told: StoreScene) -> list[Event]:
    return [event for event in told.events if event.attributes.get("alert") == "STORAGE"]


async def fullness(told: StoreScene) -> float:
    return await told.store.read(lambda reader: reader.fullness())


async def fill(told: StoreScene, part: float) -> list[Operation]:
    """Queue work until that part of the bound is in use."""
    made = []
    while await fullness(told) < part:
        made.append(await told.enqueue(told.command(description="x" * 1500), MANY))
    return made


def drop(count: int, tx: Tx) -> None:
    """Make room as retention would, without its rules."""
    tx._session.execute("DELETE FROM operation WHERE id IN (SELECT id FROM operation LIMIT ?)", (count,))  # type: ignore[attr-defined]  # behind the protocol


async def touch(told: StoreScene) -> None:
    """Change so much that the writer looks at the room again."""

    def change(tx: Tx) -> None:
        for n in range(20):
            tx.set_parameters({"max_queue_depth": n})

    for _ in range(40):
        await told.store.write(change)


async def test_a_database_that_fills_up_alarms_once(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db", max_bytes=BOUND) as told:
        await fill(told, 0.80)
        await touch(told)
        assert alerts(told) == []
        await fill(told, 0.915)
        await touch(told)
        (alert,) = alerts(told)
        assert (alert.type, alert.subject, alert.at) == ("queue_alert", "gateway", told.clock.wall_ms())
        used = alert.attributes["used_bytes"]
        assert alert.attributes == {"alert": "STORAGE", "used_bytes": used, "max_bytes": BOUND}
        assert 0.90 <= used / BOUND < 0.93
        assert alert in await told.stored_events()


async def test_a_fill_that_swings_around_the_bound_does_not_alarm_again(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db", max_bytes=BOUND) as told:
        await fill(told, 0.915)
        await touch(told)
        while await fullness(told) > 0.88:
            await told.store.write(partial(drop, 5))
        await touch(told)
        await fill(told, 0.915)
        await touch(told)
        assert len(alerts(told)) == 1
        while await fullness(told) > 0.80:
            await told.store.write(partial(drop, 5))
        await touch(told)
        await fill(told, 0.915)
        await touch(told)
        assert len(alerts(told)) == 2


async def test_an_alarm_that_was_undone_with_its_group_comes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(tmp_path / "queue.db", max_bytes=BOUND) as told:
        await fill(told, 0.80)
        await touch(told)

    def broken(_: Tx) -> None:
        raise AssertionError

    async with scene(tmp_path / "queue.db", told.clock, max_bytes=round(BOUND * 0.88)) as told:  # over 90 % at once
        half_a_character = partial(told.command, title="\ud800")
        results = await asyncio.gather(
            told.store.write(lambda tx: tx.emit(Event("\ud800", "gateway", 0))), return_exceptions=True
        )
        assert isinstance(results[0], Refusal)
        assert alerts(told) == []
        with pytest.raises(Refusal):
            await told.enqueue(half_a_character())
        assert len(alerts(told)) == 1
        assert [event.seq for event in await told.stored_events()][-1] == alerts(told)[0].seq


async def test_at_the_bound_only_emergencies_are_taken_and_what_waits_stays(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db", max_bytes=BOUND) as told:
        with pytest.raises(Refusal) as no:
            await fill(told, 1.0)
        assert no.value.code is Code.STORAGE_FULL
        assert 0.93 < await fullness(told) < 0.95  # the rest is for what is stored to come to its end
        urgent = await told.enqueue(told.pairing(request_type=RequestType.EMERGENCY), MANY)
        queued = [event for event in told.events if event.type == "request_queued"]
        assert await told.store.read(lambda reader: reader.depths()) == {"module-03": len(queued)}
        assert (await told.claimed(reach=Reach.EMERGENCY)).request_id == urgent.request_id
        while await fullness(told) > 0.90:
            await told.store.write(partial(drop, 5))
        await told.enqueue(told.command(), MANY)
