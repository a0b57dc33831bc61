"""Commands that queue work, or plan it: pair, command, route."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli import render
from gateway.cli.asking import REFUSED, Failure, asking
from gateway.cli.words import ENDED, KINDS, PRIORITIES, Capitals, hours, listed_texts, pairs, seconds, texts

if TYPE_CHECKING:  # it imports the libraries, for which `--help` need not wait
    from gateway.cli.desk import Desk, Result

Options = Sequence[Callable[[Callable[..., Any]], Callable[..., Any]]]

_COMMON: Final[Options] = (
    click.option("--priority", type=Capitals(*PRIORITIES)),
    click.option("--ttl", "ttl_s", type=seconds, metavar="DURATION", help="How long it may wait: 90s, 15m, 2h, 7d."),
    click.option("--expiry", type=hours, metavar="DURATION", help="The same; a bare number is hours, not seconds."),
    click.option("--idempotency-key", metavar="KEY", help="The same key and content again: the first answer again."),
    click.option("--delivery", type=Capitals("AT_LEAST_ONCE", "AT_MOST_ONCE"), help="May it be sent twice?"),
    click.option("--title", metavar="TEXT"),
    click.option("--description", metavar="TEXT"),
    click.option("--source", metavar="TEXT", help="The system this comes from."),
    click.option("--source-ref", metavar="TEXT", help="Its own id of this."),
    click.option("--hold-ref", metavar="TEXT", help="The reservation that ends with this."),
    click.option("--hold-amount", type=float, metavar="NUMBER"),
    click.option("--expected-duration", "expected_duration_s", type=seconds, metavar="DURATION"),
    click.option("--metadata", callback=texts, multiple=True, metavar="KEY=TEXT", help="May be given more than once."),
)
_ROUTING: Final[Options] = (
    click.option("--selector", callback=listed_texts, multiple=True, metavar="KEY=TEXT,…", help="All that match."),
    click.option("--kind", type=Capitals(*KINDS), help="All of this kind."),
    click.option("--parent", metavar="PACK", help="All modules of this pack."),
    click.option("--bus", metavar="NAME", help="All on this bus."),
    click.option("--capability", metavar="TYPE", help="All that take commands of this type."),
    click.option(
        "--strategy",
        type=Capitals("DIRECT", "BROADCAST", "OPTIMAL", "FAILOVER"),
        help="The one; all; the one with the least load; one after the other until one succeeds.",
    ),
    click.option("--policy", type=Capitals("ALL", "ANY", "QUORUM"), help="How many must succeed.  [default: ALL]"),
    click.option("--quorum", type=click.IntRange(min=1), metavar="N", help="So many must succeed."),
    click.option("--barrier", is_flag=True, help="All start together once all are online, or none."),
    click.option("--depends-on", multiple=True, metavar="ID", help="Only once this is COMPLETED; more than once."),
    click.option("--conflict-key", metavar="TEXT", help="What commands of the same key contend for."),
    click.option("--conflict-policy", type=Capitals("QUEUE", "REJECT", "SUPERSEDE"), help="What becomes of them."),
    click.option(
        "--answer-within", "timeout_s", type=seconds, metavar="DURATION", help="How long a component may take."
    ),
)
_WAIT: Final = click.option("--wait", is_flag=True, help="Wait for its end; exit 1 unless it is COMPLETED.")
_SELECTING: Final = ("kind", "parent", "bus", "capability")


def _with(*options: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[..., Any]:
    """Give a command several options, in the order in which `--help` tells them."""

    def give(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return give


@click.command()
@click.argument("initiator")
@click.argument("target")
@click.option("--type", "request_type", type=Capitals("STANDARD", "PROXY", "EMERGENCY"))
@click.option("--emergency", is_flag=True, help="The same as --type EMERGENCY; needs the role operator.")
@click.option("--proxy", "proxy_component", metavar="COMPONENT", help="Who acts for the target; implies --type PROXY.")
@_with(*_COMMON, _WAIT)
@asking
async def pair(
    desk: "Desk", request_type: str | None, *, emergency: bool, initiator: str, target: str, wait: bool, **said: Any
) -> None:
    """Queue a pairing of TARGET with INITIATOR.

    It is carried out now, or when TARGET is back.
    """
    if emergency and said["proxy_component"]:
        raise click.UsageError("--proxy contradicts --emergency.")
    implied = "EMERGENCY" if emergency else "PROXY" if said["proxy_component"] else None
    if request_type and implied and request_type != implied:
        raise click.UsageError(f"--type {request_type} contradicts {implied}.")
    fields = {"initiator_component": initiator, "target_component": target, "request_type": request_type or implied}
    await _queue(desk, "queue_pairing_request", {**fields, **_common(said)}, wait=wait)


@click.command()
@click.argument("command_type", metavar="TYPE")
@click.argument("words", nargs=-1, metavar="[TARGET | KEY=VALUE]...")
@_with(*_ROUTING, *_COMMON, _WAIT)
@asking
async def command(desk: "Desk", command_type: str, words: Sequence[str], *, wait: bool, **said: Any) -> None:
    """Queue a command of TYPE, for one TARGET or many.

    It is carried out now, or when they are back. Words with = are its arguments. In place of targets, options say
    which components match.
    """
    await _queue(desk, "queue_command", _command(command_type, words, said), wait=wait)


@click.command()
@click.argument("command_type", metavar="TYPE")
@click.argument("words", nargs=-1, metavar="[TARGET | KEY=VALUE]...")
@_with(*_ROUTING, *_COMMON)
@asking
async def route(desk: "Desk", command_type: str, words: Sequence[str], **said: Any) -> None:
    """Plan a command without queuing it.

    Shows who would be asked, in which order, and why.
    """
    desk.print(await desk.ask("route_command", **_command(command_type, words, said)), render.plan)


def _command(command_type: str, words: Sequence[str], said: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a command: words with = are its arguments, those without its targets."""
    targets = [word for word in words if "=" not in word]
    arguments = pairs(click.get_current_context(), None, [word for word in words if "=" in word])
    fields = {"command_type": command_type, "arguments": arguments, **_whom(targets, said)}
    fields["aggregation"] = _aggregation(said.pop("policy"), said.pop("quorum"))
    fields["barrier"] = said.pop("barrier") or None
    fields["depends_on"] = list(said.pop("depends_on")) or None
    return {**fields, **_common(said)}


