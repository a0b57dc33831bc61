"""Signed requests: what holds is served once, what does not is refused with one answer that tells nothing."""

import asyncio
import base64
import json
import logging
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from gateway.access import Role
from gateway.api import REQUESTS
from gateway.clock import rfc3339
from gateway.errors import CODES, Code, Refusal
from gateway.sync.access import Access
from gateway.sync.message import Incoming
from gateway.sync.payload import Encoding, decode_reply, encode
from gateway.sync.signed import KEYS, check, open_envelope, seal
from gateway.sync.signing import Signer
from tests.unit.test_mqtt_requests import ACTORS, TOPICS, Scene, settle

DOCUMENT = (Path(__file__).parents[2] / "docs/mqtt-protocol.md").read_text()
ROOTS = Signer("laptop", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
ANNAS = Signer("phone", Ed25519PrivateKey.from_private_bytes(bytes(32)))
ACCESS = Access(
    actors=ACTORS, keys={"root": {"laptop": ROOTS.public_bytes()}, "anna": {"phone": ANNAS.public_bytes()}, "bert": {}}
)


class SignedScene(Scene):
    """A server that knows keys, and somebody who signs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(access=ACCESS, must_sign=frozenset({Role.ADMIN}), **options)

    def body(self, call_id: Any = "call-0001", encoding: Encoding = Encoding.MSGPACK, **more: Any) -> bytes:
        now = self.clock.wall_ms()
        fields = {"id": call_id, "issued_at": rfc3339(now), "expires_at": rfc3339(now + 60_000), **more}
        return encode({name: value for name, value in fields.items() if value is not None}, encoding)

    def signed(self, request: str = "set_params", actor: str = "root", signer: Signer = ROOTS, **more: Any) -> Incoming:
        """Return a signed request. `topic`: the one it is signed for; `outer`: how the whole is encoded."""
        outer, expiry_s = more.pop("outer", Encoding.MSGPACK), more.pop("expiry_s", None)
        topic = TOPICS.request(actor, request)
        signed_for = more.pop("topic", topic)
        return Incoming(topic, seal(signer, signed_for, self.body(**more), outer), expiry_s=expiry_s)


def envelope(scene: SignedScene, **parts: Any) -> Incoming:
    """Return a request whose envelope has some of its parts replaced; None: taken out."""
    topic = TOPICS.request("root", "set_params")
    made = {**ROOTS.sign(topic, scene.body()), **parts}
    return Incoming(topic, encode({name: part for name, part in made.items() if part is not None}, Encoding.MSGPACK))


# --- the documented example -------------------------------------------------------------------------------------------


def test_the_documented_example_is_right_to_the_byte() -> None:
    (text,) = re.findall(r"^## Signed requests$(.*?)^## ", DOCUMENT, re.MULTILINE | re.DOTALL)
    toml, request, signature, payload = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    public_key = tomllib.loads(toml)["actors"]["fleet-admin"]["keys"]["laptop"]
    topic, body = request.splitlines()
    assert base64.b64decode(public_key) == ROOTS.public_bytes()
    assert ROOTS.sign(topic, body.encode())["signature"] == bytes.fromhex(signature)
    assert seal(ROOTS, topic, body.encode(), Encoding.JSON).decode() == payload.replace("\n", "")
    sealed = open_envelope(json.loads(payload), Encoding.JSON)
    assert sealed is not None
    check(sealed, topic, {"laptop": base64.b64decode(public_key)})


def test_no_request_has_a_field_that_makes_it_look_signed() -> None:
    for verb in REQUESTS.values():
        assert KEYS.isdisjoint(verb.model.model_fields)


# --- what holds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outer", Encoding)
@pytest.mark.parametrize("inner", Encoding)
async def test_a_signed_change_is_served_and_answered_in_the_encoding_of_the_whole(
    outer: Encoding, inner: Encoding
) -> None:
    async with SignedScene().serving() as scene:
        await scene.receive(scene.signed(outer=outer, encoding=inner, params={"a": 1}))
    assert scene.channel.replies == [{"id": "call-0001", "ok": True, "result": {"number": 1}}]
    assert scene.api.effects == [("root", "set_params", {"params": {"a": 1}})]
    assert scene.audited == []


async def test_who_need_not_sign_may_and_is_then_held_to_it() -> None:
    async with SignedScene().serving() as scene:
        await scene.receive(scene.signed("queue_command", "anna", ANNAS))
        assert scene.channel.replies[-1]["ok"]
        await scene.receive(scene.signed("queue_command", "anna", ROOTS, call_id="call-0002"))
        assert scene.error() == "BAD_SIGNATURE"
        await scene.receive(scene.signed("get_health", "anna", ROOTS, call_id="call-0003"))
        assert scene.error() == "BAD_SIGNATURE", "a look that claims to be signed, too"
    assert len(scene.api.effects) == 1


async def test_the_same_request_signed_anew_or_spelled_otherwise_is_the_same_call() -> None:
    async with SignedScene().serving() as scene:
        await scene.receive(scene.signed(params={"a": 1, "b": 2}))
        await scene.receive(scene.signed(params={"b": 2, "a": 1}, encoding=Encoding.JSON, outer=Encoding.JSON))
        scene.clock.advance(5)
        await scene.receive(scene.signed(params={"a": 1, "b": 2}))
        await scene.receive(scene.signed(params={"a": 1, "b": 3}))
    first, second, third, other = [call.digest for call in scene.api.calls]
    assert first == second == third != other


# --- what does not ----------------------------------------------------------------------------------------------------

BAD: dict[str, dict[str, Any]] = {
    "another key of the same name": {"signer": Signer("laptop", ANNAS.key)},
    "a name that the actor has no key of": {"signer": Signer("tablet", ROOTS.key)},
    "the key of another actor": {"signer": ANNAS},
    "another request's topic": {"topic": TOPICS.request("root", "get_params")},
    "another actor's topic": {"topic": TOPICS.request("anna", "set_params")},
    "another gateway's topic": {"topic": "bms/v1/gw-2/requests/root/set_params"},
}
MALFORMED: dict[str, dict[str, Any]] = {
    "no key": {"key_id": None},
    "a key that is no text": {"key_id": 5},
    "no signature": {"signature": None},
    "a signature in text": {"signature": base64.b64encode(bytes(64)).decode()},
    "a short signature": {"signature": bytes(63)},
    "a long signature": {"signature": bytes(65)},
    "a signature of nothing": {"signature": b""},
    "one thing more": {"expires_at": "2026-11-21T20:30:00.000Z"},
}


async def refusal_of(scene: SignedScene, message: Incoming) -> dict[str, Any]:
    async with scene.serving():
        mid = await scene.receive(message)
    assert scene.api.calls == [], "nothing reaches the API"
    assert scene.channel.acknowledged == [mid]
    error: dict[str, Any] = scene.channel.replies[0]["error"]
    return error


async def test_all_that_does_not_hold_gets_one_and_the_same_answer() -> None:
    answers = [await refusal_of(scene := SignedScene(), scene.signed(**more)) for more in BAD.values()]
    answers += [await refusal_of(scene := SignedScene(), envelope(scene, **parts)) for parts in MALFORMED.values()]
    assert answers[0]["code"] == "BAD_SIGNATURE"
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize("more", [*BAD.values(), {"call_id": "call-0002"}], ids=[*BAD, "in order"])
async def test_what_does_not_hold_is_audited(more: dict[str, Any]) -> None:
    async with SignedScene().serving() as scene:
        await scene.receive(scene.signed(**more))
    codes = [(entry.actor, entry.action, entry.outcome, entry.code) for entry in scene.audited]
    assert codes == ([] if "call_id" in more else [("root", "set_params", "refused", "BAD_SIGNATURE")])


@pytest.mark.parametrize("body", [None, "text", 7, b"", b"\xc1", b"[]", encode({"no": "id"}, Encoding.JSON)])
async def test_without_a_body_that_names_an_id_nobody_can_be_answered_and_it_is_on_record(body: Any) -> None:
    scene = SignedScene()
    async with scene.serving():
        await scene.receive(envelope(scene, body=body))
    assert scene.channel.done == [("ack", 1)]
    assert scene.server.tally.totals.total() == 1
    assert [entry.action for entry in scene.audited] == ["set_params"]


async def test_the_limits_of_a_payload_hold_for_the_body_too() -> None:
    scene = SignedScene()
    topic = TOPICS.request("root", "set_params")
    deep: Any = 1
    for _ in range(9):
        deep = [deep]
    async with scene.serving():
        await scene.receive(Incoming(topic, seal(ROOTS, topic, scene.body(params=deep), Encoding.MSGPACK)))
        wide = {f"k{n}": n for n in range(257)}
        await scene.receive(Incoming(topic, seal(ROOTS, topic, scene.body(params=wide), Encoding.MSGPACK)))
    assert scene.server.tally.totals == {"a request that cannot be read": 2}


async def test_an_unsigned_change_of_a_role_that_must_sign_is_told_to_sign() -> None:
    async with SignedScene().serving() as scene:
        await scene.receive(scene.request("root", "set_params"))
    error = scene.channel.replies[0]["error"]
    assert error["code"] == "BAD_SIGNATURE"
    assert error["message"].endswith(CODES[Code.BAD_SIGNATURE].advice)
    assert error["message"].startswith("The role admin must sign")


async def test_a_stranger_learns_nothing_by_signing() -> None:
    async with SignedScene().serving() as scene:
        await scene.receive(scene.signed("set_params", "mallory", ROOTS))
    assert scene.error() == "NOT_AUTHORIZED"


async def test_a_bad_signature_cannot_take_the_place_of_the_request_whose_id_it_uses() -> None:
    scene = SignedScene()
    scene.api.hold["set_params"] = asyncio.Event()
    bad = Signer("laptop", ANNAS.key)
    async with scene.serving():
        for mid, signer in enumerate((bad, ROOTS, bad), 1):  # at once: none of them is answered when the next is read
            scene.channel.incoming.put_nowait(replace(scene.signed(signer=signer), mid=mid))
        await settle()
        assert [reply["error"]["code"] for reply in scene.channel.replies] == ["BAD_SIGNATURE"] * 2
        late = rfc3339(scene.clock.wall_ms() - 1)
        await scene.receive(scene.signed(issued_at=rfc3339(scene.clock.wall_ms() - 1000), expires_at=late))
        assert scene.error() == "REQUEST_EXPIRED", "which is the same content, and does not join it"
        scene.api.hold["set_params"].set()
        await settle()
    assert scene.channel.replies[-1] == {"id": "call-0001", "ok": True, "result": {"number": 1}}
    assert len(scene.api.effects) == 1


@given(st.sampled_from(["topic", "signature", "body"]), st.integers(0, 10_000), st.integers(1, 255))
def test_not_a_bit_of_what_is_signed_can_be_another(part: str, place: int, flip: int) -> None:
    topic, body = "bms/v1/gw-1/requests/root/set_params", b'{"id":"call-0001"}'
    made: dict[str, Any] = {"topic": topic.encode(), **ROOTS.sign(topic, body)}
    changed = bytearray(made[part])
    changed[place % len(changed)] ^= flip
    made[part] = bytes(changed)
    where = made.pop("topic").decode("latin-1")
    sealed = open_envelope(made, Encoding.MSGPACK)
    assert sealed is not None
    with pytest.raises(Refusal):
        check(sealed, where, {"laptop": ROOTS.public_bytes()})


# --- when -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("issued_s", "expires_s", "code", "field"),
    [
        (0, 60, None, None),
        (60, 90, None, None),
        (-3599, 1, None, None),
        (0, 3600, None, None),
        (61, 90, "INVALID_ARGUMENT", "issued_at"),
        (0, 3601, "INVALID_ARGUMENT", "expires_at"),
        (-3600, 1, "INVALID_ARGUMENT", "expires_at"),
        (30, 20, "INVALID_ARGUMENT", "expires_at"),
        (30, 30, "INVALID_ARGUMENT", "expires_at"),
        (60, 3630, "INVALID_ARGUMENT", "expires_at"),
        (-60, 0, "REQUEST_EXPIRED", None),
        (-60, -1, "REQUEST_EXPIRED", None),
        (None, 60, "INVALID_ARGUMENT", "issued_at"),
        (0, None, "INVALID_ARGUMENT", "expires_at"),
    ],
)
async def test_what_is_signed_has_a_beginning_and_an_end_that_are_near(
    issued_s: int | None, expires_s: int | None, code: str | None, field: str | None
) -> None:
    scene = SignedScene()
    now = scene.clock.wall_ms()
    times: dict[str, Any] = {
        name: None if at is None else rfc3339(now + at * 1000)
        for name, at in (("issued_at", issued_s), ("expires_at", expires_s))
    }
    async with scene.serving():
        await scene.receive(scene.signed(**times))
    error = scene.channel.replies[0].get("error", {})
    assert (error.get("code"), error.get("details", {}).get("field")) == (code, field)
    assert [entry.code for entry in scene.audited] == ([] if code is None else [code])


@pytest.mark.parametrize("issued_at", ["soon", 5, [], "2026-11-21T20:30:00"])
async def test_a_beginning_that_is_no_time_is_named(issued_at: Any) -> None:
    async with SignedScene().serving() as scene:
        await scene.receive(scene.signed(issued_at=issued_at))
    assert scene.channel.replies[0]["error"]["details"] == {"field": "issued_at"}


async def test_the_expiry_of_a_message_which_nobody_signed_only_shortens_and_never_makes_us_forget() -> None:
    scene = SignedScene()
    async with scene.serving():
        await scene.receive(scene.signed(expiry_s=5))
        await scene.receive(scene.signed(call_id="call-0002", expiry_s=3000))
        await scene.receive(scene.signed(call_id="call-0003", expires_at=None, expiry_s=60))
        assert scene.error() == "INVALID_ARGUMENT", "an end that is not signed is none"
        await scene.receive(scene.signed(call_id="call-0004", expiry_s=0))
        assert scene.error() == "REQUEST_EXPIRED"
    assert [call.until - scene.clock.wall_ms() for call in scene.api.calls] == [60_000, 60_000]


async def test_without_trusted_time_what_is_signed_is_refused_and_what_is_not_is_served() -> None:
    scene = SignedScene()
    scene.clock.is_trusted = False
    async with scene.serving():
        await scene.receive(scene.signed())
        assert scene.error() == "CLOCK_UNTRUSTED"
        await scene.receive(scene.signed("queue_command", "anna", ANNAS, call_id="call-0002"))
        assert scene.error() == "CLOCK_UNTRUSTED"
        await scene.receive(scene.signed(signer=ANNAS, call_id="call-0003"))
        assert scene.error() == "BAD_SIGNATURE", "who cannot sign is not told about our clock"
        await scene.receive(scene.request("anna", "queue_command", "call-0004"))
        assert scene.channel.replies[-1]["ok"]
        scene.clock.is_trusted = True
        await scene.receive(scene.signed(call_id="call-0005"))
        assert scene.channel.replies[-1]["ok"]
    codes = [entry.code for entry in scene.audited]
    assert codes == ["CLOCK_UNTRUSTED", "CLOCK_UNTRUSTED", "BAD_SIGNATURE"]


# --- what is kept to itself -------------------------------------------------------------------------------------------


def signature_in(message: Incoming) -> bytes | None:
    if message.payload.startswith(b"{"):
        return base64.b64decode(decode_reply(message.payload, Encoding.JSON)["signature"])
    found = decode_reply(message.payload, Encoding.MSGPACK).get("signature")
    return found if isinstance(found, bytes) and len(found) >= 32 and any(found) else None


async def test_no_key_and_no_signature_is_ever_logged_audited_or_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    scene = SignedScene()
    messages = [scene.signed(call_id=f"call-1{n:03}", **more) for n, more in enumerate(BAD.values())]
    messages += [envelope(scene, **parts) for parts in MALFORMED.values()]
    messages += [scene.signed(call_id="call-2001"), scene.signed(call_id="call-2002", outer=Encoding.JSON)]
    messages += [replace(scene.signed(call_id="call-2003"), topic="bms/v1/gw-1/requests/root")]
    messages += [envelope(scene, body=b"\xc1")]
    async with scene.serving():
        for message in messages:
            await scene.receive(message)
    told = "".join(
        [caplog.text, repr(scene.audited), repr(scene.channel.replies), repr(scene.server.tally.totals)]
    ).lower()
    secrets = {ROOTS.private_pem(), ROOTS.public_bytes(), ANNAS.public_bytes(), bytes(range(32))}
    secrets |= {ROOTS.sign(TOPICS.request("root", "set_params"), scene.body())["signature"]}
    secrets |= {found for message in messages if (found := signature_in(message))}
    assert len(secrets) > len(BAD)
    for secret in secrets:
        for spelled in (secret.hex(), base64.b64encode(secret).decode(), repr(secret)[2:-1]):
            assert spelled.lower() not in told
    assert "signature" in told, "it was looked at"


async def test_what_a_key_signed_has_no_effect_once_the_key_is_taken_away_though_it_waited_already() -> None:
    scene = SignedScene()
    scene.api.hold["get_health"] = asyncio.Event()
    known = ACCESS.keys
    async with scene.serving():
        await scene.receive(scene.signed("get_health"))
        await scene.receive(scene.signed(call_id="call-0002"))
        try:
            ACCESS.keys = {**known, "root": {"laptop": ANNAS.public_bytes()}}
            scene.api.hold["get_health"].set()
            await settle()
        finally:
            ACCESS.keys = known
    assert [request for _, request, _ in scene.api.effects] == ["get_health"]
    assert scene.error() == "NOT_AUTHORIZED"
