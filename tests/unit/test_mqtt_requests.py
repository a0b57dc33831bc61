"""The server of requests over a channel that the test holds in its hand: no broker, no waiting."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.access import Actor, Role
from gateway.clock import rfc3339
from gateway.errors import Code, LinkDown, Refusal
from gateway.ports import AuditEntry, Call
from gateway.sync.access import Access
from gateway.sync.intake import READ_FOR_ONE
from gateway.sync.message import Incoming, Outgoing, PublishRefused
from gateway.sync.payload import Encoding, decode_reply, encode
from gateway.sync.refusals import FIRST
from gateway.sync.requests import AT_A_TIME, PER_MINUTE, SLOW_PER_ACTOR, WAITING, RequestServer
from gateway.sync.topics import Topics
from tests.doubles import FakeClock

TOPICS = Topics("gw-1")
ACTORS = {
    "anna": Actor("anna", Role.TECHNICIAN, transport="mqtt"),
    "bert": Actor("bert", Role.TECHNICIAN, transport="mqtt"),
    "root": Actor("root", Role.ADMIN, transport="mqtt"),
}


class FakeApi:
    """Has an effect once a call, as the real one does by its memory. `hold` keeps the answers of a request back."""

    def __init__(self) -> None:
        self.effects: list[tuple[str, str, Mapping[str, Any]]] = []
        self.memory: dict[tuple[str, str], dict[str, Any]] = {}
        self.calls: list[Call] = []
        self.hold: dict[str, asyncio.Event] = {}
        self.results: dict[str, dict[str, Any]] = {}

    async def call(
        self, actor: Actor, request: str, fields: Mapping[str, Any], call: Call | None = None
    ) -> dict[str, Any]:
        assert call is not None
        self.calls.append(call)
        key = call.actor, call.call_id
        if key not in self.memory:
            self.effects.append((actor.name, request, fields))
            self.memory[key] = {"ok": True, "result": self.results.get(request, {"number": len(self.effects)})}
        if request in self.hold:
            await self.hold[request].wait()
        return self.memory[key]


class FakeChannel:
    """A connection in the hand: put requests in, see replies and acknowledgements in their order."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[Incoming] = asyncio.Queue()
        self.done: list[tuple[str, Any]] = []
        self.down = False
        self.refuses = False
        self.slow: asyncio.Event | None = None
        self.mid = 0

    async def receive(self) -> Incoming:
        return await self.incoming.get()

    async def publish(self, message: Outgoing) -> None:
        await (asyncio.sleep(0) if self.slow is None else self.slow.wait())
        if self.down:
            raise LinkDown("gone")
        if self.refuses:
            raise PublishRefused("not authorized")
        self.done.append(("reply", message))

    def acknowledge(self, message: Incoming) -> None:
        self.done.append(("ack", message.mid))

    @property
    def acknowledged(self) -> list[int]:
        return [what for kind, what in self.done if kind == "ack"]

    @property
    def replies(self) -> list[dict[str, Any]]:
        return [decode_reply(what.payload, encoding_of(what)) for kind, what in self.done if kind == "reply"]


def encoding_of(message: Outgoing) -> Encoding:
    return Encoding.JSON if message.content_type == "application/json" else Encoding.MSGPACK


