"""The commands that ask a gateway: each takes its words, asks one thing or two, and shows the result."""

import json
import tomllib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli import render
from gateway.cli.asking import REFUSED, WORK_S, Failure, asking, json_text, refuse, say

if TYPE_CHECKING:  # it imports the libraries, for which `--help` need not wait
    from gateway.cli.desk import Desk

PAGE: Final = 200  # the most that one request returns

# --- words ------------------------------------------------------------------------------------------------------------


class Capitals(click.Choice[str]):
    """One of the words that the API spells in capitals; people may type them as they like."""

    def __init__(self, *words: str) -> None:
        super().__init__(words, case_sensitive=False)

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:
        """Spell a word in capitals, in help and errors too."""
        return super().normalize_choice(choice, ctx).upper()


def value_of(text: str) -> Any:
    """Read a value of the command line: true, 5, 0x12, 2.5, "text", [1, 2], {"a": 1}; anything else is text."""
    if "\n" not in text:
        with suppress(tomllib.TOMLDecodeError):
            value = tomllib.loads(f"value = {text}")["value"]
            if isinstance(value, bool | int | str | list | dict) or (isinstance(value, float) and isfinite(value)):
                return value
    with suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, dict | list):
            return value
    return text


def texts(_: click.Context, param: click.Parameter | None, words: Sequence[str]) -> dict[str, str]:
    """Read `key=text` words as a map: nothing is taken for a number."""
    made = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{word!r} is not KEY=VALUE", param=param)
        made[key] = text
    return made


def pairs(ctx: click.Context, param: click.Parameter | None, words: Sequence[str]) -> dict[str, Any]:
    """Read `key=value` words as a map."""
    return {key: value_of(text) for key, text in texts(ctx, param, words).items()}


_QUEUING: Final = (
    click.option("--priority", type=Capitals("LOW", "NORMAL", "HIGH", "CRITICAL")),
    click.option("--idempotency-key", metavar="KEY", help="The same key and content again: the first answer again."),
    click.option("--delivery", type=Capitals("AT_LEAST_ONCE", "AT_MOST_ONCE"), help="May it be sent twice?"),
    click.option("--title", metavar="TEXT"),
    click.option("--description", metavar="TEXT"),
    click.option("--source", metavar="TEXT", help="The system this comes from."),
    click.option("--source-ref", metavar="TEXT", help="Its own id of this."),
    click.option("--hold-ref", metavar="TEXT", help="The reservation that ends with this."),
    click.option("--hold-amount", type=float, metavar="NUMBER"),
    click.option("--expected-duration-s", type=float, metavar="SECONDS"),
    click.option("--metadata", callback=texts, multiple=True, metavar="KEY=TEXT", help="May be given more than once."),
    click.option("--wait", is_flag=True, help="Wait for its end; exit 1 unless it is COMPLETED."),
)


