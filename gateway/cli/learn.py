"""`learn`: listen to a bus or read a log, and propose a configuration for what is on it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli.asking import CONFIG, NOBODY, REFUSED, Failure, json_text

if TYPE_CHECKING:
    from gateway.cli.learning.hearing import Heard

_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_HOW: Final = "learn needs to know from what: --log FILE, or --config FILE --bus NAME --seconds N for a live bus."


@click.command()
@click.option("--log", type=_FILE, metavar="FILE", help="Read this recording: candump, ASC, BLF, TRC or GVRET CSV.")
@click.option("--source", metavar="NAME", help="With --log: which of its buses.  [default: where a battery is surest]")
@click.option("--config", type=_FILE, metavar="FILE", help="Where the bus stands.")
@click.option("--bus", metavar="NAME", help="With --config: listen to this bus.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), metavar="N", help="With --bus: for so long.")
@click.option("--dbc", "dbcs", type=_FILE, multiple=True, metavar="FILE", help="What the frames mean; more than once.")
@click.option("--out", type=_FILE, metavar="FILE", help="Write the configuration there.  [default: standard output]")
@click.option("--plot", type=_FILE, metavar="FILE", help="Draw who spoke when into this SVG file.")
@click.option("--json", "as_json", is_flag=True, help="Print what was learned as JSON instead.")
def learn(dbcs: tuple[Path, ...], out: Path | None, plot: Path | None, *, as_json: bool, **what: Any) -> None:
    """Propose components from a log or a live bus.

    With periods, groups and confidence, as a configuration that is ready to run. The table and the picture go to
    stderr where the configuration goes to stdout. Ctrl-C ends the listening early, with what there is.
    """
    _check(**what)
    for file in (out, plot):
        if file is not None and file.exists():
            raise Failure(f"{file} is there already: nothing is overwritten.", REFUSED)
    heard = _heard(dbcs, None if out is None else out.parent, **what)
    if not heard.findings.survey.traces:
        raise Failure("Nothing was heard.", NOBODY)
    _show(heard, out, as_json=as_json)
    if plot is not None:
        from gateway.cli.learning.svg import drawing  # noqa: PLC0415 - `--help` need not wait for it

        _write(plot, drawing(heard.findings, heard.notes[0]))


def _check(
    *, log: Path | None, source: str | None, config: Path | None, bus: str | None, seconds: float | None
) -> None:
    """Raise UsageError unless one thing is named to learn from."""
    if log is not None and (config or bus or seconds):
        raise click.UsageError("--log and --config are two things to learn from; take one.")
    if log is None and not (config and bus and seconds):
        raise click.UsageError(_HOW)
    if source is not None and log is None:
        raise click.UsageError("--source goes with --log.")


def _heard(
    dbcs: tuple[Path, ...],
    folder: Path | None,
    *,
    log: Path | None,
    source: str | None,
    config: Path | None,
    bus: str | None,
    seconds: float | None,
) -> "Heard":
    import asyncio  # noqa: PLC0415 - as above

    from gateway.cli.learning.hearing import from_bus, from_log  # noqa: PLC0415
    from gateway.cli.learning.progress import Progress  # noqa: PLC0415
    from gateway.clock import SystemClock  # noqa: PLC0415
    from gateway.errors import ConfigError, LinkDown  # noqa: PLC0415

    clock = SystemClock()
    try:
        with Progress(clock) as tell:
            if log is not None:
                return from_log(log, source, dbcs, folder, tell)
            assert config is not None
            assert bus is not None
            assert seconds is not None
            return asyncio.run(from_bus(config, bus, seconds, dbcs, folder=folder, clock=clock, tell=tell))
    except ConfigError as why:
        raise Failure("\n".join(why.problems), CONFIG) from why
    except LinkDown as why:
        raise Failure(str(why), NOBODY) from why


def _show(heard: "Heard", out: Path | None, *, as_json: bool) -> None:
    """Print what was learned, and write the configuration where it is wanted."""
    from gateway.bus.learn.configuration import configuration  # noqa: PLC0415 - as above
    from gateway.cli.learning.table import record  # noqa: PLC0415

    written = configuration(heard.findings, gateway=heard.gateway, bus=heard.bus, notes=heard.notes)
    if out is not None:
        _write(out, written)
    if as_json:
        click.echo(json_text(record(heard.findings, heard.bus["name"], heard.notes)))
        return
    to_stderr = out is None  # the configuration alone goes to stdout, where it can be caught
    click.echo(_told(heard, to_stderr=to_stderr), err=to_stderr)
    if out is None:
        click.echo(written, nl=False)
    else:
        click.echo(f"The configuration is in {out}: bms-gateway check --config {out}")


def _told(heard: "Heard", *, to_stderr: bool) -> str:
    import shutil  # noqa: PLC0415 - as above

    from gateway.cli.learning.picture import picture  # noqa: PLC0415
    from gateway.cli.learning.table import components  # noqa: PLC0415
    from gateway.cli.render import ROOM  # noqa: PLC0415

    width = shutil.get_terminal_size().columns
    ROOM.set(width if (sys.stderr if to_stderr else sys.stdout).isatty() else None)
    parts = " ".join(heard.notes), picture(heard.findings, width), components(heard.findings)
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _write(file: Path, text: str) -> None:
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as why:
        raise Failure(f"{file}: {why.strerror}", REFUSED) from why
