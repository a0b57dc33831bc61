"""TLS to the broker: who is refused, and whether the refusal says where to look."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from paho.mqtt import client as paho

from gateway.cli import cli
from gateway.errors import LinkDown
from gateway.sync.broker import Broker
from gateway.sync.link import connect
from tests.integration.authority import Authority, Issued
from tests.integration.broker import Mosquitto, free_port

HOST = "127.0.0.1"
Way = Callable[["World"], Broker]


class World:
    """Brokers with good certificates and bad ones, each started when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = Authority(folder / "ca")
        self.other = Authority(folder / "other", "Another CA")
        self._started: dict[str, Mosquitto] = {}

    def broker(self, name: str, config: str = "allow_anonymous true", **certificate: tuple[object, ...]) -> Broker:
        """Return the way to a broker whose certificate is as `certificate` says (see `Authority.issue`)."""
        if name not in self._started:
            server = self.ca.issue(name, **{"hosts": (HOST,), **certificate})  # type: ignore[arg-type] # either of the two
            config = f"cafile {self.ca.file}\ncertfile {server.cert}\nkeyfile {server.key}\n{config}"
            self._started[name] = Mosquitto(self.folder / name, config=config).start()
        return Broker(HOST, self._started[name].port, tls=True, client_id="t", ca_file=self.ca.file)

    def strict(self) -> Broker:
        """Return the way to a broker that wants a certificate of ours."""
        return self.broker("strict", "require_certificate true\nuse_identity_as_username true")

    def plain(self) -> Broker:
        if "plain" not in self._started:
            self._started["plain"] = Mosquitto(self.folder / "plain").start()
        return Broker(HOST, self._started["plain"].port, tls=False, client_id="t")

    def port(self, name: str) -> int:
        return self._started[name].port

    def stop(self) -> None:
        for each in self._started.values():
            each.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("tls"))
    yield made
    made.stop()


def with_own(way: Broker, own: Issued) -> Broker:
    return replace(way, cert_file=own.cert, key_file=own.key)


async def refusal(way: Broker) -> str:
    with pytest.raises(LinkDown) as caught:
        async with connect(way):
            pass
    return str(caught.value)


async def test_who_shows_and_gets_the_right_certificate_is_connected(world: World) -> None:
    for way in (world.broker("good"), with_own(world.strict(), world.ca.issue("gw-0042"))):
        for protocol in ("5", "3.1.1"):
            async with connect(replace(way, protocol=protocol)):
                pass


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize(
    ("way", "told"),
    [
        (lambda w: replace(w.broker("good"), ca_file=w.other.file), "issued by nobody we trust: ca_file must hold"),
        (lambda w: replace(w.broker("good"), ca_file=None), "issued by nobody we trust: ca_file must hold"),
        (lambda w: w.broker("old", days=(-9, -1)), "the broker's certificate has expired, or our clock is fast"),
        (lambda w: w.broker("early", days=(1, 9)), "the broker's certificate is not valid yet, or our clock is slow"),
        (lambda w: w.broker("elsewhere", hosts=("broker.example",)), "the broker's certificate is not for 127.0.0.1"),
        (lambda w: w.strict(), "the broker wants a certificate of ours: give cert_file and its key"),
        (
            lambda w: with_own(w.strict(), w.ca.issue("late", days=(-9, -1))),
            "the broker says that our certificate (cert_file) has expired",
        ),
        (
            lambda w: with_own(w.strict(), w.other.issue("stranger")),
            "the broker does not take our certificate: cert_file must be one that an authority it trusts issued",
        ),
        (lambda w: w.broker("logins", "allow_anonymous false"), "the broker does not let us in"),
        (
            lambda w: replace(w.broker("logins", "allow_anonymous false"), username="gw-0042"),
            "the broker does not let gw-0042 in: user name, password or certificate",
        ),
        (lambda w: replace(w.plain(), tls=True, ca_file=w.ca.file), "does the broker speak TLS at this port?"),
        (lambda w: replace(w.broker("good"), tls=False), "does it want TLS (mqtts://) at this port?"),
        (lambda w: replace(w.broker("good"), host="no-such-host.invalid"), "no host of that name is known"),
        (lambda w: replace(w.broker("good"), port=free_port()), "Connection refused"),
        (lambda w: replace(w.broker("good"), ca_file=Path("/no/ca.pem")), "ca_file: /no/ca.pem: No such file"),
        (lambda w: replace(w.broker("good"), password_file=Path("/no/pw")), "password_file: /no/pw: No such file"),
    ],
)
async def test_a_refusal_says_where_to_look(world: World, way: Way, told: str, protocol: str) -> None:
    assert told in await refusal(replace(way(world), protocol=protocol))


