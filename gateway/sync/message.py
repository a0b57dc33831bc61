"""Messages as the rest of the house knows them, whatever carries them."""

from dataclasses import dataclass
from typing import Protocol

from gateway.errors import PeerError


class PublishRefused(PeerError):  # noqa: N818 - an answer of the broker, named as one
    """The broker took a message and threw it away: its access rules forbid it, or it has no room."""


class Unpublishable(PublishRefused):
    """This one message will never go to this broker: it is too large, or not what the broker takes for a message."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish. `content_type`, `correlation` travel only under MQTT 5."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    content_type: str | None = None
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message that came in. `expiry_s`: what is left of its life; it and the last three come only with MQTT 5."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    mid: int = 0
    content_type: str | None = None
    correlation: bytes | None = None
    response_topic: str | None = None
    expiry_s: int | None = None


class Channel(Protocol):
    """A connection as requests and replies need it."""

    async def receive(self) -> Incoming:
        """Return the next message."""
        ...

    async def publish(self, message: Outgoing) -> None:
        """Publish and wait for the acknowledgement. Raises PublishRefused, LinkDown."""
        ...

    def acknowledge(self, message: Incoming) -> None:
        """Tell the broker that a message has been dealt with; it never comes again."""
        ...
