"""Events, presence, the audit chain and what else the store remembers."""

from pathlib import Path

import pytest

from gateway.event import Event
from gateway.operation import Action, Ending, Outcome, RequestType
from gateway.ports import Call, PresenceChange
from gateway.presence import Presence
from gateway.queue.store.records import FORGET_CALLS
from gateway.queue.store.sql import connect
from tests.doubles import FakeClock
from tests.store_scene import StoreScene, scene

NOW = 1_790_000_000_000


@pytest.fixture
async def told(tmp_path: Path):
    async with scene(tmp_path / "queue.db") as made:
        yield made


def change(presence: Presence, since: int, **more) -> PresenceChange:
    name = {Presence.ONLINE: "component_online", Presence.OFFLINE: "component_offline"}.get(presence)
    return PresenceChange(
        "module-03",
        name or "component_missing",
        since + 5,
        presence,
        more.pop("reason", None),
        since,
        since - 9,
        **more,
    )


async def record(told: StoreScene, what: PresenceChange) -> None:
    await told.store.write(lambda tx: tx.record_presence([what]))


async def remember(told: StoreScene, call: Call) -> None:
    await told.store.write(lambda tx: tx.remember(call, {}))


async def test_a_queued_event_tells_the_whole_request(told: StoreScene) -> None:
    operation = await told.enqueue(told.command(metadata={"bay": "7"}))
    (event,) = await told.stored_events()
    assert (event.type, event.subject, event.at) == ("request_queued", "module-03", operation.created_at)
    assert event.attributes == {"request": operation.payload(), "queue_position": 1}


async def test_later_events_tell_what_changed(told: StoreScene) -> None:
    request = told.pairing(request_type=RequestType.PROXY, proxy_component="pack-02", source_ref="e-9")
    await told.enqueue(request)
    claimed = await told.claimed("pack-02", proxy=True)
    away = Outcome(Ending.NOT_STARTED)
    await told.finish(claimed, Action.RELEASE, away, waits_for="pack-01", not_before=NOW + 1000)
    started, released = (await told.stored_events())[1:]
    assert started.attributes == {
        "request_id": request.request_id,
        "kind": "PAIRING",
        "component_id": "module-03",
        "status": "PROCESSING",
        "priority": "NORMAL",
        "retry_count": 0,
        "initiator_component": "pack-01",
        "proxy_component": "pack-02",
        "source_ref": "e-9",
    }
    assert released.type == "request_retried"
    assert released.attributes == dict(started.attributes) | {
        "status": "QUEUED",
        "waits_for": "pack-01",
        "not_before": "2026-09-21T14:13:21.000Z",
        "counted": False,
    }


async def test_a_retry_is_counted(told: StoreScene) -> None:
    await told.enqueue(told.command())
    await told.finish(await told.claimed(), Action.RETRY, Outcome(Ending.UNANSWERED), not_before=NOW + 1000)
    assert (await told.stored_events())[-1].attributes["counted"] is True


async def test_an_event_by_itself_gets_the_next_number(told: StoreScene) -> None:
    seqs = await told.store.write(
        lambda tx: [tx.emit(Event("bus_down", "gateway", NOW, {"bus": "can0"})) for _ in "ab"]
    )
    assert seqs == [1, 2]
    assert [event.seq for event in told.events] == [1, 2]
    assert await told.store.read(lambda reader: (reader.last_seq(), reader.events_after(1, 10)[0].seq)) == (2, 2)


async def test_a_change_that_its_bus_tells_of_has_no_event_of_its_own(told: StoreScene) -> None:
    change = PresenceChange("module-03", None, NOW, Presence.OFFLINE, "bus_down", NOW, NOW - 1000)
    await told.store.write(lambda tx: tx.record_presence([change]))
    row = await told.store.read(lambda reader: reader.component("module-03"))
    assert row is not None
    assert (row.presence, row.reason) == (Presence.OFFLINE, "bus_down")
    assert await told.stored_events() == []


async def test_an_event_says_whether_its_time_may_be_believed(told: StoreScene) -> None:
    told.clock.is_trusted = False
    await told.store.write(lambda tx: tx.emit(Event("gateway_started", "gateway", NOW)))
    assert told.events[0].time_trusted is (await told.stored_events())[0].time_trusted is False


