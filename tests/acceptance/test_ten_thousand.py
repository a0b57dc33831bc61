"""Ten thousand operations for fifty devices that misbehave, by a gateway that is killed: none lost, doubled or late."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final

import pytest

from tests.acceptance import verdicts
from tests.acceptance.customers import Customers
from tests.acceptance.mischief import TROUBLES, Mischief
from tests.acceptance.scene import Fleet, Scene, scene

OPERATIONS: Final = 10_000
WAVE: Final = 150
WAITING_MOST: Final = 2_500
KILLS_EVERY: Final = 1_500  # operations
SEED: Final = 20261122
BUSES: Final = ("can0", "can1")
PACKS: Final = {f"pack-{n}": f"can{n}" for n in (0, 1)}
MODULES: Final = {f"module-{bus}-{n:02d}": f"pack-{bus}" for bus in (0, 1) for n in range(24)}
FLEET: Final = Fleet(
    BUSES,
    (
        *((name, "PACK", bus, 1, "") for name, bus in PACKS.items()),
        *(
            (name, "MODULE", PACKS[pack], 10 + n % 24, f'parent = "{pack}"')
            for n, (name, pack) in enumerate(MODULES.items())
        ),
    ),
)


@pytest.mark.timeout(600)
async def test_ten_thousand_operations_all_end_as_they_should(tmp_path: Path) -> None:
    rng = Random(SEED)
    more = "max_requests_per_component = 1000\n"
    async with scene(tmp_path, fleet=FLEET, period_ms=500, more=more) as at:
        await at.until_online(*PACKS, *MODULES)
        customers = Customers(at, MODULES, rng)
        mischief = Mischief(at, list(MODULES), rng)
        trouble = asyncio.create_task(mischief.run())
        await _work(at, customers, mischief)
        trouble.cancel()
        with suppress(asyncio.CancelledError):
            await trouble
        await _until_idle(at)
        assert await customers.revive() > 0
        await _until_idle(at)
        await customers.settle_all()
        await _until_told(at)
        await _judge(at, customers)
        assert mischief.made.keys() == {*TROUBLES, "kill"}, "without trouble this proves nothing"


async def _work(at: Scene, customers: Customers, mischief: Mischief) -> None:
    """Queue everything, wave after wave, while the gateway is killed now and then."""
    while customers.operations < OPERATIONS:
        before = customers.operations
        await customers.wave(WAVE)
        while (await customers.call("get_health"))["result"]["queue_depth"] > WAITING_MOST:
            await asyncio.sleep(0.5)
        if customers.operations // KILLS_EVERY > before // KILLS_EVERY:
            queuing = asyncio.create_task(customers.wave(WAVE // 3))
            await mischief.kill_the_gateway()
            await queuing


async def _until_idle(at: Scene) -> None:
    async with asyncio.timeout(150):
        while True:
            health = await at.ask("get_health")
            if not health["queue_depth"] and not health["active_operations"]:
                return
            await asyncio.sleep(0.2)


async def _until_told(at: Scene) -> None:
    """Wait until the watching backend has every event there is."""
    async with asyncio.timeout(60):
        seen = -1
        while (await at.ask("get_health"))["upstream"]["outbox"] or seen != len(at.watcher.seen):
            seen = len(at.watcher.seen)
            await asyncio.sleep(0.5)


async def _judge(at: Scene, customers: Customers) -> None:
    records, deeds, events = await customers.history(), at.journal.deeds(), at.events()
    assert not customers.errors[:3]
    assert {each["request_id"] for each in records} >= customers.requests.keys()
    assert len(records) >= OPERATIONS
    assert not _named(verdicts.not_ended(records))
    assert not _named(verdicts.unsettled(records))
    assert not _named(verdicts.done_twice(records, deeds))
    assert not _named(verdicts.done_too_late(records, deeds))
    assert not _named(verdicts.completed_and_not_done(records, deeds))
    told = verdicts.endings(events)
    assert {each["request_id"] for each in records} == told.keys()
    assert set(told.values()) == {1}
    assert not verdicts.out_of_order(events)[:3]
    at.assert_gap_free()
    check = await at.ask("verify_audit")
    assert check["first_broken"] is None
    assert check["entries"] >= len(customers.requests)


def _named(records: Sequence[verdicts.Record]) -> list[str]:
    return [str(record) for record in records[:3]]
