"""What must be true after the storm, judged from outside: by the devices' journal, the events and the records."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gateway.bus.simulator.journal import Deed
from gateway.clock import parse_rfc3339

FINAL: Final = {"COMPLETED", "FAILED", "CANCELLED", "EXPIRED", "ABANDONED"}
RANK: Final = {"CRITICAL": 0, "HIGH": 1, "NORMAL": 2, "LOW": 3}
LATE_MS: Final = 1_500  # from the gateway's last look at the time to the note in the journal, on a busy machine
Record = Mapping[str, Any]


def written(deeds: Iterable[Deed]) -> Counter[int]:
    """Count how often each value was written."""
    return Counter(deed.arg1 for deed in deeds if deed.kind == "COMMAND" and deed.arg1 is not None)


def leaves(records: Iterable[Record]) -> list[Record]:
    """Return the commands that devices carry out: no pairings, no parents."""
    return [each for each in records if each["kind"] == "COMMAND" and "targets" not in each]


def not_ended(records: Iterable[Record]) -> list[Record]:
    return [each for each in records if each["status"] not in FINAL]


def done_twice(records: Iterable[Record], deeds: Sequence[Deed]) -> list[Record]:
    """Return the commands that may be sent once and were carried out more often."""
    times = _by_place(deeds)
    once = (each for each in leaves(records) if each["delivery"] == "AT_MOST_ONCE")
    return [each for each in once if len(times.get(_place(each), ())) > 1]


def done_too_late(records: Iterable[Record], deeds: Sequence[Deed]) -> list[Record]:
    """Return the commands that were carried out after their time; of requeued ones the last time counts."""
    times = _by_place(deeds)
    return [
        each
        for each in leaves(records)
        if max(times.get(_place(each), [0])) > parse_rfc3339(each["expires_at"]) + LATE_MS
    ]


def completed_and_not_done(records: Iterable[Record], deeds: Sequence[Deed]) -> list[Record]:
    times = _by_place(deeds)
    return [each for each in leaves(records) if each["status"] == "COMPLETED" and _place(each) not in times]


def unsettled(records: Iterable[Record]) -> list[Record]:
    """Return those with a hold that was not settled as their end demands."""
    due = {"COMPLETED": "CAPTURED"}
    return [
        each for each in records if "hold_ref" in each and each.get("settlement") != due.get(each["status"], "RELEASED")
    ]


def endings(events: Iterable[Record]) -> Counter[str]:
    """Count how often each operation was told to have ended, less how often it was queued again afterwards."""
    told: Counter[str] = Counter()
    names = {f"request_{status.lower()}" for status in FINAL}
    queued: set[str] = set()
    for event in events:
        attributes = event["attributes"]
        if event["type"] in names:
            told[attributes["request_id"]] += 1
        elif event["type"] == "request_queued":
            request_id = attributes["request_id"] if "request_id" in attributes else attributes["request"]["request_id"]
            told[request_id] -= request_id in queued
            queued.add(request_id)
    return told


def out_of_order(events: Iterable[Record]) -> list[tuple[str, str]]:
    """Return (started, waiting) pairs where a component began with the wrong one of its commands.

    Counted are commands that nothing held up: never retried, nothing to wait for, of unchanged priority, not over.
    """
    waiting: dict[str, dict[str, tuple[int, str, str]]] = {}
    ends: dict[str, int] = {}
    wrong: list[tuple[str, str]] = []
    for event in events:
        attributes, kind = event["attributes"], event["type"]
        if kind == "request_queued" and "request" in attributes:
            request = attributes["request"]
            if request["kind"] == "COMMAND" and not {"targets", "depends_on", "parent_id"} & request.keys():
                key = (RANK[request["priority"]], request["created_at"], request["request_id"])
                waiting.setdefault(event["subject"], {})[request["request_id"]] = key
                ends[request["request_id"]] = parse_rfc3339(request["expires_at"])
        elif kind == "queue_reordered":
            for request_id in attributes["request_ids"]:
                waiting.get(event["subject"], {}).pop(request_id, None)
        elif kind.startswith("request_") and "request_id" in attributes:
            mine = waiting.get(event["subject"], {})
            key_or_none = mine.pop(attributes["request_id"], None)
            if kind == "request_started" and key_or_none is not None:
                at = parse_rfc3339(event["at"])
                wrong += [
                    (attributes["request_id"], other)
                    for other, theirs in mine.items()
                    if theirs < key_or_none and parse_rfc3339(theirs[1]) <= at < ends[other]
                ]
    return wrong


def _place(record: Record) -> tuple[str, int]:
    return record["target_component"], record["arguments"]["value"]


def _by_place(deeds: Iterable[Deed]) -> dict[tuple[str, int], list[int]]:
    found: dict[tuple[str, int], list[int]] = {}
    for deed in deeds:
        if deed.kind == "COMMAND" and deed.arg1 is not None:
            found.setdefault((deed.component_id, deed.arg1), []).append(deed.at)
    return found
