"""The broker's rules, made of an access file and enforced over TLS by a real mosquitto, in both versions of MQTT."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from gateway.access import Actor, Role
from gateway.errors import LinkDown
from gateway.sync.access import Access
from gateway.sync.acl import mosquitto_acl
from gateway.sync.link import Link, connect
from gateway.sync.message import Outgoing, PublishRefused
from gateway.sync.topics import CHANNELS
from tests.integration.secure import GATEWAY, SecureMosquitto

ROOT = f"bms/v1/{GATEWAY}"
TOLD = {  # one topic of every channel on which the gateway speaks
    "state": f"{ROOT}/state",
    "components/{component_id}/presence": f"{ROOT}/components/module-03/presence",
    "components/{component_id}/queue": f"{ROOT}/components/module-03/queue",
    "components/{component_id}/telemetry": f"{ROOT}/components/module-03/telemetry",
    "events/{subject}/{type}": f"{ROOT}/events/gateway/gateway_started",
    "replies/{actor}/{id}": f"{ROOT}/replies/tech-anna/call-0001",
}
END = f"{ROOT}/replies/tech-anna/the-end"


@pytest.fixture(scope="module", params=["password", "certificate"])
def secure(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureMosquitto]:
    made = SecureMosquitto(tmp_path_factory.mktemp("secure"), certificates=request.param == "certificate")
    made.broker.start()
    yield made
    made.broker.stop()


@pytest.fixture(params=["5", "3.1.1"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def publish(secure: SecureMosquitto, user: str, protocol: str, topic: str, payload: bytes = b"{}") -> None:
    """Publish, whatever the broker thinks of it: under 3.1.1 it does not say."""
    with suppress(PublishRefused, LinkDown):
        async with connect(secure.as_user(user, protocol)) as link:
            await link.publish(Outgoing(topic, payload))


@asynccontextmanager
async def listening(secure: SecureMosquitto, user: str, topic_filter: str) -> AsyncIterator[Link]:
    async with connect(secure.as_user(user)) as link:
        await link.subscribe(topic_filter)
        yield link


async def heard(link: Link, until: str) -> list[str]:
    """Return the topics of what came, up to the one that marks the end."""
    topics: list[str] = []
    async with asyncio.timeout(60):
        while not topics or topics[-1] != until:
            message = await link.receive()
            link.acknowledge(message)
            topics.append(message.topic)
    return topics


def test_every_channel_on_which_the_gateway_speaks_is_tried() -> None:
    assert set(TOLD) == {channel.pattern for channel in CHANNELS if channel.direction == "out"}


async def test_the_gateway_can_do_all_it_needs(secure: SecureMosquitto, protocol: str) -> None:
    will = Outgoing(f"{ROOT}/state", b'{"state": "OFFLINE"}', retain=True)
    async with (
        listening(secure, "tech-anna", f"{ROOT}/#") as anna,
        connect(secure.as_user(GATEWAY, protocol), will) as gateway,
    ):
        await gateway.subscribe(f"{ROOT}/requests/+/+")
        for topic in (*TOLD.values(), END):
            await gateway.publish(Outgoing(topic, b"{}"))
        assert await heard(anna, END) == [*TOLD.values(), END]
        await publish(secure, "tech-anna", protocol, f"{ROOT}/requests/tech-anna/get_health")
        assert (await gateway.receive()).topic == f"{ROOT}/requests/tech-anna/get_health"


async def test_an_actor_cannot_ask_under_anothers_name(secure: SecureMosquitto, protocol: str) -> None:
    async with listening(secure, GATEWAY, f"{ROOT}/requests/+/+") as gateway:
        for topic in (
            "requests/tech-bert/get_health",
            "requests/gw-0042/get_health",
            "requests/nobody/get_health",
            "requests/tech-anna/get_health/more",
        ):
            await publish(secure, "tech-anna", protocol, f"{ROOT}/{topic}")
        own = f"{ROOT}/requests/tech-anna/get_presence"
        await publish(secure, "tech-anna", protocol, own)
        assert await heard(gateway, own) == [own]


async def test_an_actor_cannot_hear_anothers_replies(secure: SecureMosquitto, protocol: str) -> None:
    async with (
        listening(secure, "tech-anna", f"{ROOT}/replies/#") as all_replies,
        listening(secure, "tech-bert", f"{ROOT}/replies/tech-anna/+") as eavesdropper,
        connect(secure.as_user(GATEWAY, protocol)) as gateway,
    ):
        bert = f"{ROOT}/replies/tech-bert/call-0002"
        for topic in (bert, TOLD["replies/{actor}/{id}"], bert, END):
            await gateway.publish(Outgoing(topic, b"{}"))
        assert await heard(all_replies, END) == [TOLD["replies/{actor}/{id}"], END]
        await eavesdropper.subscribe(f"{ROOT}/state")
        await gateway.publish(Outgoing(f"{ROOT}/state", b"{}"))
        assert await heard(eavesdropper, f"{ROOT}/state") == [f"{ROOT}/state"]


async def test_an_actor_cannot_speak_for_the_gateway_nor_the_gateway_for_another(
    secure: SecureMosquitto, protocol: str
) -> None:
    async with listening(secure, "tech-anna", "bms/v1/#") as anna:
        for topic in TOLD.values():
            await publish(secure, "tech-bert", protocol, topic)
            await publish(secure, GATEWAY, protocol, topic.replace(GATEWAY, "gw-0043"))
        await publish(secure, GATEWAY, protocol, END)
        assert await heard(anna, END) == [END]


async def test_an_actor_cannot_hear_what_others_ask(secure: SecureMosquitto, protocol: str) -> None:
    async with listening(secure, "tech-bert", f"{ROOT}/#") as bert:
        await publish(secure, "tech-anna", protocol, f"{ROOT}/requests/tech-anna/get_health")
        await publish(secure, GATEWAY, protocol, f"{ROOT}/state")
        assert await heard(bert, f"{ROOT}/state") == [f"{ROOT}/state"]


async def test_under_mqtt_5_the_broker_says_that_it_refuses(secure: SecureMosquitto) -> None:
    with pytest.raises(PublishRefused):
        async with connect(secure.as_user("tech-anna")) as link:
            await link.publish(Outgoing(f"{ROOT}/state", b"{}"))


async def test_the_rules_of_two_gateways_stand_one_after_the_other(tmp_path: Path) -> None:
    secure = SecureMosquitto(tmp_path / "two")
    access = Access({"tech-anna": Actor("tech-anna", Role.TECHNICIAN, transport="mqtt")})
    with (tmp_path / "two" / "acl").open("a") as rules:
        rules.write(mosquitto_acl("gw-0043", access, gateway_user="tech-bert"))
    secure.broker.start()
    try:
        async with listening(secure, "tech-anna", "bms/v1/#") as anna:
            await publish(secure, "tech-bert", "5", "bms/v1/gw-0043/state")
            await publish(secure, GATEWAY, "5", f"{ROOT}/state")
            assert await heard(anna, f"{ROOT}/state") == ["bms/v1/gw-0043/state", f"{ROOT}/state"]
    finally:
        secure.broker.stop()