def _whom(targets: list[str], said: dict[str, Any]) -> dict[str, Any]:
    single = {name: said.pop(name) for name in _SELECTING}
    selector = {**said.pop("selector"), **{name: text for name, text in single.items() if text is not None}}
    if "kind" in selector:
        selector["kind"] = selector["kind"].upper()
    if bool(targets) == bool(selector):
        both = " Not both." if targets else ""
        raise click.UsageError(
            f"Name the targets, or say which match: --kind, --parent, --bus, --capability, --selector.{both}"
        )
    if selector:
        return {"selector": selector}
    return {"target_component": targets[0]} if len(targets) == 1 else {"targets": targets}


def _aggregation(policy: str | None, quorum: int | None) -> dict[str, Any] | None:
    if quorum is not None and policy not in {None, "QUORUM"}:
        raise click.UsageError(f"--quorum contradicts --policy {policy}.")
    if quorum is not None:
        return {"policy": "QUORUM", "n": quorum}
    if policy == "QUORUM":
        raise click.UsageError("--policy QUORUM needs --quorum N.")
    return {"policy": policy} if policy else None


def _common(said: Mapping[str, Any]) -> dict[str, Any]:
    fields = {**said, "metadata": said["metadata"] or None}
    expiry_s = fields.pop("expiry")
    if expiry_s is not None and fields["ttl_s"] is not None:
        raise click.UsageError("--ttl and --expiry say the same; take one.")
    return fields if expiry_s is None else {**fields, "ttl_s": expiry_s}


async def _queue(desk: "Desk", request: str, fields: dict[str, Any], *, wait: bool) -> None:
    """Queue, and wait for the end where that was asked for."""
    result = await desk.ask(request, **fields)
    if not wait:
        desk.print(result, render.queued)
        return
    request_id = result["request"]["request_id"]
    desk.note(render.queued(result, desk.now_ms))
    async with desk.progress(f"waiting for {request_id}"):
        result = await desk.ended(request_id, _Progress(desk).seen)
    desk.print(result, render.request_status)
    ended = result["request"]
    if ended["status"] != "COMPLETED":
        why = render.reason(ended)
        raise Failure(f"{request_id} is {ended['status']}." + (f" {why}" if why != render.NOTHING else ""), REFUSED)


class _Progress:
    """Tells of each attempt that was not the last, and of each child that has ended, once."""

    def __init__(self, desk: "Desk") -> None:
        self._desk = desk
        self._told: set[str] = set()
        self._retries = 0

    def seen(self, result: "Result") -> None:
        """Tell what has happened since the last look."""
        request = result["request"]
        if request["status"] not in ENDED and request["retry_count"] > self._retries and request.get("last_error"):
            self._retries = request["retry_count"]
            self._desk.note(render.tried(request, self._desk.now_ms))
        children = result.get("children") or []
        for child in children:
            if child["status"] in ENDED and child["request_id"] not in self._told:
                self._told.add(child["request_id"])
                self._desk.note(render.child_ended(child, len(self._told), len(children)))


VERBS: Final = (pair, command, route)
