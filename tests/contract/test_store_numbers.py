"""The numbers an exchange has with its components: given once, held until the end, and never two starts at a time."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.errors import Code, Refusal
from gateway.operation import Action, Ending, Operation, Outcome, Priority, RequestType, Verdict
from gateway.ports import Tx
from gateway.queue.store.sequence import Processing
from gateway.queue.store.sql import connect, migrate
from gateway.queue.store.undo import Undo
from tests.store_scene import PARAMETERS, StoreScene, scene


@pytest.fixture
async def told(tmp_path: Path):
    async with scene(tmp_path / "queue.db") as made:
        yield made


async def test_what_is_armed_first_holds_two_numbers(told: StoreScene) -> None:
    await told.enqueue(told.command(arms=True, priority=Priority.HIGH))
    armed = await told.claimed()
    assert (armed.sequence, armed.partner_sequence) == (1, 2)
    later = told.clock.wall_ms() + 1000
    await told.finish(armed, Action.RETRY, Outcome(Ending.DECLINED), not_before=later)
    given = set()
    for _ in range(256):
        await told.enqueue(told.command())
        given.add((await told.finish(await told.claimed())).sequence)
    assert given == set(range(256)) - {1, 2}
    told.clock.advance(1)
    again = await told.claimed()
    assert (again.request_id, again.sequence, again.partner_sequence) == (armed.request_id, 1, 2)


async def test_numbers_are_held_until_the_end_over_a_restart(tmp_path: Path) -> None:
    def given(told: StoreScene, tx: Tx, make: Callable[[], Operation]) -> set[tuple[int | None, int | None]]:
        """The numbers of as many exchanges as there are."""
        numbers, now = set(), told.clock.wall_ms()
        for _ in range(256):
            carrier = tx.enqueue(make(), PARAMETERS).carrier
            claimed = tx.claim(carrier, now)
            assert claimed is not None
            numbers.add((claimed.sequence, claimed.partner_sequence))
            tx.finish(claimed, Verdict(Action.COMPLETE), Outcome(Ending.DONE), now)
        return numbers

    async with scene(tmp_path / "queue.db") as told:
        await told.enqueue(told.pairing())
        running = await told.claimed()
        both = await told.store.write(lambda tx: given(told, tx, lambda: told.pairing("module-04")))
        assert {number for _, number in both} == set(range(256)) - {running.partner_sequence}
        await told.enqueue(told.command("module-05"))
        waiting, later = await told.claimed("module-05"), told.clock.wall_ms() + 1000
        await told.finish(waiting, Action.RETRY, Outcome(Ending.DECLINED), not_before=later)
    async with scene(tmp_path / "queue.db", told.clock) as told:
        both = await told.store.write(lambda tx: given(told, tx, lambda: told.pairing("module-04")))
        assert {number for _, number in both} == set(range(256)) - {running.partner_sequence}
        one = await told.store.write(lambda tx: given(told, tx, lambda: told.command("module-05")))
        assert {number for number, _ in one} == set(range(256)) - {waiting.sequence}
        await told.finish(running)
        both = await told.store.write(lambda tx: given(told, tx, lambda: told.pairing("module-04")))
        assert {number for _, number in both} == set(range(256))


async def test_a_second_start_for_a_component_is_refused(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db") as told:
        await told.enqueue(told.command())
        running = await told.claimed()
        proxied = told.pairing(request_type=RequestType.PROXY, proxy_component="pack-02")
    db = connect(tmp_path / "queue.db")
    migrate(db, "queue")
    processing = Processing(db, Undo())
    for second in (
        running,
        proxied,
        told.pairing("module-09", request_type=RequestType.PROXY, proxy_component="module-03"),
    ):
        with pytest.raises(Refusal) as why:
            processing.add(second)
        assert why.value.code is Code.ALREADY_PROCESSING
    db.close()
