"""Telemetry on its way: the newest value of each signal, and never in anybody's way.

It travels with QoS 0 and is kept nowhere: what the broker is away or too slow for is told once it is there, as it is
then. So it takes no place among the publishes under way, and no more memory than one value a signal.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.clock import Clock, rfc3339
from gateway.sync.link import Link
from gateway.sync.message import Outgoing, Unpublishable
from gateway.sync.payload import CONTENT_TYPE, Encoding, encode
from gateway.sync.tally import Tally
from gateway.sync.topics import Topics
from gateway.telemetry import Reading, Value

log = logging.getLogger(__name__)

PACE_S: Final = 0.02  # between two looks whether the way is free
TOO_LARGE: Final = "telemetry the broker can never take"


@dataclass(slots=True)
class _Newest:
    """What a component told last. `due`: the names of those values that are not sent yet."""

    at_ms: int = 0
    values: dict[str, Value] = field(default_factory=dict)
    due: set[str] = field(default_factory=set)


class Telemetry:
    """Takes readings and sends them where there is a connection. `epoch`: of this run of the gateway."""

    def __init__(self, topics: Topics, epoch: int, encoding: Encoding, clock: Clock) -> None:
        self._topics = topics
        self._epoch = epoch
        self._encoding = encoding
        self._tally = Tally(log, clock)
        self._newest: dict[str, _Newest] = {}  # components and signals are those of the configuration, so it is bounded
        self._waiting: dict[str, None] = {}  # components of which something is due, in order
        self._news = asyncio.Event()

    def take(self, reading: Reading) -> None:
        """Take values that are to be told."""
        newest = self._newest.setdefault(reading.component_id, _Newest())
        newest.at_ms = max(newest.at_ms, reading.at_ms)
        newest.values |= reading.values
        newest.due |= reading.values.keys()
        self._waiting[reading.component_id] = None
        self._news.set()

    async def keep(self, link: Link) -> None:
        """Tell over one connection: first all there is, then what comes. Runs until it is cancelled."""
        for component_id, newest in self._newest.items():
            newest.due.update(newest.values)
            self._waiting[component_id] = None
        while True:
            while self._waiting:
                self._send_some(link)
                await asyncio.sleep(PACE_S)
            self._news.clear()
            await self._news.wait()

    def _send_some(self, link: Link) -> None:
        room = link.spare_bytes()
        while self._waiting and room > 0:
            component_id = next(iter(self._waiting))
            del self._waiting[component_id]
            message = self._message(component_id, self._newest[component_id])
            room -= len(message.topic) + len(message.payload)
            try:
                link.send_unacknowledged(message)
            except Unpublishable as why:
                self._tally.count(TOO_LARGE, str(why))

    def _message(self, component_id: str, newest: _Newest) -> Outgoing:
        """Return what is due of a component; then nothing is."""
        payload: dict[str, Any] = {
            "component_id": component_id,
            "epoch": self._epoch,
            "at": rfc3339(newest.at_ms),
            "values": {name: value for name, value in newest.values.items() if name in newest.due},
        }
        newest.due.clear()
        topic, content_type = self._topics.telemetry(component_id), CONTENT_TYPE[self._encoding]
        return Outgoing(topic, encode(payload, self._encoding), qos=0, content_type=content_type)
