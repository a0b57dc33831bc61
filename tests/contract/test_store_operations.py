"""What the store does with operations, told one promise at a time."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import Code, Refusal
from gateway.operation import (
    FIRST,
    Action,
    Delivery,
    Ending,
    Operation,
    Outcome,
    Priority,
    QueueType,
    Reach,
    RequestType,
    Status,
)
from gateway.settings import Parameters
from tests.store_scene import HOUR_MS, StoreScene, scene


@pytest.fixture
async def told(tmp_path: Path):
    async with scene(tmp_path / "queue.db") as made:
        yield made


async def cancel(told: StoreScene, request_id: str) -> None:
    await told.store.write(lambda tx: tx.cancel(request_id, "gone", "tech-anna", told.clock.wall_ms()))


async def refused(awaitable) -> Code:
    with pytest.raises(Refusal) as why:
        await awaitable
    return why.value.code


async def test_an_operation_comes_back_as_it_was_stored(told: StoreScene) -> None:
    everything = told.pairing(
        request_type=RequestType.PROXY,
        proxy_component="pack-01",
        priority=Priority.HIGH,
        delivery=Delivery.AT_MOST_ONCE,
        bound_serial=(1 << 64) - 1,
        idempotency_key="k-1",
        metadata={"bay": "7"},
        source="erp",
        source_ref="e-9",
        title="Pair",
        description="ä…",
        expected_duration_s=0.0,
        hold_ref="h-1",
        hold_amount=12.5,
        timeout_s=3.5,
    )
    await told.enqueue(everything)
    assert await told.operation(everything.request_id) == everything
    plain = told.command()
    await told.enqueue(plain)
    assert await told.operation(plain.request_id) == plain
    assert await told.store.read(lambda reader: reader.operation("cmd_none")) is None


async def test_its_whole_life_comes_back_too(told: StoreScene) -> None:
    operation = await told.enqueue(told.pairing())
    for _ in range(2):
        claimed = await told.claimed()
        await told.store.write(lambda tx: tx.confirming(operation.request_id))
        told.clock.advance(1)
        failed = Outcome(Ending.UNANSWERED, code=Code.EXCHANGE_TIMEOUT, message="No answer.", device_status=10)
        again = await told.finish(claimed, Action.RETRY, failed, not_before=told.clock.wall_ms())
        assert again.progress == "confirming"
        assert await told.operation(operation.request_id) == again
    done = await told.finish(await told.claimed(), outcome=Outcome(Ending.DONE, result={"pair_epoch": 4}))
    assert await told.operation(operation.request_id) == done
    assert (done.retry_count, done.result, done.last_error) == (2, {"pair_epoch": 4}, None)


async def test_a_repeat_with_the_same_key_and_content_stores_nothing(told: StoreScene) -> None:
    first = await told.enqueue(told.command(idempotency_key="k-1"))
    told.clock.advance(5)
    assert await told.enqueue(told.command(idempotency_key="k-1")) == first
    assert [event.seq for event in await told.stored_events()] == [1]
    assert await refused(told.enqueue(told.command("module-04", idempotency_key="k-1"))) is Code.IDEMPOTENCY_CONFLICT
    somebody_else = replace(told.command("module-04", idempotency_key="k-1"), creator="tech-bert")
    assert (await told.enqueue(somebody_else)).request_id == somebody_else.request_id


async def test_a_repeat_in_the_same_transaction_is_seen(told: StoreScene) -> None:
    first, second = told.command(idempotency_key="k-1"), told.command(idempotency_key="k-1")
    got = await told.store.write(lambda tx: (tx.enqueue(first, Parameters()), tx.enqueue(second, Parameters())))
    assert got == (first, first)


async def test_a_full_queue_takes_some_emergencies_more(told: StoreScene) -> None:
    one = Parameters(max_requests_per_component=1, max_queue_depth=1)
    await told.enqueue(told.command("module-03"), one)
    for _ in range(10):
        await told.enqueue(told.command("module-03", urgency=FIRST, reach=Reach.EMERGENCY), one)
    more = told.command("module-03", urgency=FIRST, reach=Reach.EMERGENCY)
    assert await refused(told.enqueue(more, one)) is Code.QUEUE_FULL


async def test_a_full_queue_refuses_more_and_takes_more_once_there_is_room(told: StoreScene) -> None:
    two = Parameters(max_requests_per_component=2, max_queue_depth=3)
    for _ in range(2):
        await told.enqueue(told.command("module-03"), two)
    assert await refused(told.enqueue(told.command("module-03"), two)) is Code.QUEUE_FULL
    await told.enqueue(told.command("module-04"), two)
    assert await refused(told.enqueue(told.command("module-05"), two)) is Code.QUEUE_FULL
    await told.finish(await told.claimed("module-03"))
    await told.enqueue(told.command("module-03"), two)


async def test_an_emergency_is_taken_alone_where_only_that_is_asked_for(told: StoreScene) -> None:
    await told.enqueue(told.command(priority=Priority.CRITICAL))
    urgent = await told.enqueue(told.pairing(request_type=RequestType.EMERGENCY, priority=Priority.CRITICAL))
    assert (await told.claimed(reach=Reach.EMERGENCY)).request_id == urgent.request_id
    assert await told.claim(reach=Reach.EMERGENCY) is None


async def test_numbers_count_on_across_restarts_and_over_the_end(tmp_path: Path) -> None:
    numbers = []
    for _ in range(2):
        async with scene(tmp_path / "queue.db") as told:
            for _ in range(130):
                await told.enqueue(told.command())
                claimed = await told.claimed()
                numbers.append(claimed.sequence)
                await told.finish(claimed)
    assert numbers == [n % 256 for n in range(1, 261)]


async def test_a_number_that_a_waiting_operation_holds_is_not_given_again(told: StoreScene) -> None:
    kept = await told.enqueue(told.command(priority=Priority.HIGH))
    first = await told.claimed()
    later = told.clock.wall_ms() + HOUR_MS // 2
    await told.finish(first, Action.RETRY, Outcome(Ending.DECLINED), not_before=later)
    given = set()
    for _ in range(256):
        await told.enqueue(told.command())
        claimed = await told.claimed()
        given.add(claimed.sequence)
        await told.finish(claimed)
    assert given == set(range(256)) - {first.sequence}
    told.clock.advance(1800)
    again = await told.claimed()
    assert (again.request_id, again.sequence) == (kept.request_id, first.sequence)


async def test_a_pairing_gets_a_number_with_each_of_both_sides(told: StoreScene) -> None:
    await told.enqueue(told.pairing("module-03"))
    await told.enqueue(told.pairing("module-04"))
    await told.enqueue(told.pairing("pack-01", initiator_component="pack-02"))
    one, two = await told.claimed("module-03"), await told.claimed("module-04")
    assert (one.sequence, one.partner_sequence, two.sequence, two.partner_sequence) == (1, 1, 1, 2)
    assert (await told.claimed("pack-01")).sequence == 3  # one row of numbers per component, whatever its part


async def test_a_proxy_request_has_a_number_with_the_proxy_alone(told: StoreScene) -> None:
    await told.enqueue(told.pairing(request_type=RequestType.PROXY, proxy_component="pack-02"))
    assert await told.claim("module-03") is None
    assert await told.claim("pack-02") is None  # proxies only where asked for
    assert await told.claim("pack-02", proxy=True, target="module-09") is None
    claimed = await told.claimed("pack-02", proxy=True, target="module-03")
    assert (claimed.sequence, claimed.partner_sequence) == (1, None)
    await told.enqueue(told.command("module-03"))
    assert await told.claim("module-03") is None  # something is under way for it already


async def test_a_proxy_request_waits_while_its_target_has_something_under_way(told: StoreScene) -> None:
    await told.enqueue(told.command("module-03"))
    proxied = await told.enqueue(told.pairing(request_type=RequestType.PROXY, proxy_component="pack-02"))
    running = await told.claimed("module-03")
    assert await told.claim("pack-02", proxy=True) is None
    await told.finish(running)
    assert (await told.claimed("pack-02", proxy=True)).request_id == proxied.request_id


async def test_age_counts_and_not_the_id_where_the_clock_stepped_back(told: StoreScene) -> None:
    await told.enqueue(told.command())
    older = replace(told.command(), created_at=told.clock.wall_ms() - 5)
    await told.enqueue(older)
    assert told.events[-1].attributes["queue_position"] == 1
    assert (await told.claimed()).request_id == older.request_id


async def test_an_emergency_is_due_again_at_the_very_moment_of_its_retry(told: StoreScene) -> None:
    await told.enqueue(told.pairing(request_type=RequestType.EMERGENCY))
    later = told.clock.wall_ms() + 1000
    await told.finish(await told.claimed(), Action.RETRY, Outcome(Ending.UNANSWERED), not_before=later)
    told.clock.advance(0.999)
    assert await told.claim(reach=Reach.EMERGENCY) is None
    told.clock.advance(0.001)
    assert await told.claim(reach=Reach.EMERGENCY) is not None


async def test_an_operation_expires_at_its_very_end(told: StoreScene) -> None:
    operation = await told.enqueue(told.command())
    assert await told.store.write(lambda tx: tx.expire(operation.expires_at - 1, 10)) == []
    (expired,) = await told.store.write(lambda tx: tx.expire(operation.expires_at, 10))
    assert (expired.request_id, expired.status) == (operation.request_id, Status.EXPIRED)
    assert told.events[-1].type == "request_expired"


async def test_an_operation_that_is_over_is_not_claimed_unless_the_clock_may_be_wrong(told: StoreScene) -> None:
    operation = await told.enqueue(told.command())
    told.clock.set_wall(operation.expires_at)
    assert await told.claim() is None
    told.clock.is_trusted = False
    assert await told.store.write(lambda tx: tx.expire(told.clock.wall_ms(), 10)) == []
    assert (await told.claimed()).request_id == operation.request_id


async def test_the_next_due_date_leaves_out_what_will_not_come_by_itself(told: StoreScene) -> None:
    now = told.clock.wall_ms()

    async def due(**options) -> int | None:
        return await told.store.read(lambda reader: reader.next_due("module-03", now, **options))

    assert await due() is None
    await told.enqueue(told.command())
    assert await due() == 0
    assert await due(reach=Reach.EMERGENCY) is await due(target="module-09") is None
    claimed = await told.claimed()
    await told.finish(claimed, Action.RETRY, Outcome(Ending.UNANSWERED), not_before=now + 1000)
    assert await due() == now + 1000
    told.clock.advance(1)
    await told.finish(await told.claimed(), Action.RELEASE, Outcome(Ending.NOT_STARTED), waits_for="pack-01")
    assert await due() is None


async def test_places_count_those_that_come_before(told: StoreScene) -> None:
    normal = await told.enqueue(told.command())
    proxied = await told.enqueue(
        told.pairing("module-09", request_type=RequestType.PROXY, proxy_component="module-03", priority=Priority.HIGH)
    )
    urgent = await told.enqueue(told.command(priority=Priority.CRITICAL))

    async def place(operation: Operation) -> int | None:
        return await told.store.read(lambda reader: reader.queue_position(operation))

    assert [await place(each) for each in (urgent, normal, proxied)] == [1, 2, 3]
    assert await place(await told.claimed()) is None
    assert [event.attributes.get("queue_position") for event in told.events] == [1, 2, 1, None]


async def test_rejecting_and_cancelling_end_what_waits(told: StoreScene) -> None:
    one, two = await told.enqueue(told.command()), await told.enqueue(told.command())
    now = told.clock.wall_ms()
    replaced = Outcome(Ending.REFUSED, code=Code.SERIAL_MISMATCH, message="Another device.")
    rejected = await told.store.write(lambda tx: tx.reject(one.request_id, replaced, now))
    cancelled = await told.store.write(lambda tx: tx.cancel(two.request_id, "not needed", "tech-bert", now))
    assert (rejected.status, (rejected.last_error or {})["code"]) == (Status.FAILED, "SERIAL_MISMATCH")
    assert (cancelled.status, cancelled.cancellation_reason) == (Status.CANCELLED, "not needed")
    assert [event.type for event in told.events[2:]] == ["request_failed", "request_cancelled"]
    assert told.events[3].attributes["actor"] == "tech-bert"
    unknown = told.store.write(lambda tx: tx.cancel("cmd_none", "not needed", "tech-bert", now))
    assert await refused(unknown) is Code.REQUEST_NOT_FOUND
    late = told.store.write(lambda tx: tx.confirming(one.request_id))
    assert await refused(late) is Code.INVALID_STATE_TRANSITION


async def test_a_refusal_that_the_job_catches_leaves_the_rest_of_it_standing(told: StoreScene) -> None:
    one = await told.enqueue(told.command())
    claimed = await told.claimed()
    await told.finish(claimed)

    def job(tx):
        with pytest.raises(Refusal):
            tx.cancel(one.request_id, "late", "tech-anna", told.clock.wall_ms())
        return tx.enqueue(told.command(), Parameters(max_requests_per_component=1, max_queue_depth=1))

    await told.store.write(job)
    one_more = told.enqueue(told.command(), Parameters(max_queue_depth=1))
    assert await refused(one_more) is Code.QUEUE_FULL


async def test_what_a_restart_cut_off_is_asked_again_before_its_device_forgets(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db") as told:
        await told.enqueue(told.command(priority=Priority.LOW))
        cut_off = await told.claimed()
    async with scene(tmp_path / "queue.db") as told:
        await told.store.write(lambda tx: tx.recover(told.clock.wall_ms()))
        await told.enqueue(told.command(priority=Priority.CRITICAL))
        listed = (await told.page()).operations
        assert listed[0].request_id == cut_off.request_id
        assert await told.store.read(lambda reader: reader.queue_position(listed[1])) == 2
        resumed = await told.claimed()
        assert (resumed.request_id, resumed.sequence) == (cut_off.request_id, cut_off.sequence)


async def test_nothing_comes_between_a_command_without_an_answer_and_its_next_try(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db") as told:
        await told.enqueue(told.command(priority=Priority.LOW))
        silent, now = await told.claimed(), told.clock.wall_ms()
        await told.enqueue(told.command(priority=Priority.CRITICAL))
        await told.enqueue(told.pairing(request_type=RequestType.EMERGENCY, priority=Priority.CRITICAL))
        await told.finish(silent, Action.RETRY, Outcome(Ending.UNANSWERED), not_before=now + 1000)
        assert await told.claim() is None
        assert await told.store.read(lambda reader: reader.next_due("module-03", now)) == now + 1000
        urgent = await told.claimed(reach=Reach.EMERGENCY)
        await told.finish(urgent)
        told.clock.advance(1)
        assert (await told.claimed()).request_id == silent.request_id


async def test_a_restart_finds_what_was_under_way(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db") as told:
        await told.enqueue(told.command("module-01"))
        await told.enqueue(told.command("module-02", delivery=Delivery.AT_MOST_ONCE))
        await told.enqueue(told.command("module-03"))
        await told.finish(await told.claimed("module-03"), Action.RELEASE, Outcome(Ending.LOST), waits_for="pack-01")
        first, second = await told.claimed("module-01"), await told.claimed("module-02")
    async with scene(tmp_path / "queue.db", told.clock) as told:
        assert await told.claim("module-01") is None  # still under way, as far as the store knows
        again, given_up = await told.store.write(lambda tx: tx.recover(told.clock.wall_ms()))
        assert (again.request_id, again.status, again.retry_count) == (first.request_id, Status.QUEUED, 0)
        assert (given_up.request_id, given_up.status) == (second.request_id, Status.ABANDONED)
        assert (given_up.last_error or {})["code"] == "OUTCOME_UNKNOWN"
        assert (await told.claimed("module-01")).sequence == first.sequence
        assert await told.claim("module-03") is not None
        assert [event.attributes.get("counted") for event in told.events[:2]] == [False, None]


# --- lists ------------------------------------------------------------------------------------------------------------


async def test_pages_neither_repeat_nor_miss_what_stays_while_rows_come_and_go(told: StoreScene) -> None:
    for n in range(30):
        await told.enqueue(told.command(f"module-{n % 3}", priority=Priority(n % 4 + 1)))
        told.clock.advance(0.001)
    before = [each.request_id for each in (await told.page(page_size=200)).operations]
    seen: list[str] = []
    cursor = None
    while True:
        page = await told.page(page_size=7, cursor=cursor)
        seen += [each.request_id for each in page.operations]
        cursor = page.next_cursor
        if cursor is None:
            break
        await cancel(told, seen.pop(0))
        ahead = replace(told.command("module-0", priority=Priority.CRITICAL), created_at=0)
        await told.enqueue(ahead)
    assert [each for each in before if each in seen] == seen
    assert len(seen) == 30 - 4


@pytest.mark.parametrize("queue_type", QueueType)
async def test_a_list_shows_one_queue_of_one_component(told: StoreScene, queue_type: QueueType) -> None:
    made = {
        QueueType.STANDARD: await told.enqueue(told.command()),
        QueueType.PRIORITY: await told.enqueue(told.pairing(request_type=RequestType.EMERGENCY)),
        QueueType.PROXY: await told.enqueue(told.pairing(request_type=RequestType.PROXY, proxy_component="pack-01")),
    }
    await told.enqueue(told.command("module-04"))
    await told.enqueue(told.pairing("module-05", request_type=RequestType.PROXY, proxy_component="module-03"))
    page = await told.page(component_id="module-03", queue_type=queue_type)
    wanted = list(made.values()) if queue_type is QueueType.ALL else [made[queue_type]]
    assert {each.request_id for each in page.operations} == {each.request_id for each in wanted}


async def test_a_list_shows_one_status(told: StoreScene) -> None:
    for _ in range(3):
        await told.enqueue(told.command())
    await told.finish(await told.claimed())
    running = await told.claimed()
    assert len((await told.page(status=Status.COMPLETED)).operations) == 1
    assert len((await told.page(status=Status.COMPLETED, component_id="module-04")).operations) == 0
    assert [each.request_id for each in (await told.page(status=Status.PROCESSING)).operations] == [running.request_id]
    assert len((await told.page(status=Status.QUEUED, component_id="module-03")).operations) == 1
    assert len((await told.page()).operations) == 2


def forged(told: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(told).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "ä",
        "x" * 2000,
        forged(7),
        forged([["module-04", "ALL", None], [False, -2, 0, ""]]),
        forged([[None, "ALL", None], [False, -2, 0]]),
        forged([[None, "ALL", None], [False, "-2", 0, ""]]),
        forged([[None, "ALL", None], [False, 1.5, 0, ""]]),
        base64.urlsafe_b64encode(b"[" * 700).decode(),
    ],
)
async def test_a_cursor_we_did_not_write_is_refused(told: StoreScene, cursor: str) -> None:
    with pytest.raises(Refusal, match="cursor") as why:
        await told.page(cursor=cursor)
    assert why.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("page_size", [0, -1, 201])
async def test_a_page_has_its_bounds(told: StoreScene, page_size: int) -> None:
    with pytest.raises(Refusal, match="page_size"):
        await told.page(page_size=page_size)


async def test_the_work_for_an_absent_component_is_told_together(told: StoreScene) -> None:
    low = await told.enqueue(told.command(priority=Priority.LOW))
    proxied = await told.enqueue(told.pairing(request_type=RequestType.PROXY, proxy_component="pack-02"))
    high = await told.enqueue(told.command(priority=Priority.HIGH))
    pending = await told.store.read(lambda reader: reader.offline_operation("module-03", accepts_proxy=True))
    assert pending.pending_request_ids == (high.request_id, low.request_id, proxied.request_id)
    assert (pending.operation_count, pending.accepts_proxy) == (3, True)
    await told.finish(await told.claimed())
    told.clock.advance(5)
    status = await told.store.read(lambda reader: reader.queue_status("module-03"))
    sizes = (status.standard_queue_size, status.priority_queue_size, status.proxy_queue_size)
    assert (sizes, status.oldest_request) == ((1, 0, 1), low.created_at)
    assert status.last_processed == low.created_at


async def test_the_load_is_that_of_the_last_hour(told: StoreScene) -> None:
    now = told.clock.wall_ms
    assert (await told.store.read(lambda reader: reader.load(now()))).average_wait_ms == 0.0
    for action in (Action.COMPLETE, Action.COMPLETE, Action.COMPLETE, Action.FAIL):
        await told.enqueue(told.command())
        told.clock.advance(2)
        claimed = await told.claimed()
        told.clock.advance(0.5)
        await told.finish(claimed, action)
    await told.enqueue(told.command())
    load = await told.store.read(lambda reader: reader.load(now()))
    assert (load.queue_depth, load.average_wait_ms, load.average_processing_ms) == (1, 2000, 500)
    assert load.failure_rate == 0.25
    told.clock.advance(3600)
    assert (await told.store.read(lambda reader: reader.load(now()))).failure_rate == 0.0
