"""Two hundred thousand hostile inputs, by every way in: the daemon stays well, small, quiet, and true to its work."""

import asyncio
import re
import time
import tomllib
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.sync.broker import Broker
from gateway.sync.caller import MqttCaller
from tests.acceptance import scene as stage
from tests.acceptance.mob import Attack, Babbler, Knocker, Mob, Publisher
from tests.acceptance.scene import FAMILY, GATEWAY, MODULES, Scene, scene
from tests.integration.watcher import Watcher

PUBLISHES, FRAMES, KNOCKS = 60_000, 130_000, 10_000
FRAMES_PER_S = 4000  # a bus of 500 kbit/s that is full
FLOODS_BOUND_AT = 150_000  # inputs: until then every single request is read and answered
WARM_AT = 20_000  # inputs after which whatever is made once has been made
BOUND = 600  # requests a minute, from then on
GROWTH_KIB = 8 * 1024
LOG_LINES = 100
AUDIT_ROWS = 10_000  # what actors we know were refused; of strangers a few a minute
EVENTS = 100
TURNED_AWAY = {
    "a request that cannot be read",
    "a request without a usable id",
    "a request refused with NOT_AUTHORIZED",
    "a request refused with BAD_SIGNATURE",
    "a request refused with REQUEST_EXPIRED",
    "a request refused with INVALID_ARGUMENT",
    "a request of a flood",
}
ANSWER_WITHIN_S = 60.0
ASK_EVERY_S = 0.2
AWAY = "module-04"
ACCESS = """
[actors.tech-anna]
role = "technician"
components = ["*"]
[actors.tech-bert]
role = "technician"
[actors.screen]
role = "viewer"
[actors.patience]
role = "viewer"
"""


