"""Commands about what is queued already: cancel, drain, order, dead letters, settlement."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from gateway.cli import render
from gateway.cli.asking import WORK_S, asking
from gateway.cli.verbs.looking import limit_option
from gateway.cli.words import PRIORITIES, Capitals, seconds

if TYPE_CHECKING:  # it imports the libraries, for which `--help` need not wait
    from gateway.cli.desk import Desk

_ID: Final = click.argument("request_id", metavar="ID")


@click.command()
@_ID
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


@click.command("set-priority")
@_ID
@click.argument("priority", type=Capitals(*PRIORITIES))
@asking
async def set_priority(desk: "Desk", request_id: str, priority: str) -> None:
    """Change the priority of the operation ID that waits."""
    desk.print(await desk.ask("set_priority", request_id=request_id, priority=priority), render.request_status)


@click.command()
@click.argument("component")
@click.argument("request_ids", nargs=-1, required=True, metavar="ID...")
@asking
async def reorder(desk: "Desk", component: str, request_ids: Sequence[str]) -> None:
    """Put operations that wait for COMPONENT first.

    In this order, each within its priority.
    """
    result = await desk.ask("reorder_queue", component_id=component, request_ids=list(request_ids))
    desk.print(result, render.picked)


@click.command("dead-letters")
@click.argument("component", required=False)
@limit_option
@asking
async def dead_letters(desk: "Desk", component: str | None, limit: int) -> None:
    """List what has failed for good, the latest first.

    That is, what FAILED or was ABANDONED, for COMPONENT or for all, until somebody discards it.
    """
    desk.print(await desk.pages("list_dead_letters", "requests", limit, component_id=component), render.dead_letters)


@click.command()
@_ID
@click.option("--ttl", "ttl_s", type=seconds, metavar="DURATION", help="How long it may wait.  [default: as at first]")
@asking
async def requeue(desk: "Desk", request_id: str, ttl_s: float | None) -> None:
    """Try the dead letter ID again."""
    desk.print(await desk.ask("requeue", request_id=request_id, ttl_s=ttl_s), render.request_status)


@click.command()
@_ID
@click.option("--reason", required=True, metavar="TEXT")
@asking
async def discard(desk: "Desk", request_id: str, reason: str) -> None:
    """Take the operation ID off the list of dead letters."""
    desk.print(await desk.ask("discard", request_id=request_id, reason=reason), render.request_status)


@click.command()
@_ID
@click.argument("outcome", type=Capitals("CAPTURED", "RELEASED"))
@click.option("--settlement-ref", required=True, metavar="TEXT", help="Under what the ledger keeps it.")
@asking
async def settle(desk: "Desk", request_id: str, outcome: str, settlement_ref: str) -> None:
    """Confirm what became of the hold of the operation ID.

    It must have ended.
    """
    result = await desk.ask("settle", request_id=request_id, outcome=outcome, settlement_ref=settlement_ref)
    desk.print(result, render.request_status)


VERBS: Final = (cancel, drain, set_priority, reorder, dead_letters, requeue, discard, settle)
