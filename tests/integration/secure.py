"""A mosquitto that takes nobody at their word: TLS, logins, and the rules made of an access file."""

import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from gateway.access import Actor, Role
from gateway.sync.access import Access
from gateway.sync.acl import mosquitto_acl
from gateway.sync.broker import Broker
from tests.integration.authority import Authority
from tests.integration.broker import Mosquitto

GATEWAY = "gw-0042"
ACTORS = ("tech-anna", "tech-bert")


class SecureMosquitto:
    """A broker with a server certificate of `authority`.

    With `certificates` everybody shows a certificate and is who it names; else everybody has a password: their name
    backwards.
    """

    def __init__(self, folder: Path, *, certificates: bool = False, actors: Iterable[str] = ACTORS) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.authority = Authority(folder / "ca")
        self.certificates = certificates
        self.grant(*actors)
        server = self.authority.issue("server", hosts=("127.0.0.1",))
        if certificates:
            login = "require_certificate true\nuse_identity_as_username true"
        else:
            self.enrol(GATEWAY, *actors)
            login = f"password_file {folder}/passwords"
        self.broker = Mosquitto(
            folder / "m",
            config=f"cafile {self.authority.file}\ncertfile {server.cert}\nkeyfile {server.key}\ntls_version tlsv1.2\n"
            f"allow_anonymous false\nacl_file {folder}/acl\n{login}",
        )

    def grant(self, *actors: str) -> None:
        """Make the rules for these actors and no others."""
        access = Access({name: Actor(name, Role.TECHNICIAN, transport="mqtt") for name in actors})
        self._write("acl", mosquitto_acl(GATEWAY, access))

    def enrol(self, *users: str) -> None:
        """Give each of these users a password, and nobody else."""
        self._write("passwords", "".join(f"{name}:{name[::-1]}\n" for name in users))
        subprocess.run(["mosquitto_passwd", "-U", self.folder / "passwords"], check=True)

    def as_user(self, name: str, protocol: str = "5") -> Broker:
        """Return the way to it for `name`."""
        client_id = f"{name}-test"
        way = Broker(
            "127.0.0.1",
            self.broker.port,
            tls=True,
            client_id=client_id,
            protocol=protocol,
            ca_file=self.authority.file,
        )
        if self.certificates:
            own = self.authority.issue(name)
            return replace(way, cert_file=own.cert, key_file=own.key)
        self._write(f"{name}.password", f"{name[::-1]}\n")
        return replace(way, username=name, password_file=self.folder / f"{name}.password")

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o600)
