"""What must be true of the histories that were rebuilt from events: every step legal, and after what caused it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

Event = Mapping[str, Any]
Histories = Mapping[str, list[Event]]  # by request_id, in the order of seq

WAITS: Final = {"request_started", "request_cancelled", "request_expired", "request_failed"}
NEXT: Final[Mapping[str, set[str]]] = {  # what may come after each event of an operation
    "": {"request_queued"},
    "request_queued": WAITS,
    "request_retried": WAITS,
    "request_started": {"request_completed", "request_failed", "request_abandoned", "request_retried"},
    "request_completed": set(),
    "request_cancelled": set(),
    "request_expired": set(),
    "request_failed": {"request_queued"},
    "request_abandoned": {"request_queued"},
}
STATUS: Final = {
    "request_queued": "QUEUED",
    "request_retried": "QUEUED",
    "request_started": "PROCESSING",
    "request_completed": "COMPLETED",
    "request_failed": "FAILED",
    "request_cancelled": "CANCELLED",
    "request_expired": "EXPIRED",
    "request_abandoned": "ABANDONED",
}
PRIORITY_QUEUE: Final = {"HIGH", "CRITICAL"}


def histories(events: Iterable[Event]) -> dict[str, list[Event]]:
    """Sort the steps of operations by operation."""
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event["type"] in STATUS:
            found[request_id(event)].append(event)
    return found


def request_id(event: Event) -> str:
    told = event["attributes"]
    return str(told["request_id"] if "request_id" in told else told["request"]["request_id"])


def record(steps: list[Event]) -> Mapping[str, Any]:
    """Return the record an operation began with."""
    told: Mapping[str, Any] = steps[0]["attributes"]["request"]
    return told


def status(steps: list[Event]) -> str:
    return STATUS[steps[-1]["type"]]


def illegal(known: Histories) -> list[tuple[str, str, str]]:
    """Return the steps that the lifecycle does not have, and those that tell another status than they lead to."""
    wrong = []
    for name, steps in known.items():
        before = ""
        for step in steps:
            told = step["attributes"].get("status", STATUS[step["type"]])
            if step["type"] not in NEXT[before] or told != STATUS[step["type"]]:
                wrong.append((name, before, step["type"]))
            before = step["type"]
    return wrong


def two_at_once(events: Iterable[Event]) -> list[tuple[str, str]]:
    """Return (operation under way, another one begun) of components that were given two things to do at once."""
    busy: dict[str, str] = {}
    wrong = []
    for event in events:
        if event["type"] not in STATUS or event["subject"] == "gateway":
            continue
        name = request_id(event)
        if event["type"] == "request_started":
            if event["subject"] in busy:
                wrong.append((busy[event["subject"]], name))
            busy[event["subject"]] = name
        elif busy.get(event["subject"]) == name:
            del busy[event["subject"]]
    return wrong


def before_their_cause(known: Histories) -> list[tuple[str, str]]:
    """Return (operation, what it should have waited for): dependencies that began early, parents after children."""
    wrong = []
    for name, steps in known.items():
        told, begun = record(steps), _seq_of(steps, "request_started")
        causes = [_seq_of(known[other], "request_completed") for other in told.get("depends_on", ())]
        if begun is not None and any(cause is None or cause > begun for cause in causes):
            wrong.append((name, "depends_on"))
        parent = known.get(told.get("parent_id", ""))
        parent_begun = parent and _seq_of(parent, "request_started")
        if begun is not None and (parent_begun is None or parent_begun < steps[0]["seq"]) and parent is not None:
            wrong.append((name, "parent_id"))
    return wrong


def parents_before_children(known: Histories) -> list[str]:
    """Return the parents that were told to be COMPLETED before as many children were as they need."""
    ended: dict[str, list[int]] = defaultdict(list)
    for steps in known.values():
        if "parent_id" in record(steps) and steps[-1]["type"] == "request_completed":
            ended[record(steps)["parent_id"]].append(steps[-1]["seq"])
    wrong = []
    for name, steps in known.items():
        if "targets" in record(steps) and status(steps) == "COMPLETED":
            needed = 1 if record(steps)["strategy"] == "FAILOVER" else len(record(steps)["targets"])
            if sum(seq < steps[-1]["seq"] for seq in ended[name]) < needed:
                wrong.append(name)
    return wrong


def queue_sizes(known: Histories) -> dict[str, Counter[str]]:
    """Count what waits for each component, by the queue topic's names of the queues."""
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for steps in known.values():
        told = record(steps)
        if status(steps) == "QUEUED" and "target_component" in told:
            queue = "priority_queue_size" if told["priority"] in PRIORITY_QUEUE else "standard_queue_size"
            sizes[told["target_component"]][queue] += 1
    return sizes


def _seq_of(steps: list[Event], kind: str) -> int | None:
    return next((step["seq"] for step in steps if step["type"] == kind), None)
