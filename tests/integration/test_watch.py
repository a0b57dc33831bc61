"""`watch` beside a real broker and a bus that processes share: a process of its own, read line by line."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import can
import pytest

from gateway.bus.frames import codecs_of
from gateway.bus.wire import EXTENDED_MASK
from gateway.sync.broker import Broker
from gateway.sync.link import Link, connect
from gateway.sync.message import Outgoing
from gateway.sync.payload import Encoding, encode
from tests.acceptance.scene import CanServer
from tests.integration.broker import Mosquitto, free_port

ROOT = "bms/v1/gw-0042"
STATE = {"state": "ONLINE", "epoch": 17, "session": 1}
LOST = {"seq": 1, "type": "component_offline", "subject": "module-03", "attributes": {"reason": "heartbeat_timeout"}}


class Watching:
    """A `bms-gateway watch` that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        assert self._process.stdout is not None
        return (await asyncio.wait_for(self._process.stdout.readline(), 30)).decode().rstrip("\n")

    async def record(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(await self.line())
        return told

    async def note(self, part: str) -> str:
        """Wait for a line on stderr that says `part`."""
        assert self._process.stderr is not None
        while part not in (line := (await asyncio.wait_for(self._process.stderr.readline(), 30)).decode()):
            assert line, f"it ended, and never said {part}"
        return line

    async def ends(self) -> int:
        return await asyncio.wait_for(self._process.wait(), 30)

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)


@asynccontextmanager
async def watching(*words: str) -> AsyncIterator[Watching]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Watching(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def reach(mosquitto: Mosquitto) -> tuple[str, ...]:
    return ("--broker", mosquitto.url, "--gateway", "gw-0042", "--actor", "anna")


def backend(mosquitto: Mosquitto) -> Broker:
    return Broker("127.0.0.1", mosquitto.port, tls=False, client_id="gateway")


async def tell(link: Link, topic: str, payload: dict[str, Any] | None, *, retain: bool = False) -> None:
    body = b"" if payload is None else encode(payload, Encoding.MSGPACK)
    await link.publish(Outgoing(f"{ROOT}/{topic}", body, retain=retain))


async def test_what_a_gateway_tells_is_a_line_each_and_goes_on_after_the_broker_is_back(tmp_path: Path) -> None:
    mosquitto = Mosquitto(tmp_path / "m").start()
    try:
        async with connect(backend(mosquitto)) as link:
            await tell(link, "state", STATE, retain=True)
        async with watching(*reach(mosquitto), "watch") as seen:
            assert (await seen.line())[12:] == "  state  state=ONLINE  session=1  (retained)"
            async with connect(backend(mosquitto)) as link:
                await tell(link, "events/module-03/component_offline", LOST)
                await tell(link, "components/module-03/presence", None, retain=True)
            assert (await seen.line())[12:] == "  events/module-03/component_offline  seq=1  reason=heartbeat_timeout"
            assert (await seen.line())[12:] == "  components/module-03/presence  (cleared)"
            mosquitto.stop(signal.SIGKILL)
            await seen.note("trying again")
            mosquitto.start()
            await seen.note("connected again")
            async with connect(backend(mosquitto)) as link:
                await tell(link, "events/module-03/component_offline", LOST)
            while "component_offline" not in (line := await seen.line()):
                assert "(retained)" in line
            seen.interrupt()
            assert await seen.ends() == 0
    finally:
        mosquitto.stop()


async def test_as_json_only_the_events_of_one_component_and_only_so_many(tmp_path: Path) -> None:
    mosquitto = Mosquitto(tmp_path / "m").start()
    try:
        async with connect(backend(mosquitto)) as link:
            await tell(link, "state", STATE, retain=True)
            await tell(link, "components/module-03/queue", {"component_id": "module-03"}, retain=True)
            words = ("--json", "watch", "--component", "module-03", "--count", "2")
            async with watching(*reach(mosquitto), *words, "--seconds", "60") as seen:
                first = await seen.record()  # it is subscribed now
                await tell(link, "events/module-04/component_offline", LOST)
                await tell(link, "events/module-03/component_offline", LOST)
                second = await seen.record()
                assert await seen.ends() == 0
        assert (first["topic"], first["retain"]) == (f"{ROOT}/components/module-03/queue", True)
        assert {name: second[name] for name in second if name != "at"} == {
            "topic": f"{ROOT}/events/module-03/component_offline",
            "qos": 1,
            "retain": False,
            "payload": LOST,
        }
    finally:
        mosquitto.stop()


async def test_a_broker_that_is_not_there_is_told_at_once() -> None:
    address = ("--broker", f"mqtt://127.0.0.1:{free_port()}", "--gateway", "gw", "--actor", "anna")
    async with watching(*address, "watch") as seen:
        await seen.note("Nobody answers: mqtt://127.0.0.1")
        assert await seen.ends() == 69


@pytest.mark.parametrize("as_json", [False, True])
async def test_the_frames_of_a_bus_are_decoded(tmp_path: Path, as_json: bool) -> None:
    server = CanServer(tmp_path / "can.log")
    channel = f"ws://127.0.0.1:{server.port}/"
    (tmp_path / "gateway.toml").write_text(
        f'[gateway]\nid = "gw"\n[[bus]]\nname = "can0"\ninterface = "remote"\nchannel = "{channel}"\n'
        '[[component]]\nid = "module-03"\nkind = "MODULE"\nbus = "can0"\nnode = 0xA3\nowner = "x"\n'
    )
    heartbeat = codecs_of([])["HB_MODULE"]
    others = dict.fromkeys(heartbeat.signals.keys() - {"E2E_CRC", "E2E_Counter"}, 0)
    frames = [
        can.Message(
            arbitration_id=heartbeat.id_for(0xA3) & EXTENDED_MASK,
            data=heartbeat.encode(0xA3, 3, {**others, "BootCount": 5}),
        ),
        can.Message(arbitration_id=0x123, is_extended_id=False, data=b"\xde\xad"),
    ]
    words = ("watch", "--config", str(tmp_path / "gateway.toml"), "--bus", "can0", "--count", "2")
    try:
        async with watching(*(["--json"] if as_json else []), *words) as seen:
            await seen.note("can0 UP")
            with can.Bus(interface="remote", channel=channel) as bus:
                for frame in frames:
                    bus.send(frame)
                lines = [await seen.line(), await seen.line()]
            assert await seen.ends() == 0
    finally:
        server.stop()
    if as_json:
        ours, raw = map(json.loads, lines)
        assert (ours["component"], ours["message"], ours["signals"]["BootCount"]) == ("module-03", "HB_MODULE", 5)
        assert (raw["id"], raw["data"]) == ("123", "dead")
    else:
        assert "HB_MODULE  module-03" in lines[0]
        assert "BootCount=5" in lines[0]
        assert lines[1].endswith("can0       123  [2]  DE AD")