class Scene:
    """A server, its fakes, and a few verbs."""

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        self.api = FakeApi()
        self.channel = FakeChannel()
        self.audited: list[AuditEntry] = []
        self.server = RequestServer(
            api=self.api,
            access=options.pop("access", Access(actors=ACTORS)),
            topics=TOPICS,
            clock=self.clock,
            audit=self._audit,
            overtake_after_s=options.pop("overtake_after_s", 60),
            **options,
        )

    async def _audit(self, entry: AuditEntry) -> None:
        self.audited.append(entry)

    def request(
        self, actor: str = "anna", request: str = "get_health", call_id: Any = "call-0001", **more: Any
    ) -> Incoming:
        encoding = more.pop("encoding", Encoding.MSGPACK)
        properties = {
            name: more.pop(name)
            for name in ("retain", "correlation", "response_topic", "expiry_s", "qos")
            if name in more
        }
        fields = {"id": call_id, "expires_at": rfc3339(self.clock.wall_ms() + 60_000), **more}
        fields = {name: value for name, value in fields.items() if value is not None}
        return Incoming(TOPICS.request(actor, request), encode(fields, encoding), **properties)

    async def receive(self, message: Incoming, channel: FakeChannel | None = None) -> int:
        """Deliver `message` and let everything that can happen happen; returns its packet id."""
        channel = channel or self.channel
        channel.mid += 1
        delivered = Incoming(**{name: getattr(message, name) for name in Incoming.__slots__} | {"mid": channel.mid})
        channel.incoming.put_nowait(delivered)
        await settle()
        return channel.mid

    @asynccontextmanager
    async def serving(self, *channels: FakeChannel):
        tasks = [asyncio.create_task(self.server.run())]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(self.server.receive(channel)) for channel in channels or (self.channel,)]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def error(self) -> str:
        return str(self.channel.replies[-1]["error"]["code"])


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize("encoding", Encoding)
async def test_a_request_is_answered_in_its_own_encoding_and_acknowledged_after_the_answer(encoding: Encoding) -> None:
    async with Scene().serving() as scene:
        mid = await scene.receive(scene.request(encoding=encoding, component_id="m", correlation=b"c"))
    (kind, reply), acknowledgement = scene.channel.done
    assert (kind, acknowledgement) == ("reply", ("ack", mid))
    assert (reply.topic, reply.correlation, reply.qos) == ("bms/v1/gw-1/replies/anna/call-0001", b"c", 1)
    assert decode_reply(reply.payload, encoding) == {"id": "call-0001", "ok": True, "result": {"number": 1}}
    assert scene.api.effects == [("anna", "get_health", {"component_id": "m"})]


async def test_the_call_is_remembered_until_the_end_the_request_named() -> None:
    async with Scene().serving() as scene:
        await scene.receive(scene.request())
    (call,) = scene.api.calls
    assert (call.actor, call.call_id, call.until) == ("anna", "call-0001", scene.clock.wall_ms() + 60_000)


async def test_the_message_expiry_of_mqtt_5_is_an_end_too_and_the_earlier_counts() -> None:
    async with Scene().serving() as scene:
        await scene.receive(scene.request(expires_at=None, expiry_s=5))
        await scene.receive(scene.request(call_id="call-0002", expiry_s=5))
        await scene.receive(scene.request(call_id="call-0003", expiry_s=600))
    lives = [call.until - scene.clock.wall_ms() for call in scene.api.calls]
    assert lives == [6_000, 60_000, 60_000], "a broker counts whole seconds; what named its end may come until then"


async def test_a_request_whose_message_has_grown_old_in_the_lane_has_no_effect() -> None:
    scene = Scene()
    scene.api.hold["get_params"] = asyncio.Event()
    async with scene.serving():
        await scene.receive(scene.request(request="get_params"))
        await scene.receive(scene.request(call_id="call-0002", expiry_s=5))
        scene.clock.advance(5)
        scene.api.hold["get_params"].set()
        await settle()
    assert scene.error() == "REQUEST_EXPIRED"


@pytest.mark.parametrize(
    ("end_s", "code"),
    [(None, "INVALID_ARGUMENT"), (0, "REQUEST_EXPIRED"), (-5, "REQUEST_EXPIRED"), (3601, "INVALID_ARGUMENT")],
)
async def test_a_request_needs_an_end_that_is_not_past_and_not_far(end_s: int | None, code: str) -> None:
    async with Scene().serving() as scene:
        end = None if end_s is None else rfc3339(scene.clock.wall_ms() + end_s * 1000)
        await scene.receive(scene.request(expires_at=end))
    assert scene.error() == code
    assert scene.api.effects == []
    assert scene.channel.acknowledged == [1], "it must not come again"


@pytest.mark.parametrize("end", ["soon", 12, "2026-11-21T20:30:00", "9999-99-99T00:00:00Z", [1]])
async def test_an_end_that_is_no_time_is_named(end: Any) -> None:
    async with Scene().serving() as scene:
        await scene.receive(scene.request(expires_at=end))
    assert scene.channel.replies[0]["error"]["details"] == {"field": "expires_at"}


async def test_an_end_one_hour_away_is_in_order() -> None:
    async with Scene().serving() as scene:
        await scene.receive(scene.request(expires_at=rfc3339(scene.clock.wall_ms() + 3_600_000)))
    assert scene.channel.replies[0]["ok"]


