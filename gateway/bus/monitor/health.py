"""Whose fault is a silence? What is known of the bus itself, and of ourselves as its observer. Pure; s, monotonic."""

from enum import Enum
from typing import Final

from gateway.bus.wire import Condition

SILENT: Final = "SILENT"  # beside the values of Condition: the link says it is up, yet nobody is heard
QUIET_S: Final = 1.0  # a bus is silent after this, or after twice the shortest period of those it carries
CROWD: Final = 2  # from so many ONLINE components on, silence of all is the bus's
STALL_S: Final = 0.25  # waking up later than this means that we could not listen
SUSPEND_S: Final = 0.5
REPORT_EVERY_S: Final = 60.0
_HEARING: Final = frozenset({Condition.UP, Condition.ERROR_PASSIVE})


class Blame(Enum):
    """On whom a due verdict of silence falls."""

    COMPONENT = "others are heard, or there are no others"
    BUS = "nobody is heard"
    NOT_YET = "nobody is heard, but not for long enough to tell"


class BusHealth:
    """The condition of one bus, and when its last frame of any kind came in."""

    def __init__(self, now: float) -> None:
        self.condition: Condition | None = None  # None: the link has not opened it yet
        self.is_silent = False
        self.down_since: float | None = None  # as announced
        self.last_frame_at = now
        self._others: int | None = None  # frames counted by the interface that were not ours to read

    @property
    def state(self) -> str:
        """The bus state as evidence and health name it."""
        return SILENT if self.is_silent else str(self.condition or Condition.DOWN)

    @property
    def is_heard(self) -> bool:
        """Whether silence of a component means anything now."""
        return self.condition in _HEARING and not self.is_silent

    def take(self, condition: Condition, at: float) -> bool:
        """Note a condition told by the link. Returns whether the bus has become audible or inaudible by it."""
        was_heard, self.condition = self.is_heard, condition
        self.is_silent = self.is_silent and condition in _HEARING
        if self.is_heard and not was_heard:
            self.last_frame_at = at
        return self.is_heard != was_heard

    def revive(self, at: float) -> bool:
        """Note a frame. Returns whether the bus has become audible by it."""
        self.last_frame_at = at
        if not self.is_silent and self.condition is not None:
            return False
        self.is_silent, self.condition = False, self.condition or Condition.UP
        return True

    def sample(self, received: int, ours: int, now: float) -> bool:
        """Note how many frames the interface has received in all and how many were ours. Whether others came."""
        before, self._others = self._others, received - ours
        if before in {None, self._others}:
            return False
        self.last_frame_at = now
        return True

    def quiet_limit(self, shortest_s: float) -> float:
        """Return when the bus counts as silent if no frame comes before."""
        return self.last_frame_at + max(QUIET_S, 2 * shortest_s)

    def blame(self, now: float, online: int, shortest_s: float) -> Blame:
        """Decide on a due silence. `online`: components that were ONLINE; `shortest_s`: their shortest period."""
        alone = 1 if self.condition is Condition.ERROR_PASSIVE else CROWD  # an ailing bus is suspected for less
        if online < alone or now - self.last_frame_at < 2 * shortest_s:
            return Blame.COMPONENT
        return Blame.BUS if now >= self.quiet_limit(shortest_s) else Blame.NOT_YET


class Observer:
    """Ourselves: whether we could listen at all. Tells of each cause at most once a minute."""

    def __init__(self, suspended_s: float) -> None:
        self._suspended_s = suspended_s
        self._report_at: dict[str, float] = {}
        self.troubles = 0

    def trouble(self, planned: float, now: float, suspended_s: float) -> tuple[str, float] | None:
        """Return (cause, its length in s) if we were away between `planned` and `now`.

        `suspended_s`: how long this machine has slept since it booted; its monotonic clock stood still meanwhile.
        """
        slept, self._suspended_s = suspended_s - self._suspended_s, suspended_s
        if slept > SUSPEND_S:
            return "suspend", slept
        return ("stall", now - planned) if now - planned > STALL_S else None

    def may_report(self, cause: str, now: float) -> bool:
        """Count one trouble; whether to tell of it. A stall must not hide that frames were lost in it."""
        self.troubles += 1
        if now < self._report_at.get(cause, now):
            return False
        self._report_at[cause] = now + REPORT_EVERY_S
        return True
