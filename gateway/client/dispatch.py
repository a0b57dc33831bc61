"""Sorts what comes in by its topic: to the maps, to the readers of events, to the call that waits for it."""

import logging
from typing import Any, Final

from pydantic import ValidationError

from gateway.client.bell import Bell
from gateway.client.calls import Calls
from gateway.client.mirror import Mirror
from gateway.client.recovery import Recovery
from gateway.clock import Clock
from gateway.errors import PeerError
from gateway.payloads import GATEWAY_STATE, PresenceState, QueueState, read_event
from gateway.sync.message import Incoming
from gateway.sync.payload import Encoding, decode_reply
from gateway.sync.tally import Tally

log = logging.getLogger(__name__)

STATES: Final = ("state", "components/+/presence", "components/+/queue")  # below the root; in this order, see `Mirror`
EVENTS: Final = "events/+/+"


class Dispatch:
    """Hears what the connection takes in. Nothing that comes in raises: what cannot be read is counted."""

    def __init__(
        self, *, root: str, mirror: Mirror, calls: Calls, recovery: Recovery, changed: Bell, clock: Clock
    ) -> None:
        self.tally = Tally(log, clock)
        self._root = root
        self._mirror = mirror
        self._calls = calls
        self._recovery = recovery
        self._changed = changed

    def connected(self, *, session_present: bool) -> None:
        """A connection stands: ask again what was not answered, and whether something has passed unheard."""
        self._calls.again()
        self._recovery.doubt(self._mirror.newest_seq, more_comes=session_present)

    def lost(self) -> None:
        """The connection is gone, and with it all certainty."""
        self._mirror.lost_touch()
        self._changed.ring()

    def took(self, message: Incoming) -> None:
        """Take in one message."""
        try:
            self._sort(message)
        except (PeerError, ValidationError) as why:
            self.tally.count("a message that cannot be read", f"{message.topic}: {why}")

    def _sort(self, message: Incoming) -> None:
        match message.topic.removeprefix(f"{self._root}/").split("/"):
            case ["replies", _, _]:
                self._calls.took(message)
            case ["events", _, _]:
                if not message.retain:  # an event is no state: whoever retains one is not the gateway
                    self._recovery.took(read_event(_decoded(message)))
            case ["state"]:
                self._take_state(message)
            case ["components", component_id, "presence"]:
                told = PresenceState.model_validate(_decoded(message)) if message.payload else None
                self._mirror.take_presence(component_id, told)
                self._changed.ring()
            case ["components", component_id, "queue"]:
                status = QueueState.model_validate(_decoded(message)) if message.payload else None
                self._mirror.take_queue(component_id, status)
                self._changed.ring()

    def _take_state(self, message: Incoming) -> None:
        if self._mirror.take_state(GATEWAY_STATE.validate_python(_decoded(message))):
            self._calls.again()
            self._recovery.doubt(0, more_comes=True)
        self._changed.ring()


def _decoded(message: Incoming) -> dict[str, Any]:
    """Read a payload of the gateway's: a JSON map begins with {, which no MessagePack map does."""
    encoding = Encoding.JSON if message.payload.startswith(b"{") else Encoding.MSGPACK
    return decode_reply(message.payload, encoding)
