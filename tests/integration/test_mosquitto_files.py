"""What docs/mosquitto tells a new user to do, done: its commands are run, and mosquitto is started with its files."""

import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.errors import LinkDown
from gateway.settings import SyncSection, load
from gateway.sync.broker import Broker
from gateway.sync.caller import MqttCaller, NobodyAnswers
from gateway.sync.link import connect
from gateway.sync.message import Outgoing
from tests.integration.broker import Mosquitto

SHIPPED = Path(__file__).parents[2] / "docs" / "mosquitto"
README = (SHIPPED / "README.md").read_text()
COMMANDS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
TOML = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)[0]
SERVER, CLIENTS, PASSWORDS, RULES, PLACE, _ = COMMANDS


@dataclass(frozen=True)
class Installed:
    folder: Path
    broker: Mosquitto

    def sync(self, **changed: str | Path) -> SyncSection:
        """Return the section of the document, at the port and in the folder of this test."""
        text = TOML.replace("broker.example", f"127.0.0.1:{self.broker.port}")
        file = self.folder / "gateway.toml"
        file.write_text(f'[gateway]\nid = "gw-0042"\n[[bus]]\nname = "can0"\ninterface = "virtual"\n{text}')
        sync = load(file, {}).sync
        assert sync is not None
        return sync.model_copy(update=changed)


def sh(folder: Path, commands: str) -> None:
    """Run commands of the document; the broker of this test is at 127.0.0.1."""
    commands = commands.replace("DNS:broker.example", "IP:127.0.0.1")
    commands = commands.replace("bms-gateway ", f"{sys.executable} -m gateway ")
    ended = subprocess.run(["sh", "-ec", commands], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def installed(folder: Path, *, certificates: bool) -> Installed:
    """Follow the document, but install below `folder`."""
    shutil.copy(SHIPPED / "access.toml", folder)
    for commands in (SERVER, CLIENTS, PASSWORDS, RULES):
        sh(folder, commands)
    (folder / "certs").mkdir()
    for name in ("ca.pem", "server.pem", "server.key"):
        shutil.copy(folder / name, folder / "certs")
    broker = Mosquitto(folder / "m")
    text = (SHIPPED / "mosquitto.conf").read_text()
    if certificates:
        text = text.replace("password_file", "# password_file")
        text = re.sub(r"^# (require_certificate|use_identity_as_username)", r"\1", text, flags=re.MULTILINE)
    for shipped, here in (
        ("listener 8883", f"listener {broker.port} 127.0.0.1"),
        ("/etc/mosquitto/", f"{folder}/"),
        ("/var/lib/mosquitto/", f"{folder}/m/"),
    ):
        assert shipped in text
        text = text.replace(shipped, here)
    who = "user root\n" if os.geteuid() == 0 else ""
    (folder / "m" / "mosquitto.conf").write_text(f"{text}\n{who}log_dest file {folder}/m/mosquitto.log\n")
    return Installed(folder, broker.start())


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    made = installed(tmp_path_factory.mktemp("files"), certificates=False)
    yield made
    made.broker.stop()


async def served(gateway: Broker, actor: Broker, name: str) -> str:
    """Return what the gateway was asked for by an actor, each of whom logs in at the broker."""
    async with connect(gateway) as link, connect(actor) as asking:
        await link.subscribe("bms/v1/gw-0042/requests/+/+")
        await asking.publish(Outgoing(f"bms/v1/gw-0042/requests/{name}/get_health", b"{}"))
        message = await link.receive()
        link.acknowledge(message)
        return message.topic


async def test_whoever_follows_the_document_has_a_broker_that_serves_gateway_and_actors(here: Installed) -> None:
    gateway = Broker.of(here.sync(), "gw-0042")
    anna = Broker.of(
        here.sync(username="tech-anna", password_file=here.folder / "tech-anna.password", client_id="anna"), ""
    )
    assert await served(gateway, anna, "tech-anna") == "bms/v1/gw-0042/requests/tech-anna/get_health"


async def test_with_certificates_nobody_needs_a_password(tmp_path: Path) -> None:
    made = installed(tmp_path, certificates=True)
    try:
        ways = []
        for name in ("gw-0042", "tech-anna"):
            own = {"cert_file": tmp_path / f"{name}.pem", "key_file": tmp_path / f"{name}.key", "client_id": name}
            section = made.sync(**own).model_copy(update={"username": None, "password_file": None})
            ways.append(Broker.of(section, name))
        assert await served(ways[0], ways[1], "tech-anna") == "bms/v1/gw-0042/requests/tech-anna/get_health"
    finally:
        made.broker.stop()


async def test_nobody_gets_in_without_the_right_password(here: Installed) -> None:
    wrong = here.sync(password_file=here.folder / "tech-anna.password")
    with pytest.raises(LinkDown, match="does not let gw-0042 in"):
        async with connect(Broker.of(wrong, "gw-0042")):
            pass


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_nothing_older_than_tls_1_2_is_taken(here: Installed) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(here.folder / "ca.pem")
    context.set_ciphers("ALL:@SECLEVEL=0")  # at any other OpenSSL itself refuses TLS 1.1
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert ssl_hello(context, here.broker.port) == "TLSv1.2"
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol"):
        ssl_hello(context, here.broker.port)


def ssl_hello(context: ssl.SSLContext, port: int) -> str | None:
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as safe,
    ):
        return safe.version()


def test_every_file_and_command_of_the_document_is_one_that_there_is() -> None:
    assert set(re.findall(r"^\| `([\w.]+)` \|", README, re.MULTILINE)) == {
        file.name for file in SHIPPED.iterdir() if file.name != "README.md"
    }
    placed = set(re.findall(r"/etc/mosquitto/[\w./]+", (SHIPPED / "mosquitto.conf").read_text()))
    told = {
        f"{folder}{'' if folder.endswith('/') else '/'}{name}"
        for names, folder in re.findall(r"^install -o mosquitto -m 600 (.*) (/\S+)$", PLACE, re.MULTILINE)
        for name in names.split()
    }
    assert told == placed - {"/etc/mosquitto/mosquitto.conf"}


def test_the_rules_the_document_makes_are_those_we_ship(here: Installed) -> None:
    assert (here.folder / "acl").read_text() == (SHIPPED / "acl").read_text()


async def test_the_callers_way_is_the_documents(here: Installed) -> None:
    sync = here.sync(username="tech-anna", password_file=here.folder / "tech-anna.password")
    caller = MqttCaller(Broker.of(sync, ""), "gw-0042", "tech-anna")
    with pytest.raises(NobodyAnswers, match="no answer within"):  # nobody serves here, and the broker lets it ask
        await caller.call("get_health", {}, 0.3)
