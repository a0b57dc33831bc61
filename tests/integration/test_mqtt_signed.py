"""Signed requests and floods over a real mosquitto, with the tools that people have at hand."""

import asyncio
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.access import Role
from gateway.sync.access import Access, load_access
from gateway.sync.broker import Broker
from gateway.sync.caller import MqttCaller
from gateway.sync.intake import READ_FOR_ONE
from gateway.sync.payload import Encoding
from gateway.sync.refusals import FIRST
from gateway.sync.requests import PER_MINUTE
from gateway.sync.signing import Signer
from tests.integration.broker import Mosquitto
from tests.integration.test_mqtt_requests import body, gateway_on, ids, topic
from tests.integration.test_uplink import PROTOCOLS, Gateway
from tests.integration.watcher import Watcher
from tests.unit.test_mqtt_requests import ACTORS

BMS_GATEWAY = f"{shlex.quote(sys.executable)} -m gateway"
KEY = Signer.fresh("laptop")


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path / "mosquitto").start()
    yield broker
    broker.stop()


def signing_gateway(mosquitto: Mosquitto, protocol: str = "5", access: Access | None = None) -> Gateway:
    gateway = gateway_on(mosquitto, protocol)
    gateway.access = access or Access(actors=ACTORS, keys={"root": {"laptop": KEY.public_bytes()}})
    gateway.must_sign = frozenset({Role.ADMIN})
    return gateway


async def shell(script: str, cwd: Path | None = None, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            script, shell=True, capture_output=True, text=True, cwd=cwd, input=stdin, timeout=60, check=False
        )

    return await asyncio.to_thread(run)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("encoding", Encoding)
async def test_a_caller_with_a_key_may_change_what_one_without_may_not(
    mosquitto: Mosquitto, protocol: str, encoding: Encoding
) -> None:
    gateway = signing_gateway(mosquitto, protocol)
    here = Broker("127.0.0.1", mosquitto.port, tls=False, client_id="", protocol=protocol)
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running():
            await watcher.until(watcher.states)
            signed = await MqttCaller(here, "gw-1", "root", encoding, KEY).call("set_params", {"a": 1}, 10)
            plain = await MqttCaller(here, "gw-1", "root", encoding).call("set_params", {"a": 1}, 10)
            other = MqttCaller(here, "gw-1", "root", encoding, Signer.fresh("laptop"))
            wrong = await other.call("set_params", {"a": 1}, 10)
    assert signed["ok"]
    assert (plain["error"]["code"], wrong["error"]["code"]) == ("BAD_SIGNATURE", "BAD_SIGNATURE")
    assert gateway.api.effects == [("root", "set_params", {"a": 1})]


async def test_a_key_made_and_a_request_signed_at_the_keyboard_are_published_by_another_tool(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    made = await shell(f"{BMS_GATEWAY} access keygen --actor root --key-id laptop --out key.pem", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    (tmp_path / "access.toml").write_text(f'[actors.root]\nrole = "admin"\n{made.stdout}')
    gateway = signing_gateway(mosquitto, access=load_access(tmp_path / "access.toml"))
    where = topic("set_params", "root")
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running():
            await watcher.until(watcher.states)
            sent = await shell(
                f"""echo '{{"id": "by-hand-1", "params": {{"a": "ä"}}}}' |
                {BMS_GATEWAY} access sign --key-file key.pem --key-id laptop --topic {where} |
                mosquitto_pub -p {mosquitto.port} -t {where} -q 1 -s""",
                cwd=tmp_path,
            )
            assert sent.returncode == 0, sent.stderr
            await watcher.until(lambda: ids(watcher) == ["by-hand-1"])
    assert watcher.on("/replies/root/by-hand-1")[0]["ok"]
    assert gateway.api.effects == [("root", "set_params", {"params": {"a": "ä"}})]


async def test_the_command_line_signs_what_it_asks_over_mqtt(mosquitto: Mosquitto, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(KEY.private_pem())
    gateway = signing_gateway(mosquitto)
    ask = f"{BMS_GATEWAY} --broker {mosquitto.url} --gateway gw-1 --actor root request set_params a=1"
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running():
            await watcher.until(watcher.states)
            signed = await shell(f"{ask} --key-file key.pem --key-id laptop", cwd=tmp_path)
            plain = await shell(ask, cwd=tmp_path)
    assert signed.returncode == 0, signed.stderr
    assert json.loads(signed.stdout)["ok"]
    assert plain.returncode == 1
    assert "Sign the request with a key of yours" in plain.stdout + plain.stderr
    assert len(gateway.api.effects) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_flood_is_dropped_beyond_its_bound_while_another_actor_is_served(
    mosquitto: Mosquitto, protocol: str
) -> None:
    gateway, most, sent = signing_gateway(mosquitto, protocol), READ_FOR_ONE * PER_MINUTE, 3000
    here = Broker("127.0.0.1", mosquitto.port, tls=False, client_id="", protocol=protocol)
    lines = "".join(f"{body(f'call-{n:04}').decode()}\n" for n in range(sent))
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running() as uplink:
            await watcher.until(watcher.states)
            flood = f"mosquitto_pub -p {mosquitto.port} -t {topic('set_params', 'root')} -q 1 -l"
            flooding = asyncio.create_task(shell(flood, stdin=lines))
            answers = [await MqttCaller(here, "gw-1", "bert").call("get_health", {}, 20) for _ in range(5)]
            assert (await flooding).returncode == 0
            answers.append(await MqttCaller(here, "gw-1", "bert").call("get_health", {}, 20))
            await watcher.until(lambda: sum(uplink.status()["turned_away"].values()) == sent)
            turned_away = uplink.status()["turned_away"]
    assert all(answer["ok"] for answer in answers)
    refused = turned_away["a request refused with BAD_SIGNATURE"]
    assert refused + turned_away["a request of a flood"] == sent
    assert most <= refused < sent / 2, "a flood that lasts longer than a moment gets a few answers more"
    assert len(watcher.on("/replies/root/")) <= refused
    assert len(gateway.store.view.audited) <= 2 * (FIRST + 1), "the first few of each code, and how many more"
    assert [request for _, request, _ in gateway.api.effects] == ["get_health"] * len(answers)


async def test_signed_requests_that_waited_in_the_broker_are_served_in_order_unless_they_are_late(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    gateway = signing_gateway(mosquitto)
    where = topic("set_params", "root")
    (tmp_path / "key.pem").write_bytes(KEY.private_pem())
    with Watcher(mosquitto.port) as watcher:
        async with gateway.running():
            await watcher.until(watcher.states)
        for n, end in enumerate(
            ("", "", ', "issued_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-01T00:05:00Z"')
        ):
            signed = await shell(
                f"{BMS_GATEWAY} access sign --key-file key.pem --key-id laptop --topic {where}",
                cwd=tmp_path,
                stdin=f'{{"id": "waiting-{n}", "n": {n}{end}}}',
            )
            watcher.publish(where, signed.stdout.encode())
        async with gateway.running():
            await watcher.until(lambda: len(ids(watcher)) == 3)
    assert [fields["n"] for _, _, fields in gateway.api.effects] == [0, 1]
    assert watcher.on("/replies/root/waiting-2")[0]["error"]["code"] == "REQUEST_EXPIRED"


def test_a_gateway_without_keys_does_not_load_what_they_need() -> None:
    script = "import sys, gateway.daemon; print('cryptography' in {name.split('.')[0] for name in sys.modules})"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
