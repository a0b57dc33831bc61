"""The client's own connection, to a real mosquitto, with no gateway behind it."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from gateway.client import Event, GatewayClient, NoAnswer
from tests.client_scene import birth_payload, event_payload, offline_payload, presence_payload
from tests.integration.broker import Mosquitto
from tests.integration.watcher import Watcher

ROOT = "bms/v1/gw-1"


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path / "broker").start()
    yield broker
    broker.stop()


def client(broker: Mosquitto, **options: Any) -> GatewayClient:
    return GatewayClient(broker.url, gateway="gw-1", actor="anna", reconnect_s=(0.05, 0.2), **options)


def tell(gateway: Watcher, topic: str, payload: dict[str, Any], *, retain: bool = False) -> None:
    gateway.publish(f"{ROOT}/{topic}", json.dumps(payload).encode(), retain=retain)


def tell_events(gateway: Watcher, *seqs: int) -> None:
    for seq in seqs:
        tell(gateway, "events/gateway/bus_up", event_payload(seq))


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_client_with_a_name_of_its_own_finds_what_came_while_it_was_away(
    mosquitto: Mosquitto, protocol: Literal["5", "3.1.1"]
) -> None:
    with Watcher(mosquitto.port) as gateway:
        async with client(mosquitto, client_id="consumer", protocol=protocol) as first:
            events = first.events(since=0)
            await until(lambda: not first.trouble)
            tell_events(gateway, 1, 2)
            assert [(await anext(events)).seq for _ in range(2)] == [1, 2]
        tell_events(gateway, 3, 4)
        mosquitto.restart()
        async with client(mosquitto, client_id="consumer", protocol=protocol) as second:
            events = second.events(since=2)
            async with asyncio.timeout(60):
                assert [(await anext(events)).seq for _ in range(2)] == [3, 4]


async def test_presence_goes_with_the_connection_and_comes_back_with_it(mosquitto: Mosquitto) -> None:
    with Watcher(mosquitto.port) as gateway:
        tell(gateway, "state", birth_payload(3, 1, "module-01"), retain=True)
        tell(gateway, "components/module-01/presence", presence_payload("module-01", epoch=3), retain=True)
    async with client(mosquitto) as at:
        await at.synced()
        assert at.presence["module-01"].online
        mosquitto.stop()
        await at.wait_for("module-01", "UNKNOWN", timeout_s=60)
        assert at.trouble
        mosquitto.start()
        await at.wait_for("module-01", timeout_s=60)
        await until(lambda: not at.trouble)
        with Watcher(mosquitto.port) as gateway:
            tell(gateway, "state", offline_payload(3, 1), retain=True)
            await at.wait_for("module-01", "UNKNOWN", timeout_s=60)
            tell(gateway, "state", birth_payload(3, 2, "module-01"), retain=True)
            await at.wait_for("module-01", timeout_s=60)


async def test_reading_and_all_waits_end_with_the_client(mosquitto: Mosquitto) -> None:
    async with client(mosquitto) as at:
        reading = asyncio.create_task(drained(at))
        await until(lambda: not at.trouble)
    async with asyncio.timeout(60):
        assert await reading == []


async def test_a_client_that_is_over_has_no_events_and_one_entered_again_has(mosquitto: Mosquitto) -> None:
    at = client(mosquitto)
    async with at:
        pass
    async with asyncio.timeout(60):
        assert [item async for item in at.events()] == []
    with Watcher(mosquitto.port) as gateway:
        async with at, asyncio.timeout(60):
            events = at.events()
            await until(lambda: not at.trouble)
            tell_events(gateway, 1)
            found = await anext(events)
            assert (found.seq, at.trouble) == (1, "")


async def test_what_the_block_raises_stays_what_it_is(mosquitto: Mosquitto) -> None:
    with pytest.raises(NoAnswer):
        async with client(mosquitto) as at:
            await at.health(within_s=0.2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), client(mosquitto):
            await asyncio.sleep(10)


async def test_a_bug_of_ours_ends_the_block_and_is_seen(mosquitto: Mosquitto) -> None:
    at = client(mosquitto)

    def broken(_: Event) -> None:
        raise ZeroDivisionError

    async def use() -> None:
        async with at:
            at.events()
            await until(lambda: not at.trouble)
            tell_events(gateway, 1)
            await asyncio.sleep(10)

    at._recovery.took = broken  # type: ignore[method-assign,assignment]
    with Watcher(mosquitto.port) as gateway, pytest.raises(ExceptionGroup) as found:
        await use()
    assert found.group_contains(ZeroDivisionError)


async def drained(at: GatewayClient) -> list[Any]:
    return [item async for item in at.events()]


async def until(holds: Any) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)
