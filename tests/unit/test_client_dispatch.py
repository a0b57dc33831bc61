"""What comes in by its topic, and what nobody can read."""

import json
import random
from typing import Any, cast

import msgpack  # type: ignore[import-untyped] # it ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client.bell import Bell
from gateway.client.calls import Calls
from gateway.client.connection import Connection
from gateway.client.dispatch import Dispatch
from gateway.client.mirror import Mirror
from gateway.client.recovery import Recovery
from gateway.errors import PeerError
from gateway.payloads import Replayed
from gateway.sync.broker import Broker
from gateway.sync.message import Incoming
from gateway.sync.topics import Topics
from tests.client_scene import birth_payload, event_payload, offline_payload, presence_payload, queue_payload
from tests.doubles import FakeClock

ROOT = "bms/v1/gw-1"
TOPICS = ("state", "components/m/presence", "components/m/queue", "events/m/bus_up", "replies/anna/12345678", "other")


class Desk:
    """A dispatch and all it hands on to."""

    def __init__(self) -> None:
        clock, self.mirror = FakeClock(), Mirror()
        broker = Broker("127.0.0.1", 1, tls=False, client_id="x")
        self.connection = Connection(broker, random.Random(1), (1.0, 2.0))
        self.calls = Calls(connection=self.connection, topics=Topics("gw-1"), actor="anna", clock=clock)
        self.recovery = Recovery(self.never)
        self.dispatch = Dispatch(
            root=ROOT, mirror=self.mirror, calls=self.calls, recovery=self.recovery, changed=Bell(), clock=clock
        )

    async def never(self, _first: int, _last: int) -> Replayed:
        raise AssertionError

    def hear(self, topic: str, payload: Any, *, packed: bool = False, retain: bool = False) -> None:
        data = msgpack.packb(payload) if packed else json.dumps(payload).encode()
        self.dispatch.took(Incoming(f"{ROOT}/{topic}", data, retain=retain))


@pytest.mark.parametrize("packed", [False, True])
async def test_everything_goes_where_it_belongs_in_either_encoding(*, packed: bool) -> None:
    desk = Desk()
    events = desk.recovery.reader(None)
    desk.hear("state", birth_payload(1, 1, "m"), packed=packed)
    desk.hear("components/m/presence", presence_payload("m"), packed=packed)
    desk.hear("components/m/queue", queue_payload("m", 3), packed=packed)
    desk.hear("events/gateway/bus_up", event_payload(7), packed=packed)
    assert desk.mirror.presence["m"].online
    assert desk.mirror.queues["m"].standard_queue_size == 3
    assert (await anext(events)).seq == 7
    desk.dispatch.took(Incoming(f"{ROOT}/components/m/presence", b""))
    desk.dispatch.took(Incoming(f"{ROOT}/components/m/queue", b""))
    assert len(desk.mirror.presence) == len(desk.mirror.queues) == 0
    desk.hear("state", offline_payload(1, 1), packed=packed)
    assert not desk.mirror.in_touch
    assert not desk.dispatch.tally.totals


async def test_an_event_of_a_type_that_is_not_known_has_whatever_attributes_came() -> None:
    desk = Desk()
    events = desk.recovery.reader(None)
    desk.hear("events/m/new_kind", event_payload(7, "new_kind", "m", shade="blue"))
    item = await anext(events)
    assert (item.seq, item.attributes.model_dump()) == (7, {"shade": "blue"})  # type: ignore[union-attr]


async def test_an_event_that_somebody_has_retained_is_none() -> None:
    desk = Desk()
    events = desk.recovery.reader(None)
    desk.hear("events/gateway/bus_up", event_payload(7), retain=True)
    desk.hear("events/gateway/bus_up", event_payload(8))
    assert (await anext(events)).seq == 8


@given(topic=st.sampled_from(TOPICS), payload=st.binary(max_size=40))
async def test_no_bytes_whatever_raise(topic: str, payload: bytes) -> None:
    Desk().dispatch.took(Incoming(f"{ROOT}/{topic}", payload))


@given(
    topic=st.sampled_from(TOPICS),
    base=st.sampled_from([birth_payload(), offline_payload(), presence_payload("m"), queue_payload("m", 1)]),
    key=st.text(max_size=5),
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=6,
    ),
    data=st.data(),
)
async def test_no_map_whatever_raises(topic: str, base: dict[str, Any], key: str, value: Any, data: Any) -> None:
    changed = {**base, data.draw(st.sampled_from([*base, key])): value}
    desk = Desk()
    desk.recovery.reader(None)
    desk.dispatch.took(Incoming(f"{ROOT}/{topic}", msgpack.packb(changed)))


async def test_what_cannot_be_read_is_counted() -> None:
    desk = Desk()
    for payload in (b"\xc1", b"{", b"[1]", b"{}"):
        desk.dispatch.took(Incoming(f"{ROOT}/state", payload))
    assert desk.dispatch.tally.totals == {"a message that cannot be read": 4}


async def test_a_filter_that_the_broker_refuses_is_named_and_the_rest_goes_on() -> None:
    class Fussy:
        def __init__(self) -> None:
            self.asked: list[str] = []
            self.fussy = True

        async def subscribe(self, topic_filter: str) -> None:
            self.asked.append(topic_filter)
            if self.fussy:
                raise PeerError(f"the broker refuses the subscription to {topic_filter}")

    connection, fussy = Desk().connection, Fussy()
    link = cast("Any", fussy)
    await connection._subscribe(link, "a/+")
    await connection._subscribe(link, "a/+")
    assert connection.trouble.endswith("; the broker refuses the subscription to a/+")
    fussy.fussy = False
    await connection._subscribe(link, "a/+")
    assert "refuses" not in connection.trouble
