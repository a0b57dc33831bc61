"""Where the broker is and who we are to it."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from gateway.errors import ConfigError
from gateway.settings import SyncSection

_DEFAULT_PORT: Final = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is and who we are to it. Files are read anew for every connection."""

    host: str
    port: int
    tls: bool
    client_id: str
    protocol: str = "5"  # or "3.1.1"
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    keepalive_s: int = 30
    session_expiry_s: int = 0  # 0: the session ends with the connection

    @classmethod
    def of(cls, settings: SyncSection, gateway_id: str) -> Self:
        """Return what section [sync] says: a fixed client id and a session that outlives the connection."""
        host, port, tls = parse_url(settings.broker)
        return cls(
            host=host,
            port=port,
            tls=tls,
            client_id=settings.client_id or f"bms-gateway-{gateway_id}",
            protocol=settings.protocol,
            username=settings.username,
            password_file=settings.password_file,
            ca_file=settings.ca_file,
            cert_file=settings.cert_file,
            key_file=settings.key_file,
            keepalive_s=settings.keepalive_s,
            session_expiry_s=settings.session_expiry_s,
        )

    @property
    def name(self) -> str:
        """The address, for people."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"

    def password(self) -> str | None:
        """Read the password. Raises OSError."""
        return None if self.password_file is None else self.password_file.read_text(encoding="utf-8").rstrip("\r\n")

    def tls_context(self) -> ssl.SSLContext | None:
        """Make the TLS settings: 1.2 or newer, the server verified. None: plain. Raises OSError."""
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context


def parse_url(url: str) -> tuple[str, int, bool]:
    """Return (host, port, tls) of mqtt://host[:port] or mqtts://host[:port]. Raises ConfigError for anything else."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ConfigError([f"broker: {url}: the port is no port"]) from None
    if parts.username or parts.password:
        raise ConfigError(["broker: a user name or password has no place in the URL"])
    if parts.scheme not in _DEFAULT_PORT or not parts.hostname or parts.path or parts.query or parts.fragment:
        raise ConfigError([f"broker: {url} is not mqtt://host[:port] or mqtts://host[:port]"])
    return parts.hostname, port or _DEFAULT_PORT[parts.scheme], parts.scheme == "mqtts"