async def test_a_refusal_is_heard_though_a_reset_follows_it_before_we_have_spoken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody_reads(*_: object) -> None:
        time.sleep(0.5)  # the handshake is over for us; the broker turns us away meanwhile

    monkeypatch.setattr(paho.Client, "_call_socket_open", nobody_reads)
    stranger = with_own(world.strict(), world.other.issue("stranger"))
    assert "the broker does not take our certificate" in await refusal(stranger)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
async def test_a_broker_that_speaks_only_tls_1_1_is_refused(world: World) -> None:
    own = world.ca.issue("ancient", hosts=(HOST,))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.cert, own.key)
    context.set_ciphers("ALL:@SECLEVEL=0")  # at any other OpenSSL itself refuses TLS 1.1
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_server((HOST, 0)) as server:
        answering = threading.Thread(target=shake_hands, args=(server, context))
        answering.start()
        way = replace(world.broker("good"), port=server.getsockname()[1])
        assert "the broker speaks no TLS that we take: it must be 1.2 or newer" in await refusal(way)
        answering.join(10)


def shake_hands(server: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = server.accept()
    with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True):
        pass
    connection.close()


async def test_password_and_certificate_are_read_again_for_every_connection(world: World, tmp_path: Path) -> None:
    way = world.strict()
    mine = Issued(tmp_path / "own.pem", tmp_path / "own.key")

    def renew(issued: Issued) -> None:
        mine.cert.write_bytes(issued.cert.read_bytes())
        mine.key.write_bytes(issued.key.read_bytes())

    way = with_own(way, mine)
    renew(world.ca.issue("expired", days=(-9, -1)))
    assert "has expired" in await refusal(way)
    renew(world.ca.issue("renewed"))
    async with connect(way):
        pass
    password = replace(way, password_file=tmp_path / "password")
    for text in ("one\n", "two\r\n"):
        (tmp_path / "password").write_text(text)
        assert password.password() == text.strip()


def ask(world: World, *words: str, server: str) -> tuple[int, str]:
    address = f"mqtts://{HOST}:{world.port(server)}"
    where = ["--broker", address, "--gateway", "gw-0042", "--actor", "tech-anna", "--timeout", "1", *words]
    result = CliRunner().invoke(cli, [*where, "status"])
    return result.exit_code, result.stderr


def test_the_command_line_tells_the_same_and_ends_with_69(world: World) -> None:
    world.broker("good")
    world.strict()
    code, told = ask(world, "--ca-file", str(world.other.file), server="good")
    assert (code, told.startswith("Nobody answers: mqtts://127.0.0.1:")) == (69, True)
    assert "issued by nobody we trust" in told
    code, told = ask(world, "--ca-file", str(world.ca.file), server="strict")
    assert (code, "the broker wants a certificate of ours" in told) == (69, True)
    own = world.ca.issue("tech-anna")
    mutual = ["--ca-file", str(world.ca.file), "--cert-file", str(own.cert), "--cert-key-file", str(own.key)]
    code, told = ask(world, *mutual, server="strict")
    assert (code, "no answer within 1 s" in told) == (69, True)  # it is let in, and there is no gateway


def test_the_command_line_warns_where_others_can_listen() -> None:
    words = ["--broker", "mqtt://no-such-host.invalid", "--gateway", "gw", "--actor", "anna", "status"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 69
    assert "warning: mqtt://no-such-host.invalid:1883: everybody on the way can read and change" in result.stderr
