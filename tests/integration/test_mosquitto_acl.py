"""The broker rules we ship, enforced by a real mosquitto."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.sync.broker import Broker
from gateway.sync.link import connect
from gateway.sync.message import Outgoing, PublishRefused
from tests.integration.broker import Mosquitto
from tests.integration.watcher import Watcher

SHIPPED = Path(__file__).parents[2] / "docs" / "mosquitto"
USERS = ("gw-0042", "tech-anna", "tech-bert", "fleet-backend")


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    folder = tmp_path_factory.mktemp("acl")
    for name, first in zip(USERS, ("-c", "", "", ""), strict=True):
        subprocess.run(["mosquitto_passwd", "-b", *first.split(), folder / "passwords", name, "pw"], check=True)
    (folder / "acl").write_text((SHIPPED / "acl").read_text())
    for file in ("acl", "passwords"):
        (folder / file).chmod(0o600)
    rules = f"allow_anonymous false\npassword_file {folder}/passwords\nacl_file {folder}/acl"
    broker = Mosquitto(folder / "m", config=rules).start()
    yield broker
    broker.stop()


def broker_as(mosquitto: Mosquitto, user: str, folder: Path) -> Broker:
    (folder / user).write_text("pw\n")
    return Broker(
        "127.0.0.1", mosquitto.port, tls=False, client_id=f"{user}-test", username=user, password_file=folder / user
    )


@pytest.mark.parametrize(
    ("user", "topic"),
    [
        ("gw-0042", "bms/v1/gw-0042/state"),
        ("gw-0042", "bms/v1/gw-0042/components/module-03/presence"),
        ("gw-0042", "bms/v1/gw-0042/events/gateway/gateway_started"),
        ("gw-0042", "bms/v1/gw-0042/replies/tech-anna/call-0001"),
        ("tech-anna", "bms/v1/gw-0042/requests/tech-anna/get_health"),
    ],
)
async def test_what_is_needed_is_allowed(mosquitto: Mosquitto, tmp_path: Path, user: str, topic: str) -> None:
    async with connect(broker_as(mosquitto, user, tmp_path)) as link:
        await link.publish(Outgoing(topic, b"{}"))


@pytest.mark.parametrize(
    ("user", "topic"),
    [
        ("tech-anna", "bms/v1/gw-0042/requests/tech-bert/get_health"),
        ("tech-anna", "bms/v1/gw-0042/replies/tech-bert/call-0001"),
        ("tech-anna", "bms/v1/gw-0042/state"),
        ("tech-anna", "bms/v1/gw-0042/events/module-03/component_online"),
        ("fleet-backend", "bms/v1/gw-0042/requests/tech-anna/get_health"),
        ("gw-0042", "bms/v1/gw-0043/state"),
        ("gw-0042", "bms/v1/gw-0042/requests/tech-anna/get_health"),
    ],
)
async def test_what_is_not_is_forbidden(mosquitto: Mosquitto, tmp_path: Path, user: str, topic: str) -> None:
    with pytest.raises(PublishRefused):
        async with connect(broker_as(mosquitto, user, tmp_path)) as link:
            await link.publish(Outgoing(topic, b"{}"))


async def test_an_actor_hears_its_own_replies_and_nobody_elses(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with (
        Watcher(mosquitto.port, "bms/v1/gw-0042/replies/#", username="tech-bert", password="pw") as bert,
        Watcher(mosquitto.port, "bms/v1/gw-0042/replies/tech-anna/+", username="tech-anna", password="pw") as anna,
        Watcher(mosquitto.port, "bms/v1/+/events/#", username="fleet-backend", password="pw") as backend,
    ):
        async with connect(broker_as(mosquitto, "gw-0042", tmp_path)) as link:
            await link.publish(Outgoing("bms/v1/gw-0042/events/gateway/gateway_started", b"{}"))
            await link.publish(Outgoing("bms/v1/gw-0042/replies/tech-anna/call-0001", b'{"for": "anna"}'))
            await link.publish(Outgoing("bms/v1/gw-0042/replies/tech-bert/call-0002", b'{"for": "bert"}'))
        await anna.until(lambda: anna.seen)
        await bert.until(lambda: bert.seen)
        await backend.until(lambda: backend.seen)
        await asyncio.sleep(0.1)
        assert [seen.payload for seen in anna.seen] == [{"for": "anna"}]
        assert [seen.payload for seen in bert.seen] == [{"for": "bert"}]
        assert [seen.topic for seen in backend.seen] == ["bms/v1/gw-0042/events/gateway/gateway_started"]
