"""Whose turn it is: which components may be drained now, and when to look again. Pure: the time is an argument."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from gateway.queue.drain.errand import Errand

PER_BUS: Final = 5  # components of one bus that are drained at once
BATCH: Final = 100  # operations of a batch, at most
BATCH_S: Final = 1.0  # from the beginning of a batch to the earliest of the next


class Standing(Enum):
    """What is known of the device behind a component id since it was last away."""

    ASK = "ask"  # it has not said its serial number yet
    FIT = "fit"
    STRANGER = "stranger"  # another device than the one configured: never spoken to


@dataclass(slots=True, eq=False)
class Lane:
    """One component that work is carried to. Times in s, monotonic.

    `due`: it wants a turn from then on; None: nothing to do. `settled`: EMERGENCY work alone before that. `held`:
    nothing at all before that. `urgent`: EMERGENCY work may wait. `doubts`: how often its `standing` was lost.
    `batch_left`: operations that the batch of this turn may still take; 0: none is open.
    """

    component_id: str
    bus: str
    due: float | None = None
    settled: float = 0.0
    held: float = 0.0
    urgent: bool = False
    running: bool = False
    standing: Standing = Standing.ASK
    doubts: int = 0
    batch_left: int = 0
    next_batch: float = 0.0
    errands: deque[Errand] = field(default_factory=deque)
    automatic: Errand = field(init=False)

    def __post_init__(self) -> None:
        self.automatic = Errand(self.component_id)

    @property
    def errand(self) -> Errand:
        """The drain its next operation is taken for: one that was asked for, before the automatic one."""
        return self.errands[0] if self.errands else self.automatic

    @property
    def batch_due(self) -> float:
        """Until when EMERGENCY work alone is taken because there was a batch not long ago."""
        return 0.0 if self.batch_left else self.next_batch

    def take_into_batch(self, now: float) -> None:
        """One more operation belongs to the open batch, or begins the next."""
        if not self.batch_left:
            self.batch_left, self.next_batch = BATCH, now + BATCH_S
        self.batch_left -= 1

    def wake(self, at: float) -> None:
        """Let it have a turn from `at` on, if it has none earlier and is not held longer."""
        at = max(at, self.held)
        self.due = at if self.due is None else min(self.due, at)

    def hold(self, until: float) -> None:
        """Leave it alone until `until`, then look again."""
        self.held = self.due = until

    def doubt(self) -> None:
        """It was away, or booted: who it is must be asked anew."""
        self.standing = Standing.ASK
        self.doubts += 1

    def returned(self, settled: float) -> None:
        """It is back: all but EMERGENCY work waits until `settled`."""
        self.doubt()
        self.settled, self.held = settled, 0.0


class Schedule:
    """Shares the turns out: the one that waits longest comes first, EMERGENCY work before all."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self._running: Counter[str] = Counter()  # by bus
        self._turns = 0  # on all of them

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def lane(self, component_id: str, bus: str) -> Lane:
        """Return the lane of a component, which is made when it is first asked for."""
        lane = self._lanes.get(component_id)
        if lane is None:
            lane = self._lanes[component_id] = Lane(component_id, bus)
        return lane

    def take(self, now: float, limit: int) -> list[Lane]:
        """Return the lanes whose turn begins now: at most `limit` have one at once, and `PER_BUS` of a bus."""
        chosen = []
        for lane in sorted(self._waiting(now), key=_precedence):
            if self._turns >= limit:
                break
            if self._running[lane.bus] < PER_BUS:
                self._running[lane.bus] += 1
                self._turns += 1
                lane.running, lane.due = True, None
                chosen.append(lane)
        return chosen

    def ended(self, lane: Lane) -> None:
        """The turn of a lane is over, and with it what is open of its batch."""
        lane.running, lane.batch_left = False, 0
        self._running[lane.bus] -= 1
        self._turns -= 1

    def crowded(self, now: float) -> bool:
        """Whether others wait for a turn."""
        return any(True for _ in self._waiting(now))

    def overfull(self, limit: int) -> bool:
        """Whether more have a turn than `limit`, which has become lower."""
        return self._turns > limit

    def next_due(self, now: float) -> float | None:
        """Return when the next lane will want a turn (s, monotonic). Those that want one already wait for a place."""
        return min(
            (lane.due for lane in self if lane.due is not None and lane.due > now and not lane.running), default=None
        )

    def _waiting(self, now: float) -> Iterator[Lane]:
        return (lane for lane in self if lane.due is not None and lane.due <= now and not lane.running)


def _precedence(lane: Lane) -> tuple[bool, float]:
    return not lane.urgent, lane.due or 0.0
