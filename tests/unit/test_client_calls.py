"""Calls over a connection that comes and goes: one id, one content, and an honest word on what may have happened."""

import asyncio
from typing import Any, cast

import pytest

from gateway.client.calls import AGAIN_AFTER_S, IN_FLIGHT, Calls
from gateway.client.errors import NoAnswer
from gateway.errors import Code, LinkDown, PeerError, Refusal
from gateway.sync.link import Link
from gateway.sync.message import Incoming, Outgoing, PublishRefused
from gateway.sync.payload import Encoding, decode, encode
from gateway.sync.signed import open_envelope
from gateway.sync.signing import Signer, verify
from gateway.sync.topics import Topics
from tests.looptime import LoopClock, virtual_time

ROOT = "bms/v1/gw-1"


class Line:
    """Stands for a connection and its link at once."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.up = asyncio.Event()
        self.up.set()
        self.trouble = ""
        self.breaks: list[Exception | None] = []  # what becomes of the next messages
        self.deal = lambda _: None  # with a message that is sent

    async def link(self) -> Link:
        await self.up.wait()
        return cast("Link", self)

    async def other_than(self, _link: Link) -> None:
        await asyncio.sleep(1)

    async def send(self, message: Outgoing) -> Exception | None:
        self.sent.append(message)
        self.deal(message)
        return self.breaks.pop(0) if self.breaks else None

    async def acknowledged(self, receipt: Exception | None) -> None:
        if receipt is not None:
            raise receipt

    def ids(self) -> list[str]:
        return [decode(message.payload)[0]["id"] for message in self.sent]


def calls(line: Line, **options: Any) -> Calls:
    return Calls(connection=cast("Any", line), topics=Topics("gw-1"), actor="anna", clock=LoopClock(), **options)


def answering(line: Line, asking: Calls, encoding: Encoding = Encoding.MSGPACK, **answer: Any) -> None:
    """Have every request answered, on the topic of its id."""

    def deal(message: Outgoing) -> None:
        fields, _ = decode(message.payload)
        reply = encode({"id": fields["id"], **answer}, encoding)
        asyncio.get_running_loop().call_soon(asking.took, Incoming(f"{ROOT}/replies/anna/{fields['id']}", reply))

    line.deal = deal


@virtual_time
async def test_a_request_carries_its_id_and_its_end_and_brings_its_result() -> None:
    line = Line()
    asking = calls(line)
    answering(line, asking, ok=True, result={"healthy": True})
    assert await asking.call("get_health", {"a": 1}, 30) == {"healthy": True}
    (message,) = line.sent
    fields, _ = decode(message.payload)
    assert message.topic == f"{ROOT}/requests/anna/get_health"
    assert (fields["a"], len(fields["id"]), fields["expires_at"]) == (1, 26, "2026-09-21T14:13:50.000Z")
    assert message.content_type == "application/msgpack"
    assert asking._pending == {}


@virtual_time
async def test_a_refusal_is_raised_in_the_words_of_the_gateway() -> None:
    line = Line()
    asking = calls(line, encoding=Encoding.JSON)
    error = {
        "code": "RATE_LIMITED",
        "message": "Too often.",
        "class": "BUSY",
        "retry_after_ms": 700,
        "details": {"x": 1},
    }
    answering(line, asking, Encoding.JSON, ok=False, error=error)
    with pytest.raises(Refusal, match=r"^RATE_LIMITED: Too often\.$") as no:
        await asking.call("get_health", {}, 30)
    assert no.value.payload() == error


@pytest.mark.parametrize("answer", [{"ok": False, "error": {"code": "NEW_ONE"}}, {"ok": False}, {"ok": True}])
def test_an_answer_that_is_not_understood_is_an_internal_error(answer: dict[str, Any]) -> None:
    @virtual_time
    async def ask() -> None:
        line = Line()
        asking = calls(line)
        answering(line, asking, **answer)
        with pytest.raises(Refusal) as no:
            await asking.call("get_health", {}, 30)
        assert no.value.code is Code.INTERNAL

    ask()


@virtual_time
async def test_it_is_sent_again_the_same_when_the_connection_is_new_and_now_and_then() -> None:
    line = Line()
    asking = calls(line)
    line.breaks = [LinkDown("cut"), None, None]
    call = asyncio.create_task(asking.call("get_health", {}, 600))
    await asyncio.sleep(2)
    assert len(line.sent) == 2, "at once, and on the next connection"
    asking.again()
    await asyncio.sleep(0.1)
    assert len(line.sent) == 3, "the gateway is back"
    await asyncio.sleep(AGAIN_AFTER_S * 2 + 1)
    assert len(line.sent) == 4, "a broker may have lost it"
    await asyncio.sleep(AGAIN_AFTER_S * 2)
    assert len(line.sent) == 4, "less and less often"
    answering(line, asking, ok=True, result={})
    asking.again()
    assert await call == {}
    assert len({message.payload for message in line.sent}) == 1


@virtual_time
async def test_no_answer_says_whether_it_may_have_had_an_effect() -> None:
    line = Line()
    asking = calls(line)
    with pytest.raises(NoAnswer, match="no answer within 5 s; it may have had an effect") as silence:
        await asking.call("requeue", {}, 5)
    assert (silence.value.request, silence.value.call_id) == ("requeue", line.ids()[0])
    line.up.clear()
    line.trouble = "connection refused"
    with pytest.raises(NoAnswer, match="connection refused; it never left, and had no effect"):
        await asking.call("requeue", {}, 5)


@pytest.mark.parametrize(("before", "may_have"), [([], False), ([LinkDown("cut")], True)])
def test_what_the_broker_forbids_is_said_at_once(before: list[Exception], *, may_have: bool) -> None:
    @virtual_time
    async def ask() -> None:
        line = Line()
        line.breaks = [*before, PublishRefused("not authorized")]
        with pytest.raises(NoAnswer, match="not authorized") as silence:
            await calls(line).call("requeue", {}, 5)
        assert silence.value.may_have_had_effect is may_have

    ask()


@virtual_time
async def test_what_is_signed_is_the_whole_request_for_its_topic() -> None:
    for encoding in Encoding:
        line, signer = Line(), Signer.fresh("phone")
        with pytest.raises(NoAnswer):
            await calls(line, signer=signer, encoding=encoding).call("requeue", {"a": 1}, 5)
        (message,) = line.sent
        sealed = open_envelope(*decode(message.payload))
        assert sealed is not None
        assert verify(signer.public_bytes(), sealed.signature, message.topic, sealed.body)
        fields, _ = decode(sealed.body)
        assert fields.keys() == {"a", "id", "issued_at", "expires_at"}


@virtual_time
async def test_what_no_gateway_would_read_is_not_sent() -> None:
    line = Line()
    asking = calls(line)
    for within_s in (0, 3541):
        with pytest.raises(ValueError, match="within_s"):
            await asking.call("get_health", {}, within_s)
    with pytest.raises(ValueError, match="65536"):
        await asking.call("get_health", {"a": "x" * 65536}, 5)
    assert line.sent == []


@virtual_time
async def test_replies_to_others_pass_by_and_garbage_is_the_gateways_fault() -> None:
    line = Line()
    asking = calls(line)
    asking.took(Incoming(f"{ROOT}/replies/anna/somebody", b"\xc1"))
    call = asyncio.create_task(asking.call("get_health", {}, 5))
    await asyncio.sleep(1)
    with pytest.raises(PeerError):
        asking.took(Incoming(f"{ROOT}/replies/anna/{line.ids()[0]}", b"\xc1"))
    with pytest.raises(NoAnswer):
        await call


@virtual_time
async def test_only_so_many_are_under_way_and_the_others_wait_within_their_time() -> None:
    line = Line()
    asking = calls(line)
    under_way = [asyncio.create_task(asking.call("get_health", {}, 50)) for _ in range(IN_FLIGHT + 1)]
    await asyncio.sleep(1)
    assert len(line.sent) == IN_FLIGHT
    for task in under_way:
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)
    assert asking._pending == {}