def queuing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options common to all that is queued."""
    for option in reversed(_QUEUING):
        function = option(function)
    return function


# --- looking ----------------------------------------------------------------------------------------------------------


@click.command()
@asking
async def status(desk: "Desk") -> None:
    """Show who is there, how many operations wait, the buses and upstream."""
    health = await desk.ask("get_health")
    presence = await desk.ask("get_presence")
    desk.print({**health, **presence}, lambda told: f"{render.health(told)}\n\n{render.components(told)}")


@click.command()
@asking
async def components(desk: "Desk") -> None:
    """List the components and their presence."""
    desk.print(await desk.ask("get_presence"), render.components)


@click.command()
@click.argument("component")
@asking
async def show(desk: "Desk", component: str) -> None:
    """Show one COMPONENT: presence with its evidence, and what waits for it."""
    found = (await desk.ask("get_presence", component_id=component))["components"][0]
    queue = await desk.ask("get_queued_requests", component_id=component)
    desk.print({"component": found, **queue}, lambda told: f"{render.component(found)}\n\n{render.requests(told)}")


@click.command()
@asking
async def health(desk: "Desk") -> None:
    """Show how the gateway is."""
    desk.print(await desk.ask("get_health"), render.health)


@click.command()
@click.argument("component", required=False)
@click.option("--type", "queue_type", type=Capitals("STANDARD", "PRIORITY", "PROXY", "ALL"), default="ALL")
@click.option(
    "--status",
    "status_filter",
    type=Capitals("QUEUED", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED", "EXPIRED", "ABANDONED"),
    help="Only those.  [default: QUEUED and PROCESSING]",
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@asking
async def queue(desk: "Desk", component: str | None, queue_type: str, status_filter: str | None, limit: int) -> None:
    """List what waits for COMPONENT, or for all, in the order of processing."""
    gathered: list[Any] = []
    result: dict[str, Any] = {}
    while not result or ("next_cursor" in result and len(gathered) < limit):
        result = await desk.ask(
            "get_queued_requests",
            component_id=component,
            queue_type=queue_type,
            status_filter=status_filter,
            page_size=min(PAGE, limit - len(gathered)),
            cursor=result.get("next_cursor"),
        )
        gathered += result["requests"]
    view = render.requests if status_filter is None else partial(render.requests, nothing="None.")
    desk.print({**result, "requests": gathered}, view)


@click.command("request-status")
@click.argument("request_id", metavar="ID")
@asking
async def request_status(desk: "Desk", request_id: str) -> None:
    """Show the operation ID: where it stands, and all that is known of it."""
    desk.print(await desk.ask("get_request_status", request_id=request_id), render.request_status)


# --- queuing ----------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("initiator")
@click.argument("target")
@click.option("--type", "request_type", type=Capitals("STANDARD", "PROXY", "EMERGENCY"))
@click.option("--emergency", is_flag=True, help="The same as --type EMERGENCY; needs the role operator.")
@click.option("--expiry", "expiry_hours", type=float, metavar="HOURS", help="How long it may wait.")
@click.option("--proxy", "proxy_component", metavar="COMPONENT", help="Who acts for the target; implies --type PROXY.")
@queuing
@asking
async def pair(
    desk: "Desk", request_type: str | None, *, emergency: bool, initiator: str, target: str, **rest: Any
) -> None:
    """Queue a pairing of TARGET with INITIATOR, now or when TARGET is back."""
    if emergency and rest["proxy_component"]:
        raise click.UsageError("--proxy contradicts --emergency.")
    implied = "EMERGENCY" if emergency else "PROXY" if rest["proxy_component"] else None
    if request_type and implied and request_type != implied:
        raise click.UsageError(f"--type {request_type} contradicts {implied}.")
    fields = {"initiator_component": initiator, "target_component": target, "request_type": request_type or implied}
    await _queue(desk, "queue_pairing_request", {**fields, **rest})


@click.command()
@click.argument("command_type", metavar="TYPE")
@click.argument("target")
@click.argument("arguments", callback=pairs, nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--ttl", "ttl_s", type=float, metavar="SECONDS", help="How long it may wait.")
@click.option("--answer-within", "timeout_s", type=float, metavar="SECONDS", help="How long the component may take.")
@queuing
@asking
async def command(desk: "Desk", command_type: str, target: str, arguments: dict[str, Any], **rest: Any) -> None:
    """Queue a command of TYPE for TARGET, now or when TARGET is back, with its arguments."""
    fields = {"command_type": command_type, "target_component": target, "arguments": arguments}
    await _queue(desk, "queue_command", {**fields, **rest})


async def _queue(desk: "Desk", request: str, fields: dict[str, Any]) -> None:
    """Queue, and wait for the end where that was asked for."""
    wait = fields.pop("wait")
    fields["metadata"] = fields["metadata"] or None
    result = await desk.ask(request, **fields)
    if not wait:
        desk.print(result, render.queued)
        return
    request_id = result["request"]["request_id"]
    click.echo(render.queued(result), err=True)
    async with desk.progress(f"waiting for {request_id}"):
        result = await desk.ended(request_id)
    desk.print(result, render.request_status)
    ended = result["request"]
    if ended["status"] != "COMPLETED":
        error = ended.get("last_error") or {}
        why = f"{error['code']}: {error['message']}" if error else ended.get("cancellation_reason", "")
        raise Failure(f"{request_id} is {ended['status']}. {why}".rstrip(), REFUSED)


@click.command()
@click.argument("request_id", metavar="ID")
@click.option("--reason", required=True, metavar="TEXT")
@asking
async def cancel(desk: "Desk", request_id: str, reason: str) -> None:
    """Take the operation ID out of its queue."""
    desk.print(
        await desk.ask("cancel_request", request_id=request_id, cancellation_reason=reason), render.request_status
    )


@click.command()
@click.argument("component")
@click.option("--max", "max_operations", type=click.IntRange(min=1), metavar="N", help="At most so many operations.")
@click.option("--proxy", is_flag=True, help="Those too that a proxy carries out.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the end.")
@asking
async def drain(desk: "Desk", component: str, max_operations: int | None, *, proxy: bool, no_wait: bool) -> None:
    """Work the queue of COMPONENT off now."""
    async with desk.progress(f"draining {component}"):
        result = await desk.ask(
            "process_offline_queue",
            WORK_S,
            component_id=component,
            max_operations=max_operations,
            process_proxy_queue=proxy,
            wait=not no_wait,
        )
    desk.print(result, render.drained)


# --- looking after ----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("words", nargs=-1, metavar="[set KEY=VALUE...]")
@asking
async def params(desk: "Desk", words: Sequence[str]) -> None:
    """Show the parameters, or change some: params set max_retry_attempts=5."""
    if not words:
        desk.print(await desk.ask("get_params"), render.parameters)
        return
    if words[0] != "set" or len(words) == 1:
        raise click.UsageError("Write: params, or: params set KEY=VALUE...")
    changed = pairs(click.get_current_context(), None, words[1:])
    desk.print(await desk.ask("set_params", params=changed), render.parameters)


@click.command()
@click.argument("name")
@click.argument("fields", callback=pairs, nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--from", "file", type=click.File(encoding="utf-8"), help="Read the fields from a JSON file; -: stdin.")
@asking
async def request(desk: "Desk", name: str, fields: dict[str, Any], file: Any) -> None:
    """Send any request of the API and print the reply as JSON."""
    async with desk.progress(f"waiting for {name}"):
        reply = await desk.reply(name, {**_read_fields(file), **fields}, WORK_S)
    say(json_text(reply))
    if not reply.get("ok"):
        refuse(reply.get("error") or {}, as_json=False)


def _read_fields(file: Any) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        fields = json.load(file)
    except ValueError as why:
        raise click.UsageError(f"{file.name}: no valid JSON: {why}") from why
    if not isinstance(fields, dict):
        raise click.UsageError(f"{file.name}: write one map of fields.")
    return fields


VERBS: Final = (
    status, components, show, pair, command, queue, request_status, cancel, drain, health, params, request,
)  # fmt: skip
