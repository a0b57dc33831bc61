"""A real car and a live bus, learned; and what was learned, judged by the gateway itself."""

import asyncio
import json
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import can
import pytest

from gateway.bus.dbc import load as load_database
from gateway.bus.foreign.listening import listenings_of
from gateway.cli.check import problems_of
from gateway.settings import load
from tests.acceptance.scene import CanServer
from tests.cli_scene import run
from tests.integration.replayed import verdicts
from tests.learn_scene import HEAD, Sender, candump, traffic
from tests.shared_data import shared
from tests.unit.test_learn_groups import CELLS, PACK, SPEED

KONA = {*range(0x594, 0x59A), 0x59C, 0x59E, 0x5A3, *range(0x5D5, 0x5D9), 0x491, 0x493, 0x4DD, 0x4DE, 0x4E2, 0x542}
SLOW = {0x3F6, 0x497, 0x498}  # the same sender's, once a second


async def judged(file: Path, *, speed: float | str = "max") -> list[tuple[str, str, float]]:
    """Play what a configuration names to a monitor, as the daemon does."""
    settings = load(file, {})
    (bus,) = settings.bus
    foreign = [section for section in settings.component if section.heartbeat is not None]
    listenings = listenings_of(foreign, [load_database(path).by_name for path in bus.dbc])
    sections = {section.id: section for section in settings.component}
    components = [(each, sections[each.component_id].presence(settings.presence)) for each in settings.components()]
    played = bus.model_copy(update={"options": {**bus.options, "speed": speed}})
    return await verdicts(played, components, listenings)


@pytest.mark.parametrize("speed", ["max", 8])
async def test_a_battery_is_found_in_the_recording_of_a_car_and_watched_as_it_was_learned(tmp_path, speed) -> None:
    log, dbc = shared("log/kona-2019-power-off-on-ready-off.gvret.csv"), shared("dbc/kona-pcan.dbc")
    file = tmp_path / "gateway.toml"
    told = run(None, "learn", "--log", str(log), "--dbc", str(dbc), "--out", str(file), "--json")
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    (battery,) = [component for component in found["components"] if component["kind"] == "PACK"]
    ids = {int(each["id"], 16) for each in battery["ids"]}
    assert {0x491, 0x594, 0x5D8} <= ids <= KONA | SLOW
    assert {int(each["id"], 16) for each in battery["ids"] if each["heard"]} <= KONA
    assert battery["ready"]
    assert battery["period_ms"] == pytest.approx(100, abs=1)
    assert problems_of(file, {}) == []
    (online, offline) = await judged(file, speed=speed)
    assert (online[1], offline[1]) == ("ONLINE", "OFFLINE")
    assert 2.18 <= online[2] <= 2.38
    assert 9.07 < offline[2] <= 10.08


def test_without_a_database_the_battery_of_the_car_is_told_from_its_neighbours() -> None:
    log = shared("log/kona-2019-power-off-on-ready-off.gvret.csv")
    found = json.loads(run(None, "learn", "--log", str(log), "--source", "0", "--json").stdout)
    groups = [{int(each["id"], 16) for each in component["ids"]} for component in found["components"]]
    (battery,) = [group for group in groups if 0x491 in group]
    assert battery >= KONA
    assert len(battery - KONA - SLOW) <= 1  # one message a second says too little
    assert {0x47C, 0x4EE, 0x57F, 0x581, 0x58E} in groups  # the charger, which ends 0.2 s before


async def test_what_was_learned_of_a_log_of_our_own_is_judged_alike(tmp_path: Path) -> None:
    """The same as above, without the files that are not part of the project."""
    rng = random.Random(5)
    life: dict[str, Any] = {"since": 2.18, "until": 9.075}
    battery = [Sender(can_id, phase=rng.uniform(0, 0.01), **life) for can_id in (100, 101)]
    others = [Sender(200, until=11.0), Sender(0x300, 0.02, until=11.0), Sender(0x301, since=2.2, until=8.9)]
    candump(tmp_path / "drive.log", ("can0", traffic(*battery, *others)))
    (tmp_path / "some.dbc").write_text(HEAD + PACK + CELLS + SPEED)
    words = ("--log", str(tmp_path / "drive.log"), "--dbc", str(tmp_path / "some.dbc"), "--out")
    told = run(None, "learn", *words, str(tmp_path / "gateway.toml"))
    assert told.exit_code == 0, told.output
    assert problems_of(tmp_path / "gateway.toml", {}) == []
    online, offline = await judged(tmp_path / "gateway.toml")
    assert online[:2] == ("bms", "ONLINE")
    assert 2.18 <= online[2] <= 2.38
    assert offline[:2] == ("bms", "OFFLINE")
    assert 9.07 < offline[2] <= 10.08


@asynccontextmanager
async def learning(folder: Path, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`bms-gateway learn` on a bus on which two ids of a battery come every 200 ms."""
    server = CanServer(folder / "can.log")
    channel = f"ws://127.0.0.1:{server.port}/"
    (folder / "some.dbc").write_text(HEAD + PACK + CELLS + SPEED)
    (folder / "gateway.toml").write_text(
        f'[gateway]\nid = "gw-7"\n[[bus]]\nname = "can0"\ninterface = "remote"\nchannel = "{channel}"\n'
        'dbc = ["some.dbc"]\n'
    )
    line = [sys.executable, "-m", "gateway", "learn", "--config", str(folder / "gateway.toml"), "--bus", "can0", *words]
    try:
        process = await asyncio.create_subprocess_exec(
            *line, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            with can.Bus(interface="remote", channel=channel) as bus:
                for can_id in (100, 101):
                    bus.send_periodic(can.Message(arbitration_id=can_id, data=bytes(8), is_extended_id=False), 0.2)
                yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
    finally:
        server.stop()


async def test_a_live_bus_is_learned_for_so_long_and_its_section_repeated(tmp_path: Path) -> None:
    out = tmp_path / "new.toml"
    async with learning(tmp_path, "--seconds", "4", "--out", str(out)) as process:
        stdout, stderr = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, stderr
    assert b"bms" in stdout
    settings = load(out, {})
    assert settings.gateway.id == "gw-7"
    assert settings.bus == load(tmp_path / "gateway.toml", {}).bus
    assert [component.id for component in settings.component] == ["bms"]
    assert problems_of(out, {}) == []


async def test_ctrl_c_ends_the_listening_with_what_there_is(tmp_path: Path) -> None:
    async with learning(tmp_path, "--seconds", "600", "--json") as process:
        assert process.stderr is not None
        assert (await asyncio.wait_for(process.stderr.readline(), 60)).startswith(b"can0 UP")
        await asyncio.sleep(2)
        process.send_signal(signal.SIGINT)
        stdout, stderr = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, stderr
    told = json.loads(stdout)
    assert 0 < told["seconds"] < 600
    assert told["frames"] > 0
