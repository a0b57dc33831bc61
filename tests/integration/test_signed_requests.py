"""Requests from the wire down to the disk: one effect each, whatever comes again, and none for who may not."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from gateway.access import Actor, Role
from gateway.clock import rfc3339
from gateway.ports import AuditEntry
from gateway.sync.access import Access
from gateway.sync.message import Incoming
from gateway.sync.payload import Encoding, encode
from gateway.sync.requests import RequestServer
from gateway.sync.signed import seal
from gateway.sync.signing import Signer
from gateway.sync.topics import Topics
from tests.api_scene import ANNA, READ, ApiScene, api_scene
from tests.doubles import FakeClock
from tests.unit.test_mqtt_requests import FakeChannel

TOPICS = Topics("gw-1")
CHIEF = Actor("chief", Role.ADMIN, transport="mqtt")
UNGRANTED = Actor("tech-bert", Role.TECHNICIAN, transport="mqtt")
KEY, OTHER_KEY = Signer.fresh("laptop"), Signer.fresh("laptop")
ACCESS = Access(
    actors={actor.name: actor for actor in (ANNA, CHIEF, UNGRANTED)}, keys={"chief": {"laptop": KEY.public_bytes()}}
)


class Wire:
    """A gateway's server of requests over a real store, and somebody who sends."""

    def __init__(self, desk: ApiScene) -> None:
        self.desk, self.clock = desk, desk.clock
        self.channel = FakeChannel()
        self.server = RequestServer(
            api=desk.api,
            access=ACCESS,
            topics=TOPICS,
            clock=desk.clock,
            audit=self._audit,
            must_sign=frozenset({Role.ADMIN}),
        )

    async def _audit(self, entry: AuditEntry) -> None:
        await self.desk.store.write(lambda tx: tx.audit(entry, self.clock.wall_ms()))

    def body(self, call_id: str = "call-0001", encoding: Encoding = Encoding.MSGPACK, **more: Any) -> bytes:
        now = self.clock.wall_ms()
        fields = {"id": call_id, "issued_at": rfc3339(now), "expires_at": rfc3339(now + 600_000), **READ, **more}
        return encode({name: value for name, value in fields.items() if value is not None}, encoding)

    def signed(self, signer: Signer = KEY, request: str = "queue_command", **more: Any) -> Incoming:
        topic = TOPICS.request("chief", request)
        return Incoming(topic, seal(signer, topic, self.body(**more), more.get("encoding", Encoding.MSGPACK)))

    def plain(self, actor: str = "tech-anna", **more: Any) -> Incoming:
        return Incoming(TOPICS.request(actor, "queue_command"), self.body(issued_at=None, **more))

    async def ask(self, message: Incoming) -> dict[str, Any]:
        """Send `message` and return its reply."""
        before = len(self.channel.acknowledged)
        self.channel.incoming.put_nowait(message)
        async with asyncio.timeout(10):
            while len(self.channel.acknowledged) == before:
                await asyncio.sleep(0.001)
        return self.channel.replies[-1]

    async def code(self, message: Incoming) -> str:
        return str((await self.ask(message)).get("error", {}).get("code"))

    def state(self) -> list[Any]:
        """Return all that requests may change, without the audit and the memory of calls."""
        with closing(sqlite3.connect(self.desk.path)) as db:
            tables = ("operation", "event", "parameter", "component")
            return [db.execute(f"SELECT * FROM {table}").fetchall() for table in tables]

    def queued(self) -> int:
        return len(self.state()[0])


