"""`watch`: decoded traffic, live, of a gateway at the broker or of a CAN bus."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.asking import CONFIG, Failure, Where, reach_options, told
from gateway.ids import is_name

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.cli.watching.screen import Screen
    from gateway.clock import Clock

_HOW = (
    "watch needs to know what: --broker URL --gateway ID --actor NAME for what a gateway tells and is asked, "
    "or --config FILE --bus NAME for the frames on a CAN bus. The control socket tells no traffic."
)


@click.command()
@click.option("--component", metavar="NAME", help="Only of this component.")
@click.option("--events", is_flag=True, help="With --broker: only events.")
@click.option("--states", is_flag=True, help="With --broker: only states: of gateway, presence and queues.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Where the bus stands.")
@click.option("--bus", metavar="NAME", help="With --config: watch the frames on this bus.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after so many.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), metavar="N", help="End after so long.")
@reach_options
@click.pass_context
def watch(ctx: click.Context, /, count: int | None, seconds: float | None, **values: Any) -> None:
    """Print decoded traffic, live, until Ctrl-C.

    What a gateway tells and is asked through a broker, or the frames on a CAN bus.
    """
    where = told(ctx, values)
    _check(where, **values)
    import asyncio  # noqa: PLC0415 - `--help` need not wait for it

    from gateway.cli.watching.screen import Screen  # noqa: PLC0415 - as above
    from gateway.clock import SystemClock  # noqa: PLC0415

    clock = SystemClock()

    async def work() -> None:
        screen = Screen(clock, as_json=where.as_json, count=count)
        await screen.watch(_traffic(where, screen, clock, **values), seconds)

    with suppress(KeyboardInterrupt):  # Ctrl-C is how one stops watching
        asyncio.run(work())


def _check(
    where: Where, *, component: str | None, events: bool, states: bool, config: Path | None, bus: str | None
) -> None:
    """Raise UsageError unless one thing is named that can be watched."""
    if (config is None) != (bus is None):
        raise click.UsageError("--config and --bus go together.")
    if where.broker and config:
        raise click.UsageError("--broker and --bus are two things to watch; take one.")
    if (events or states) and config:
        raise click.UsageError("--events and --states go with --broker.")
    if not (where.broker or config):
        raise click.UsageError(_HOW)
    if component is not None and not is_name(component):
        raise click.UsageError(f"--component: {component!r} is no name of a component.")
    where.checked()


def _traffic(
    where: Where,
    screen: "Screen",
    clock: "Clock",
    *,
    component: str | None,
    events: bool,
    states: bool,
    config: Path | None,
    bus: str | None,
) -> "Coroutine[Any, Any, None]":
    """Return the work that shows what is to be watched. Raises UsageError, Failure."""
    if config is not None and bus is not None:
        return _frames(config, bus, screen, clock, component)
    from gateway.cli.reaching import broker_of  # noqa: PLC0415 - as above
    from gateway.cli.watching.mqtt import filters, follow  # noqa: PLC0415
    from gateway.sync.topics import Topics  # noqa: PLC0415

    topics = Topics(where.gateway or "")
    return follow(broker_of(where), topics, filters(topics, component, events=events, states=states), screen)


async def _frames(config: Path, bus: str, screen: "Screen", clock: "Clock", component: str | None) -> None:
    from gateway.cli.watching.bus import spectate  # noqa: PLC0415 - as above
    from gateway.errors import ConfigError  # noqa: PLC0415
    from gateway.settings import load  # noqa: PLC0415

    try:
        await spectate(load(config), bus, screen, clock, component)
    except ConfigError as why:
        raise Failure("\n".join(why.problems), CONFIG) from why
