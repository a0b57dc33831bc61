"""Looking back, page by page: history beside a plain list; dead letters, proxies, components found on the bus."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.component import ComponentKind
from gateway.errors import Code, Refusal
from gateway.operation import Action, Operation, Priority, RequestType, Status
from gateway.ports import History, Page, Registration, Tx
from gateway.queue.store.cursor import write_cursor
from gateway.settings import Parameters
from tests.store_scene import StoreScene, scene

DAY_S = 86_400
MANY = Parameters(max_requests_per_component=1000)


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[StoreScene]:
    async with scene(tmp_path / "queue.db") as made:
        yield made


async def look_back(told: StoreScene, *, page_size: int = 50, cursor: str | None = None, **wanted: Any) -> Page:
    return await told.store.study(lambda reader: reader.history(History(**wanted), page_size=page_size, cursor=cursor))


async def archive(told: StoreScene, ended_before: int, limit: int = 1000) -> int:
    return await told.store.write(lambda tx: tx.archive(ended_before, limit))


def ids(operations: Any) -> list[str]:
    return [operation.request_id for operation in operations]


# --- paging, beside a plain list --------------------------------------------------------------------------------------


def newest_first(operation: Operation) -> tuple[int, str]:
    return -operation.created_at, "".join(chr(0x7F - ord(each)) for each in operation.request_id)


class HistoryMachine(RuleBasedStateMachine):
    """Somebody reads page after page while operations come, end, move to the archive and leave it for good.

    `model` holds every operation there is. What stayed from the first page to the last must have been read exactly
    once; what came or went meanwhile at most once; and all of it in order.
    """

    @initialize()
    def open(self) -> None:
        self.folder = TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.opened = scene(Path(self.folder.name) / "queue.db")
        self.told = self.loop.run_until_complete(self.opened.__aenter__())
        self.model: dict[str, Operation] = {}
        self.stayed: set[str] = set()
        self.read: list[Operation] = []
        self.cursor: str | None = None
        self.page_size = 0

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    @rule(seconds=st.sampled_from([0, 0, 1, -2, 40 * DAY_S]), where=st.sampled_from(["module-01", "module-02"]))
    def one_comes(self, seconds: int, where: str) -> None:
        self.told.clock.advance(seconds)  # several come within one millisecond, and the clock may be set back
        operation = self.do(self.told.enqueue(self.told.command(where), MANY))
        self.model[operation.request_id] = operation

    @rule(where=st.sampled_from(["module-01", "module-02"]), action=st.sampled_from([Action.COMPLETE, Action.FAIL]))
    def one_ends(self, where: str, action: Action) -> None:
        claimed = self.do(self.told.claim(where))
        if claimed is not None:
            self.model[claimed.request_id] = self.do(self.told.finish(claimed, action))

    @rule(limit=st.integers(1, 4))
    def some_move_to_the_archive(self, limit: int) -> None:
        self.do(archive(self.told, self.told.clock.wall_ms() + 1, limit))

    @rule()
    def what_is_exported_leaves_it(self) -> None:
        for request_id in self.do(self.told.store.write(export_and_drop_all(self.told))):
            del self.model[request_id]
            self.stayed.discard(request_id)

    @precondition(lambda self: self.cursor is None)
    @rule(page_size=st.integers(1, 5))
    def a_reader_begins(self, page_size: int) -> None:
        self.page_size, self.read, self.stayed = page_size, [], set(self.model)
        self._read_on()

    @precondition(lambda self: self.cursor is not None)
    @rule()
    def the_reader_goes_on(self) -> None:
        self._read_on()

    def _read_on(self) -> None:
        page = self.do(look_back(self.told, page_size=self.page_size, cursor=self.cursor))
        assert len(page.operations) == self.page_size or page.next_cursor is None
        assert page.operations == [self.model[each.request_id] for each in page.operations]
        self.read += page.operations
        self.cursor = page.next_cursor
        assert [newest_first(each) for each in self.read] == sorted({newest_first(each) for each in self.read})
        if self.cursor is None:
            assert self.stayed <= set(ids(self.read))

    @invariant()
    def one_page_shows_all_there_is(self) -> None:
        page = self.do(look_back(self.told, page_size=200))
        assert page.operations == sorted(self.model.values(), key=newest_first)

    def teardown(self) -> None:
        self.do(self.opened.__aexit__(None, None, None))
        self.loop.close()
        self.folder.cleanup()


def export_and_drop_all(told: StoreScene) -> Any:
    """Do as if all months were over: export what is archived, and delete it. Returns the ids of what went."""

    def job(tx: Any) -> list[str]:
        gone = []
        while (export := tx.begin_export(1 << 42, 1000, ())) is not None:
            gone += ids(tx.bundle(export))
            tx.exported(export.file, "0" * 64)
            tx.drop_exported(export.file, 1000)
        return gone

    return job


HistoryMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestHistoryMachine = HistoryMachine.TestCase


# --- filters ----------------------------------------------------------------------------------------------------------


async def test_history_is_filtered_by_all_that_is_said(told: StoreScene) -> None:
    start = told.clock.wall_ms()
    made = []
    for n in range(24):
        operation = told.command(f"module-{n % 2}") if n % 3 else told.pairing(f"module-{n % 2}")
        operation = replace(operation, creator="olga" if n % 5 else "anna", command_type="reset" if n % 4 else "sleep")
        await told.enqueue(operation, MANY)
        told.clock.advance(1)
        if n % 2:
            claimed = await told.claimed("module-1")
            operation = await told.finish(claimed, Action.COMPLETE if n % 3 else Action.FAIL)
        made.append(await told.operation(operation.request_id))
    assert await archive(told, start + 12_000) == 5
    made.reverse()

    async def found(**wanted: Any) -> list[str]:
        return ids((await look_back(told, page_size=200, **wanted)).operations)

    assert await found() == ids(made)
    assert await found(creator="anna") == ids(each for each in made if each.creator == "anna")
    assert await found(component_id="module-1") == ids(each for each in made if each.target_component == "module-1")
    assert await found(command_type="sleep") == ids(each for each in made if each.command_type == "sleep")
    assert await found(status=Status.FAILED) == ids(each for each in made if each.status is Status.FAILED)
    assert await found(from_ms=start + 3000) == ids(each for each in made if each.created_at >= start + 3000)
    assert await found(to_ms=start + 3000) == ids(each for each in made if each.created_at < start + 3000)
    every = {"creator": "olga", "component_id": "module-1", "command_type": "reset", "status": Status.COMPLETED}
    narrow = ids(
        each
        for each in made
        if (each.creator, each.target_component, each.command_type, each.status) == tuple(every.values())
        and start + 1000 <= each.created_at < start + 20_000
    )
    assert narrow
    assert await found(**every, from_ms=start + 1000, to_ms=start + 20_000) == narrow


async def test_a_page_of_the_history_reads_no_more_rows_than_it_shows(told: StoreScene) -> None:
    """Whatever the tables grow to: both are read from the newest row on, by an index, and merged."""

    def plan(reader: Any) -> list[str]:
        query = (
            "SELECT * FROM history WHERE (created_at, request_id) < (?, ?) ORDER BY created_at DESC, request_id DESC"
        )
        return [row[3] for row in reader._execute(f"EXPLAIN QUERY PLAN {query} LIMIT 50", (1 << 62, ""))]

    steps = await told.store.study(plan)
    assert not [step for step in steps if "TEMP B-TREE" in step or step.startswith("SCAN")]
    assert [step.split(" (")[0] for step in steps if step.startswith("SEARCH")] == [
        "SEARCH operation USING INDEX operation_created",
        "SEARCH archive USING INDEX archive_created",
    ]


async def test_a_cursor_is_good_for_its_own_list_alone(told: StoreScene) -> None:
    for _ in range(3):
        await told.enqueue(told.command())
    cursor = (await look_back(told, page_size=2)).next_cursor
    assert cursor is not None
    assert len((await look_back(told, page_size=2, cursor=cursor)).operations) == 1
    for call in (look_back(told, creator="tech-anna", cursor=cursor), told.page(cursor=cursor)):
        with pytest.raises(Refusal) as no:
            await call
        assert no.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "place", [(1,), (1, "a", 2), ("1", "a"), (True, "a"), (1.5, "a"), (1, None), (1 << 63, "a"), (1, "\ud800")]
)
async def test_a_cursor_that_names_no_place_of_the_list_is_refused(told: StoreScene, place: tuple[Any, ...]) -> None:
    with pytest.raises(Refusal) as no:
        await look_back(told, cursor=write_cursor(["history", {}], place))
    assert no.value.code is Code.INVALID_ARGUMENT
    assert (await look_back(told, cursor=write_cursor(["history", {}], (1, "a")))).operations == []


async def test_a_cursor_is_short_whatever_was_asked_for(told: StoreScene) -> None:
    long = replace(told.command(command_type="x" * 256), creator="y" * 64)
    for _ in "ab":
        await told.enqueue(replace(long, request_id=told.ids.new("cmd", long.created_at)))
    cursor = (await look_back(told, page_size=1, creator="y" * 64, command_type="x" * 256)).next_cursor
    assert cursor is not None
    assert len(cursor) < 200


# --- dead letters -----------------------------------------------------------------------------------------------------


async def dead_letters(told: StoreScene, component_id: str | None = None, **page: Any) -> Page:
    asked = {"page_size": 50, "cursor": None, **page}
    return await told.store.read(lambda reader: reader.dead_letters(component_id=component_id, **asked))


async def end(told: StoreScene, action: Action, target: str = "module-03") -> Operation:
    await told.enqueue(told.command(target))
    ended = await told.finish(await told.claimed(target), action)
    told.clock.advance(1)
    return ended


async def test_dead_letters_are_what_failed_or_was_abandoned_the_latest_end_first(told: StoreScene) -> None:
    failed = await end(told, Action.FAIL)
    await end(told, Action.COMPLETE)
    abandoned = await end(told, Action.ABANDON)
    elsewhere = await end(told, Action.FAIL, "module-04")
    await told.enqueue(told.command())
    assert (await dead_letters(told)).operations == [elsewhere, abandoned, failed]
    assert (await dead_letters(told, "module-03")).operations == [abandoned, failed]


async def test_a_dead_letter_leaves_the_list_when_it_is_discarded_queued_again_or_archived(told: StoreScene) -> None:
    discarded, requeued, archived, kept = [await end(told, Action.FAIL) for _ in range(4)]
    now = told.clock.wall_ms()
    await told.store.write(lambda tx: tx.discard(discarded.request_id, "known", "olga", now))
    await told.store.write(lambda tx: tx.requeue(requeued.request_id, now + 1000, MANY, "olga", now))
    assert (await dead_letters(told)).operations == [kept, archived]
    assert archived.finished_at is not None
    assert await archive(told, archived.finished_at + 1) == 2
    assert (await dead_letters(told)).operations == [kept]
    assert (await told.operation(discarded.request_id)).discarded_at == now


async def test_dead_letters_come_in_pages_that_stay_while_rows_go(told: StoreScene) -> None:
    dead = [await end(told, Action.FAIL) for _ in range(5)][::-1]
    first = await dead_letters(told, page_size=2)
    now = told.clock.wall_ms()
    await told.store.write(lambda tx: tx.discard(dead[1].request_id, "known", "olga", now))
    await end(told, Action.FAIL)
    second = await dead_letters(told, page_size=2, cursor=first.next_cursor)
    third = await dead_letters(told, page_size=2, cursor=second.next_cursor)
    assert [*first.operations, *second.operations, *third.operations] == dead
    assert third.next_cursor is None


# --- proxies ----------------------------------------------------------------------------------------------------------


async def proxy_queue(told: StoreScene, proxy: str, **page: Any) -> Page:
    asked = {"page_size": 50, "cursor": None, **page}
    return await told.store.read(lambda reader: reader.proxy_queue(proxy, **asked))


async def test_a_proxy_has_before_it_what_waits_for_it_and_what_it_does(told: StoreScene) -> None:
    by_proxy = {"request_type": RequestType.PROXY, "proxy_component": "pack-02"}
    first = await told.enqueue(told.pairing("module-03", **by_proxy))
    urgent = await told.enqueue(told.pairing("module-04", priority=Priority.HIGH, **by_proxy))
    last = await told.enqueue(told.pairing("module-05", **by_proxy))
    await told.enqueue(told.command("pack-02"))
    await told.enqueue(told.pairing("module-03", request_type=RequestType.PROXY, proxy_component="pack-01"))
    assert ids((await proxy_queue(told, "pack-02")).operations) == ids([urgent, first, last])
    done = await told.claimed("pack-02", proxy=True, target="module-03")
    assert (await proxy_queue(told, "pack-02")).operations[1].status is Status.PROCESSING
    await told.finish(done)
    assert ids((await proxy_queue(told, "pack-02")).operations) == ids([urgent, last])
    page = await proxy_queue(told, "pack-02", page_size=1)
    assert ids(page.operations) == ids([urgent])
    assert ids((await proxy_queue(told, "pack-02", page_size=1, cursor=page.next_cursor)).operations) == ids([last])
    assert (await proxy_queue(told, "module-03")).operations == []


# --- registrations ----------------------------------------------------------------------------------------------------


def register(registration: Registration, tx: Tx) -> None:
    tx.register(registration)


async def test_components_that_are_in_no_configuration_are_remembered(tmp_path: Path) -> None:
    found = Registration("can0-7", ComponentKind.OTHER, "can0", 7)
    adopted = Registration("module-09", ComponentKind.MODULE, "can0", 9, "fleet-north", "pack-01")
    async with scene(tmp_path / "queue.db") as told:
        for each in (adopted, replace(found, kind=ComponentKind.PACK, node=8), found):
            await told.store.write(partial(register, each))
    async with scene(tmp_path / "queue.db") as told:
        assert await told.store.read(lambda reader: reader.registrations()) == [found, adopted]