async def test_without_trusted_time_the_end_is_not_judged_and_the_request_lives_a_minute() -> None:
    scene = Scene()
    scene.clock.is_trusted = False
    async with scene.serving():
        await scene.receive(scene.request(expires_at="2001-01-01T00:00:00Z"))
    assert scene.channel.replies[0]["ok"]


async def test_what_came_while_the_time_was_not_trusted_is_remembered_until_it_is_over_by_the_right_time() -> None:
    scene = Scene()
    scene.clock.is_trusted = False
    now = scene.clock.wall_ms()
    async with scene.serving():
        await scene.receive(scene.request(expires_at=rfc3339(now + 86_400_000)))
        await scene.receive(scene.request(call_id="call-0002", expires_at="2001-01-01T00:00:00Z"))
        await scene.receive(scene.request(call_id="call-0003", expires_at="9001-01-01T00:00:00Z"))
    assert [call.until - now for call in scene.api.calls] == [86_400_000, 3_600_000, 365 * 86_400_000]


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_request_that_grows_old_in_the_lane_has_no_effect(trusted: bool) -> None:
    scene = Scene()
    scene.clock.is_trusted = trusted
    scene.api.hold["get_params"] = asyncio.Event()
    async with scene.serving():
        await scene.receive(scene.request(request="get_params"))
        await scene.receive(scene.request(call_id="call-0002"))
        scene.clock.advance(61)
        scene.api.hold["get_params"].set()
        await settle()
    assert scene.error() == "REQUEST_EXPIRED"
    assert len(scene.api.effects) == 1


async def test_a_retained_request_is_ignored() -> None:
    async with Scene().serving() as scene:
        await scene.receive(scene.request(retain=True))
    assert scene.channel.done == [("ack", 1)]
    assert scene.api.effects == []


@pytest.mark.parametrize("call_id", [None, "short", "x" * 65, "no spaces", 12345678, "call-0001\n", "a/b/c/d/e"])
async def test_without_a_usable_id_nothing_can_be_answered_and_it_is_counted(call_id: Any) -> None:
    async with Scene().serving() as scene:
        await scene.receive(scene.request(call_id=call_id))
    assert scene.channel.done == [("ack", 1)]
    assert scene.server.tally.totals == {"a request without a usable id": 1}
    assert scene.api.effects == []


@pytest.mark.parametrize(
    "message",
    [
        Incoming("bms/v1/gw-1/requests/anna", b"{}"),
        Incoming("bms/v1/gw-1/requests/a b/x", b"{}"),
        Incoming(TOPICS.request("anna", "get_health"), b""),
        Incoming(TOPICS.request("anna", "get_health"), b"\xc1"),
        Incoming(TOPICS.request("anna", "get_health"), b"{" * 70_000),
    ],
)
async def test_what_cannot_be_read_is_counted_and_does_not_come_again(message: Incoming) -> None:
    async with Scene().serving() as scene:
        await scene.receive(message)
        await scene.receive(scene.request())
    assert scene.server.tally.totals.total() == 1
    assert scene.channel.acknowledged == [1, 2]
    assert len(scene.channel.replies) == 1


async def test_a_stranger_is_refused_and_audited() -> None:
    async with Scene().serving() as scene:
        await scene.receive(scene.request("mallory", "queue_command"))
    assert scene.error() == "NOT_AUTHORIZED"
    assert scene.channel.done[0][1].topic == "bms/v1/gw-1/replies/mallory/call-0001"
    (entry,) = scene.audited
    told = (entry.actor, entry.transport, entry.action, entry.outcome, entry.code)
    assert told == ("mallory", "mqtt", "queue_command", "refused", "NOT_AUTHORIZED")
    assert scene.api.effects == []


async def test_a_role_that_must_sign_may_read_unsigned_but_change_nothing() -> None:
    async with Scene(must_sign=frozenset({Role.ADMIN})).serving() as scene:
        await scene.receive(scene.request("root", "set_params"))
        assert scene.error() == "BAD_SIGNATURE"
        await scene.receive(scene.request("root", "get_params", "call-0002"))
        assert scene.channel.replies[1]["ok"]
        await scene.receive(scene.request("anna", "queue_command", "call-0003"))
        assert scene.channel.replies[2]["ok"]
    assert [entry.code for entry in scene.audited] == ["BAD_SIGNATURE"]


