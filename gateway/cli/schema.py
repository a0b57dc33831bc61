"""`schema`: what the gateway says and is told, for programs: JSON Schemas, and the AsyncAPI document."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.asking import json_text

ASYNCAPI: Final = "asyncapi"


@click.command()
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--list", "listed", is_flag=True, help="List the names there are.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER", help="Write files there.")
def schema(name: str | None, out: Path | None, *, listed: bool) -> None:
    """Print the JSON Schema of one payload, or of all.

    NAME is a payload (see --list), or asyncapi for the AsyncAPI document of the whole protocol. --out writes both:
    bms-gateway.schema.json and asyncapi.json.
    """
    if (name is not None) + listed + (out is not None) > 1:
        raise click.UsageError("Take one of NAME, --list and --out.")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for file, text in files().items():
            (out / file).write_text(text, encoding="utf-8")
            click.echo(out / file)
    elif listed:
        from gateway.payloads.schema import names  # noqa: PLC0415 - the models take their time

        click.echo("\n".join([ASYNCAPI, *names()]))
    else:
        click.echo(json_text(_named(name)))


def files() -> Mapping[str, str]:
    """Return what belongs in docs/schema: the text of each file by its name."""
    from gateway.cli.asyncapi import document  # noqa: PLC0415 - as above
    from gateway.payloads.schema import bundle  # noqa: PLC0415

    return {
        "bms-gateway.schema.json": json_text(bundle()) + "\n",
        "asyncapi.json": json_text(document()) + "\n",
    }


def _named(name: str | None) -> Mapping[str, Any]:
    from gateway.cli.asyncapi import document  # noqa: PLC0415 - as above
    from gateway.payloads.schema import alone, bundle  # noqa: PLC0415

    if name is None:
        return bundle()
    if name == ASYNCAPI:
        return document()
    try:
        return alone(name)
    except KeyError:
        raise click.UsageError(f"There is no payload {name}. See: schema --list") from None
