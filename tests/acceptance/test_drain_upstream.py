"""Work that waited for an absent module: in order, exactly once by the module's own journal, told without a gap."""

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.acceptance.scene import MODULES, Scene, scene

KILLS = 50
COMMANDS = 12  # queued in each life, besides a pairing
SEED = 20261121


async def test_mixed_priorities_are_carried_out_in_order_once_the_module_is_back(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        await at.until_online()
        await at.away("module-03")
        waiting = {
            await at.write("module-03", 1, priority="LOW"),
            await at.pair("module-03", priority="NORMAL"),
            await at.write("module-03", 3, priority="HIGH"),
            await at.pair("module-03", request_type="EMERGENCY"),
            await at.write("module-03", 2, priority="NORMAL"),
            await at.write("module-03", 4, priority="CRITICAL"),
            await at.pair("module-03", priority="LOW"),
        }
        listed = (await at.ask("get_queued_requests", component_id="module-03"))["requests"]
        at.back("module-03")
        assert await at.until_ended(waiting) == {"request_completed": len(waiting)}

        started = [event["attributes"]["request_id"] for event in at.events("request_started")]
        assert started == [told["request_id"] for told in listed]
        deeds = at.journal.deeds("module-03")
        did = [deed.arg1 if deed.kind == "COMMAND" else deed.kind for deed in deeds]
        assert did == ["PAIRING", 4, 3, "PAIRING", 2, 1, "PAIRING"]
        assert at.presence("module-03")["presence"] == "ONLINE"
        at.assert_gap_free()


async def test_a_technician_may_drain_by_hand_over_mqtt_too(tmp_path: Path) -> None:
    (tmp_path / "access.toml").write_text('[actors.tech-anna]\nrole = "technician"\ncomponents = ["module-03"]\n')
    more = f'[access]\nfile = "{tmp_path}/access.toml"\n'
    async with scene(tmp_path, more=more) as at:
        await at.until_online()
        await at.away("module-03")
        waiting = {await at.write("module-03", n) for n in range(3)}
        at.back("module-03")
        await at.until_ended(waiting)
        root = "bms/v1/gw-test/requests"
        body = b'{"id": "0123456789", "expires_at": "%s", "component_id": "%s"}'
        soon = b"2099-01-01T00:00:00.000Z"
        at.watcher.publish(f"{root}/tech-anna/process_offline_queue", body % (soon, b"module-03"))
        (reply,) = await at.until(lambda: at.watcher.on("/replies/tech-anna/0123456789"))
        assert reply["error"]["code"] == "INVALID_ARGUMENT"  # an hour at most


@pytest.mark.timeout(400)
async def test_fifty_kills_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    rng = Random(SEED)
    async with scene(tmp_path, period_ms=100, more="max_requests_per_component = 1000\n") as at:
        await at.until_online()
        at.broker.stop()
        waiting: set[str] = set()
        values: list[tuple[str, int]] = []
        pairings = dict.fromkeys(MODULES, 0)
        for life in range(KILLS):
            done = len(at.journal.deeds())
            await _queue_some(at, rng, waiting, values, pairings)
            while len(at.journal.deeds()) == done:  # the drain of this life has begun
                await asyncio.sleep(0.002)
            await asyncio.sleep(rng.uniform(0.0, 0.15))
            at.daemon.kill()
            if life == KILLS // 2:
                at.do("module-01", "silent")  # somebody is away for a while, too
            await at.daemon.start()
        at.back("module-01")
        at.broker.start()
        assert await at.until_ended(waiting, within_s=90) == {"request_completed": len(waiting)}
        _assert_each_exactly_once(at, values, pairings)
        at.assert_gap_free()
        cut_off = [event["attributes"]["interrupted"] for event in at.events("gateway_started")]
        assert sum(cut_off) >= KILLS // 5, "the kills must hit the drain, or this proves nothing"


async def _queue_some(
    at: Scene, rng: Random, waiting: set[str], values: list[tuple[str, int]], pairings: dict[str, int]
) -> None:
    """Wait until somebody is there to work for, then queue a few commands and a pairing for random modules."""
    for _ in range(COMMANDS):
        name = rng.choice(list(MODULES))
        value = len(values)
        values.append((name, value))
        waiting.add(await at.write(name, value, priority=rng.choice(["LOW", "NORMAL", "HIGH"])))
    while not await _is_online(at, "pack-01"):
        await asyncio.sleep(0.05)
    name = rng.choice(list(MODULES))
    pairings[name] += 1
    waiting.add(await at.pair(name))


async def _is_online(at: Scene, name: str) -> bool:
    (told,) = (await at.ask("get_presence", component_id=name))["components"]
    return bool(told["presence"] == "ONLINE")


def _assert_each_exactly_once(at: Scene, values: list[tuple[str, int]], pairings: dict[str, int]) -> None:
    journal = at.journal
    written = [(deed.component_id, deed.arg1) for deed in journal.deeds(kind="COMMAND")]
    assert sorted(written) == sorted(values)
    assert {name: len(journal.deeds(name, "PAIRING")) for name in MODULES} == pairings
