"""What stands in the place of events that will not come: nothing is skipped without a word."""

from dataclasses import dataclass
from enum import StrEnum


class GapReason(StrEnum):
    """Why events will not come."""

    DROPPED = "dropped"  # the broker was away for so long that the gateway ran out of room; a tombstone says so
    GONE = "gone"  # the broker had them long ago, and the gateway no longer keeps them
    UNDELIVERED = "undelivered"  # published again and again, and they never came: the broker's rules or its limits
    REFUSED = "refused"  # this actor may not ask for them again
    RENUMBERED = "renumbered"  # the gateway has a new database and counts from 1 again


@dataclass(frozen=True, slots=True)
class Gap:
    """Events that will not come: `from_seq` to `to_seq`, both included.

    RENUMBERED ends at 0: whatever came after `from_seq` in the old count is unknown, and the new one begins at 1.
    """

    from_seq: int
    to_seq: int
    reason: GapReason

    @property
    def seq(self) -> int:
        """The position once this is dealt with, as an event's `seq` is."""
        return self.to_seq
