"""The topics of one gateway: how they are spelled, and how a request's topic is read.

Fixed depth, identity before channel: what a broker may allow an actor is a prefix.
"""

from dataclasses import dataclass
from typing import Final

from gateway.errors import MisuseError
from gateway.ids import is_name

VERSION: Final = "bms/v1"
_REQUEST_LEVELS: Final = 2  # below .../requests/: actor, request


@dataclass(frozen=True, slots=True)
class Channel:
    """One kind of topic below the root. `direction`: "out" (the gateway publishes) or "in"."""

    pattern: str
    direction: str
    qos: int
    retained: bool


CHANNELS: Final = (  # docs/mqtt-protocol.md shows this table; a test compares the two
    Channel("state", "out", 1, retained=True),
    Channel("components/{component_id}/presence", "out", 1, retained=True),
    Channel("components/{component_id}/queue", "out", 1, retained=True),
    Channel("components/{component_id}/telemetry", "out", 0, retained=False),
    Channel("events/{subject}/{type}", "out", 1, retained=False),
    Channel("requests/{actor}/{request}", "in", 1, retained=False),
    Channel("replies/{actor}/{id}", "out", 1, retained=False),
)


class Topics:
    """Builds and reads the topics of the gateway `gateway_id`."""

    def __init__(self, gateway_id: str) -> None:
        self.root = f"{VERSION}/{_level(gateway_id)}"
        self.state = f"{self.root}/state"
        self.requests = f"{self.root}/requests/+/+"  # the filter that is subscribed to
        self._requests_prefix = f"{self.root}/requests/"

    def presence(self, component_id: str) -> str:
        """Return the topic of a component's presence."""
        return f"{self.root}/components/{_level(component_id)}/presence"

    def queue(self, component_id: str) -> str:
        """Return the topic of a component's queue."""
        return f"{self.root}/components/{_level(component_id)}/queue"

    def telemetry(self, component_id: str) -> str:
        """Return the topic of a component's telemetry."""
        return f"{self.root}/components/{_level(component_id)}/telemetry"

    def event(self, subject: str, event_type: str) -> str:
        """Return the topic of an event. `subject`: a component_id or "gateway"."""
        return f"{self.root}/events/{_level(subject)}/{_level(event_type)}"

    def request(self, actor: str, request: str) -> str:
        """Return the topic on which `actor` asks for `request`."""
        return f"{self._requests_prefix}{_level(actor)}/{_level(request)}"

    def reply(self, actor: str, call_id: str, response_topic: str | None = None) -> str:
        """Return where the answer goes: `response_topic` if it lies inside the actor's own replies, else our own."""
        prefix = f"{self.root}/replies/{_level(actor)}/"
        if response_topic is not None and response_topic.startswith(prefix):
            level = response_topic.removeprefix(prefix)
            if _is_publishable(level):
                return response_topic
        return prefix + call_id

    def parse_request(self, topic: str) -> tuple[str, str] | None:
        """Return (actor, request) of a request's topic; None for any other topic."""
        if not topic.startswith(self._requests_prefix):
            return None
        levels = topic.removeprefix(self._requests_prefix).split("/")
        if len(levels) != _REQUEST_LEVELS or not all(map(is_name, levels)):
            return None
        return levels[0], levels[1]


def _level(name: str) -> str:
    """Return `name` as one topic level. A name that is none would reach into others' topics: a bug of ours."""
    if not is_name(name):
        raise MisuseError(f"{name!r} is no topic level")
    return name


def _is_publishable(level: str) -> bool:
    """Whether a broker would take `level`, its rules too: mosquitto hangs up on a gateway that publishes elsewhere."""
    fits = 0 < len(level) <= 128  # noqa: PLR2004 - twice as long as an id of a request
    return fits and level.isprintable() and not any(character in level for character in "/+#")
