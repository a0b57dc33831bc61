"""Commands that look after the gateway itself: parameters, registry, audit, clock; and any request."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli import render
from gateway.cli.asking import REFUSED, WORK_S, Failure, asking, json_text, refuse, say
from gateway.cli.verbs.looking import limit_option
from gateway.cli.words import KINDS, Capitals, Moment, moment, pairs, whole

if TYPE_CHECKING:  # it imports the libraries, for which `--help` need not wait
    from gateway.cli.desk import Desk

_SEQ: Final = click.IntRange(min=1)


@click.command()
@click.argument("words", nargs=-1, metavar="[set KEY=VALUE...]")
@asking
async def params(desk: "Desk", words: Sequence[str]) -> None:
    """Show the parameters, or change some.

    As in: params set max_retry_attempts=5
    """
    if not words:
        desk.print(await desk.ask("get_params"), render.parameters)
        return
    if words[0] != "set" or len(words) == 1:
        raise click.UsageError("Write: params, or: params set KEY=VALUE...")
    changed = pairs(click.get_current_context(), None, words[1:])
    desk.print(await desk.ask("set_params", params=changed), render.parameters)


@click.command()
@click.argument("component")
@click.option("--bus", required=True, metavar="NAME", help="Where it was discovered.")
@click.option("--node", required=True, type=whole, metavar="ADDRESS", help="Its address there: 163, 0xA3.")
@click.option("--kind", required=True, type=Capitals(*KINDS))
@click.option("--owner", required=True, metavar="ACTOR")
@click.option("--parent", metavar="PACK", help="The pack of a module.")
@asking
async def adopt(desk: "Desk", component: str, **record: Any) -> None:
    """Take a discovered node into the registry as COMPONENT."""
    desk.print(await desk.ask("adopt_component", component_id=component, **record), render.changed)


@click.command()
@click.argument("component")
@click.argument("presence", type=click.Choice(["offline", "online"], case_sensitive=False))
@click.option("--reason", required=True, metavar="TEXT")
@click.option("--expected-return", type=moment, metavar="TIME", help="When it will be back; 2h: in two hours.")
@asking
async def mark(desk: "Desk", component: str, presence: str, reason: str, expected_return: Moment | None) -> None:
    """Hold COMPONENT for offline or online.

    Until there is evidence to the contrary.
    """
    if presence == "online" and expected_return:
        raise click.UsageError("--expected-return goes with offline.")
    back = expected_return and expected_return.ahead(desk.now_ms)
    result = await desk.ask(f"mark_{presence}", component_id=component, reason=reason, expected_return=back)
    desk.print(result, render.changed)


@click.command()
@click.argument("verify", type=click.Choice(["verify"]), required=False, metavar="[verify]")
@click.option("--from-seq", type=_SEQ, metavar="SEQ", help="Not before this entry.")
@limit_option
@asking
async def audit(desk: "Desk", verify: str | None, from_seq: int | None, limit: int) -> None:
    """List who did what, or verify that list.

    audit verify says whether every entry is as it was written.
    """
    if not verify:
        desk.print(await desk.pages("get_audit", "entries", limit, from_seq=from_seq), render.audit)
        return
    async with desk.progress("checking the audit chain"):
        result = await desk.ask("verify_audit", WORK_S)
    desk.print(result, render.verified)
    if result["first_broken"] is not None:
        raise Failure("Keep the database as it is, and find out who had access to it.", REFUSED)


@click.command()
@click.argument("from_seq", type=_SEQ)
@click.argument("to_seq", type=_SEQ, required=False)
@asking
async def replay(desk: "Desk", from_seq: int, to_seq: int | None) -> None:
    """Have stored events published again.

    From FROM_SEQ to TO_SEQ, or that one alone.
    """
    async with desk.progress("publishing again"):
        result = await desk.ask("replay", WORK_S, from_seq=from_seq, to_seq=to_seq or from_seq)
    desk.print(result, render.replayed)


@click.command("confirm-clock")
@asking
async def confirm_clock(desk: "Desk") -> None:
    """Say that the gateway's time is right as it is.

    After it has jumped, nothing expires until somebody says so.
    """
    desk.print(await desk.ask("confirm_clock"), render.confirmed)


@click.command()
@click.argument("name")
@click.argument("fields", callback=pairs, nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--from", "file", type=click.File(encoding="utf-8"), help="Read the fields from a JSON file; -: stdin.")
@asking
async def request(desk: "Desk", name: str, fields: dict[str, Any], file: Any) -> None:
    """Send any request of the API, print the reply as JSON."""
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
    except (ValueError, RecursionError) as why:
        raise click.UsageError(f"{file.name}: no valid JSON: {why}") from why
    if not isinstance(fields, dict):
        raise click.UsageError(f"{file.name}: write one map of fields.")
    return fields


VERBS: Final = (params, adopt, mark, audit, replay, confirm_clock, request)
