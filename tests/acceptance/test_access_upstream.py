"""Who may ask, from the login at the broker to the gateway's access file, changed while everything runs."""

import asyncio
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.access import Actor, Role
from gateway.sync.access import Access
from gateway.sync.acl import mosquitto_acl
from gateway.sync.broker import Broker
from gateway.sync.caller import MqttCaller
from tests.acceptance.scene import GATEWAY, Scene, scene
from tests.integration.authority import Authority
from tests.integration.broker import Mosquitto, free_port

ANNA = '[actors.tech-anna]\nrole = "technician"\ncomponents = ["*"]\n'
BERT = '[actors.tech-bert]\nrole = "operator"\n'


class GuardedMosquitto(Mosquitto):
    """Takes the gateway and the actors at a TLS port with certificates and rules; the test looks on at a plain one."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.ca = Authority(folder / "ca")
        self.safe_port = free_port()
        actors = {name: Actor(name, Role.TECHNICIAN, transport="mqtt") for name in ("tech-anna", "tech-bert")}
        (folder / "acl").write_text(mosquitto_acl(GATEWAY, Access(actors)))
        (folder / "acl").chmod(0o600)
        server = self.ca.issue("server", hosts=("127.0.0.1",))
        super().__init__(
            folder / "m",
            config=f"per_listener_settings true\nallow_anonymous true\nlistener {self.safe_port} 127.0.0.1\n"
            f"cafile {self.ca.file}\ncertfile {server.cert}\nkeyfile {server.key}\nset_tcp_nodelay true\n"
            f"require_certificate true\nuse_identity_as_username true\nacl_file {folder}/acl",
        )
        self.url = f"mqtts://127.0.0.1:{self.safe_port}"

    def caller(self, name: str) -> MqttCaller:
        own = self.ca.issue(name)
        broker = Broker("127.0.0.1", self.safe_port, tls=True, client_id="", ca_file=self.ca.file)
        return MqttCaller(replace(broker, cert_file=own.cert, key_file=own.key), GATEWAY, name)


class Story:
    """The gateway, its access file, and those who ask."""

    def __init__(self, at: Scene, broker: GuardedMosquitto, access: Path) -> None:
        self.at = at
        self.broker = broker
        self.access = access

    async def ask(self, name: str, request: str = "cancel_request", **fields: Any) -> str:
        """Return "ok" or the code of the refusal. What is asked by default is nothing there is."""
        said = fields or {"request_id": "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV", "cancellation_reason": "x"}
        reply = await self.broker.caller(name).call(request, said, 20.0)
        return "ok" if reply["ok"] else str(reply["error"]["code"])

    async def queue(self, name: str) -> str:
        """Queue a command for a module that is away, and return its id."""
        fields = {"command_type": "wake", "target_component": "module-03"}
        self.at.do("module-03", "silent")
        await self.at.until(lambda: self.at.events("component_offline", "module-03"))
        reply = await self.broker.caller(name).call("queue_command", fields, 20.0)
        return str(reply["result"]["request"]["request_id"])

    async def edit(self, text: str) -> str:
        """Change the access file, and reload as systemd would; return the outcome that is audited."""
        before = len(await self.reloads())
        self.access.write_text(text)
        assert self.at.daemon.process is not None
        self.at.daemon.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(60):
            while len(told := await self.reloads()) == before:
                await asyncio.sleep(0.02)
        return told[-1]

    async def reloads(self) -> list[str]:
        entries = (await self.at.ask("get_audit", page_size=200))["entries"]
        return [str(entry["outcome"]) for entry in entries if entry["action"] == "reload_access"]


async def test_somebody_is_granted_and_dismissed_while_everything_runs(tmp_path: Path) -> None:
    broker = GuardedMosquitto(tmp_path / "guarded")
    own = broker.ca.issue(GATEWAY)
    access = tmp_path / "access.toml"
    access.write_text(ANNA)
    sync = f'encoding = "json"\nca_file = "{broker.ca.file}"\ncert_file = "{own.cert}"\nkey_file = "{own.key}"'
    async with scene(tmp_path, broker=broker, sync=sync, more='[access]\nfile = "access.toml"') as at:
        await at.until_online()
        story = Story(at, broker, access)
        assert await story.ask("tech-anna") == "REQUEST_NOT_FOUND"  # which only who may ask is told
        assert await story.ask("tech-bert") == "NOT_AUTHORIZED"

        assert await story.edit(ANNA + BERT) == "accepted"
        assert await story.ask("tech-bert") == "REQUEST_NOT_FOUND"

        assert await story.edit(BERT.replace("operator", "emperor")) == "refused"
        assert await story.ask("tech-anna") == "REQUEST_NOT_FOUND"
        assert "actors.tech-bert.role" in at.daemon.log()

        request_id = await story.queue("tech-anna")
        assert await story.edit(BERT) == "accepted"
        assert await story.ask("tech-anna") == "NOT_AUTHORIZED"
        assert await story.ask("tech-bert", request_id=request_id, cancellation_reason="she has left") == "ok"
        assert at.daemon.stop() == 0


async def test_a_gateway_with_the_wrong_certificate_says_so_in_its_health(tmp_path: Path) -> None:
    broker = GuardedMosquitto(tmp_path / "guarded")
    own = Authority(tmp_path / "other").issue(GATEWAY)
    sync = f'ca_file = "{broker.ca.file}"\ncert_file = "{own.cert}"\nkey_file = "{own.key}"'
    async with scene(tmp_path, broker=broker, sync=sync) as at:
        async with asyncio.timeout(60):
            while "last_error" not in (upstream := (await at.ask("get_health"))["upstream"]):
                await asyncio.sleep(0.05)
        assert "the broker does not take our certificate" in upstream["last_error"]
        assert upstream["connected"] is False
