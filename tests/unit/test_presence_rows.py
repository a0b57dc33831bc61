"""What a change of presence leaves in a component's row: when it can be expected back."""

from typing import Any

import pytest

from gateway.ports import PresenceChange
from gateway.presence import Presence
from gateway.queue.store.presence_rows import Absences, expected_after

ONLINE, OFFLINE = Presence.ONLINE, Presence.OFFLINE


def change(presence: Presence, at: int, reason: str | None = None, **more: Any) -> PresenceChange:
    event = f"component_{presence.lower()}"
    return PresenceChange(**{
        "component_id": "m0", "event": event, "at": at, "presence": presence, "reason": reason, "since": at,
        "last_seen": None, **more,
    })  # fmt: skip


class Row:
    """A row as changes leave it."""

    def __init__(self) -> None:
        self.absences = Absences()
        self.expected: int | None = None

    def take(self, *changes: PresenceChange) -> int | None:
        for each in changes:
            self.absences = self.absences.after(each)
            self.expected = expected_after(each, self.absences, self.expected)
        return self.expected


def away(*lengths: int) -> Row:
    """A component that was away so long each time, a thousand apart, and is here."""
    row = Row()
    for n, length in enumerate(lengths):
        row.take(change(OFFLINE, 1000 * n, "heartbeat_timeout"), change(ONLINE, 1000 * n + length))
    return row


def test_an_operator_knows_better_than_the_absences_of_the_past() -> None:
    assert away(10, 20, 30).take(change(OFFLINE, 9000, "heartbeat_timeout")) == 9020
    assert away(10, 20, 30).take(change(OFFLINE, 9000, "marked", expected_return=12_345)) == 12_345


def test_what_an_operator_said_holds_until_the_component_is_here() -> None:
    row = away()
    row.take(change(OFFLINE, 9000, "marked", expected_return=12_345))
    assert row.take(change(OFFLINE, 9100, "marked", event="component_restarted")) == 12_345
    assert row.take(change(ONLINE, 9200)) is None


@pytest.mark.parametrize("event", ["component_offline", None])
def test_a_new_mark_or_absence_says_it_anew(event: str | None) -> None:
    row = away()
    row.take(change(OFFLINE, 9000, "marked", expected_return=12_345))
    assert row.take(change(OFFLINE, 9100, "marked", event=event)) is None


def test_an_operators_word_is_no_absence_by_which_to_expect_the_next() -> None:
    row = away(10, 20, 30)
    row.take(change(OFFLINE, 9000, "marked"), change(ONLINE, 9001))
    assert list(row.absences.past) == [10, 20, 30]
    row.take(change(OFFLINE, 10_000, "heartbeat_timeout"), change(ONLINE, 10_500, "marked"))
    row.take(change(OFFLINE, 10_600, "heartbeat_timeout"), change(ONLINE, 10_700))
    assert list(row.absences.past) == [10, 20, 30, 700]
