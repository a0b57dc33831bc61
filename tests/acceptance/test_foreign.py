"""Components of others through a whole gateway: from frames on a bus to the backend, and what is refused for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import can

from gateway.cli.check import problems_of
from gateway.cli.render.components import component, components
from gateway.settings import load
from tests.acceptance.scene import Fleet, Scene, scene
from tests.foreign_scene import CYCLES, DBC, write_dbc
from tests.told import check_state

PACK, CELLS, NMT = 0x100, 0x101, 0x705
OTHERS = """
[[component]]
id = "traction"
kind = "PACK"
bus = "can0"
owner = "anna"
heartbeat = { type = "dbc", any_of = ["Pack", "Cells"] }
offline_after_min_ms = 3000  # a busy machine may keep the one that speaks for it from its turn

[[component]]
id = "drive"
kind = "OTHER"
bus = "can0"
node = 5
owner = "anna"
heartbeat = { type = "canopen" }
offline_after_min_ms = 3000
"""
IDENTIFY = {"command_type": "identify", "arguments": {"seconds": 1}}


@dataclass(frozen=True)
class Mixed(Fleet):
    """Components of ours, on a bus with a database of others."""

    def config(self, *args, **said) -> str:
        return super().config(*args, **said).replace('"remote"\n', '"remote"\ndbc = ["others.dbc"]\n')


async def speak(channel: str, spoken: dict[int, bytes]) -> None:
    """Send what is spoken, every 50 ms."""
    with can.Bus(interface="remote", channel=channel) as bus:
        while True:
            for can_id, data in spoken.items():
                bus.send(can.Message(arbitration_id=can_id, data=data, is_extended_id=False))
            await asyncio.sleep(0.05)


@asynccontextmanager
async def mixed(folder: Path) -> AsyncIterator[tuple[Scene, dict[int, bytes]]]:
    """Yield the scene with one pack of ours and two components of others, and what those say, to be changed."""
    write_dbc(folder / "others.dbc", DBC + CYCLES)
    async with scene(folder, fleet=Mixed(("can0",), (("pack-01", "PACK", "can0", 5, ""),)), more=OTHERS) as at:
        spoken: dict[int, bytes] = {}
        speaking = asyncio.create_task(speak(str(load(folder / "gateway.toml", {}).bus[0].channel), spoken))
        try:
            yield at, spoken
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)


async def code(at: Scene, request: str, **fields) -> str:
    reply = await at.daemon.caller.call(request, fields, 20.0)
    return str(reply["error"]["code"])


async def test_components_of_others_come_and_go_upstream_as_ours_do(tmp_path: Path) -> None:
    async with mixed(tmp_path) as (at, spoken):
        await at.until_online("pack-01")
        assert at.presence("traction")["presence"] == "UNKNOWN"
        spoken.update({PACK: bytes(8), CELLS: bytes(8), NMT: b"\x05"})
        await at.until_online("traction", "drive")
        del spoken[PACK]
        spoken[NMT] = b"\x00"
        await at.until(lambda: at.events("component_restarted", "drive"))
        spoken[NMT] = b"\x05"
        assert at.presence("traction")["presence"] == "ONLINE"
        del spoken[CELLS]
        await at.until(lambda: at.presence("traction")["presence"] == "OFFLINE")
        check_state("presence", at.presence("traction"))
        assert at.presence("traction")["reason"] == "heartbeat_timeout"
        assert [event["type"] for event in at.events(subject="traction")] == ["component_online", "component_offline"]
        at.daemon.stop()
        await at.daemon.start()
        spoken[CELLS] = bytes(8)
        await at.until_online("traction", "drive", "pack-01")
        assert at.events("component_unresponsive") == []
        at.assert_gap_free()


async def test_they_take_nothing_of_ours_and_are_shown_with_what_they_have(tmp_path: Path) -> None:
    async with mixed(tmp_path) as (at, spoken):
        spoken.update({PACK: bytes(8), NMT: b"\x05"})
        await at.until_online("pack-01", "traction", "drive")
        assert await code(at, "queue_command", **IDENTIFY, target_component="drive") == "NOT_CAPABLE"
        pair = {"initiator_component": "pack-01", "target_component": "traction"}
        assert await code(at, "queue_pairing_request", **pair) == "NOT_CAPABLE"
        turned = {"initiator_component": "traction", "target_component": "pack-01"}
        assert await code(at, "queue_pairing_request", **turned) == "NOT_CAPABLE"
        told = {each["component_id"]: each for each in (await at.ask("get_presence"))["components"]}
        assert {name: each["node"] for name, each in told.items()} == {"pack-01": 5, "traction": None, "drive": 5}
        assert {name: each["serial"] for name, each in told.items() if name != "pack-01"} == {
            "traction": None,
            "drive": None,
        }
        assert told["drive"]["vitals"] == {"nmt_state": 5}
        lines = components({"components": list(told.values())}, 0).splitlines()
        assert [line.split()[2] for line in lines if line.startswith("traction")] == ["can0"]
        assert "0x05" in component(told["drive"], 0)
        assert "0x" not in component(told["traction"], 0)
        assert (await at.ask("queue_command", **IDENTIFY, target_component="pack-01"))["request"]["status"] == "QUEUED"
    assert problems_of(tmp_path / "gateway.toml", {}) == []
