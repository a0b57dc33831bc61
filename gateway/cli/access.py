"""Keys and rules for those who may ask over MQTT: made here, on whichever machine needs them, without a gateway."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import click

from gateway.cli.asking import CONFIG, REFUSED, Failure, say
from gateway.errors import ConfigError
from gateway.ids import is_name

LIFE_MS: Final = 600_000  # of a request that does not say how long it lives
_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
# The heavy libraries are imported by the command that needs them.


def _name(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not is_name(value):
        raise click.BadParameter(f"{value!r} is no name: letters, digits, _, . and -, at most 64.")
    return value


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def access() -> None:
    """Make keys, sign requests, make the broker's rules."""


@access.command()
@click.option("--actor", required=True, callback=_name, metavar="NAME", help="Whose key it will be.")
@click.option("--key-id", required=True, callback=_name, metavar="NAME", help="What to call it in the access file.")
@click.option("--out", required=True, type=_FILE, metavar="FILE", help="Where the private key goes.")
def keygen(actor: str, key_id: str, out: Path) -> None:
    """Make a key, and say what goes into the access file.

    The private key stays in FILE, which only its owner may read.
    """
    import base64  # noqa: PLC0415 - see above

    from gateway.sync.signing import Signer  # noqa: PLC0415 - see above

    signer = Signer.fresh(key_id)
    try:
        with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(signer.private_pem())
    except FileExistsError as why:
        raise Failure(f"{out} is there already: nothing is overwritten.", REFUSED) from why
    except OSError as why:
        raise Failure(f"{out}: {why.strerror}", REFUSED) from why
    say(f"[actors.{_toml(actor)}.keys]\n{_toml(key_id)} = {_quoted(base64.b64encode(signer.public_bytes()).decode())}")


@access.command()
@click.option("--key-file", required=True, type=_FILE, metavar="PATH", help="The private key.")
@click.option("--key-id", required=True, callback=_name, metavar="NAME", help="Its name in the access file.")
@click.option("--topic", required=True, metavar="TOPIC", help="Where the request will be published.")
@click.argument("file", type=click.File("rb"), default="-", metavar="[FILE]")
def sign(key_file: Path, key_id: str, topic: str, file: IO[bytes]) -> None:
    """Sign a request, and print what to publish.

    FILE (default: standard input) holds its fields in JSON. Where id, issued_at or expires_at are missing, they are
    added.
    """
    import time  # noqa: PLC0415 - see above

    from ulid import ULID  # noqa: PLC0415 - see above

    from gateway.sync.payload import Encoding, encode  # noqa: PLC0415 - see above
    from gateway.sync.signed import completed, seal  # noqa: PLC0415
    from gateway.sync.signing import Signer  # noqa: PLC0415

    _check_topic(topic)
    body = completed(_fields(file), str(ULID()), time.time_ns() // 1_000_000, LIFE_MS)
    with _configuration():
        signer = Signer.load(key_id, key_file)
    say(seal(signer, topic, encode(body, Encoding.JSON), Encoding.JSON).decode())


@access.command("mosquitto-acl")
@click.option("--config", type=_FILE, metavar="FILE", help="The gateway's configuration.")
@click.option("--access", "access_file", type=_FILE, metavar="FILE", help="Or its access file, with --gateway.")
@click.option("--gateway", callback=_name, metavar="ID", help="With --access: the gateway's id.")
def mosquitto_acl(config: Path | None, access_file: Path | None, gateway: str | None) -> None:
    """Print the access rules of the broker, for mosquitto.

    Each actor of the access file under its own name alone, and the gateway.
    """
    from gateway.settings import load  # noqa: PLC0415 - see above
    from gateway.sync import acl  # noqa: PLC0415
    from gateway.sync.access import load_access  # noqa: PLC0415

    if (config is None) == (access_file is None) or (access_file is None) != (gateway is None):
        raise click.UsageError("Write --config FILE, or --access FILE and --gateway ID.")
    user = None
    with _configuration():
        if config is not None:
            settings = load(config)
            access_file, gateway = settings.access.file, settings.gateway.id
            user = settings.sync.username if settings.sync else None
        assert gateway is not None
        say(acl.mosquitto_acl(gateway, load_access(access_file), gateway_user=user).rstrip("\n"))


@contextmanager
def _configuration() -> Iterator[None]:
    try:
        yield
    except ConfigError as why:
        raise Failure("\n".join(why.problems), CONFIG) from why


def _fields(file: IO[bytes]) -> dict[str, Any]:
    """Read the fields of a request, as the gateway will. Raises UsageError."""
    from gateway.errors import Refusal  # noqa: PLC0415 - see above
    from gateway.sync.payload import decode  # noqa: PLC0415

    try:
        return decode(file.read(), "application/json")[0]
    except Refusal as why:
        raise click.UsageError(f"{file.name}: {why.message}") from why


def _check_topic(topic: str) -> None:
    """Raise UsageError for what is no topic of a request: no gateway would ever see the signature hold."""
    from gateway.sync.topics import VERSION, Topics  # noqa: PLC0415 - see above

    gateway = topic.removeprefix(f"{VERSION}/").partition("/")[0]
    if not is_name(gateway) or Topics(gateway).parse_request(topic) is None:
        raise click.UsageError(f"--topic: write {VERSION}/GATEWAY/requests/ACTOR/REQUEST")


def _toml(key: str) -> str:
    return key if _BARE.fullmatch(key) else _quoted(key)


def _quoted(text: str) -> str:
    return f'"{text}"'  # names and base64 hold nothing that would have to be escaped
