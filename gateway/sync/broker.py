"""Where the broker is and who we are to it."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from gateway.errors import ConfigError
from gateway.settings import SyncSection
from gateway.settings.contradictions import is_loopback

_DEFAULT_PORT: Final = {"mqtt": 1883, "mqtts": 8883}
EXPOSED: Final = "everybody on the way can read and change what is sent, passwords too; mqtts:// is safe"


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

    @property
    def exposed(self) -> bool:
        """Whether anybody on the way can read what we say, and change it."""
        return not self.tls and not is_loopback(self.host)

    def password(self) -> str | None:
        """Read the password. Raises ConfigError."""
        if self.password_file is None:
            return None
        try:
            return _read("password_file", self.password_file).decode().rstrip("\r\n")
        except UnicodeDecodeError as why:
            raise ConfigError([f"password_file: {self.password_file}: holds no text in UTF-8"]) from why

    def tls_context(self) -> ssl.SSLContext | None:
        """Make the TLS settings: 1.2 or newer, the server verified. None: plain. Raises ConfigError."""
        if not self.tls:
            return None
        if self.ca_file is not None:
            _read("ca_file", self.ca_file)
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except ssl.SSLError as why:
            raise ConfigError([f"ca_file: {self.ca_file}: holds no certificate in PEM"]) from why
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = _Tidy
        if self.cert_file is not None and self.key_file is not None:
            _identify(context, self.cert_file, self.key_file)
        return context


def _read(key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as why:
        raise ConfigError([f"{key}: {path}: {why.strerror}"]) from why


def _identify(context: ssl.SSLContext, cert_file: Path, key_file: Path) -> None:
    """Give `context` our own certificate and its key."""
    for key, path in (("cert_file", cert_file), ("key_file", key_file)):
        _read(key, path)  # OpenSSL does not say which one it cannot read
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_passphrase)
    except _NeedsPassphrase as why:
        raise ConfigError([f"key_file: {key_file}: needs a passphrase, and nobody is there to give it"]) from why
    except ssl.SSLError as why:
        what = "is not the key of" if why.reason == "KEY_VALUES_MISMATCH" else "is no key, or this is no certificate:"
        raise ConfigError([f"key_file: {key_file}: {what} {cert_file}"]) from why


class _Tidy(ssl.SSLSocket):
    """Closes itself where the handshake fails: paho forgets it, and every further try would cost a file descriptor."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as the standard library has it
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class _NeedsPassphrase(Exception):  # noqa: N818 - what OpenSSL asks for
    """OpenSSL would ask at the terminal, and wait."""


def _no_passphrase() -> str:
    raise _NeedsPassphrase


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
