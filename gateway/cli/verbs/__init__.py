"""The commands that ask a gateway: each takes its words, asks one thing or two, and shows the result."""

from collections.abc import Mapping, Sequence
from typing import Final

import click

from gateway.cli.verbs import administering, looking, operating, queuing
from gateway.cli.watch import watch

VERBS: Final[Mapping[str, Sequence[click.Command]]] = {  # in the sections and the order in which `--help` tells them
    "Look": (*looking.VERBS, watch),
    "Queue work": queuing.VERBS,
    "Tend the queues": operating.VERBS,
    "Tend the gateway": administering.VERBS,
}