@asynccontextmanager
async def gateway(folder: Path, clock: FakeClock) -> AsyncIterator[Wire]:
    """Run a gateway on what the last one left in `folder`."""
    async with api_scene(folder, clock=clock) as desk:
        wire = Wire(desk)
        running = [asyncio.create_task(wire.server.run())]
        await asyncio.sleep(0)
        running.append(asyncio.create_task(wire.server.receive(wire.channel)))
        try:
            yield wire
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def test_a_signed_request_has_one_effect_and_one_answer_over_restarts_encodings_and_signatures(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    async with gateway(tmp_path, clock) as wire:
        request = wire.signed()
        first = await wire.ask(request)
        assert first["ok"]
        assert await wire.ask(request) == first
    async with gateway(tmp_path, clock) as wire:
        assert await wire.ask(request) == first
        assert await wire.ask(wire.signed(encoding=Encoding.JSON)) == first
        clock.advance(30)
        assert await wire.ask(wire.signed()) == first, "signed anew"
        assert await wire.code(wire.signed(arguments={"id": 8})) == "REPLAYED"
        assert await wire.ask(request) == first, "what was refused has not taken its place"
        assert wire.queued() == 1
        clock.advance(600)
        assert await wire.code(request) == "REQUEST_EXPIRED"
    codes = [row[3:] for row in wire.desk.audit()]
    assert codes == [("accepted", None), ("refused", "REPLAYED"), ("refused", "REQUEST_EXPIRED")]


async def test_a_request_is_remembered_beyond_the_life_of_its_message(tmp_path: Path) -> None:
    clock = FakeClock()
    async with gateway(tmp_path, clock) as wire:
        sent = wire.signed()
        short = Incoming(sent.topic, sent.payload, expiry_s=5)
        first = await wire.ask(short)
        clock.advance(300)
        assert await wire.ask(sent) == first, "whoever takes the message's expiry off gains nothing"
        assert wire.queued() == 1


@pytest.mark.parametrize("behind_s", [0, 86_400])
async def test_what_was_done_without_the_time_is_not_done_again_once_it_is_known(
    tmp_path: Path, behind_s: float
) -> None:
    clock = FakeClock()
    right_ms = clock.wall_ms() + round(behind_s * 1000)
    clock.is_trusted = False
    async with gateway(tmp_path, clock) as wire:
        request = wire.plain(expires_at=rfc3339(right_ms + 900_000))
        first = await wire.ask(request)
        assert first["ok"]
        clock.advance(300)
        assert await wire.ask(request) == first, "the minute it had from its receipt is long over"
    clock.set_wall(right_ms + 310_000)
    clock.is_trusted = True
    async with gateway(tmp_path, clock) as wire:
        assert await wire.ask(request) == first
        assert wire.queued() == 1


async def test_whoever_may_not_is_refused_with_the_right_code_audited_and_nothing_changes(tmp_path: Path) -> None:
    clock = FakeClock()
    async with gateway(tmp_path, clock) as wire:
        old = wire.signed(call_id="call-late")
        clock.advance(601)
        assert (await wire.ask(wire.signed(call_id="call-used")))["ok"]
        before = wire.state()
        asked = {
            "NOT_AUTHORIZED": wire.plain("mallory", call_id="call-0001"),
            "NOT_OWNER": wire.plain("tech-bert", call_id="call-0002"),
            "REPLAYED": wire.signed(call_id="call-used", arguments={"id": 9}),
            "REQUEST_EXPIRED": old,
            "BAD_SIGNATURE": wire.signed(OTHER_KEY, call_id="call-0003"),
        }
        assert [await wire.code(message) for message in asked.values()] == list(asked)
        assert await wire.code(wire.plain("chief", call_id="call-0004")) == "BAD_SIGNATURE"
        clock.is_trusted = False
        assert await wire.code(wire.signed(call_id="call-0005")) == "CLOCK_UNTRUSTED"
        assert wire.state() == before
        chain = await wire.desk.store.read(lambda reader: reader.check_audit())
        assert chain.first_broken is None
    refused = [(actor, code) for actor, _, _, outcome, code in wire.desk.audit() if outcome == "refused"]
    actors = ["mallory", "tech-bert", "chief", "chief", "chief", "chief", "chief"]
    assert refused == list(zip(actors, [*asked, "BAD_SIGNATURE", "CLOCK_UNTRUSTED"], strict=True))


async def test_no_key_and_no_signature_is_on_the_disk(tmp_path: Path) -> None:
    clock = FakeClock()
    async with gateway(tmp_path, clock) as wire:
        messages = [wire.signed(), wire.signed(OTHER_KEY, call_id="call-0002"), wire.signed(arguments={"id": 9})]
        for message in messages:
            await wire.ask(message)
        secrets = [KEY.public_bytes(), KEY.sign(messages[0].topic, wire.body())["signature"]]
    disk = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"BAD_SIGNATURE" in disk
    for secret in secrets:
        assert secret not in disk
        assert secret.hex().encode() not in disk.lower()
