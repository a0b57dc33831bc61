"""How the gateway is, and what it is set to."""

from typing import Any, Final

import click

from gateway.cli.render.ages import exact
from gateway.cli.render.buses import condition
from gateway.cli.render.cells import NOTHING, Record, sheet, table, text
from gateway.cli.render.upstream import remarkable, upstream

_SHOWN: Final = frozenset(
    "healthy queue_depth active_operations attempts average_wait_ms average_processing_ms failure_rate buses upstream "
    "timestamp time_trusted components".split()
)


def health(result: Record, _: int) -> str:
    """Show get_health: figures, then one line a bus, then upstream."""
    verdict = click.style("healthy", fg="green") if result["healthy"] else click.style("not healthy", fg="red")
    figures = [
        ("gateway", verdict),
        ("queue_depth", text(result["queue_depth"])),
        ("active_operations", text(result["active_operations"])),
        ("average_wait", _of_the_last_hour(result["average_wait_ms"])),
        ("average_processing", _of_the_last_hour(result["average_processing_ms"])),
        ("failure_rate", f"{result['failure_rate']:.1%} in the last hour"),
    ]
    if not result.get("time_trusted", True):
        figures.append(("clock", click.style("not trusted", fg="yellow") + ": nothing expires; see confirm-clock"))
    buses = [(f"bus {text(bus.get('name'))}", condition(bus)) for bus in result["buses"]]
    others = [(text(name), text(remarkable(value))) for name, value in result.items() if name not in _SHOWN]
    return sheet([*figures, *buses, ("upstream", upstream(result["upstream"])), *others])


def _of_the_last_hour(mean_ms: float | None) -> str:
    return f"{exact(mean_ms)} in the last hour" if mean_ms else NOTHING


def parameters(result: Record, _: int) -> str:
    """Show get_params: a name and its value a line, spelled as `params set` takes it."""
    return table(("parameter", "value"), [[text(name), _as_set(value)] for name, value in result["params"].items()])


def _as_set(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else text(value)
