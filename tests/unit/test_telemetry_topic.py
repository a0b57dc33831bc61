"""Telemetry on its way: the newest values, as soon as nobody else needs the way."""

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.sync.message import Outgoing, Unpublishable
from gateway.sync.payload import Encoding, decode
from gateway.sync.telemetry import PACE_S, Telemetry
from gateway.sync.topics import Topics
from gateway.telemetry import Reading
from tests.doubles import FakeClock
from tests.looptime import virtual_time
from tests.told import check_state

AT_MS = 1_790_000_000_000


class FakeLink:
    """A connection with as much room as it is given. `largest`: payload it takes, in bytes."""

    def __init__(self, room: int = 4096, largest: int = 1 << 20) -> None:
        self.room, self.largest = room, largest
        self.sent: list[Outgoing] = []

    def spare_bytes(self) -> int:
        return self.room

    def send_unacknowledged(self, message: Outgoing) -> None:
        if len(message.payload) > self.largest:
            raise Unpublishable("too large")
        self.sent.append(message)

    def told(self) -> list[dict[str, Any]]:
        return [decode(message.payload)[0] for message in self.sent]

    def values(self) -> list[dict[str, Any]]:
        return [payload["values"] for payload in self.told()]


def telemetry(encoding: Encoding = Encoding.JSON) -> Telemetry:
    return Telemetry(Topics("gw-1"), 7, encoding, FakeClock())


@asynccontextmanager
async def kept(made: Telemetry, link: Any):
    task = asyncio.create_task(made.keep(link))
    await asyncio.sleep(1)
    try:
        yield
        await asyncio.sleep(1)
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


@virtual_time
async def test_a_reading_is_a_message_that_nobody_keeps_or_acknowledges() -> None:
    made, link = telemetry(), FakeLink()
    async with kept(made, link):
        made.take(Reading("pack-01", AT_MS, {"PackVoltage": 402.9, "PackState": "active", "Modules": 4}))
    (message,) = link.sent
    assert message.topic == "bms/v1/gw-1/components/pack-01/telemetry"
    assert (message.qos, message.retain, message.content_type) == (0, False, "application/json")
    (payload,) = link.told()
    check_state("telemetry", payload)
    assert payload == {
        "component_id": "pack-01",
        "epoch": 7,
        "at": "2026-09-21T14:13:20.000Z",
        "values": {"PackVoltage": 402.9, "PackState": "active", "Modules": 4},
    }


@virtual_time
async def test_it_speaks_the_encoding_of_the_gateway() -> None:
    made, link = telemetry(Encoding.MSGPACK), FakeLink()
    async with kept(made, link):
        made.take(Reading("m", AT_MS, {"A": 1}))
    assert link.sent[0].content_type == "application/msgpack"
    assert link.values() == [{"A": 1}]


@virtual_time
async def test_what_comes_on_a_free_way_is_sent_as_it_comes() -> None:
    made, link = telemetry(), FakeLink()
    async with kept(made, link):
        for value in range(3):
            made.take(Reading("m", AT_MS + value, {"A": value} if value else {"A": 0, "B": 9}))
            await asyncio.sleep(PACE_S * 2)
    assert link.values() == [{"A": 0, "B": 9}, {"A": 1}, {"A": 2}]


@virtual_time
async def test_while_there_is_no_room_only_the_newest_of_each_signal_waits() -> None:
    made, link = telemetry(), FakeLink(room=0)
    async with kept(made, link):
        for value in range(10_000):
            made.take(Reading("m", AT_MS + value, {"A": value}))
            made.take(Reading("n", AT_MS, {"A": -value}))
        made.take(Reading("m", AT_MS, {"B": 5}))
        await asyncio.sleep(60)
        assert link.sent == []
        link.room = 4096
    assert [(each["component_id"], each["values"]) for each in link.told()] == [
        ("m", {"A": 9999, "B": 5}),
        ("n", {"A": -9999}),
    ]
    assert link.told()[0]["at"] == "2026-09-21T14:13:29.999Z", "of the newest of them"


@virtual_time
async def test_no_more_is_sent_at_once_than_there_is_room_for() -> None:
    made, link = telemetry(), FakeLink(room=300)
    async with kept(made, link):
        before = len(link.sent)
        for n in range(20):
            made.take(Reading(f"m{n}", AT_MS, {"A": n}))
        await asyncio.sleep(PACE_S / 2)
        sent = [len(message.topic) + len(message.payload) for message in link.sent[before:]]
        assert sum(sent[:-1]) < 300 <= sum(sent)
    assert [each["component_id"] for each in link.told()] == [f"m{n}" for n in range(20)], "and the rest after it"


@virtual_time
async def test_without_a_connection_values_wait_and_the_next_one_is_told_all_there_is_once() -> None:
    made, first, second, third = telemetry(), FakeLink(), FakeLink(), FakeLink()
    made.take(Reading("m", AT_MS, {"A": 1, "B": 1}))
    made.take(Reading("m", AT_MS + 1, {"A": 2}))
    async with kept(made, first):
        pass
    assert first.values() == [{"A": 2, "B": 1}]
    made.take(Reading("m", AT_MS + 2, {"B": 2}))
    for link in (second, third):
        async with kept(made, link):
            pass
    assert second.values() == third.values() == [{"A": 2, "B": 2}]
    assert second.told()[0]["at"] == "2026-09-21T14:13:20.002Z"


@virtual_time
async def test_what_the_broker_can_never_take_is_counted_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    made, link = telemetry(), FakeLink(largest=200)
    with caplog.at_level(logging.WARNING):
        async with kept(made, link):
            made.take(Reading("m", AT_MS, {"A": "x" * 300}))
            made.take(Reading("n", AT_MS, {"A": 1}))
    assert link.values() == [{"A": 1}]
    assert "telemetry the broker can never take (1 so far): too large" in caplog.text