async def test_the_newest_trusted_time_is_known_at_the_next_start(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db") as told:
        assert told.store.last_event_at == 0
        await told.store.write(lambda tx: tx.emit(Event("bus_up", "gateway", NOW + 7)))
        ahead = PresenceChange(  # of a recording that is played faster than it was made
            "module-03", "component_online", NOW + 99, Presence.ONLINE, None, NOW + 99, NOW + 99, time_trusted=False
        )
        await told.store.write(lambda tx: tx.record_presence([ahead]))
        told.clock.is_trusted = False
        await told.store.write(lambda tx: tx.emit(Event("bus_up", "gateway", NOW + 999_999)))
    async with scene(tmp_path / "queue.db") as told:
        assert told.store.last_event_at == NOW + 7


async def test_numbers_are_not_given_again_where_all_events_have_gone(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db") as told:
        await told.store.write(lambda tx: [tx.emit(Event("bus_up", "gateway", NOW)) for _ in range(3)])
        await told.store.write(lambda tx: tx.acknowledge(3))
    db = connect(told.path)
    db.execute("DELETE FROM event")
    db.close()
    async with scene(tmp_path / "queue.db") as told:
        await told.store.write(lambda tx: tx.emit(Event("bus_up", "gateway", NOW)))
        assert told.events[0].seq == 4


# --- presence -----------------------------------------------------------------------------------------------------


async def test_a_change_of_presence_is_one_row_and_one_event(told: StoreScene) -> None:
    away = change(
        Presence.OFFLINE, NOW, reason="heartbeat_timeout", evidence={"missed": 4}, attributes={"flapping": True}
    )
    await told.store.write(lambda tx: tx.record_presence([away]))
    row = await told.store.read(lambda reader: reader.component("module-03"))
    assert row is not None
    assert (row.presence, row.reason, row.since, row.last_seen) == (Presence.OFFLINE, "heartbeat_timeout", NOW, NOW - 9)
    assert (row.evidence, row.expected_return, row.serial) == ({"missed": 4}, None, None)
    (event,) = await told.stored_events()
    assert (event.type, event.subject, event.at) == ("component_offline", "module-03", NOW + 5)
    assert event.attributes == {
        "presence": "OFFLINE",
        "reason": "heartbeat_timeout",
        "since": "2026-09-21T14:13:20.000Z",
        "last_seen": "2026-09-21T14:13:19.991Z",
        "evidence": {"missed": 4},
        "expected_return": None,
        "flapping": True,
    }


async def test_a_component_is_expected_back_after_its_usual_absence(told: StoreScene) -> None:
    at = NOW
    for minutes in (10, 1, 3):
        for presence, lasts in ((Presence.OFFLINE, minutes), (Presence.ONLINE, 60)):
            await record(told, change(presence, at))
            at += lasts * 60_000
    await told.store.write(lambda tx: tx.record_presence([change(Presence.OFFLINE, at)]))
    row = await told.store.read(lambda reader: reader.component("module-03"))
    assert row is not None
    assert row.expected_return == at + 3 * 60_000
    pending = await told.store.read(lambda reader: reader.offline_operation("module-03", accepts_proxy=False))
    assert pending.expected_return == row.expected_return
    await told.store.write(lambda tx: tx.record_presence([change(Presence.ONLINE, at + 5)]))
    (row,) = await told.store.read(lambda reader: reader.components())
    assert row.expected_return is None
    assert "expected_return" not in told.events[-1].attributes


async def test_an_absence_lasts_from_its_first_reason_to_the_return(told: StoreScene) -> None:
    for n in range(3):
        away = NOW + n * 100_000
        await record(told, change(Presence.OFFLINE, away, reason="heartbeat_timeout"))
        await record(told, change(Presence.OFFLINE, away + 7_000, reason="bus_down"))
        await record(told, change(Presence.UNKNOWN, away + 8_000, reason="missing"))
        await record(told, change(Presence.ONLINE, away + 10_000))
    await record(told, change(Presence.OFFLINE, NOW + 900_000))
    row = await told.store.read(lambda reader: reader.component("module-03"))
    assert row is not None
    assert row.expected_return == NOW + 910_000


async def test_a_serial_number_of_64_bits_is_kept_beside_the_presence(told: StoreScene) -> None:
    await told.store.write(lambda tx: tx.learn_serial("module-03", (1 << 64) - 2, NOW))
    await told.store.write(lambda tx: tx.record_presence([change(Presence.UNKNOWN, NOW)]))
    row = await told.store.read(lambda reader: reader.component("module-03"))
    assert row is not None
    assert (row.serial, row.presence) == ((1 << 64) - 2, Presence.UNKNOWN)
    assert await told.store.read(lambda reader: reader.component("module-09")) is None


# --- calls, parameters --------------------------------------------------------------------------------------------


async def test_a_call_is_remembered_until_it_is_over(told: StoreScene) -> None:
    end = told.clock.wall_ms() + 1000
    await told.store.write(lambda tx: tx.remember(Call("tech-anna", "call-0001", b"d", end), {"ok": True}))

    async def remembered(now: int) -> object:
        return await told.store.read(lambda reader: reader.remembered("tech-anna", "call-0001", now))

    assert await remembered(end) == (b"d", {"ok": True})
    assert await remembered(end + 1) is None
    told.clock.advance(2)
    for n in range(FORGET_CALLS):
        await remember(told, Call("tech-anna", f"call-{n:09}", b"d", end + 9999))
    assert await remembered(end) is None  # it has left the table


async def test_parameters_set_at_run_time_outlive_a_restart(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db") as told:
        await told.store.write(lambda tx: tx.set_parameters({"max_queue_depth": 5, "enable_retry": False}))
        await told.store.write(lambda tx: tx.set_parameters({"max_queue_depth": 6}))
    async with scene(tmp_path / "queue.db", FakeClock()) as told:
        wanted = {"max_queue_depth": 6, "enable_retry": False}
        assert await told.store.write(lambda tx: tx.parameters()) == wanted
