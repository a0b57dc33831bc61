"""Requests over a real mosquitto: answered, acknowledged after the answer, asked again after a cut."""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.clock import rfc3339
from gateway.sync.broker import Broker
from gateway.sync.caller import MqttCaller, NobodyAnswers
from gateway.sync.payload import Encoding, encode
from tests.doubles import FakeClock
from tests.integration.broker import Mosquitto, free_port
from tests.integration.test_uplink import PROTOCOLS, Gateway, cut
from tests.integration.watcher import Watcher

REPLIES = "bms/v1/gw-1/replies/#"


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path / "mosquitto").start()
    yield broker
    broker.stop()


class RealTime(FakeClock):
    """The machine's wall clock, as clients of the other end have it."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000


def gateway_on(mosquitto: Mosquitto, protocol: str = "5", **broker: Any) -> Gateway:
    gateway = Gateway(mosquitto, protocol, **broker)
    gateway.clock = RealTime()
    return gateway


def topic(request: str, actor: str = "anna") -> str:
    return f"bms/v1/gw-1/requests/{actor}/{request}"


def body(call_id: str, encoding: Encoding = Encoding.JSON, **fields: Any) -> bytes:
    end = rfc3339(RealTime().wall_ms() + 60_000)
    return encode({"id": call_id, "expires_at": end, **fields}, encoding)


def ids(watcher: Watcher) -> list[str]:
    return [reply["id"] for reply in watcher.on("/replies/")]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("encoding", Encoding)
async def test_a_caller_is_answered_in_its_own_encoding(
    mosquitto: Mosquitto, protocol: str, encoding: Encoding
) -> None:
    gateway = gateway_on(mosquitto, protocol)
    broker = Broker("127.0.0.1", mosquitto.port, tls=False, client_id="", protocol=protocol)
    async with gateway.running() as uplink:
        while not uplink.status()["connected"]:
            await asyncio.sleep(0.01)
        reply = await MqttCaller(broker, "gw-1", "anna", encoding).call("get_health", {"a": "ä"}, 10)
    assert reply["ok"]
    assert reply["result"] == {"number": 1}
    assert gateway.api.effects == [("anna", "get_health", {"a": "ä"})]


async def test_a_caller_is_told_when_nobody_answers(mosquitto: Mosquitto) -> None:
    here = Broker("127.0.0.1", mosquitto.port, tls=False, client_id="")
    with pytest.raises(NobodyAnswers, match="no answer within"):
        await MqttCaller(here, "gw-1", "anna").call("get_health", {}, 0.3)
    nowhere = Broker("127.0.0.1", free_port(), tls=False, client_id="")
    with pytest.raises(NobodyAnswers, match="refused"):
        await MqttCaller(nowhere, "gw-1", "anna").call("get_health", {}, 5)


async def test_a_caller_is_told_when_the_broker_goes_away_meanwhile(mosquitto: Mosquitto) -> None:
    here = Broker("127.0.0.1", mosquitto.port, tls=False, client_id="")
    asking = asyncio.create_task(MqttCaller(here, "gw-1", "anna").call("get_health", {}, 30))
    while "requests/anna/get_health" not in mosquitto.log_text():
        await asyncio.sleep(0.02)
    await asyncio.to_thread(mosquitto.stop)
    with pytest.raises(NobodyAnswers):
        await asking


async def test_correlation_data_echoes_and_the_response_topic_holds_inside_the_own_replies(
    mosquitto: Mosquitto,
) -> None:
    with Watcher(mosquitto.port) as watcher:
        async with gateway_on(mosquitto).running():
            await watcher.until(watcher.states)
            for call_id, response in (
                ("call-0001", "bms/v1/gw-1/replies/anna/box"),
                ("call-0002", "bms/v1/gw-1/state"),
            ):
                properties = Properties(PacketTypes.PUBLISH)
                properties.ResponseTopic, properties.CorrelationData = response, b"mine"
                properties.MessageExpiryInterval = 30
                payload = json.dumps({"id": call_id}).encode()
                watcher.publish(topic("get_health"), payload, properties=properties)
            await watcher.until(lambda: len(ids(watcher)) == 2)
    replies = [seen for seen in watcher.seen if "/replies/" in seen.topic]
    assert [seen.topic.rpartition("/")[2] for seen in replies] == ["box", "call-0002"]
    assert all(seen.payload["ok"] and seen.properties.CorrelationData == b"mine" for seen in replies)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_retained_request_has_no_effect(mosquitto: Mosquitto, protocol: str) -> None:
    gateway = gateway_on(mosquitto, protocol)
    with Watcher(mosquitto.port, REPLIES) as watcher:
        watcher.publish(topic("queue_command"), body("retained-1"), retain=True)
        async with gateway.running() as uplink:
            await watcher.until(lambda: uplink.status()["turned_away"].get("a retained request"))
            watcher.publish(topic("get_health"), body("call-0001"))
            await watcher.until(lambda: ids(watcher) == ["call-0001"])
    assert [request for _, request, _ in gateway.api.effects] == ["get_health"]


async def test_late_strange_and_endless_requests_are_refused_each_with_its_code(mosquitto: Mosquitto) -> None:
    gateway = gateway_on(mosquitto)
    late = encode({"id": "late-0001", "expires_at": rfc3339(RealTime().wall_ms() - 1000)}, Encoding.MSGPACK)
    endless = encode({"id": "endless-1"}, Encoding.MSGPACK)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running():
            await watcher.until(watcher.states)
            watcher.publish(topic("queue_command"), late)
            watcher.publish(topic("queue_command"), endless)
            watcher.publish(topic("queue_command", "mallory"), body("strange-1"))
            await watcher.until(lambda: len(ids(watcher)) == 3)
    codes = {reply["id"]: reply["error"]["code"] for reply in watcher.on("/replies/")}
    assert codes == {"late-0001": "REQUEST_EXPIRED", "endless-1": "INVALID_ARGUMENT", "strange-1": "NOT_AUTHORIZED"}
    assert watcher.on("/replies/mallory/")[0]["id"] == "strange-1"
    assert gateway.api.effects == []
    audited = [(entry.actor, entry.code) for entry in gateway.store.view.audited]
    assert sorted(audited) == [
        ("anna", "INVALID_ARGUMENT"),
        ("anna", "REQUEST_EXPIRED"),
        ("mallory", "NOT_AUTHORIZED"),
    ]


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_request_cut_off_before_its_answer_comes_again_and_has_one_effect(
    mosquitto: Mosquitto, protocol: str
) -> None:
    gateway = gateway_on(mosquitto, protocol)
    gate = gateway.api.hold["process_offline_queue"] = asyncio.Event()
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running() as uplink:
            await watcher.until(watcher.states)
            watcher.publish(topic("process_offline_queue"), body("drain-001", component_id="module-01"))
            await watcher.until(lambda: gateway.api.calls)
            cut(uplink)
            await watcher.until(lambda: uplink.status()["reconnects"] == 1)
            gate.set()
            await watcher.until(lambda: ids(watcher) == ["drain-001"])
    assert len(gateway.api.effects) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_request_that_a_killed_gateway_had_not_answered_comes_again_to_the_next_one(
    mosquitto: Mosquitto, protocol: str
) -> None:
    gateway = gateway_on(mosquitto, protocol)
    gateway.api.hold["queue_command"] = asyncio.Event()
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running():
            await watcher.until(watcher.states)
            for n in range(5):
                watcher.publish(topic("queue_command"), body(f"call-000{n}", n=n))
            await watcher.until(lambda: gateway.api.calls)
        assert ids(watcher) == []
        del gateway.api.hold["queue_command"]
        async with gateway.running():
            await watcher.until(lambda: len(ids(watcher)) == 5)
            watcher.publish(topic("get_health"), body("call-0008"))  # its answer leaves behind their acknowledgements
            await watcher.until(lambda: "call-0008" in ids(watcher))
        async with gateway.running() as uplink:  # acknowledged now: they do not come a third time
            await watcher.until(lambda: uplink.status()["connected"])
            watcher.publish(topic("get_health"), body("call-0009"))
            await watcher.until(lambda: "call-0009" in ids(watcher))
    assert [each for each in ids(watcher) if each != "call-0008"] == [f"call-000{n}" for n in (0, 1, 2, 3, 4, 9)]
    assert [fields.get("n") for _, _, fields in gateway.api.effects] == [0, 1, 2, 3, 4, None, None]


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_requests_queued_while_the_gateway_was_away_are_served_in_order(
    mosquitto: Mosquitto, protocol: str
) -> None:
    gateway = gateway_on(mosquitto, protocol)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running():
            await watcher.until(watcher.states)
            watcher.publish(topic("get_health"), body("call-0000"))
            await watcher.until(lambda: ids(watcher))
        for n in range(1, 60):
            watcher.publish(topic("queue_command"), body(f"call-{n:04}", n=n))
        await asyncio.to_thread(mosquitto.restart)  # the broker keeps them in its file
        async with gateway.running():
            await watcher.until(lambda: len(gateway.api.effects) == 60)
    assert [fields.get("n") for _, _, fields in gateway.api.effects] == [None, *range(1, 60)]


async def test_every_request_has_one_effect_through_cuts_at_any_moment(mosquitto: Mosquitto) -> None:
    gateway = gateway_on(mosquitto)
    with Watcher(mosquitto.port, client_id="tech-anna") as watcher:
        async with gateway.running() as uplink:
            await watcher.until(watcher.states)
            for n in range(60):
                watcher.publish(topic("queue_command"), body(f"call-{n:04}", n=n))
                if n % 10 == 9:
                    cut(uplink)
                await asyncio.sleep(0)
            await watcher.until(lambda: len(set(ids(watcher))) == 60)
    assert sorted(fields["n"] for _, _, fields in gateway.api.effects) == list(range(60))


async def test_a_broker_killed_in_between_costs_no_second_effect(mosquitto: Mosquitto) -> None:
    gateway = gateway_on(mosquitto)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running() as uplink:
            await watcher.until(watcher.states)
            watcher.publish(topic("queue_command"), body("call-0001"))
            await watcher.until(lambda: ids(watcher))
            await asyncio.to_thread(mosquitto.stop, signal.SIGKILL)
            await asyncio.to_thread(mosquitto.start)
            await watcher.until(lambda: uplink.status()["connected"] and uplink.status()["reconnects"])
            with Watcher(mosquitto.port, REPLIES) as again:
                again.publish(topic("queue_command"), body("call-0002"))
                await again.until(lambda: "call-0002" in ids(again))
    assert len(gateway.api.effects) == 2


@pytest.mark.parametrize(
    ("protocol", "limit"),
    [("5", "message_size_limit"), ("5", "max_packet_size"), ("3.1.1", "max_packet_size")],
)
async def test_an_answer_too_large_for_the_broker_keeps_nobody_from_being_answered_and_says_so(
    tmp_path: Path, protocol: str, limit: str
) -> None:
    mosquitto = Mosquitto(tmp_path / "m", config=f"allow_anonymous true\n{limit} 20000").start()
    gateway = gateway_on(mosquitto, protocol)
    gateway.api.results["get_history"] = {"requests": ["x" * 30_000]}
    try:
        with Watcher(mosquitto.port, REPLIES) as watcher:
            async with gateway.running() as uplink:
                await watcher.until(lambda: uplink.status()["connected"])
                watcher.publish(topic("get_history"), body("large-001"))
                watcher.publish(topic("get_health", "bert"), body("small-001"))
                await watcher.until(lambda: set(ids(watcher)) == {"large-001", "small-001"})
                large = next(reply for reply in watcher.on("/replies/") if reply["id"] == "large-001")
    finally:
        mosquitto.stop()
    assert large["error"]["code"] == "PRECONDITION_FAILED"
    assert "smaller page_size" in large["error"]["message"]
    assert uplink.status()["turned_away"]["a reply too large for the broker"] == 1
