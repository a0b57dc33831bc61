"""Commands that look: at components and queues as they are, and at what has been."""

from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli import render
from gateway.cli.asking import asking
from gateway.cli.words import STATUSES, Capitals, Moment, moment

if TYPE_CHECKING:  # it imports the libraries, for which `--help` need not wait
    from gateway.cli.desk import Desk

limit_option: Final = click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many."
)
FROM: Final = click.option("--from", "from_", type=moment, metavar="TIME", help="Not before; 2h: two hours ago.")
TO: Final = click.option("--to", type=moment, metavar="TIME", help="Before.")


@click.command()
@asking
async def status(desk: "Desk") -> None:
    """Show who is there, how much waits, the buses and upstream."""
    health = await desk.ask("get_health")
    presence = await desk.ask("get_presence")
    desk.print(
        {**health, **presence},
        lambda told, now_ms: f"{render.health(told, now_ms)}\n\n{render.components(told, now_ms)}",
    )


@click.command()
@asking
async def components(desk: "Desk") -> None:
    """List the components and their presence."""
    desk.print(await desk.ask("get_presence"), render.components)


@click.command()
@click.argument("component")
@asking
async def show(desk: "Desk", component: str) -> None:
    """Show one COMPONENT with its evidence and its queue."""
    found = (await desk.ask("get_presence", component_id=component))["components"][0]
    queue = await desk.ask("get_queued_requests", component_id=component)
    desk.print(
        {"component": found, **queue},
        lambda told, now_ms: f"{render.changed(told, now_ms)}\n\n{render.requests(told, now_ms)}",
    )


@click.command()
@asking
async def health(desk: "Desk") -> None:
    """Show how the gateway is."""
    desk.print(await desk.ask("get_health"), render.health)


@click.command()
@click.argument("component", required=False)
@click.option("--type", "queue_type", type=Capitals("STANDARD", "PRIORITY", "PROXY", "ALL"), default="ALL")
@click.option(
    "--status", "status_filter", type=Capitals(*STATUSES), help="Only those.  [default: QUEUED and PROCESSING]"
)
@limit_option
@asking
async def queue(desk: "Desk", component: str | None, queue_type: str, status_filter: str | None, limit: int) -> None:
    """List what waits, in the order of processing.

    For COMPONENT, or for all.
    """
    result = await desk.pages(
        "get_queued_requests",
        "requests",
        limit,
        component_id=component,
        queue_type=queue_type,
        status_filter=status_filter,
    )
    desk.print(result, render.requests if status_filter is None and queue_type == "ALL" else render.picked)


@click.command("request-status")
@click.argument("request_id", metavar="ID")
@asking
async def request_status(desk: "Desk", request_id: str) -> None:
    """Show where the operation ID stands.

    With the time at which it may have its turn, its children, and all that is known of it.
    """
    desk.print(await desk.ask("get_request_status", request_id=request_id), render.request_status)


@click.command("proxy-queue")
@click.argument("proxy")
@limit_option
@asking
async def proxy_queue(desk: "Desk", proxy: str, limit: int) -> None:
    """List what PROXY is to do for others.

    And for whom it may act.
    """
    desk.print(await desk.pages("list_proxy_queue", "requests", limit, proxy_component=proxy), render.proxy_queue)


@click.command()
@click.option("--creator", metavar="ACTOR", help="Only what this actor asked for.")
@click.option("--component", "component_id", metavar="COMPONENT", help="Only what was for this component.")
@click.option("--type", "command_type", metavar="TYPE", help="Only commands of this type.")
@click.option("--status", type=Capitals(*STATUSES), help="Only those.")
@FROM
@TO
@limit_option
@asking
async def history(desk: "Desk", from_: Moment | None, to: Moment | None, limit: int, **wanted: Any) -> None:
    """List operations, live and archived, the newest first.

    --from and --to are about when they were queued.
    """
    wanted["from"] = from_ and from_.ago(desk.now_ms)
    wanted["to"] = to and to.ago(desk.now_ms)
    desk.print(await desk.pages("get_history", "requests", limit, **wanted), render.history)


@click.command()
@click.argument("window", type=Capitals("HOUR", "DAY"), required=False)
@FROM
@TO
@click.option("--by", type=click.Choice(["status", "type"], case_sensitive=False), help="Tell them apart, too.")
@asking
async def metrics(desk: "Desk", window: str | None, from_: Moment | None, to: Moment | None, by: str | None) -> None:
    """Show how much ended, how fast and how well.

    In the last HOUR (where nothing is said) or DAY, or from one time to another.
    """
    if window and (from_ or to):
        raise click.UsageError("HOUR and DAY end now; --from and --to say another span.")
    if to and not from_:
        raise click.UsageError("--to needs --from.")
    span: dict[str, Any] = {"window": window or "HOUR"}
    if from_:
        span = {"from": from_.ago(desk.now_ms), "to": (to or Moment(None)).ago(desk.now_ms)}
    desk.print(await desk.ask("get_metrics", by=by, **span), render.metrics)


VERBS: Final = (status, components, show, health, queue, request_status, proxy_queue, history, metrics)
