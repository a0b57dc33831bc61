"""Commands of another maker, queued while the pack is away: carried out once when it is back, and told upstream."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from gateway.bus.link import Link
from gateway.bus.wire import Condition
from gateway.clock import SystemClock
from gateway.settings import load
from tests.acceptance.scene import FAMILY, ME, Fleet, Scene, scene
from tests.described_scene import DBC, Ecu, Peer

COMMANDS = f"""
[[component]]
id = "other"
kind = "PACK"
bus = "can0"
node = 3
owner = "{ME}"
heartbeat = {{ type = "raw", id = 0x300 }}

[[command]]
name = "limit"
safety_class = "energy"
components = ["other"]
arguments = {{ current_a = {{ type = "number", min = 0, max = 100 }} }}
request = {{ message = "Order", signals = {{ Verb = "limit", Node = "{{node}}", Current = "{{current_a}}" }} }}
response = {{ message = "Done", match = {{ Verb = 7 }}, ok = {{ Status = ["fine"] }}, result = "Voltage" }}

[[command]]
name = "self_test"
safety_class = "service"
components = ["other"]
uds = {{ request_id = 0x7E4, response_id = 0x7EC, service = "routine", routine = 0x0203, control = "start" }}
"""


class Foreign(Fleet):
    """The family, on a bus whose database describes a pack of somebody else's make."""

    def config(self, folder: Path, can_ports: Mapping[str, int], sync: str, period_ms: int, more: str) -> str:
        (folder / "other.dbc").write_text(DBC)
        text = super().config(folder, can_ports, sync, period_ms, more)
        return text.replace("[[bus]]\n", '[[bus]]\ndbc = ["other.dbc"]\n')


class Pack:
    """The pack: beats while it is `here`, answers orders, and keeps what it was asked."""

    def __init__(self, link: Link) -> None:
        self.here = True
        self.ecu = Ecu(link, lambda asked: [b"\x71" + asked[1:] + b"\x2a"])
        self.peer = Peer(link, lambda can_id, _: [(0.0, 513, b"\x07\x03\x00\x02\x0f")] if can_id == 512 else [])
        self._link = link

    async def beat(self) -> None:
        while True:
            if self.here:
                await self._link.send(0x300, bytes(8), deadline=float("inf"))
            await asyncio.sleep(0.1)


@asynccontextmanager
async def pack_on(folder: Path) -> AsyncIterator[Pack]:
    section = load(folder / "gateway.toml", {}).bus[0]
    link = Link("can0", section, SystemClock(), Random(1))
    pack = Pack(link)
    up = asyncio.Event()
    link.watch(lambda event: up.set() if event.condition is Condition.UP else None)
    running = [asyncio.create_task(link.run())]
    try:
        await asyncio.wait_for(up.wait(), 20)
        running.append(asyncio.create_task(pack.beat()))
        yield pack
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def queued(at: Scene, command_type: str, **arguments: float) -> str:
    told = await at.ask("queue_command", command_type=command_type, target_component="other", arguments=arguments)
    return str(told["request"]["request_id"])


async def test_commands_of_another_maker_wait_for_its_pack_and_are_carried_out_once(tmp_path: Path) -> None:
    fleet = Foreign(FAMILY.buses, FAMILY.components)
    async with scene(tmp_path, fleet=fleet, more=COMMANDS) as at, pack_on(tmp_path) as pack:
        await at.until_online("other")
        pack.here = False
        await at.until(lambda: at.presence("other").get("presence") == "OFFLINE")
        waiting = {await queued(at, "self_test"), await queued(at, "limit", current_a=12.5)}
        ours = {"command_type": "identify", "target_component": "other"}
        reply = await at.daemon.caller.call("queue_command", ours, 20.0)
        assert reply["error"]["code"] == "NOT_CAPABLE"
        assert not pack.ecu.asked

        at.daemon.kill()  # what waits outlives us
        await at.daemon.start()
        pack.here = True
        assert await at.until_ended(waiting) == {"request_completed": 2}
        assert pack.ecu.asked == [b"\x31\x01\x02\x03"]
        assert [data[:4].hex() for can_id, data in pack.peer.heard if can_id == 512] == ["07037d00"]
        told = {event["attributes"]["command_type"]: event["attributes"] for event in at.events("request_completed")}
        assert told["self_test"]["result"] == {"result_code": 0, "data": 0, "data_hex": "2A"}
        assert told["limit"]["result"] == {"result_code": 0, "data": 384.2}
        at.assert_gap_free()
