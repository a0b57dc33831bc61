"""What a monitor keeps of one component: its track, and what the outside was told of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from gateway.component import Component
from gateway.presence import Policy, Reason, State
from gateway.presence.track import Track


class Watch(Track, ABC):
    """The track of one component. How its frames are read is for those that derive from it.

    Attributes:
        since_ms, last_seen_ms: ms since the epoch; the latter as restored, before this process heard it.
        evidence: of its last change.
    """

    __slots__ = ("component", "dated", "evidence", "last_seen_ms", "since_ms")

    def __init__(self, component: Component, policy: Policy, now: float, origin: tuple[State, Reason | None]) -> None:
        super().__init__(policy, now, *origin)
        self.component = component
        self.since_ms = 0
        self.dated: float | None = None  # the `since` that `since_ms` was made from
        self.last_seen_ms: int | None = None
        self.evidence: Mapping[str, Any] = {}

    @property
    @abstractmethod
    def vitals(self) -> Mapping[str, int]:
        """What its last valid heartbeat says of it; nothing before the first."""

    @property
    def off_period(self) -> tuple[float | None, float | None]:
        """The period declared and the one learned, s, where `period.differs`."""
        return self.period.seconds, self.period.learned_s

    @abstractmethod
    def listens_as(self, other: "Watch") -> bool:
        """Whether it is heard by the very frames that `other` is heard by."""
