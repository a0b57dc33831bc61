"""The closed lists: every word an operation may carry."""

from enum import IntEnum, StrEnum
from typing import Final


class Kind(StrEnum):
    """What is queued."""

    PAIRING = "PAIRING"
    COMMAND = "COMMAND"


class RequestType(StrEnum):
    """How a pairing is to be done."""

    STANDARD = "STANDARD"
    PROXY = "PROXY"
    EMERGENCY = "EMERGENCY"


class Priority(IntEnum):
    """The order classes; the number is what the database sorts by."""

    LOW = 1
    NORMAL = 2
    HIGH = 3
    CRITICAL = 4


class Delivery(StrEnum):
    """Whether an operation whose outcome is unknown may be sent again."""

    AT_LEAST_ONCE = "AT_LEAST_ONCE"
    AT_MOST_ONCE = "AT_MOST_ONCE"


class QueueType(StrEnum):
    """The three views over one table, and all of them."""

    STANDARD = "STANDARD"
    PRIORITY = "PRIORITY"
    PROXY = "PROXY"
    ALL = "ALL"


class Status(StrEnum):
    """Where an operation stands."""

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    ABANDONED = "ABANDONED"


FINAL: Final = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.EXPIRED, Status.ABANDONED})


class Strategy(StrEnum):
    """How a command finds its targets."""

    DIRECT = "DIRECT"  # the one that is named
    BROADCAST = "BROADCAST"  # all that match
    OPTIMAL = "OPTIMAL"  # of those that match, the one that can with the least load
    FAILOVER = "FAILOVER"  # in the given order, the next one when one fails or is not back in time


class ConflictPolicy(StrEnum):
    """What becomes of commands for one component that share a conflict_key."""

    QUEUE = "QUEUE"  # they wait for each other like any others
    REJECT = "REJECT"  # the newer one is refused while an older one waits or runs
    SUPERSEDE = "SUPERSEDE"  # older ones that wait are cancelled


class Mode(StrEnum):
    """In which order, and how many at a time, a component's queue is worked off."""

    PRIORITY = "PRIORITY"
    FIFO = "FIFO"  # age alone
    BATCH = "BATCH"  # by priority, up to 100 together, at most one batch a second


class Reach(IntEnum):
    """Which components an operation is carried to, beside those that are here and settled."""

    SETTLED = 0
    EMERGENCY = 1  # those that flap, have just come back, or are drained by hand alone
    SLEEPING = 2  # those that have declared their sleep


class Settlement(StrEnum):
    """What became of the hold in somebody else's ledger."""

    PENDING = "PENDING"  # announced, not confirmed
    CAPTURED = "CAPTURED"
    RELEASED = "RELEASED"


FIRST: Final = 5  # the urgency above every priority: what brings a battery into a safe state
