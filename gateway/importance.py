"""Which events go first where the outbox is full, and which never do."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class Importance(IntEnum):
    """What a backend would miss. The least goes first; of one class, the oldest."""

    NOTICE = 0  # told along the way; what it is about is told again, or ends in an event of its own
    HISTORY = 1  # how things came to be as the retained topics and the audit chain say they are
    STEP = 2  # of an operation, before its outcome
    LASTING = 3  # the only word of it; never dropped


CLASSES: Final[Mapping[Importance, str]] = {
    Importance.NOTICE: """
        position_notice request_progress component_degraded component_flapping component_babbling component_unresponsive
    """,
    Importance.HISTORY: """
        component_online component_offline component_missing component_restarted component_discovered component_replaced
        queue_processed queue_reordered queue_alert bus_down bus_up observer_degraded params_changed gateway_stopping
    """,
    Importance.STEP: "request_queued request_started request_retried",
    Importance.LASTING: """
        request_completed request_failed request_expired request_cancelled request_abandoned request_discarded
        request_settled events_dropped database_salvaged gateway_started
    """,
}
IMPORTANCE: Final[Mapping[str, Importance]] = {
    event_type: importance for importance, types in CLASSES.items() for event_type in types.split()
}
