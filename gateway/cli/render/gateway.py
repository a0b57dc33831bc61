"""How the gateway is, and what it is set to."""

from typing import Any, Final

import click

from gateway.cli.render.ages import exact
from gateway.cli.render.cells import NOTHING, Record, sheet, state, table, text
from gateway.cli.render.upstream import remarkable, upstream

_SHOWN: Final = frozenset(
    "healthy queue_depth active_operations attempts average_wait_ms average_processing_ms failure_rate buses upstream "
    "timestamp time_trusted components".split()
)
_BUS_SHOWN: Final = frozenset(
    {"name", "state", "heard", "frames_judged"}
)  # judged: all that were heard, but for a moment


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


def condition(bus: Record) -> str:
    """Say how a bus is, by what is heard on it: a link may say UP while nobody is heard."""
    link, heard = bus.get("state"), bus.get("heard")
    rest = {name: value for name, value in bus.items() if name not in _BUS_SHOWN}
    if heard is None or heard == link:
        return _remarks(state(link), rest)
    return _remarks(state(heard), {"link": link, **rest})


def _remarks(verdict: str, figures: Record) -> str:
    """Put what is remarkable behind a verdict."""
    shown = remarkable(figures)
    return f"{verdict}; {text(shown)}" if shown else verdict


def parameters(result: Record, _: int) -> str:
    """Show get_params: a name and its value a line, spelled as `params set` takes it."""
    return table(("parameter", "value"), [[text(name), _as_set(value)] for name, value in result["params"].items()])


def _as_set(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else text(value)
