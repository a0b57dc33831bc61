"""The client at the other end of a real gateway, while connections are cut, brokers restart and gateways are killed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Literal

import pytest

from gateway.client import Code, Event, Gap, GatewayClient, NoAnswer, Presence, Refusal
from gateway.payloads.attributes import RequestCompleted
from tests.acceptance.scene import GATEWAY, Scene, scene
from tests.acceptance.wire import wire

ACCESS = """
[actors.fleet-backend]
role = "backend"
[actors.tech-anna]
role = "technician"
components = ["*"]
"""


@asynccontextmanager
async def gateway(folder: Path, **options: Any) -> AsyncIterator[Scene]:
    (folder / "access.toml").write_text(ACCESS)
    async with scene(folder, more=f'[access]\nfile = "{folder}/access.toml"\n', **options) as at:
        await at.until_online()
        yield at


def client(url: str, actor: str = "fleet-backend", **options: Any) -> GatewayClient:
    return GatewayClient(url, gateway=GATEWAY, actor=actor, reconnect_s=(0.1, 0.5), rng=Random(1), **options)


async def read(client: GatewayClient, seen: list[Event], since: int = 0) -> None:
    async for item in client.events(since=since):
        assert isinstance(item, Event), item
        seen.append(item)


@asynccontextmanager
async def reading(client: GatewayClient, seen: list[Event]) -> AsyncIterator[None]:
    task = asyncio.create_task(read(client, seen))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(("protocol", "encoding"), [("5", "msgpack"), ("3.1.1", "json")])
async def test_a_technician_waits_drains_and_is_told(
    tmp_path: Path, protocol: Literal["5", "3.1.1"], encoding: Literal["msgpack", "json"]
) -> None:
    async with (
        gateway(tmp_path) as at,
        client(at.broker.url, "tech-anna", protocol=protocol, encoding=encoding) as anna,
    ):
        await anna.synced(timeout_s=60)
        assert anna.in_touch
        assert all(seen.online for seen in anna.presence.values())
        assert sorted(anna.presence) == ["module-01", "module-02", "module-03", "module-04", "pack-01"]
        at.do("module-03", "silent")
        gone = await anna.wait_for("module-03", "OFFLINE", timeout_s=60)
        assert gone.told.reason == "heartbeat_timeout"

        queued = await anna.queue_command(
            "write_parameter", target_component="module-03", arguments={"id": 1, "value": 7}, priority="LOW"
        )
        assert (await anna.queue("module-03")).requests[0].request_id == queued.request.request_id
        await at.until(lambda: anna.queues["module-03"].standard_queue_size == 1)  # told after the reply, by and by
        with pytest.raises(Refusal) as no:
            await anna.drain("module-03")
        assert no.value.code is Code.COMPONENT_OFFLINE
        assert str(no.value).startswith("COMPONENT_OFFLINE: ")

        at.back("module-03")
        await anna.wait_for("module-03", timeout_s=60)
        await at.until_ended({queued.request.request_id})
        assert (await anna.request_status(queued.request.request_id)).request.status == "COMPLETED"
        with pytest.raises(TimeoutError, match="module-03 is ONLINE, and was not OFFLINE within"):
            await anna.wait_for("module-03", "OFFLINE", timeout_s=0.1)


async def test_events_are_whole_and_in_order_through_cuts_restarts_and_kills(tmp_path: Path) -> None:
    async with gateway(tmp_path) as at, wire(at.broker.port) as line, client(line.url) as backend:
        seen: list[Event] = []
        late: list[Event] = []
        async with reading(backend, seen):
            for disturb in (line.cut, at.broker.restart, at.daemon.kill, line.down):
                ids = {await at.write("module-01", n) for n in range(3)}
                disturb()
                if disturb == at.daemon.kill:
                    await at.daemon.start()
                ids |= {await at.write("module-02", n) for n in range(3)}
                await at.until_ended(ids)
                line.up()
                await at.until(partial(have_completed, seen, ids), 60)
            async with reading(backend, late):
                newest = at.events()[-1]["seq"]
                await at.until(lambda: late and late[-1].seq >= newest and seen[-1].seq >= newest)
        for each in (seen, late):
            assert [event.seq for event in each] == list(range(1, len(each) + 1))
        assert {event.epoch for event in seen} == {1, 2}
        assert completed(seen) == completed(late)


def have_completed(events: list[Event], ids: set[str]) -> bool:
    return ids <= completed(events)


def completed(events: list[Event]) -> set[str]:
    return {event.attributes.request_id for event in events if isinstance(event.attributes, RequestCompleted)}


async def test_a_call_has_one_effect_though_its_answer_is_lost_with_the_connection(tmp_path: Path) -> None:
    async with gateway(tmp_path) as at, wire(at.broker.port) as line, client(line.url) as backend:
        await backend.synced(timeout_s=60)
        await at.away("module-03")
        calls = []
        for value in range(6):
            calls.append(
                asyncio.create_task(
                    backend.queue_command(
                        "write_parameter", target_component="module-03", arguments={"id": 1, "value": value}
                    )
                )
            )
            await asyncio.sleep(0)
            if value % 2:
                line.go_deaf("down")  # what is asked arrives, what is answered does not
            await asyncio.sleep(0.05)
            line.cut()
        told = await asyncio.gather(*calls)
        waiting = (await backend.queue("module-03")).requests
        assert [each.request_id for each in waiting] == sorted(each.request.request_id for each in told)
        assert sorted((each.arguments or {})["value"] for each in waiting) == list(range(6))


async def test_a_call_waits_for_a_gateway_that_is_away_and_says_so_when_it_does_not_come(tmp_path: Path) -> None:
    async with gateway(tmp_path) as at, client(at.broker.url) as backend:
        await backend.synced(timeout_s=60)
        at.daemon.kill()
        await at.until(lambda: not backend.in_touch)
        assert backend.presence["module-03"].presence is Presence.UNKNOWN
        with pytest.raises(NoAnswer) as silence:
            await backend.health(within_s=2)
        assert silence.value.may_have_had_effect
        call = asyncio.create_task(backend.health(within_s=60))
        await at.daemon.start()
        assert (await call).queue_depth == 0
        assert await backend.wait_for("module-03", timeout_s=60)


async def test_a_call_that_never_left_had_no_effect(tmp_path: Path) -> None:
    async with client("mqtt://127.0.0.1:1") as backend:
        with pytest.raises(NoAnswer, match=r"no connection|refused") as silence:
            await backend.health(within_s=0.3)
        assert not silence.value.may_have_had_effect
        with pytest.raises(TimeoutError, match="nothing is known"):
            await backend.synced(timeout_s=0.1)


async def test_a_gateway_with_a_new_database_is_told_and_begun_with_anew(tmp_path: Path) -> None:
    async with gateway(tmp_path) as at, client(at.broker.url) as backend:
        items: list[Event | Gap] = []

        async def follow() -> None:
            async for item in backend.events(since=0):
                items.append(item)  # noqa: PERF401 - others look at it meanwhile

        task = asyncio.create_task(follow())
        await at.until_ended({await at.write("module-01", n) for n in range(5)})
        await at.until(lambda: items and items[-1].seq >= at.events()[-1]["seq"])
        before = len(items)
        at.daemon.kill()
        for file in (tmp_path / "state").iterdir():
            if file.is_file():
                file.unlink()
        await at.daemon.start()
        await at.until(lambda: any(isinstance(item, Gap) for item in items))
        await at.until(lambda: len(items) > before + 3)
        task.cancel()
        (gap,) = [item for item in items if isinstance(item, Gap)]
        assert (gap.reason, gap.seq) == ("renumbered", 0)
        after = items[items.index(gap) + 1 :]
        assert [item.seq for item in after] == list(range(1, len(after) + 1))
        assert isinstance(after[0], Event)
        assert await backend.wait_for("module-03", timeout_s=60)