async def test_the_reply_goes_only_under_the_callers_own_prefix() -> None:
    async with Scene().serving() as scene:
        await scene.receive(scene.request(response_topic="bms/v1/gw-1/replies/anna/inbox"))
        await scene.receive(scene.request(call_id="call-0002", response_topic="bms/v1/gw-1/replies/bert/inbox"))
        await scene.receive(scene.request(call_id="call-0003", response_topic="bms/v1/gw-1/state"))
    topics = [message.topic for kind, message in scene.channel.done if kind == "reply"]
    own = "bms/v1/gw-1/replies/anna/"
    assert topics == [own + "inbox", own + "call-0002", own + "call-0003"]


async def test_a_request_whose_reply_found_no_connection_is_not_acknowledged_and_answered_when_it_comes_again() -> None:
    scene, second = Scene(), FakeChannel()
    async with scene.serving(scene.channel, second):
        scene.channel.down = True
        request = scene.request()
        await scene.receive(request)
        assert scene.channel.done == []
        await scene.receive(request, second)
    assert second.replies[0]["result"] == {"number": 1}
    assert second.acknowledged == [1]
    assert len(scene.api.effects) == 1


async def test_a_request_that_comes_again_while_it_is_answered_joins_the_answer() -> None:
    scene, second = Scene(), FakeChannel()
    scene.api.hold["process_offline_queue"] = asyncio.Event()
    async with scene.serving(scene.channel, second):
        request = scene.request(request="process_offline_queue")
        await scene.receive(request)
        scene.channel.down = True
        await scene.receive(request, second)
        scene.api.hold["process_offline_queue"].set()
        await settle()
    assert len(scene.api.calls) == 1
    assert scene.channel.done == []
    assert len(second.replies) == 1
    assert second.acknowledged == [1]


async def test_a_copy_that_comes_by_the_same_connection_leaves_no_delivery_open_for_ever() -> None:
    """A caller who sends again while we work would else use up the places the broker has for us, one by one."""
    scene = Scene()
    scene.api.hold["process_offline_queue"] = asyncio.Event()
    async with scene.serving():
        request = scene.request(request="process_offline_queue")
        for _ in range(4):
            await scene.receive(request)
        assert scene.channel.acknowledged == [1, 2, 3], "the newest stays open: if we die, it comes again"
        scene.api.hold["process_offline_queue"].set()
        await settle()
    assert scene.channel.acknowledged == [1, 2, 3, 4]
    assert len(scene.channel.replies) == 1


async def test_a_copy_that_comes_while_the_answer_leaves_is_acknowledged_with_it_and_each_delivery_once() -> None:
    scene = Scene()
    async with scene.serving():
        scene.channel.slow = asyncio.Event()
        request = scene.request()
        await scene.receive(request)
        await scene.receive(request)
        scene.channel.slow.set()
        await settle()
    assert sorted(scene.channel.acknowledged) == [1, 2]


async def test_the_same_id_with_other_content_is_refused_while_the_first_is_answered() -> None:
    scene = Scene()
    scene.api.hold["get_health"] = asyncio.Event()
    async with scene.serving():
        await scene.receive(scene.request())
        await scene.receive(scene.request(component_id="other"))
        assert scene.error() == "REPLAYED"
        assert scene.channel.acknowledged == [2]
        scene.api.hold["get_health"].set()
        await settle()
    assert scene.channel.acknowledged == [2, 1]
    assert len(scene.api.effects) == 1


async def test_requests_of_one_actor_begin_in_order_and_those_of_another_do_not_wait() -> None:
    scene = Scene()
    scene.api.hold["process_offline_queue"] = asyncio.Event()
    async with scene.serving():
        await scene.receive(scene.request("anna", "process_offline_queue"))
        await scene.receive(scene.request("anna", "get_health", "call-0002"))
        await scene.receive(scene.request("bert", "get_health", "call-0003"))
        assert [(name, request) for name, request, _ in scene.api.effects] == [
            ("anna", "process_offline_queue"),
            ("bert", "get_health"),
        ]
        scene.api.hold["process_offline_queue"].set()
        await settle()
    assert scene.channel.acknowledged == [3, 1, 2]


