"""Events: what happened, told once, in one order without gaps.

The store gives every event its `seq` in the transaction of the change it tells of; nothing else takes one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.clock import rfc3339

GATEWAY: Final = "gateway"  # the subject of events that are about no single component
TOMBSTONE: Final = "events_dropped"  # the type of the event that stands for those the outbox had no room for

EVENT_TYPES: Final = frozenset(
    """
    component_online component_offline component_discovered component_missing component_restarted
    component_degraded component_flapping component_babbling component_replaced component_unresponsive request_progress
    request_queued request_started request_completed request_retried request_failed request_expired
    request_cancelled request_abandoned request_settled request_discarded queue_processed queue_reordered queue_alert
    position_notice bus_down bus_up observer_degraded database_salvaged events_dropped params_changed
    gateway_started gateway_stopping
    """.split()
)


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `subject`: a component_id or "gateway". `at`: ms since the epoch. `seq`: 0 until it is stored.

    `wakes`: carriers whose work it may have made due; for the drain alone, neither stored nor published.
    """

    type: str
    subject: str
    at: int
    attributes: Mapping[str, Any] = field(default_factory=dict)
    time_trusted: bool = True
    seq: int = 0
    wakes: tuple[str, ...] = ()

    def payload(self, epoch: int) -> dict[str, Any]:
        """Return the map that is published on the event's topic."""
        return {
            "seq": self.seq,
            "epoch": epoch,
            "type": self.type,
            "subject": self.subject,
            "at": rfc3339(self.at),
            "time_trusted": self.time_trusted,
            "attributes": dict(self.attributes),
        }
