"""An outage longer than the outbox: a subscriber that was there all the time can explain whatever it does not get."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.event import Event
from gateway.ports import Tx
from gateway.presence import Presence
from gateway.queue.store import SqliteStore
from tests.doubles import FakeClock
from tests.integration.broker import Mosquitto
from tests.integration.test_uplink import Gateway, seqs
from tests.integration.watcher import Watcher

TYPES = ("request_queued", "request_started", "request_completed", "position_notice")


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path / "mosquitto").start()
    yield broker
    broker.stop()


def one_of_each(tx: Tx) -> None:
    for each in TYPES:
        tx.emit(Event(each, "module-01", 1_790_000_000_000, {"detail": "x" * 200}))


async def tell(store: SqliteStore, groups: int) -> None:
    for _ in range(groups):
        await store.write(one_of_each)


def covered(tombstones: list[dict[str, Any]]) -> set[int]:
    ranges = [each for payload in tombstones for each in payload["attributes"]["ranges"]]
    return {seq for first, last in ranges for seq in range(first, last + 1)}


async def test_what_is_missing_after_an_outage_is_what_the_tombstone_names(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    gateway: Any = Gateway(mosquitto)
    async with SqliteStore.open(tmp_path / "queue.db", clock=FakeClock(), outbox_max_bytes=65_536) as store:
        gateway.store = store
        with Watcher(mosquitto.port, client_id="backend", clean=False) as watcher:
            async with gateway.running() as uplink:
                await tell(store, 10)
                await watcher.until(lambda: len(seqs(watcher)) == 40)
                await watcher.until(lambda: uplink.status()["outbox"] == 0)  # the store knows, too
                mosquitto.stop()
                await watcher.until(lambda: not uplink.status()["connected"])
                await tell(store, 150)
                waiting = uplink.status()
                assert 0 < waiting["outbox"] < 600
                assert waiting["outbox_bytes"] <= 1.1 * 65_536
                mosquitto.start()
                newest = await store.read(lambda reader: reader.last_seq())
                await watcher.until(lambda: newest in seqs(watcher))
                await watcher.until(lambda: uplink.status()["outbox"] == 0)
                dropped = waiting["events_dropped"]
        told = watcher.on("/events/")
        missing = set(range(1, newest + 1)) - set(seqs(watcher))
        tombstones = watcher.on("/events/gateway/events_dropped")
        assert missing == covered(tombstones)
        assert len(missing) == tombstones[-1]["attributes"]["count"] == dropped
        assert sum(payload["type"] == "request_completed" for payload in told) == 160
        first_times = list(dict.fromkeys(seqs(watcher)))
        assert first_times == sorted(first_times)


async def test_state_is_told_anew_after_a_tombstone_as_no_event_says_what_became_stale(mosquitto: Mosquitto) -> None:
    gateway = Gateway(mosquitto)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running():
            await watcher.until(lambda: len(watcher.on("/queue")) == 2)
            gateway.store.see("module-02", Presence.OFFLINE)
            gateway.store.emit("events_dropped", types={"component_offline": 1}, ranges=[[1, 1]])
            await watcher.until(lambda: len(watcher.on("/module-02/presence")) == 2)
            assert watcher.on("/module-02/presence")[-1]["presence"] == "OFFLINE"


async def test_what_goes_while_it_is_under_way_arrives_all_the_same(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path / "queue.db", clock=FakeClock(), outbox_max_bytes=10_000) as store:
        await tell(store, 6)
        under_way = await store.read(lambda reader: reader.events_after(0, 10))
        await asyncio.gather(tell(store, 20), tell(store, 20))
        await store.write(lambda tx: tx.acknowledge(under_way[-1].seq))
        following = await store.read(lambda reader: reader.events_after(under_way[-1].seq, 1000))
        explained = covered([event.payload(1) for event in following if event.type == "events_dropped"])
        came = {event.seq for event in (*under_way, *following)}
        assert came | explained == set(range(1, following[-1].seq + 1))
