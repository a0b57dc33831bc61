import asyncio
import logging
import random
from pathlib import Path
from typing import Any

import pytest

from gateway.component import Component, ComponentKind, Registry
from gateway.errors import Code, ConfigError, LinkDown, Refusal
from gateway.event import EVENT_TYPES, Event
from gateway.presence import Presence
from gateway.settings import SyncSection
from gateway.sync.backoff import Backoff
from gateway.sync.broker import Broker, parse_url
from gateway.sync.message import Outgoing, PublishRefused, Unpublishable
from gateway.sync.payload import Encoding, decode
from gateway.sync.replay import Replays
from gateway.sync.state import Birth, Dirty, States
from gateway.sync.tally import Tally
from gateway.sync.topics import Topics
from gateway.sync.way_up import WayUp
from tests.doubles import FakeClock
from tests.doubles_store import MemoryStore


def states(*components: Component) -> States:
    return States(Topics("gw-1"), Birth(7, 1_790_000_000_000, "abc", ("can0",)), Registry(components), Encoding.JSON)


def module(component_id: str, **more) -> Component:
    node = sum(component_id.encode()) % 250
    return Component(component_id, ComponentKind.MODULE, "can0", node, **more)


def test_waits_double_within_their_bounds_and_start_anew_after_success() -> None:
    backoff = Backoff(random.Random(1), 1.0, 60.0)
    waits = [backoff.next() for _ in range(12)]
    tops = [2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60]
    assert all(top / 2 <= wait <= top for wait, top in zip(waits, tops, strict=True))
    assert len(set(waits)) == 12, "jittered: a fleet must not come back as one"
    backoff.reset()
    assert 1 <= backoff.next() <= 2


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
def test_each_event_makes_stale_what_it_changes(event_type: str) -> None:
    dirty = Dirty().after([Event(event_type, "m", 0)])
    assert dirty.presence == ({"m"} if event_type.startswith("component_") else set())
    assert dirty.queue == ({"m"} if event_type.startswith(("request_", "queue_")) else set())


def test_a_bus_that_goes_down_makes_the_presence_of_all_it_takes_along_stale() -> None:
    down = Event("bus_down", "gateway", 0, {"bus": "can0", "components": ["m1", "m2"]})
    assert Dirty().after([down]) == Dirty(presence=frozenset({"m1", "m2"}))


def test_presence_and_queue_say_all_they_know_and_as_of_when() -> None:
    store = MemoryStore()
    store.see("m", Presence.OFFLINE, last_seen=1_790_000_000_500)
    store.emit("component_offline", "m")
    made = states(module("m", parent="pack"))
    presence, queue = made.components(made.everything(store.view))
    assert (presence.topic, presence.retain, presence.qos) == ("bms/v1/gw-1/components/m/presence", True, 1)
    assert decode(presence.payload)[0] == {
        "component_id": "m",
        "presence": "OFFLINE",
        "since": "2026-09-21T14:13:20.000Z",
        "last_seen": "2026-09-21T14:13:20.500Z",
        "reason": None,
        "evidence": {},
        "expected_return": None,
        "kind": "MODULE",
        "parent": "pack",
        "serial": "0x00000000000000A3",
        "epoch": 7,
        "as_of_seq": 1,
    }
    assert queue.topic == "bms/v1/gw-1/components/m/queue"
    assert decode(queue.payload)[0] == {
        "component_id": "m",
        "standard_queue_size": 0,
        "priority_queue_size": 0,
        "proxy_queue_size": 0,
        "oldest_request": None,
        "last_processed": None,
        "epoch": 7,
        "as_of_seq": 1,
    }


def test_components_that_left_the_registry_have_their_topics_cleared() -> None:
    store = MemoryStore()
    store.see("gone", Presence.OFFLINE)
    made = states(module("m"))
    messages = list(made.components(made.everything(store.view)))
    cleared = [message.topic for message in messages if message.payload == b"" and message.retain]
    assert cleared == ["bms/v1/gw-1/components/gone/presence", "bms/v1/gw-1/components/gone/queue"]


def test_only_what_is_stale_is_told_anew() -> None:
    store = MemoryStore()
    for name in ("a", "b", "c"):
        store.see(name, Presence.ONLINE)
    made = states(module("a"), module("b"), module("c"))
    dirty = Dirty(frozenset({"a", "unknown"}), frozenset({"b", "gateway"}))
    topics = {message.topic for message in made.components(made.some(store.view, dirty))}
    assert topics == {"bms/v1/gw-1/components/a/presence", "bms/v1/gw-1/components/b/queue"}


def test_a_component_without_a_row_is_told_as_never_heard() -> None:
    store = MemoryStore()
    made = states(module("new"))
    presence, queue = made.components(made.some(store.view, Dirty(frozenset({"new"}), frozenset({"new"}))))
    told = decode(presence.payload)[0]
    assert (told["component_id"], told["presence"], told["reason"]) == ("new", "UNKNOWN", "never_heard")
    assert queue.topic == "bms/v1/gw-1/components/new/queue"


def test_a_component_that_left_while_we_run_has_its_topics_cleared() -> None:
    store = MemoryStore()
    store.see("can0-module-a7", Presence.ONLINE)
    made = states(module("m"))
    names = frozenset({"can0-module-a7"})
    messages = list(made.components(made.some(store.view, Dirty(names, names))))
    assert [(message.topic.removeprefix("bms/v1/gw-1/components/"), message.payload) for message in messages] == [
        ("can0-module-a7/presence", b""),
        ("can0-module-a7/queue", b""),
    ]