async def test_a_slow_request_is_overtaken_by_the_next_of_its_actor() -> None:
    scene = Scene(overtake_after_s=0)
    scene.api.hold["process_offline_queue"] = asyncio.Event()
    async with scene.serving():
        await scene.receive(scene.request("anna", "process_offline_queue"))
        await scene.receive(scene.request("anna", "get_health", "call-0002"))
        assert scene.channel.acknowledged == [2]
        scene.api.hold["process_offline_queue"].set()
        await settle()
    assert scene.channel.acknowledged == [2, 1]


async def test_an_actor_with_many_slow_requests_is_told_to_wait_and_others_are_served() -> None:
    scene = Scene(overtake_after_s=0)
    scene.api.hold["process_offline_queue"] = asyncio.Event()
    async with scene.serving():
        for n in range(SLOW_PER_ACTOR):
            await scene.receive(scene.request("anna", "process_offline_queue", f"slow-000{n}"))
        await scene.receive(scene.request("anna", "get_health"))
        assert scene.error() == "RATE_LIMITED"
        assert scene.channel.replies[-1]["error"]["retry_after_ms"] > 0
        await scene.receive(scene.request("bert", "get_health"))
        assert scene.channel.replies[-1]["ok"]
        scene.api.hold["process_offline_queue"].set()
        await settle()
        await scene.receive(scene.request("anna", "get_health", "call-0009"))
        assert scene.channel.replies[-1]["ok"], "once the slow ones are done it may ask again"


async def test_many_slow_requests_at_once_are_no_more_than_the_slow_ones_an_actor_may_have() -> None:
    scene = Scene(overtake_after_s=0)
    scene.api.hold["process_offline_queue"] = asyncio.Event()
    async with scene.serving():
        for n in range(16):
            scene.channel.incoming.put_nowait(scene.request("anna", "process_offline_queue", f"slow-{n:04}"))
        await settle()
        await settle()
        assert len(scene.api.effects) == SLOW_PER_ACTOR
        assert [reply["error"]["code"] for reply in scene.channel.replies] == ["RATE_LIMITED"] * (16 - SLOW_PER_ACTOR)
        await scene.receive(scene.request("bert", "get_health"))
        assert scene.channel.replies[-1]["ok"]
        scene.api.hold["process_offline_queue"].set()
        await settle()


