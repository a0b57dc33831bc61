"""Whoever reads the topics alone knows the truth, whatever broker, wire and gateway go through on the way."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from tests.acceptance import histories, verdicts
from tests.acceptance.scene import GATEWAY, Fleet, Scene, scene
from tests.acceptance.storm import Storm, is_queuing, queued_by
from tests.acceptance.subscriber import Subscriber
from tests.acceptance.wire import wire
from tests.integration.broker import Mosquitto

SEED: Final = 20261122
RESTARTS: Final = 50  # of a broker that saves everything first: nothing may be missed
RESTARTS_BY_FORCE: Final = 50  # of one that loses, every other time, what it has not saved yet
WITHIN_S: Final = 180.0  # after the storm
ACCESS: Final = """
[actors.tech-anna]
role = "technician"
components = ["*"]
[actors.op-otto]
role = "operator"
[actors.erp]
role = "backend"
"""
BY_HAND, AWAY = "module-03", "module-04"  # worked off when somebody says so; not there at the end
MODULES: Final = ("module-01", "module-02", BY_HAND, AWAY)
CALM: Final = "flap_changes = 1000"
FLEET: Final = Fleet(
    ("can0",),
    (
        ("pack-01", "PACK", "can0", 0x12, CALM),
        *(
            (name, "MODULE", "can0", 0xA0 + n, f'parent = "pack-01"\n{CALM}{manual}')
            for n, (name, manual) in enumerate(
                (name, '\ndrain_mode = "MANUAL"' if name == BY_HAND else "") for name in MODULES
            )
        ),
    ),
)
SYNC: Final = 'encoding = "msgpack"\nkeepalive_s = 2'
BROKER: Final = "allow_anonymous true\nautosave_interval 60"  # as docs/mosquitto/mosquitto.conf has it


@pytest.mark.timeout(500)
async def test_a_stranger_rebuilds_the_truth_from_the_topics_alone(tmp_path: Path) -> None:
    async with storm(tmp_path) as raging:
        at, truth = raging.at, raging.truth
        await raging.rage(RESTARTS, power_cuts=False)
        await _until_told(at, truth)
        assert truth.rebuilt.gaps == 0, "a broker that saves everything first loses nothing, so nor may we"
        for database in (None, tmp_path / "broker" / "mosquitto.db"):
            await raging.lose_what_the_broker_has(database)
            await at.until(lambda: _told_of_changes(truth) == raging.made["loss"], WITHIN_S)
        await raging.rage(RESTARTS_BY_FORCE, power_cuts=True)
        await _calm_down(raging)
        known = histories.histories(_events(truth))
        await _judge_requests(truth, known)
        await _judge_histories(at, truth, known)
        await asyncio.to_thread(at.daemon.stop)
        await at.until(lambda: truth.rebuilt.state.get("reason") == "stopping")
        assert _seqs_stored(tmp_path) == [event["seq"] for event in _events(truth)]
        _assert_that_it_was_a_storm(raging)


@asynccontextmanager
async def storm(folder: Path) -> AsyncIterator[Storm]:
    """Set everything up, and the subscriber before the gateway, so that it hears all of it."""
    (folder / "access.toml").write_text(ACCESS)
    more = f'max_requests_per_component = 1000\n[access]\nfile = "{folder}/access.toml"\n'
    broker = Mosquitto(folder / "broker", config=BROKER)
    async with wire(broker.port) as gateway_wire, wire(broker.port) as backend_wire:
        broker.url = gateway_wire.url
        with Subscriber(backend_wire.port, GATEWAY) as truth:
            async with scene(folder, fleet=FLEET, more=more, sync=SYNC, broker=broker) as at:
                asking = asyncio.create_task(truth.run())
                await at.until_online("pack-01", *MODULES)
                await at.until(lambda: not truth.missing() and truth.rebuilt.newest)
                yield Storm(at, truth, gateway_wire, backend_wire, MODULES, BY_HAND, Random(SEED))
                asking.cancel()


async def _calm_down(raging: Storm) -> None:
    """Let the devices be there but one, with work that waits for it; wait until all is answered, done and told."""
    at, truth = raging.at, raging.truth
    for name in MODULES:
        at.do(name, "silent" if name == AWAY else "return")
    for name in (BY_HAND, AWAY):
        raging.write(target_component=name)
        truth.ask("erp", "queue_pairing_request", initiator_component="pack-01", target_component=AWAY)
    await _until_told(at, truth)


async def _until_told(at: Scene, truth: Subscriber) -> None:
    """Wait until nothing is under way any more and what was rebuilt is what the gateway itself says."""
    different: Any = "nothing compared"
    try:
        async with asyncio.timeout(WITHIN_S):
            while different:
                await asyncio.sleep(0.3)
                different = await _differences(at, truth)
    except TimeoutError:
        raise AssertionError(different) from None


async def _differences(at: Scene, truth: Subscriber) -> list[Any]:
    health = await at.ask("get_health")
    unrest = {
        "unanswered": [asked.fields for asked in truth.unanswered()],
        "missing": truth.missing(),
        "outbox": health["upstream"]["outbox"],
        "active": health["active_operations"],
    }
    if any(unrest.values()):
        return [unrest, health["upstream"]]
    return [*await _presence_differs(at, truth), *await _queues_differ(at, truth), *await _records_differ(at, truth)]


async def _presence_differs(at: Scene, truth: Subscriber) -> list[Any]:
    """Compare the presence that was rebuilt, down to reason and times, with what the control socket says."""
    told = {each["component_id"]: each for each in (await at.ask("get_presence"))["components"]}
    online = truth.rebuilt.presence()
    wrong: list[Any] = [(name, each) for name, each in told.items() if online.get(name) != each["presence"]]
    for name, each in truth.rebuilt.presences.items():
        wrong += [(name, key) for key in ("reason", "since", "kind", "parent") if each[key] != told[name][key]]
    return wrong + sorted(told.keys() ^ online.keys())


async def _queues_differ(at: Scene, truth: Subscriber) -> list[Any]:
    """Compare the queue sizes by topic, by the histories, and by the control socket."""
    wrong: list[Any] = []
    by_history = histories.queue_sizes(histories.histories(_events(truth)))
    for name, told in truth.rebuilt.queues.items():
        queue = (await at.ask("get_queued_requests", component_id=name))["queue_status"]
        if queue != {key: told[key] for key in queue}:
            wrong.append((name, queue, told))
        if any(by_history[name][key] != told[key] for key in ("standard_queue_size", "priority_queue_size")):
            wrong.append((name, by_history[name], told))
    return wrong


async def _records_differ(at: Scene, truth: Subscriber) -> list[Any]:
    told = {each["request_id"]: each["status"] for each in await _records(at)}
    known = histories.histories(_events(truth))
    return [
        (name, told.get(name), known.get(name))
        for name in told.keys() | known.keys()
        if name not in known or told.get(name) != histories.status(known[name])
    ]


async def _records(at: Scene) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = await at.ask("get_history", page_size=200, **cursor)
        found += page["requests"]
        if "next_cursor" not in page:
            return found
        cursor = {"cursor": page["next_cursor"]}


def _events(truth: Subscriber) -> list[dict[str, Any]]:
    return [truth.rebuilt.events[seq] for seq in sorted(truth.rebuilt.events)]


def _told_of_changes(truth: Subscriber) -> int:
    return sum(event["type"] == "params_changed" for event in _events(truth))


async def _judge_requests(truth: Subscriber, known: histories.Histories) -> None:
    """One effect for each id, and every answer to it the first one, however often it was sent."""
    roots = [histories.record(steps) for steps in known.values() if "parent_id" not in histories.record(steps)]
    effects = Counter(each["source_ref"] for each in roots)
    asked = {call_id: each for call_id, each in truth.asked.items() if is_queuing(each)}
    assert effects == Counter(call_id for call_id, each in asked.items() if each.ok)
    assert {each["source_ref"]: each["request_id"] for each in roots} == {
        call_id: queued_by(each) for call_id, each in asked.items() if each.ok
    }
    changing = [each for each in truth.asked.values() if each.request != "replay"]  # what only looks is looked up anew
    assert not [each for each in changing if any(answer != each.answers[0] for answer in each.answers)][:3]
    wanted = {
        each.fields["request_id"] for each in truth.asked.values() if each.request == "cancel_request" and each.ok
    }
    by_hand = {name for name, steps in known.items() if steps[-1]["attributes"].get("actor") == "op-otto"}
    parents = {name for name in wanted if "targets" in histories.record(known[name])}
    children = {name for name, steps in known.items() if histories.record(steps).get("parent_id") in parents}
    assert by_hand - children - parents == wanted - parents


async def _judge_histories(at: Scene, truth: Subscriber, known: histories.Histories) -> None:
    events = _events(truth)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert not truth.rebuilt.contradictions[:3]
    assert not truth.rebuilt.misplaced[:3]
    assert not truth.unreadable[:3]
    assert not histories.illegal(known)[:3]
    assert not histories.two_at_once(events)[:3]
    assert not histories.before_their_cause(known)[:3]
    assert not histories.parents_before_children(known)[:3]
    epochs = [event["attributes"]["epoch"] for event in events if event["type"] == "gateway_started"]
    assert epochs == list(range(epochs[0], epochs[0] + len(epochs)))
    records = await _records(at)
    assert not verdicts.done_twice(records, at.journal.deeds())[:3]


def _seqs_stored(folder: Path) -> list[int]:
    """Return the numbers of all events there are, from the database of a gateway that has stopped."""
    (file,) = (folder / "state").glob("*.db")
    with sqlite3.connect(file) as db:
        return [seq for (seq,) in db.execute("SELECT seq FROM event ORDER BY seq")]


def _assert_that_it_was_a_storm(raging: Storm) -> None:
    """Without trouble all this proves nothing."""
    made, truth = raging.made, raging.truth
    assert made["SIGTERM"] + made["SIGKILL"] == RESTARTS + RESTARTS_BY_FORCE == 100
    assert made["SIGKILL"] == RESTARTS_BY_FORCE // 2
    assert made["kill"] >= 12
    assert made["cut"] >= 4
    assert min(made["half-open gateway"], made["half-open backend"]) >= 2
    assert truth.sessions_lost >= 1
    assert truth.rebuilt.again >= 20
    assert sum(asked.request == "replay" and asked.ok for asked in truth.asked.values()) >= made["loss"]
    assert sum(len(asked.answers) > 1 for asked in truth.asked.values()) >= 5
