"""Where a command asks and prints: one caller, patience, progress, and a no turned into an exit code."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.asking import (
    ANSWER_S,
    DEFAULT_SOCKET,
    NOBODY,
    REFUSED,
    SOCKET_VARIABLE,
    WORK_S,
    Failure,
    Where,
    json_text,
    refuse,
    say,
)
from gateway.errors import ConfigError
from gateway.operation import FINAL
from gateway.sync.broker import Broker, parse_url
from gateway.sync.caller import Caller, MqttCaller, NobodyAnswers, SocketCaller

SHOWN_AFTER_S: Final = 1.0
POLL_S: Final = (0.2, 2.0)  # first and longest pause: short work is seen to end, long work is left alone

Result = dict[str, Any]
Connect = Callable[[Where], AbstractAsyncContextManager[Caller]]


@asynccontextmanager
async def connect(where: Where) -> AsyncIterator[Caller]:
    """Open the way to a gateway that `where` names. Raises Failure where nobody answers, then or later."""
    try:
        yield _caller(where)
    except NobodyAnswers as why:
        raise Failure(f"Nobody answers: {why}", NOBODY) from why


def _caller(where: Where) -> Caller:
    if where.broker is None:
        return SocketCaller(where.socket or Path(os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET))
    assert where.gateway is not None
    assert where.actor is not None
    try:
        host, port, tls = parse_url(where.broker)
    except ConfigError as why:
        raise click.UsageError(f"--{why}") from why
    broker = Broker(
        host=host,
        port=port,
        tls=tls,
        client_id="",
        protocol=where.protocol or "5",
        username=where.actor,
        password_file=where.password_file,
        ca_file=where.ca_file,
    )
    return MqttCaller(broker, where.gateway, where.actor)


@dataclass(frozen=True, slots=True)
class World:
    """What commands need of the world; tests put their own in click's `obj`."""

    connect: Connect = connect
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    shown_after_s: float = SHOWN_AFTER_S


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a command asks and prints."""

    caller: Caller
    where: Where
    world: World

    async def ask(self, request: str, within_s: float = ANSWER_S, **fields: Any) -> Result:
        """Return the result of a request; fields that are None are left out. Raises Failure for a no."""
        reply = await self.reply(
            request, {name: value for name, value in fields.items() if value is not None}, within_s
        )
        if not reply.get("ok"):
            refuse(reply.get("error") or {}, as_json=self.where.as_json)
        result: Result = reply["result"]
        return result

    async def reply(self, request: str, fields: Mapping[str, Any], within_s: float = ANSWER_S) -> dict[str, Any]:
        """Return the whole reply to a request, yes or no."""
        return await self.caller.call(request, fields, self.where.timeout or within_s)

    def print(self, result: Any, view: Callable[[Any], str]) -> None:
        """Print a result: as JSON where that was asked for, else as `view` shows it."""
        say(json_text(result) if self.where.as_json else view(result))

    async def ended(self, request_id: str) -> Result:
        """Wait for an operation to end; return its last get_request_status. Raises Failure where it does not."""
        patience_s = self.where.timeout or WORK_S
        waited_s, (pause_s, longest_s) = 0.0, POLL_S
        while True:
            reply = await self.reply("get_request_status", {"request_id": request_id})
            error = reply.get("error") or {}
            if not reply.get("ok") and error.get("code") != "RATE_LIMITED":
                refuse(error, as_json=self.where.as_json)
            if reply.get("ok") and reply["result"]["request"]["status"] in FINAL:
                result: Result = reply["result"]
                return result
            if waited_s >= patience_s:
                raise Failure(f"{request_id} has not ended within {patience_s:g} s; it goes on without us.", REFUSED)
            limited_s = float(error.get("retry_after_ms", 0)) / 1000
            await self.world.sleep(max(pause_s, limited_s))
            waited_s += max(pause_s, limited_s)
            pause_s = min(pause_s * 2, longest_s)

    @asynccontextmanager
    async def progress(self, what: str) -> AsyncIterator[None]:
        """Tell on stderr that `what` takes its time, once it takes longer than a second."""
        task = asyncio.get_running_loop().create_task(tick(what, self.world.shown_after_s), name=f"progress: {what}")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


async def tick(what: str, after_s: float) -> None:
    """Say that `what` goes on. On a terminal: one line that counts. Elsewhere: one line."""
    await asyncio.sleep(after_s)
    if not sys.stderr.isatty():
        click.echo(f"{what} …", err=True)
        return
    seconds = after_s
    try:
        while True:
            click.echo(f"\r\x1b[K{what} … {seconds:.0f} s", err=True, nl=False)
            await asyncio.sleep(1)
            seconds += 1
    finally:
        click.echo("\r\x1b[K", err=True, nl=False)


async def serve(
    function: Callable[..., Awaitable[None]], where: Where, world: World, values: Mapping[str, Any]
) -> None:
    """Run a command of `asking`."""
    async with world.connect(where) as caller:
        await function(Desk(caller, where, world), **values)
