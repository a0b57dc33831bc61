"""What the store must hold, in plain dictionaries and sorted lists."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.operation import (
    FINAL,
    FIRST,
    Action,
    Delivery,
    Kind,
    Mode,
    Operation,
    Priority,
    Reach,
    RequestType,
    Settlement,
    Status,
)
from gateway.settings import Parameters
from tests.doubles import FakeClock

AFTER = {  # an attempt
    Action.COMPLETE: Status.COMPLETED,
    Action.FAIL: Status.FAILED,
    Action.RETRY: Status.QUEUED,
    Action.RELEASE: Status.QUEUED,
    Action.ABANDON: Status.ABANDONED,
}
REASONS = {
    Status.FAILED: "FAILED",
    Status.ABANDONED: "ABANDONED",
    Status.CANCELLED: "CANCELLED",
    Status.EXPIRED: "EXPIRED",
}
Key = tuple[bool, bool, int, int, int, str]


@dataclass
class Entry:
    """What one operation must be."""

    operation: Operation  # as it was queued
    priority: Priority
    expires_at: int
    status: Status = Status.QUEUED
    rank: int = 0
    not_before: int = 0
    waits: bool = False
    retries: int = 0
    resumes: bool = False  # it may have been carried out already
    numbers: tuple[int | None, int | None] = (None, None)
    current: Operation | None = None  # as it was claimed
    discarded: bool = False
    settlement: Settlement | None = None
    release_reason: str | None = None
    settlement_ref: str | None = None

    @property
    def id(self) -> str:
        return self.operation.request_id

    @property
    def is_proxy(self) -> bool:
        return self.operation.request_type is RequestType.PROXY

    @property
    def carrier(self) -> str:
        return self.operation.proxy_component or self.operation.target_component

    @property
    def target(self) -> str:
        return self.operation.target_component

    @property
    def reach(self) -> Reach:
        return Reach.EMERGENCY if self.operation.emergency else self.operation.reach

    @property
    def dead(self) -> bool:
        return self.status in {Status.FAILED, Status.ABANDONED}


class Model:
    """Operations, their order, and what follows from each step. `told`: how many events there must be."""

    def __init__(self, clock: FakeClock, bounds: Parameters) -> None:
        self.clock, self.bounds = clock, bounds
        self.mode = Mode.PRIORITY
        self.entries: list[Entry] = []
        self.told = 0
        self._passed: dict[str, int] = {}
        self._large: set[str] = set()

    # --- questions ----------------------------------------------------------------------------------------------------

    def queued(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.status is Status.QUEUED]

    def running(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.status is Status.PROCESSING]

    def depth(self, target: str) -> int:
        return sum(entry.target == target for entry in self.queued())

    def urgency(self, entry: Entry) -> int:
        if entry.operation.urgency == FIRST:
            return FIRST
        return 1 if self.mode is Mode.FIFO else int(entry.priority)

    def key(self, entry: Entry) -> Key:
        age = (entry.operation.created_at, entry.id)
        return (entry.is_proxy, not entry.resumes, -self.urgency(entry), entry.rank, *age)

    def in_order(self) -> list[Entry]:
        return sorted(self.queued(), key=self.key)

    def place(self, entry: Entry) -> int:
        return [each for each in self.in_order() if each.carrier == entry.carrier].index(entry) + 1

    def has_room(self, operation: Operation) -> bool:
        reserve = 10 if operation.emergency else 0
        per_component, in_all = self.bounds.max_requests_per_component, self.bounds.max_queue_depth
        waiting, of_all = self.depth(operation.target_component), len(self.queued())
        return waiting < per_component + reserve and of_all < in_all + reserve

    def numbers_held(self, entry: Entry) -> set[int | None]:
        """Return the numbers with its carrier that others of its kind hold; of a command's, both are with it."""
        kind = entry.operation.kind
        others = [
            other
            for other in self.queued() + self.running()
            if other is not entry and (other.carrier, other.operation.kind) == (entry.carrier, kind)
        ]
        of_each = 2 if kind is Kind.COMMAND else 1
        return {number for other in others for number in other.numbers[:of_each] if number is not None}

    @staticmethod
    def is_resumed_soon(entry: Entry, now: int) -> bool:
        return entry.resumes and entry.operation.kind is Kind.COMMAND and entry.not_before <= now + 10_000

    def next(self, carrier: str, *, proxy: bool, reach: Reach, target: str | None) -> tuple[Entry | None, bool]:
        """Return what a claim must take, and whether it is its age that it owes it to."""
        now = self.clock.wall_ms()
        pool = [
            entry
            for entry in self.queued()
            if entry.carrier == carrier
            and (proxy or not entry.is_proxy)
            and reach in {Reach.SETTLED, entry.reach}
            and target in {None, entry.target}
            and not entry.waits
            and (entry.not_before <= now or self.is_resumed_soon(entry, now))
            and (entry.expires_at > now or not self.clock.trusted())
            and not any(other.carrier == carrier or other.target == entry.target for other in self.running())
        ]
        safe = [each for each in pool if self.urgency(each) == FIRST and reach is not Reach.SLEEPING]
        if not pool or (first := min(safe or pool, key=self.key)).not_before > now:
            return None, False
        passed = self._passed.get(carrier, 0) >= self.bounds.max_requests_per_component
        if reach is not Reach.SETTLED or not passed or first.resumes or self.urgency(first) >= Priority.CRITICAL:
            return first, False
        return min(pool, key=lambda entry: (*self.key(entry)[:2], *self.key(entry)[4:])), True

    # --- steps --------------------------------------------------------------------------------------------------------

    def enqueue(self, operation: Operation) -> Entry:
        entry = Entry(operation, operation.priority, operation.expires_at)
        self.entries.append(entry)
        self._tell_queued(entry)
        return entry

    def claim(self, claimed: Operation, entry: Entry, reach: Reach, *, as_oldest: bool) -> None:
        entry.status, entry.current = Status.PROCESSING, claimed
        if reach is Reach.SETTLED:
            lower = [
                other
                for other in self.queued()
                if (other.carrier, other.is_proxy) == (entry.carrier, entry.is_proxy)
                and self.urgency(other) < self.urgency(entry)
            ]
            if as_oldest or not lower:
                self._passed.pop(entry.carrier, None)
            elif entry.numbers[0] is None:
                self._passed[entry.carrier] = self._passed.get(entry.carrier, 0) + 1
        entry.numbers = (claimed.sequence, claimed.partner_sequence)
        self._left(entry)
        self.told += 1

    def finish(self, entry: Entry, action: Action, *, not_before: int, waits: bool) -> None:
        entry.not_before, entry.waits = not_before, waits
        entry.retries += action is Action.RETRY
        entry.resumes = AFTER[action] is Status.QUEUED
        self._reach(entry, AFTER[action])

    def end(self, entry: Entry, status: Status) -> None:
        alarm = status is Status.EXPIRED and entry.operation.urgency == FIRST
        self._reach(entry, status)
        self.told += alarm
        self._left(entry)

    def over(self, limit: int) -> list[Entry]:
        """Return what must expire now, in order."""
        now = self.clock.wall_ms()
        over = [entry for entry in self.queued() if entry.expires_at <= now and self.clock.trusted()]
        return sorted(over, key=lambda entry: (entry.expires_at, *self.key(entry)[-2:]))[:limit]

    def requeue(self, entry: Entry, expires_at: int) -> None:
        entry.status, entry.expires_at = Status.QUEUED, expires_at
        entry.rank = entry.not_before = entry.retries = 0
        entry.waits = entry.resumes = entry.discarded = False
        entry.numbers = (None, None)
        entry.settlement = entry.release_reason = None
        self._tell_queued(entry)

    def place_first(self, entries: Sequence[Entry]) -> None:
        for entry in reversed(entries):
            of_class = [
                other.rank
                for other in self.queued()
                if other.carrier == entry.carrier and self.key(other)[:3] == self.key(entry)[:3]
            ]
            entry.rank = min(of_class) - 1
        self.told += 1

    def give(self, entry: Entry, priority: Priority) -> None:
        entry.priority, entry.rank = priority, 0
        self.told += 1

    def restart(self, mode: Mode) -> None:
        self.mode = mode
        self._passed.clear()
        self._large.clear()

    def recover(self) -> list[Entry]:
        found = self.running()
        for entry in self.queued() + found:
            entry.waits = False
        for entry in found:
            once = entry.operation.delivery is Delivery.AT_MOST_ONCE
            entry.not_before, entry.resumes = 0, not once
            self._reach(entry, Status.ABANDONED if once else Status.QUEUED)
        return found

    def targets(self) -> Iterable[str]:
        return {entry.target for entry in self.queued()}

    def _tell_queued(self, entry: Entry) -> None:
        self.told += 1
        if self.depth(entry.target) == self.bounds.alert_queue_size and entry.target not in self._large:
            self._large.add(entry.target)
            self.told += 1

    def _reach(self, entry: Entry, status: Status) -> None:
        entry.status = status
        self.told += 1
        if status in FINAL:
            entry.not_before, entry.waits, entry.resumes = 0, False, False
        if status in FINAL and entry.operation.hold_ref is not None:
            entry.settlement, entry.release_reason = Settlement.PENDING, REASONS.get(status)

    def _left(self, entry: Entry) -> None:
        if 2 * self.depth(entry.target) < self.bounds.alert_queue_size:
            self._large.discard(entry.target)
