"""Events are what their models and the schemas in docs/ say: every type, told by the code that makes it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.bus.frames import load_codecs
from gateway.bus.wire import Condition
from gateway.errors import Code
from gateway.event import EVENT_TYPES, Event
from gateway.operation import Action, Delivery, Ending, Outcome, Reach, RequestType, Verdict
from gateway.queue.notices import Notices
from gateway.recorder import Recorder
from tests.api_scene import CLOUD, OLGA, READ, ROOT, VIEWER, ApiScene, api_scene
from tests.doubles_bus import FakeNode
from tests.doubles_queue import Act
from tests.drain_scene import Stage
from tests.integration.test_store_salvage import fill, leaf_pages, spoil
from tests.looptime import virtual_time
from tests.store_scene import PARAMETERS, scene
from tests.told import check_event
from tests.unit.test_monitor import Scene as BusScene
from tests.unit.test_monitor import heard

TOLD_BY_A_DAEMON = {"gateway_started", "gateway_stopping"}  # tests/acceptance/test_payloads_upstream.py sees them
HOUR_MS = 3_600_000
MANY = PARAMETERS.model_copy(update={"max_requests_per_component": 100_000, "max_queue_depth": 100_000})
DONE: dict[str, Any] = {"result_code": 0, "data": 7}
PAIRED: dict[str, Any] = {
    "serial": "0x00A3000012345678",
    "pair_epoch": 1,
    "firmware_version": 258,
    "device_type": 2,
    "hw_revision": 1,
    "authenticated": True,
}


# --- presence and buses -----------------------------------------------------------------------------------------------


async def recorded(folder: Path, *scenes: BusScene) -> list[Event]:
    """Return what monitors noticed as the store tells of it."""
    async with scene(folder / "queue.db") as told:
        recorder = Recorder(told.store, lambda _: None)
        running = asyncio.create_task(recorder.run())
        expected = 0
        for each in scenes:
            for notices in each.calls:
                recorder.take(notices)
                expected += sum(isinstance(notice, Event) or notice.event is not None for notice in notices)
        while len(told.events) < expected:
            await asyncio.sleep(0.001)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return told.events


async def components_come_and_go(folder: Path) -> list[Event]:
    plain, fussy, chatty, strange = BusScene(), heard(flap_changes=3), heard(2), heard()
    plain.wait(31)  # missing
    plain.heartbeats(until=35)
    plain.nodes["m0"].restart()
    plain.beat()
    plain.wait(50)
    for start in (20, 40, 60):
        fussy.wait(start)
        fussy.heartbeats(until=start + 3)
    chatty.heartbeats("m0", until=10, every=0.01)
    for at in (4, 5, 6):
        strange.wait(at)
        strange.wire.deliver(strange.nodes["m0"].beat(strange.clock.now, bad_crc=True))
    stranger = FakeNode(load_codecs()["HB_PACK"], 0x2A)
    strange.wire.deliver(stranger.beat(strange.clock.now), stranger.beat(strange.clock.now))
    return await recorded(folder, plain, fussy, chatty, strange)


async def a_bus_goes_down_and_we_miss_some(folder: Path) -> list[Event]:
    lost, stalled, suspended, overrun = heard(2), heard(), heard(), heard()
    lost.wire.tell(Condition.DOWN, lost.clock.now, "unplugged")
    lost.wait(90)
    lost.wire.tell(Condition.UP, lost.clock.now)
    stalled.stall(until=7)
    suspended.suspended_s = 3600
    suspended.wait(4)
    overrun.wire.tell(Condition.OVERFLOW, overrun.clock.now, "12 frames lost")
    return await recorded(folder, lost, stalled, suspended, overrun)


# --- the queue --------------------------------------------------------------------------------------------------------


async def operations_end_in_every_way(folder: Path) -> list[Event]:
    async with scene(folder / "queue.db") as told:
        hold: dict[str, Any] = {"hold_ref": "hold-7", "hold_amount": 2.5, "source_ref": "order-7"}
        refused = Outcome(Ending.REFUSED, code=Code.DEVICE_REFUSED, message="not now", device_status=0x21)
        done, paired = Outcome(Ending.DONE, result=DONE), Outcome(Ending.DONE, result=PAIRED)
        for operation, action, outcome in (
            (told.command(), Action.COMPLETE, done),
            (told.pairing(**hold), Action.COMPLETE, paired),
            (told.command(**hold), Action.FAIL, refused),
            (told.command(delivery=Delivery.AT_MOST_ONCE), Action.ABANDON, Outcome(Ending.LOST)),
            (told.pairing(proxy_component="pack-01", request_type=RequestType.PROXY), Action.COMPLETE, paired),
        ):
            await told.enqueue(operation)
            taken = await told.claimed(operation.carrier, proxy=operation.carrier != "module-03")
            await told.finish(taken, action, outcome)
        retried = await told.enqueue(told.command(title="again", metadata={"line": "4"}, timeout_s=2.5))
        await told.finish(await told.claimed(), Action.RETRY, refused, not_before=told.clock.wall_ms() + 1000)
        await told.store.write(lambda tx: tx.cancel(retried.request_id, "no need", "olga", told.clock.wall_ms()))
        lost = await told.enqueue(told.pairing())
        await told.finish(
            await told.claimed(), Action.RELEASE, Outcome(Ending.NOT_STARTED, code=Code.BUS_DOWN), waits_for="pack-01"
        )
        told.clock.advance(2 * 3600)
        await told.store.write(lambda tx: tx.expire(told.clock.wall_ms(), 10))
        assert (await told.operation(lost.request_id)).status == "EXPIRED"
        return told.events


async def a_family_goes_its_way(folder: Path) -> list[Event]:
    async with api_scene(folder) as desk:
        several = {"command_type": "identify", "targets": ["module-03", "module-04"], "barrier": True}
        parent = (await desk.ok(CLOUD, "queue_command", **several, hold_ref="hold-8"))["request"]["request_id"]
        await desk.store.write(lambda tx: tx.open_barrier(parent, desk.clock.wall_ms()))
        await desk.ok(OLGA, "set_priority", request_id=parent, priority="HIGH")
        for target, outcome in (
            ("module-03", Outcome(Ending.DONE, result=DONE)),
            ("module-04", Outcome(Ending.REFUSED, code=Code.DEVICE_REFUSED)),
        ):
            await carried_out(desk, target, outcome)
        await desk.ok(CLOUD, "get_request_status", request_id=parent)
        await desk.ok(VIEWER, "get_history")
        return desk.events


async def operators_tend_the_queue(folder: Path) -> list[Event]:
    async with api_scene(folder) as desk:
        first, second, third = [await queued(desk) for _ in range(3)]
        await desk.ok(OLGA, "reorder_queue", component_id="module-03", request_ids=[third, second])
        await desk.ok(OLGA, "set_priority", request_id=second, priority="CRITICAL")
        await desk.ok(OLGA, "cancel_request", request_id=second, cancellation_reason="no need")
        held = await queued(desk, priority="CRITICAL", hold_ref="hold-9", hold_amount=1.0)
        await carried_out(desk, "module-03", Outcome(Ending.DONE, result=DONE))
        await desk.ok(CLOUD, "settle", request_id=held, outcome="CAPTURED", settlement_ref="tx-1")
        for _ in range(2):
            await carried_out(desk, "module-03", Outcome(Ending.REFUSED, code=Code.DEVICE_REFUSED))
        await desk.ok(OLGA, "requeue", request_id=first)
        await desk.ok(OLGA, "discard", request_id=third, reason="known")
        newer = {
            "command_type": "set_limits",
            "target_component": "pack-01",
            "arguments": {"charge_a": 1, "discharge_a": 2},
        }
        for _ in range(2):  # the second takes the place of the first
            await desk.ok(CLOUD, "queue_command", **newer)
        await desk.ok(ROOT, "set_params", params={"alert_queue_size": 2, "max_bus_load": 0.5})
        await queued(desk)
        await queued(desk)
        return desk.events


async def alarms_are_raised(folder: Path) -> list[Event]:
    async with scene(folder / "queue.db", max_bytes=1_500_000) as told:
        opened = told.command("pack-01", command_type="contactor_open", reach=Reach.EMERGENCY, urgency=5)
        await told.enqueue(opened)
        told.clock.advance(2 * 3600)
        await told.store.write(lambda tx: tx.expire(told.clock.wall_ms(), 10))
        with suppress(Exception):  # STORAGE_FULL, in the end
            while not any(event.attributes.get("alert") == "STORAGE" for event in told.events):
                await told.enqueue(told.command(description="x" * 2000), MANY)
        return told.events


async def the_database_is_damaged(folder: Path) -> list[Event]:
    async with scene(folder / "queue.db") as told:
        await fill(told)
    spoil(folder / "queue.db", leaf_pages(folder / "queue.db", b"x" * 500)[3])
    async with scene(folder / "queue.db", told.clock) as told:
        return await told.stored_events()


async def the_outbox_is_full(folder: Path) -> list[Event]:
    async with scene(folder / "queue.db", outbox_max_bytes=65_536) as told:
        for _ in range(200):
            await told.enqueue(told.command(description="x" * 2000), MANY)
            if any(event.type == "events_dropped" for event in told.events):
                break
        return told.events


# --- the drain --------------------------------------------------------------------------------------------------------


async def devices_answer_or_do_not(stage: Stage) -> list[Event]:
    async with stage.scene() as told:
        notices = asyncio.create_task(Notices(told.store, lambda: told.parameters, told.clock).run())
        told.executor.usual = Act(after_s=5.0)
        for n in range(4):
            await told.queue(f"cmd_{n}", expires_at=1_790_000_000_000 + 1000 * HOUR_MS)
        await asyncio.sleep(25 * 3600)  # stale
        told.comes_back("m1", deadline_s=1000)
        await asyncio.sleep(60)
        told.executor.serials["m1"] = 0xBEEF
        told.comes_back("m1", restarted=True)
        told.executor.serials.pop("m2")
        told.comes_back("m2")
        await asyncio.sleep(60)
        notices.cancel()
        with suppress(asyncio.CancelledError):
            await notices
        return told.events


async def queued(desk: ApiScene, **fields: Any) -> str:
    return str((await desk.ok(CLOUD, "queue_command", **READ | fields))["request"]["request_id"])


async def carried_out(desk: ApiScene, target: str, outcome: Outcome) -> None:
    """Have the drain take the next operation for a target and end it."""
    now_ms = desk.clock.wall_ms()
    operation = await desk.store.write(lambda tx: tx.claim(target, now_ms))
    assert operation is not None
    action = Action.COMPLETE if outcome.ending is Ending.DONE else Action.FAIL
    await desk.store.write(lambda tx: tx.finish(operation, Verdict(action), outcome, now_ms))


# --- every type -------------------------------------------------------------------------------------------------------

Story = Callable[[Path], Awaitable[Sequence[Event]]]
COMPONENTS = "online offline missing restarted degraded flapping babbling discovered"
ENDS = "queued started completed retried failed expired abandoned cancelled"
STORIES: Mapping[Story, set[str]] = {
    components_come_and_go: {f"component_{word}" for word in COMPONENTS.split()},
    a_bus_goes_down_and_we_miss_some: {"bus_down", "bus_up", "observer_degraded"},
    operations_end_in_every_way: {f"request_{word}" for word in ENDS.split()},
    a_family_goes_its_way: {"request_progress", "queue_reordered"},
    operators_tend_the_queue: {
        "request_settled",
        "request_discarded",
        "queue_reordered",
        "queue_alert",
        "params_changed",
    },
    alarms_are_raised: {"queue_alert"},
    the_database_is_damaged: {"database_salvaged"},
    the_outbox_is_full: {"events_dropped"},
}
DRAINED = {"queue_processed", "component_unresponsive", "component_replaced", "position_notice", "queue_alert"}


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_what_is_told_is_what_its_model_says(story: Story, tmp_path: Path) -> None:
    assert STORIES[story] <= checked(await story(tmp_path))


def test_what_a_drain_tells_is_what_its_model_says(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert checked(virtual_time(devices_answer_or_do_not)(Stage("sqlite", tmp_path, caplog))) >= DRAINED


def checked(events: Sequence[Event]) -> set[str]:
    """Check each event as it would be published; return the types there were."""
    for event in events:
        check_event(event.payload(epoch=1))
    return {event.type for event in events}


def test_no_type_of_event_goes_unseen() -> None:
    assert set.union(DRAINED, TOLD_BY_A_DAEMON, *STORIES.values()) == EVENT_TYPES
