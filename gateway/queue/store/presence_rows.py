"""What a change of presence does to a component's row: its absences, and when it can be expected back."""

import statistics
from dataclasses import dataclass
from typing import Any, Final

from gateway.clock import rfc3339
from gateway.ports import PresenceChange
from gateway.presence import Presence, Reason

ABSENCES_KEPT: Final = 9
ABSENCES_NEEDED: Final = 3  # before their median says anything
_BEGINNINGS: Final = frozenset({"component_offline", None})  # of an absence; None: bus_down names the component


@dataclass(frozen=True, slots=True)
class Absences:
    """How long a component was away the last times, in ms; `since`: when the present absence began."""

    since: int | None = None
    past: tuple[int, ...] = ()

    def after(self, change: PresenceChange) -> "Absences":
        """Return the absences as a change leaves them. An operator's word begins and ends none."""
        if change.reason == Reason.MARKED:
            return self
        if change.presence is Presence.OFFLINE:
            return Absences(change.since if self.since is None else self.since, self.past)
        if change.presence is Presence.ONLINE and self.since is not None:
            return Absences(None, (*self.past, max(change.since - self.since, 0))[-ABSENCES_KEPT:])
        return self

    @property
    def expected_return(self) -> int | None:
        """When the component should be back; None while it is there, or too little is known."""
        if self.since is None or len(self.past) < ABSENCES_NEEDED:
            return None
        return self.since + round(statistics.median(self.past))


def expected_after(change: PresenceChange, absences: Absences, kept: int | None) -> int | None:
    """Return when a component should be back: as an operator said, else as its absences let expect.

    `kept`: what its row says; whatever is told of it during an absence does not change that.
    """
    if change.presence is not Presence.OFFLINE:
        return None
    if change.event not in _BEGINNINGS:
        return kept
    return absences.expected_return if change.expected_return is None else change.expected_return


def told(change: PresenceChange, expected_return: int | None) -> dict[str, Any]:
    """Return the attributes of the event that tells of a change."""
    attributes: dict[str, Any] = {
        "presence": change.presence.value,
        "reason": change.reason,
        "since": rfc3339(change.since),
        "last_seen": None if change.last_seen is None else rfc3339(change.last_seen),
        "evidence": dict(change.evidence),
    }
    if change.presence is Presence.OFFLINE:
        attributes["expected_return"] = None if expected_return is None else rfc3339(expected_return)
    return {**attributes, **change.attributes}
