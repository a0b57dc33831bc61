"""The command line: `bms-gateway`, also `python -m gateway`. Thin: each command hands over at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Final

import click

from gateway import __version__
from gateway.cli import verbs
from gateway.cli.access import access
from gateway.cli.asking import CONFIG, REFUSED, Failure, reach_options, remember
from gateway.cli.learn import learn
from gateway.cli.schema import schema

_FILE = click.Path(path_type=Path, dir_okay=False)
# The heavy libraries are imported by the command that needs them: `--help` answers at once, on slow boards too.


class Sections(click.Group):
    """A group whose `--help` tells the commands by what they are for, in their order."""

    def list_commands(self, _: click.Context) -> list[str]:
        """Return the commands in the order in which they were added."""
        return list(self.commands)

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Tell the commands section by section."""
        width = max(map(len, self.commands))
        for title, commands in {"Run": RUNNING, **verbs.VERBS}.items():
            with formatter.section(title):
                room = formatter.width - width - 6  # as click keeps beside its own lists
                rows = [(str(each.name).ljust(width), each.get_short_help_str(room)) for each in commands]
                formatter.write_dl(rows)


@click.group(cls=Sections, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
@reach_options
@click.pass_context
def cli(ctx: click.Context, /, **where: Any) -> None:
    """Watch battery packs and modules on CAN, and work off what waits for them.

    Exit codes: 0 done, 1 refused, 2 usage, 69 nobody answers, 78 configuration.
    """
    remember(ctx, where)


@click.command()
@click.option("--config", type=_FILE, required=True, metavar="FILE")
@click.option("--simulate", "scenario", type=_FILE, metavar="SCENARIO", help="Put simulated nodes on a virtual bus.")
def run(config: Path, scenario: Path | None) -> None:
    """Run the daemon in the foreground; the log goes to stderr."""
    import asyncio  # noqa: PLC0415 - see above

    from gateway import daemon  # noqa: PLC0415 - see above
    from gateway.cli import logs  # noqa: PLC0415
    from gateway.settings import load  # noqa: PLC0415

    with _configuration():
        settings = load(config)
        logs.configure(settings.log)
        asyncio.run(daemon.run(settings, scenario=scenario))


@click.command()
@click.option("--config", type=_FILE, required=True, metavar="FILE")
def check(config: Path) -> None:
    """List every problem of a configuration.

    Each with its place. Reads everything the daemon would, and changes nothing. Warnings are no problems.
    """
    from gateway.cli.caution import warnings_of  # noqa: PLC0415 - see above
    from gateway.cli.check import problems_of  # noqa: PLC0415

    problems = problems_of(config)
    for warning in warnings_of(config):
        click.echo(f"warning: {warning}", err=True)
    if problems:
        raise Failure("\n".join(problems), CONFIG)
    click.echo(f"{config}: no problems")


@click.command()
@click.option("--scenario", type=_FILE, required=True, metavar="FILE")
@click.option("--config", type=_FILE, required=True, metavar="FILE", help="Where the buses and components stand.")
@click.option("--bus", metavar="NAME", help="Only on this bus.  [default: all that the scenario has nodes on]")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), metavar="N", help="End after so long.")
@click.option("--journal", type=_FILE, metavar="FILE", help="Append what was carried out, one JSON line each.")
def simulate(scenario: Path, config: Path, bus: str | None, seconds: float | None, journal: Path | None) -> None:
    """Be the packs and modules of a scenario, on any shared bus."""
    import asyncio  # noqa: PLC0415 - see above

    from gateway.cli import logs, simulation  # noqa: PLC0415
    from gateway.settings import load  # noqa: PLC0415

    with _configuration():
        settings = load(config)
        logs.configure(settings.log)
        deeds = asyncio.run(simulation.simulate(settings, scenario, bus=bus, seconds=seconds, journal=journal))
    click.echo(f"{deeds} requests carried out")


@contextmanager
def _configuration() -> Iterator[None]:
    """Turn a configuration that cannot be used into its exit code, with every problem named."""
    from gateway.errors import ConfigError, StoreUnavailable  # noqa: PLC0415 - see above

    try:
        yield
    except ConfigError as why:
        raise Failure("\n".join(why.problems), CONFIG) from why
    except StoreUnavailable as why:  # no fault of the configuration: the next start may go better
        raise Failure(str(why), REFUSED) from why
    except BaseExceptionGroup as group:  # a task of the daemon found it out
        found, others = group.split(ConfigError)
        if found is None or others is not None:
            raise
        raise Failure("\n".join(map(str, _leaves(found))), CONFIG) from group


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each


@click.command()
@click.option("--seconds", type=click.IntRange(15, 3600), default=60, show_default=True, help="How long it takes.")
@click.option("--plain", is_flag=True, help="A plain log instead of a screen.")
def demo(seconds: int, *, plain: bool) -> None:
    """Tell the main job as a story.

    With a simulated bus, an embedded broker and the real daemon.
    """
    from gateway.cli.demo import main as tell  # noqa: PLC0415 - see above

    raise SystemExit(tell(seconds, plain=plain))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete our commands.

    For bash: source <(bms-gateway completion bash)
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - see above

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(cli, {}, "bms-gateway", "_BMS_GATEWAY_COMPLETE").source())


RUNNING: Final = (run, check, learn, access, simulate, demo, schema, completion)
for command in (*RUNNING, *chain.from_iterable(verbs.VERBS.values())):
    cli.add_command(command)


def main() -> None:
    """Run the command line of this process."""
    cli(prog_name="bms-gateway")
