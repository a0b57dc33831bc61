"""Which broker the options of the command line mean."""

import click

from gateway.cli.asking import Where
from gateway.errors import ConfigError
from gateway.sync.broker import EXPOSED, Broker, parse_url


def broker_of(where: Where) -> Broker:
    """Return the broker that `where` names; its client id is to be made up. Raises UsageError.

    Warns on stderr where others could listen.
    """
    assert where.broker is not None
    try:
        host, port, tls = parse_url(where.broker)
    except ConfigError as why:
        raise click.UsageError(f"--{why}") from why
    broker = Broker(
        host=host,
        port=port,
        tls=tls,
        client_id="",
        protocol=where.protocol or "5",
        username=where.actor,
        password_file=where.password_file,
        ca_file=where.ca_file,
        cert_file=where.cert_file,
        key_file=where.cert_key_file,
    )
    if broker.exposed:
        click.echo(f"warning: {broker.name}: {EXPOSED}", err=True)
    return broker