def resident_kib(at: Scene) -> int:
    assert at.daemon.process is not None
    status = Path(f"/proc/{at.daemon.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1])


class Anna:
    """A decent technician: asks every now and then, over MQTT, and takes the time that it takes."""

    def __init__(self, port: int) -> None:
        self._broker = Broker("127.0.0.1", port, tls=False, client_id="")
        self.waits_s: list[float] = []
        self.seen_away: set[str] = set()  # of all components, at any time

    async def ask(self, request: str, **fields: Any) -> Mapping[str, Any]:
        began = time.monotonic()
        caller = MqttCaller(self._broker, GATEWAY, "tech-anna")  # makes up a client id of its own
        reply = await caller.call(request, fields, ANSWER_WITHIN_S)
        self.waits_s.append(time.monotonic() - began)
        assert reply["ok"], reply
        result: Mapping[str, Any] = reply["result"]
        return result

    async def command(self, target: str) -> str:
        """Queue a command; return its id."""
        told = await self.ask(
            "queue_command", command_type="read_parameter", target_component=target, arguments={"id": 3}
        )
        return str(told["request"]["request_id"])

    async def keep_asking(self) -> None:
        while True:
            told = (await self.ask("get_presence"))["components"]
            self.seen_away |= {each["component_id"] for each in told if each["presence"] != "ONLINE"}
            await asyncio.sleep(ASK_EVERY_S)


async def patiently(at: Scene, request: str, **fields: Any) -> dict[str, Any]:
    """Ask over the control socket, as the very user the mob knocked as: its rate is ours."""
    while True:
        reply = await at.daemon.caller.call(request, fields, ANSWER_WITHIN_S)
        if reply["ok"]:
            result: dict[str, Any] = reply["result"]
            return result
        assert reply["error"]["code"] == "RATE_LIMITED", reply
        await asyncio.sleep(reply["error"]["retry_after_ms"] / 1000)


async def state_of(at: Scene) -> dict[str, Any]:
    """Return what no stranger may change."""
    presence = (await patiently(at, "get_presence"))["components"]
    return {
        "params": (await patiently(at, "get_params"))["params"],
        "components": {each["component_id"]: (each["serial"], each["owner"], each["presence"]) for each in presence},
    }


async def until_online(at: Scene, *away: str) -> None:
    while True:
        told = {each["component_id"]: each for each in (await patiently(at, "get_presence"))["components"]}
        if all((each["presence"] == "ONLINE") == (name not in away) and each["serial"] for name, each in told.items()):
            return
        await asyncio.sleep(0.1)


async def operations(at: Scene) -> dict[str, str]:
    told = (await patiently(at, "get_history", page_size=200))["requests"]
    return {each["request_id"]: each["status"] for each in told}


def crowd(at: Scene, folder: Path) -> list[Attack]:
    """Return the attackers. Frames that pretend to come from module-04 are left out: it has to come back meanwhile."""
    (can_url,) = (bus["channel"] for bus in tomllib.loads((folder / "gateway.toml").read_text())["bus"])
    nodes = tuple(node for name, _, _, node, _ in FAMILY.components if name != AWAY)
    publisher = Publisher(at.broker.port, GATEWAY, 1)
    babbler = Babbler(can_url, 1, nodes, MODULES[AWAY], FRAMES_PER_S)
    knocker = Knocker(folder / "control.sock", 1)
    return [
        Attack("publishes", PUBLISHES, publisher.batch, publisher.close),
        Attack("frames", FRAMES, babbler.batch, babbler.close),
        Attack("knocks", KNOCKS, knocker.batch, knocker.close),
    ]


async def until_sent(mob: Mob, inputs: int) -> None:
    while mob.sent < inputs and not mob.over:
        await asyncio.sleep(0.05)


@pytest.mark.timeout(500)
async def test_200000_hostile_inputs_leave_it_well_small_quiet_and_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "Watcher", partial(Watcher, topic_filter="bms/v1/+/events/#"))
    (tmp_path / "access.toml").write_text(ACCESS)
    async with scene(tmp_path, period_ms=1000, more='[access]\nfile = "access.toml"') as at:
        async with asyncio.timeout(120):
            await until_online(at)
            at.do(AWAY, "silent")
            await until_online(at, AWAY)
        wanted = {await at.write(AWAY, 4)}
        before, audited = await state_of(at), (await patiently(at, "verify_audit"))["entries"]
        anna = Anna(at.broker.port)
        asking = asyncio.create_task(anna.keep_asking())
        with Mob(*crowd(at, tmp_path)) as mob:
            await until_sent(mob, WARM_AT)
            warm_kib = resident_kib(at)
            wanted.add(await anna.command("module-03"))
            at.back(AWAY)
            await at.until_ended(wanted)
            assert not mob.over, "they are at it while the work is done"
            await until_sent(mob, FLOODS_BOUND_AT)
            await patiently(at, "set_params", params={"requests_per_minute": BOUND})
            wanted.add(await anna.command("module-02"))
            while not mob.over:
                await asyncio.sleep(0.1)
        await at.until_ended(wanted)
        assert not asking.done(), asking.exception()
        asking.cancel()
        assert [each.trouble for each in mob.attacks] == [[], [], []]
        assert mob.sent >= PUBLISHES + FRAMES + KNOCKS

        assert resident_kib(at) - warm_kib < GROWTH_KIB
        assert anna.seen_away == {AWAY}
        assert await operations(at) == dict.fromkeys(wanted, "COMPLETED")
        serial, owner, _ = before["components"][AWAY]
        before["components"][AWAY] = (serial, owner, "ONLINE")
        before["params"]["requests_per_minute"] = BOUND
        assert await state_of(at) == before
        check_health(await patiently(at, "get_health"))
        check_traces(at)
        audit = await patiently(at, "verify_audit")
        assert audit["first_broken"] is None
        assert audit["entries"] - audited < AUDIT_ROWS


def check_health(health: Mapping[str, Any]) -> None:
    assert health["healthy"], health
    assert health["queue_depth"] == health["active_operations"] == 0
    (bus,) = health["buses"]
    assert bus["faults"] == bus["reconnects"] == bus["overflow"] == 0
    assert bus["components"] == bus["online"] == len(FAMILY.components)
    assert min(bus["invalid"], bus["strangers"], bus["answers_dropped"]["foreign"]) > FRAMES / 20
    upstream = health["upstream"]
    assert upstream["reconnects"] == 0, "no message may cost the connection"
    assert upstream["turned_away"].keys() >= TURNED_AWAY
    assert upstream["dropped"] > 0, "what even paho cannot read"


def check_traces(at: Scene) -> None:
    lines = at.daemon.log().splitlines()
    assert len(lines) < LOG_LINES, lines[-20:]
    assert not [line for line in lines if " ERROR " in line or "Traceback" in line]
    events = at.events()
    assert len(events) < EVENTS, Counter(event["type"] for event in events)
    at.assert_gap_free()
