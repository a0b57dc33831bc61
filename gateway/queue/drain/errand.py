"""One drain: for whom it is done, how much it may still do, and what it did so far."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.event import Event
from gateway.operation import Action
from gateway.ports import DrainReport


@dataclass(slots=True, eq=False)
class Errand:
    """A drain of one component. Automatic where it has no `drain_id`, else one that somebody asked for.

    `left`: operations it may still take; None: all there are. `stops`: carriers it has yet to visit after this one.
    """

    component_id: str
    drain_id: str | None = None
    left: int | None = None
    stops: deque[str] = field(default_factory=deque)
    successful: int = 0
    failed: int = 0
    began: float | None = None  # s, monotonic

    @property
    def automatic(self) -> bool:
        """Whether nobody asked for it."""
        return self.drain_id is None

    @property
    def exhausted(self) -> bool:
        """Whether it has taken all it may."""
        return self.left == 0

    def take(self, now: float) -> None:
        """Count an operation that was begun at `now` (s, monotonic)."""
        if self.began is None:
            self.began = now
        if self.left is not None:
            self.left -= 1

    def count(self, action: Action) -> None:
        """Count what became of it. One that goes back uncounted was not processed."""
        if action is Action.COMPLETE:
            self.successful += 1
        elif action is not Action.RELEASE:
            self.failed += 1

    def report(self, now: float) -> DrainReport:
        """Return what it did until `now` (s, monotonic)."""
        return DrainReport(
            component_id=self.component_id,
            requests_processed=self.successful + self.failed,
            successful=self.successful,
            failed=self.failed,
            processing_time_ms=0 if self.began is None else round((now - self.began) * 1000),
        )

    @property
    def told(self) -> bool:
        """Whether its end is worth an event: one that was asked for always has one."""
        return not self.automatic or self.successful + self.failed > 0


def manual(drain_id: str, component_id: str, max_operations: int, proxies: Iterable[str]) -> Errand:
    """Return a drain that somebody asked for: first the component's own queue, then that of each proxy of it."""
    return Errand(component_id, drain_id, max_operations, deque([component_id, *proxies]))


def queue_processed(errand: Errand, now: float, at: int, *, time_trusted: bool) -> Event:
    """Return the event that tells of the end of a drain, `now` (s, monotonic) and `at` (ms since the epoch)."""
    report = errand.report(now)
    attributes = {name: getattr(report, name) for name in DrainReport.__slots__}
    return Event("queue_processed", errand.component_id, at, attributes, time_trusted)