async def test_slow_requests_of_many_actors_leave_room_for_the_others() -> None:
    names = [f"name-{n}" for n in range(AT_A_TIME // SLOW_PER_ACTOR + 1)]
    actors = {name: Actor(name, Role.TECHNICIAN, transport="mqtt") for name in names}
    scene = Scene(overtake_after_s=0, access=Access(actors=actors))
    scene.api.hold["process_offline_queue"] = asyncio.Event()
    async with scene.serving():
        for name in names[:-1]:
            for n in range(SLOW_PER_ACTOR):
                await scene.receive(scene.request(name, "process_offline_queue", f"slow-000{n}"))
        assert len(scene.api.effects) == AT_A_TIME
        await scene.receive(scene.request(names[-1], "get_health", "quick-0001"))
        assert [reply["id"] for reply in scene.channel.replies] == ["quick-0001"]
        scene.api.hold["process_offline_queue"].set()
        await settle()
    assert len(scene.channel.replies) == AT_A_TIME + 1


async def test_answers_that_a_slow_broker_does_not_take_are_no_more_than_there_are_places() -> None:
    names = [f"name-{n}" for n in range(AT_A_TIME + 3)]
    actors = {name: Actor(name, Role.VIEWER, transport="mqtt") for name in names}
    scene = Scene(overtake_after_s=0, access=Access(actors=actors))
    scene.channel.slow = asyncio.Event()
    async with scene.serving():
        for name in names:
            await scene.receive(scene.request(name))
        assert len(scene.api.effects) == AT_A_TIME
        scene.channel.slow.set()
        await settle()
    assert len(scene.channel.replies) == len(names)


async def flood(scene: Scene, requests: Iterable[Incoming]) -> None:
    for request in requests:
        scene.channel.incoming.put_nowait(request)
    while not scene.channel.incoming.empty() or scene.server._lanes:
        await settle()


@pytest.mark.parametrize("bad", ["in order", "unreadable", "without an id", "without an end"])
async def test_a_flood_is_answered_up_to_a_bound_then_dropped_and_counted_and_others_are_served(bad: str) -> None:
    scene = Scene(per_minute=lambda: 10)
    most = READ_FOR_ONE * 10
    more: dict[str, Any] = {"without an id": {"call_id": None}, "without an end": {"expires_at": None}}.get(bad, {})
    made = (scene.request(**{"request": "queue_command", "call_id": f"call-{n:04}", **more}) for n in range(1000))
    if bad == "unreadable":
        made = (Incoming(TOPICS.request("anna", "queue_command"), b"\xc1") for _ in range(1000))
    async with scene.serving():
        await flood(scene, made)
        assert scene.server.tally.totals["a request of a flood"] == 1000 - most
        assert len(scene.channel.acknowledged) == 1000, "nothing of it comes again"
        assert len(scene.channel.replies) <= most
        assert len(scene.api.effects) == (most if bad == "in order" else 0)
        await scene.receive(scene.request("bert", "get_health"))
        assert scene.channel.replies[-1]["ok"]
        scene.clock.advance(60 / most)
        await scene.receive(scene.request("anna", "get_health", "call-9999"))
        assert scene.channel.replies[-1]["ok"], "it may ask again soon"
    rows = [(entry.action, entry.subject) for entry in scene.audited if entry.code == "RATE_LIMITED"]
    assert rows == [("queue_command", "gateway")] * FIRST + [("several", f"{1000 - most - FIRST} more")]
    assert len(scene.audited) <= 2 * (FIRST + 1), "the first of each code, and how many more"


async def test_whoever_floods_us_with_anything_else_may_still_ask_for_an_emergency() -> None:
    scene = Scene(per_minute=lambda: 10)
    async with scene.serving():
        await flood(scene, (scene.request("anna", "get_health", f"call-{n:04}") for n in range(1000)))
        await scene.receive(scene.request("anna", "set_params", "params-001"))
        assert [reply["id"] for reply in scene.channel.replies if reply["id"] == "params-001"] == []
        await scene.receive(scene.request("anna", "queue_command", "urgent-001", command_type="emergency_open"))
    assert scene.channel.replies[-1]["id"] == "urgent-001"


def test_there_is_room_for_all_that_one_actor_may_have_waiting_and_more() -> None:
    assert 2 * READ_FOR_ONE * PER_MINUTE < WAITING


async def test_made_up_names_gain_nothing_and_cost_nothing() -> None:
    scene = Scene(per_minute=lambda: 10)
    async with scene.serving():
        await flood(scene, (scene.request(f"name-{n}", "set_params", f"call-{n:04}") for n in range(2000)))
        assert len(scene.channel.replies) == READ_FOR_ONE * 10
        assert {reply["error"]["code"] for reply in scene.channel.replies} == {"NOT_AUTHORIZED"}
        assert len(scene.server.tally.totals) == 2
        await scene.receive(scene.request("anna", "get_health"))
        assert scene.channel.replies[-1]["ok"]
        kept = [value for value in vars(scene.server).values() if isinstance(value, dict)]
        assert not any(kept)
    summary = {(entry.actor, entry.action, entry.subject) for entry in scene.audited[2 * FIRST :]}
    assert summary == {("(strangers)", "several", f"{40 - FIRST} more"), ("(strangers)", "several", "1955 more")}


async def test_without_an_access_file_everybody_may_look_and_made_up_names_change_nothing_together() -> None:
    scene = Scene(per_minute=lambda: 10, access=Access(strangers=Role.VIEWER))
    async with scene.serving():
        await flood(scene, (scene.request(f"name-{n}", "set_params", f"call-{n:04}") for n in range(100)))
        assert len(scene.api.calls) == 40, "the API refuses and audits these"
        await flood(scene, (scene.request(f"name-{n}", "get_health", f"call-{n:04}") for n in range(100)))
    assert len(scene.api.calls) == 140


@pytest.mark.parametrize(
    "newer",
    [
        pytest.param({}, id="dismissed"),
        pytest.param({"anna": Actor("anna", Role.VIEWER, transport="mqtt")}, id="demoted"),
    ],
)
async def test_what_waits_for_its_turn_when_its_actor_is_dismissed_has_no_effect(newer: dict[str, Actor]) -> None:
    access = Access(actors=ACTORS)
    scene = Scene(access=access)
    scene.api.hold["get_health"] = asyncio.Event()
    async with scene.serving():
        await scene.receive(scene.request("anna", "get_health"))
        await scene.receive(scene.request("anna", "queue_command", "call-0002"))
        access.actors = newer
        scene.api.hold["get_health"].set()
        await settle()
    assert [request for _, request, _ in scene.api.effects] == ["get_health"]
    assert scene.error() == "NOT_AUTHORIZED"
    assert [(entry.actor, entry.action, entry.code) for entry in scene.audited] == [
        ("anna", "queue_command", "NOT_AUTHORIZED")
    ]


async def test_refusals_of_reads_are_answered_and_not_audited() -> None:
    async with Scene().serving() as scene:
        await scene.receive(scene.request(expires_at="2001-01-01T00:00:00Z"))
        assert scene.error() == "REQUEST_EXPIRED"
        await scene.receive(scene.request("mallory", call_id="call-0002"))
    assert [(entry.actor, entry.code) for entry in scene.audited] == [("mallory", "NOT_AUTHORIZED")]


async def test_refused_changes_are_audited_with_what_they_were_about() -> None:
    scene = Scene(overtake_after_s=0)
    scene.api.hold["queue_command"] = asyncio.Event()
    async with scene.serving():
        await scene.receive(scene.request(request="queue_command", target_component="module-03"))
        await scene.receive(scene.request(request="queue_command", target_component="module-04"))
        late = "2001-01-01T00:00:00Z"
        await scene.receive(scene.request(request="cancel_request", request_id="req_1", expires_at=late))
        await scene.receive(scene.request(request="set_params", call_id=None))
        scene.api.hold["queue_command"].set()
        await settle()
    assert [(entry.action, entry.subject, entry.code) for entry in scene.audited] == [
        ("queue_command", "module-04", "REPLAYED"),
        ("cancel_request", "req_1", "REQUEST_EXPIRED"),
        ("set_params", "gateway", "INVALID_ARGUMENT"),
    ]


async def test_a_disk_that_is_full_keeps_nobody_from_being_refused() -> None:
    scene = Scene()

    async def audit(_: AuditEntry) -> None:
        raise Refusal(Code.STORAGE_FULL)

    scene.server._refusals._audit = audit
    async with scene.serving():
        await scene.receive(scene.request("mallory", "queue_command"))
    assert scene.error() == "NOT_AUTHORIZED"


async def test_requests_are_read_while_others_are_answered_but_no_more_than_there_is_room_for() -> None:
    scene = Scene(per_minute=lambda: 1000)
    scene.api.hold["get_health"] = asyncio.Event()
    async with scene.serving():
        for n in range(WAITING + 40):
            scene.channel.incoming.put_nowait(scene.request("anna", "get_health", f"call-{n:04}"))
        for _ in range(10):
            await settle()
        assert scene.channel.incoming.qsize() == 40 - 1, "one is in the hand"
        assert len(scene.api.calls) == 1
        scene.api.hold["get_health"].set()
        while len(scene.channel.replies) < WAITING + 40:
            await settle()
    assert [call.call_id for call in scene.api.calls] == [f"call-{n:04}" for n in range(WAITING + 40)]


async def test_so_many_are_answered_at_a_time_and_no_more() -> None:
    actors = {name: Actor(name, Role.VIEWER, transport="mqtt") for name in (f"name-{n}" for n in range(AT_A_TIME + 5))}
    scene = Scene(access=Access(actors=actors))
    scene.api.hold["get_health"] = asyncio.Event()
    async with scene.serving():
        for name in actors:
            await scene.receive(scene.request(name))
        assert len(scene.api.calls) == AT_A_TIME
        scene.api.hold["get_health"].set()
        await settle()
    assert len(scene.channel.replies) == AT_A_TIME + 5


async def test_a_reply_the_broker_refuses_is_counted_and_the_request_does_not_come_again() -> None:
    async with Scene().serving() as scene:
        scene.channel.refuses = True
        await scene.receive(scene.request())
    assert scene.channel.done == [("ack", 1)]
    assert scene.server.tally.totals == {"a reply the broker refuses": 1}
