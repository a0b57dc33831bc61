"""How a command of the command line asks a gateway: where it is, what a no means, how long to wait.

`asking` turns an async function into a command that reaches the daemon over the control socket or over MQTT.
"""

import functools
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from gateway.ids import is_name

DEFAULT_SOCKET: Final = Path("/run/bms-gateway/control.sock")
SOCKET_VARIABLE: Final = "BMS_GATEWAY_SOCKET"
ANSWER_S: Final = 10.0  # for a question
WORK_S: Final = 600.0  # for work to end: a drain, --wait
REFUSED: Final = 1
NOBODY: Final = 69  # EX_UNAVAILABLE
CONFIG: Final = 78  # EX_CONFIG


class Failure(click.ClickException):
    """The end of a command that did not do what was asked. `message` goes to stderr as it is."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc] # click reads it from the instance, and declares it of the class

    def show(self, file: Any = None) -> None:
        """Print the message, without click's prefix."""
        click.echo(self.message, file=file, err=file is None)


@dataclass(frozen=True, slots=True)
class Where:
    """Which gateway is asked and by whom, and how answers are printed. None: not said."""

    socket: Path | None = None
    broker: str | None = None
    gateway: str | None = None
    actor: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    cert_key_file: Path | None = None
    key_file: Path | None = None
    key_id: str | None = None
    protocol: str | None = None
    timeout: float | None = None
    as_json: bool = False

    def but(self, later: "Where") -> "Where":
        """Return this with whatever `later` says."""
        said = {name: value for name in self.__slots__ if (value := getattr(later, name)) not in {None, False}}
        return replace(self, **said)

    def checked(self) -> "Where":
        """Return this if it names one gateway. Raises UsageError."""
        if self.broker and self.socket:
            raise click.UsageError("--socket and --broker are two ways to a gateway; take one.")
        if self.broker and not (self.gateway and self.actor):
            raise click.UsageError("--broker needs --gateway and --actor too.")
        for option, name in (("--gateway", self.gateway), ("--actor", self.actor)):
            if name is not None and not is_name(name):
                raise click.UsageError(f"{option}: {name!r} is no name: letters, digits, _, . and -, at most 64.")
        if not self.broker and (self.gateway or self.actor or self.password_file or self.ca_file):
            raise click.UsageError("--gateway, --actor, --password-file and --ca-file go with --broker.")
        if not self.broker and (self.key_file or self.key_id):
            raise click.UsageError("--key-file and --key-id go with --broker: at the socket nothing is signed.")
        if not self.broker and (self.cert_file or self.cert_key_file):
            raise click.UsageError("--cert-file and --cert-key-file go with --broker.")
        if (self.cert_file is None) != (self.cert_key_file is None):
            raise click.UsageError("--cert-file and --cert-key-file go together.")
        if (self.key_file is None) != (self.key_id is None):
            raise click.UsageError("--key-file and --key-id go together.")
        return self


def refuse(error: Mapping[str, Any], *, as_json: bool, hint: str = "") -> NoReturn:
    """End with the code and the advice of a refusal, and a `hint` of our own."""
    if as_json:
        raise Failure(json_text(error), REFUSED)
    message = f"{error.get('code', 'INTERNAL')}: {error.get('message', 'The reply makes no sense.')}"
    if "retry_after_ms" in error:
        message += f" (in {error['retry_after_ms'] / 1000:.3g} s)"
    raise Failure(f"{message} {hint}".rstrip(), REFUSED)


def json_text(value: Any) -> str:
    """Spell a value as JSON for people and programs."""
    import json  # noqa: PLC0415 - as above

    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def say(text: str) -> None:
    """Print to stdout; click takes colours out where that is no terminal."""
    click.echo(text, color=False if os.environ.get("NO_COLOR") else None)


_OPTIONS: Final = (
    click.option(
        "--socket",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help=f"Control socket of a local daemon.  [default: ${SOCKET_VARIABLE}, else {DEFAULT_SOCKET}]",
    ),
    click.option("--broker", metavar="URL", help="Ask over MQTT instead: mqtts://host[:port]."),
    click.option("--gateway", metavar="ID", help="With --broker: which gateway."),
    click.option("--actor", metavar="NAME", help="With --broker: who asks."),
    click.option(
        "--password-file",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="With --broker: a file that holds the actor's password.",
    ),
    click.option("--ca-file", type=click.Path(path_type=Path), metavar="PATH", help="With --broker: who to trust."),
    click.option(
        "--cert-file",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="With --broker: the actor's certificate, where the broker wants one.",
    ),
    click.option(
        "--cert-key-file", type=click.Path(path_type=Path), metavar="PATH", help="With --cert-file: its private key."
    ),
    click.option(
        "--key-file",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="With --broker: sign with the private key in this file; see access keygen.",
    ),
    click.option("--key-id", metavar="NAME", help="With --key-file: the key's name in the access file."),
    click.option("--protocol", type=click.Choice(["5", "3.1.1"]), help="With --broker: version of MQTT.  [default: 5]"),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help=f"How long to wait for an answer, or for the end of the work.  [default: {ANSWER_S:g}; {WORK_S:g}]",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)


def reach_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which gateway is asked; they are good before and after the verb."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def asking(function: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Make a command of an async function that takes a Desk and its own parameters."""

    @reach_options
    @click.pass_context
    @functools.wraps(function)
    def run(ctx: click.Context, /, **values: Any) -> None:
        where = told(ctx, values)
        import asyncio  # noqa: PLC0415 - half of the start-up time, which `--version` and `--help` need not pay

        from gateway.cli.desk import World, serve  # noqa: PLC0415 - as above

        asyncio.run(serve(function, where.checked(), ctx.find_object(World) or World(), values))

    return run


def told(ctx: click.Context, values: dict[str, Any]) -> Where:
    """Take the options of `reach_options` out of `values`; return them over those before the verb."""
    before: Where = ctx.meta.get(__name__, Where())
    return before.but(Where(**{name: values.pop(name) for name in Where.__slots__}))


def remember(ctx: click.Context, values: Mapping[str, Any]) -> None:
    """Note what was said before the verb."""
    ctx.meta[__name__] = Where(**values)
