"""Where a command asks and prints: one caller, patience, progress, and a no turned into an exit code."""

import asyncio
import difflib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from gateway.cli.asking import (
    ANSWER_S,
    CONFIG,
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
from gateway.cli.reaching import broker_of
from gateway.cli.render import ROOM
from gateway.cli.words import ENDED
from gateway.clock import SystemClock
from gateway.errors import ConfigError
from gateway.sync.caller import Caller, MqttCaller, NobodyAnswers, SocketCaller
from gateway.sync.signing import Signer

SHOWN_AFTER_S: Final = 1.0
POLL_S: Final = (0.2, 2.0)  # first and longest pause: short work is seen to end, long work is left alone

PAGE: Final = 200  # the most that one request returns

Result = dict[str, Any]
View = Callable[[Any, int], str]  # a result, and the time now in ms since the epoch
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
    return MqttCaller(broker_of(where), where.gateway, where.actor, signer=_signer(where))


def _signer(where: Where) -> Signer | None:
    if where.key_file is None or where.key_id is None:
        return None
    try:
        return Signer.load(where.key_id, where.key_file)
    except ConfigError as why:
        raise Failure(f"--key-file: {why}", CONFIG) from why


@dataclass(frozen=True, slots=True)
class World:
    """What commands need of the world; tests put their own in click's `obj`."""

    connect: Connect = connect
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    now_ms: Callable[[], int] = SystemClock().wall_ms
    shown_after_s: float = SHOWN_AFTER_S


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a command asks and prints."""

    caller: Caller
    where: Where
    world: World

    async def ask(self, request: str, within_s: float = ANSWER_S, **fields: Any) -> Result:
        """Return the result of a request; fields that are None are left out. Raises Failure for a no."""
        said = {name: value for name, value in fields.items() if value is not None}
        reply = await self.reply(request, said, within_s)
        if not reply.get("ok"):
            await self._refuse(reply.get("error") or {}, said)
        result: Result = reply["result"]
        return result

    async def reply(self, request: str, fields: Mapping[str, Any], within_s: float = ANSWER_S) -> dict[str, Any]:
        """Return the whole reply to a request, yes or no. Raises UsageError for what no payload can carry."""
        try:
            return await self.caller.call(request, fields, self.where.timeout or within_s)
        except (ValueError, OverflowError, RecursionError) as why:
            raise click.UsageError(f"This cannot be sent: {why}") from why

    async def pages(self, request: str, rows: str, limit: int, **fields: Any) -> Result:
        """Return a list page by page, at most `limit` of its `rows`, as if it were one."""
        gathered: list[Any] = []
        result: Result = {}
        while not result or (result.get("next_cursor") and len(gathered) < limit):
            said = {**fields, "page_size": min(PAGE, limit - len(gathered)), "cursor": result.get("next_cursor")}
            result = await self._page(request, {name: value for name, value in said.items() if value is not None})
            gathered += result[rows]
        return {**result, rows: gathered}

    async def _page(self, request: str, fields: Mapping[str, Any]) -> Result:
        """Return one page, later where we ask too often: a list is not to break off in the middle."""
        patience_s = self.where.timeout or WORK_S
        while not (reply := await self.reply(request, fields)).get("ok"):
            error = reply.get("error") or {}
            pause_s = max(POLL_S[0], _pause_s(error))
            patience_s -= pause_s
            if "cursor" not in fields or error.get("code") != "RATE_LIMITED" or patience_s < 0:
                await self._refuse(error, fields)
            await self.world.sleep(pause_s)
        result: Result = reply["result"]
        return result

    def print(self, result: Any, view: View) -> None:
        """Print a result: as JSON where that was asked for, else as `view` shows it."""
        say(json_text(result) if self.where.as_json else view(result, self.now_ms))

    def note(self, text: str) -> None:
        """Tell something on stderr, on a line of its own."""
        click.echo(f"\r\x1b[K{text}" if sys.stderr.isatty() else text, err=True)

    @property
    def now_ms(self) -> int:
        """The time now, ms since the epoch."""
        return self.world.now_ms()

    async def _refuse(self, error: Mapping[str, Any], fields: Mapping[str, Any]) -> NoReturn:
        hint = "" if self.where.as_json else await self._meant(error, fields)
        refuse(error, as_json=self.where.as_json, hint=hint)

    async def _meant(self, error: Mapping[str, Any], fields: Mapping[str, Any]) -> str:
        """Guess which component or command type was meant where there is none of that name."""
        if error.get("code") == "UNKNOWN_COMMAND" and "command_type" in fields:
            from gateway.bus.commands import Catalogue  # noqa: PLC0415 - only this hint needs it

            types = sorted(command.spec.name for command in Catalogue())
            close = difflib.get_close_matches(str(fields["command_type"]), types, n=1)
            return f"Did you mean {close[0]}?" if close else f"There are: {', '.join(types)}."
        if error.get("code") != "COMPONENT_NOT_FOUND":
            return ""
        named = fields.get(str((error.get("details") or {}).get("field")))
        reply: dict[str, Any] = {}
        with suppress(NobodyAnswers):  # the no itself is what counts
            reply = await self.reply("get_presence", {})
        known = {each["component_id"] for each in reply["result"]["components"]} if reply.get("ok") else set()
        for name in named if isinstance(named, list) else [str(named)]:
            close = difflib.get_close_matches(name, known, n=1)
            if close and name not in known:
                return f"Did you mean {close[0]}?"
        return ""

    async def ended(self, request_id: str, seen: Callable[[Result], None]) -> Result:
        """Wait for an operation to end; return its last get_request_status. Raises Failure where it does not.

        `seen` is given each status on the way, the last one too.
        """
        patience_s = self.where.timeout or WORK_S
        waited_s, (pause_s, longest_s) = 0.0, POLL_S
        while True:
            reply = await self.reply("get_request_status", {"request_id": request_id})
            error = reply.get("error") or {}
            if reply.get("ok"):
                result: Result = reply["result"]
                seen(result)
                if result["request"]["status"] in ENDED:
                    return result
            elif error.get("code") != "RATE_LIMITED":
                refuse(error, as_json=self.where.as_json)
            if waited_s >= patience_s:
                raise Failure(f"{request_id} has not ended within {patience_s:g} s; it goes on without us.", REFUSED)
            longer_s = max(pause_s, _pause_s(error))
            await self.world.sleep(longer_s)
            waited_s += longer_s
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


def _pause_s(error: Mapping[str, Any]) -> float:
    """Return how long a no asks us to wait, in s."""
    return float(error.get("retry_after_ms", 0)) / 1000


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
    """Run a command of `asking`. Raises Failure where the answer lacks what this version knows."""
    ROOM.set(shutil.get_terminal_size().columns if sys.stdout.isatty() else None)  # others want a record a line
    try:
        async with world.connect(where) as caller:
            await function(Desk(caller, where, world), **values)
    except (AttributeError, LookupError, TypeError) as why:
        told = f"The answer is not understood ({type(why).__name__}: {why}); is the gateway of another version?"
        raise Failure(f"{told} See: request NAME", REFUSED) from why