class FakeLink:
    """Takes what is sent, but for events of `forbidden` subjects. `down_after`: messages until it is lost."""

    def __init__(
        self, forbidden: str = "nobody", down_after: int = 1_000_000, refusal: PublishRefused | None = None
    ) -> None:
        self.topics: list[str] = []
        self._forbidden, self._down_after = forbidden, down_after
        self._refusal = refusal or PublishRefused("not authorized")

    async def send(self, message: Outgoing) -> "asyncio.Future[None]":
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.topics.append(message.topic)
        if f"/events/{self._forbidden}/" in message.topic:
            sent.set_exception(self._refusal)
        elif len(self.topics) > self._down_after:
            raise LinkDown("gone")
        else:
            sent.set_result(None)
        return sent

    async def acknowledged(self, sent: "asyncio.Future[None]") -> None:
        await sent


async def test_events_that_cannot_be_published_are_not_counted_as_replayed() -> None:
    store = MemoryStore()
    link: Any = FakeLink(forbidden="m2", refusal=Unpublishable("too large"))
    for subject in ("m1", "m2", "m3"):
        store.emit("request_queued", subject)
    replays = Replays(store, states())
    assert await replays.run(link, 1, 3) == 2
    assert len(link.topics) == 3


async def test_a_replay_the_broker_refuses_is_refused_and_makes_way_for_another() -> None:
    store = MemoryStore()
    link: Any = FakeLink(forbidden="m2")
    sound: Any = FakeLink()
    for subject in ("m1", "m2", "m3"):
        store.emit("request_queued", subject)
    replays = Replays(store, states())
    with pytest.raises(Refusal, match="not authorized") as no:
        await replays.run(link, 1, 3)
    assert no.value.code is Code.PRECONDITION_FAILED
    assert await replays.run(sound, 1, 3) == 3


async def test_a_replay_whose_connection_breaks_says_so_and_makes_way_for_another() -> None:
    store = MemoryStore()
    store.emit_many(100, "request_queued", "m1")
    cut: Any = FakeLink(down_after=50)
    sound: Any = FakeLink()
    replays = Replays(store, states())
    with pytest.raises(Refusal) as no:
        await replays.run(cut, 1, 100)
    assert no.value.code is Code.PRECONDITION_FAILED
    assert await replays.run(sound, 1, 100) == 100


async def test_without_a_broker_nothing_is_replayed_and_nobody_told() -> None:
    way_up = WayUp()
    assert way_up.status() == {"configured": False}
    way_up.touch("m")
    with pytest.raises(Refusal) as no:
        await way_up.replay(1, 2)
    assert no.value.code is Code.PRECONDITION_FAILED


async def test_the_way_up_hands_on_to_the_uplink_once_there_is_one() -> None:
    class FakeUplink:
        def __init__(self) -> None:
            self.told: list[Any] = []

        def status(self) -> dict[str, Any]:
            return {"configured": True}

        def touch(self, component_id: str) -> None:
            self.told.append(component_id)

        async def replay(self, from_seq: int, to_seq: int) -> int:
            self.told.append((from_seq, to_seq))
            return 7

    way_up, uplink = WayUp(), FakeUplink()
    way_up.uplink = uplink  # type: ignore[assignment]  # a double
    way_up.touch("m")
    assert (await way_up.replay(1, 9), way_up.status()) == (7, {"configured": True})
    assert uplink.told == ["m", (1, 9)]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mqtt://localhost", ("localhost", 1883, False)),
        ("mqtts://broker.example", ("broker.example", 8883, True)),
        ("mqtts://[::1]:9", ("::1", 9, True)),
    ],
)
def test_a_broker_url_names_host_port_and_tls(url: str, told: tuple[str, int, bool]) -> None:
    assert parse_url(url) == told


@pytest.mark.parametrize(
    "url", ["http://x", "mqtt://", "mqtt://x/y", "mqtt://a:b@x", "mqtt://x:port", "mqtt://x:99999", "x", "mqtt://x?q=1"]
)
def test_any_other_url_is_a_problem(url: str) -> None:
    with pytest.raises(ConfigError):
        parse_url(url)


def test_the_gateway_has_a_fixed_client_id_and_a_session_that_lasts(tmp_path: Path) -> None:
    broker = Broker.of(SyncSection(broker="mqtts://b"), "gw-1")
    assert (broker.client_id, broker.session_expiry_s, broker.name) == ("bms-gateway-gw-1", 86_400, "mqtts://b:8883")
    assert Broker.of(SyncSection(broker="mqtts://b", client_id="mine"), "gw-1").client_id == "mine"
    context = broker.tls_context()
    assert context is not None
    assert context.check_hostname
    (tmp_path / "password").write_text("secret\n")
    section = SyncSection(broker="mqtt://127.0.0.1", username="u", password_file=tmp_path / "password")
    plain = Broker.of(section, "gw-1")
    assert plain.tls_context() is None
    assert plain.password() == "secret"
    assert "secret" not in repr(plain)


def test_a_tally_counts_all_and_logs_each_reason_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    tally = Tally(logging.getLogger("test"), clock)
    for _ in range(1000):
        tally.count("bad payload", "x" * 5000)
    tally.count("stranger", "mallory")
    assert tally.totals == {"bad payload": 1000, "stranger": 1}
    assert len(caplog.records) == 2
    assert max(len(record.getMessage()) for record in caplog.records) < 300
    clock.advance(60)
    tally.count("bad payload", "x")
    assert "1001 so far" in caplog.records[-1].getMessage()
