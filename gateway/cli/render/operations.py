"""Pairing requests and commands: in lists, one by one, and how far a routed one has come."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from gateway.cli.render.ages import about, exact, time_of
from gateway.cli.render.cells import NOTHING, Record, age, more, sheet, state, table, text
from gateway.cli.words import ENDED

_CALLED: Final = {"queued_at": "back in queue at", "processing_at": "first started at"}
_MEANING: Final[Mapping[str, str]] = {"ABANDONED": ": nobody can know whether it was done"}

# --- in a few words ---------------------------------------------------------------------------------------------------


def what(request: Record) -> str:
    """Say in a few words what an operation is to do."""
    if request["kind"] == "COMMAND":
        arguments = " ".join(f"{name}={text(value)}" for name, value in request["arguments"].items())
        return f"{text(request['command_type'])} {arguments}".rstrip()
    initiator = text(request.get("initiator_component"))
    kind = text(request.get("request_type"))
    return f"pair with {initiator}" if kind == "STANDARD" else f"pair with {initiator} ({kind})"


def whom(request: Record) -> str:
    """Say for whom an operation is: a component, with its proxy, or so many targets and how many succeeded."""
    targets = request.get("targets")
    if targets:
        result = request.get("result")
        return f"{len(targets)} targets" + (f", {text(result['succeeded'])} done" if result else "")
    proxy = request.get("proxy_component")
    return text(request.get("target_component")) + (f" via {text(proxy)}" if proxy else "")


def ending(request: Record) -> str:
    """Say the status of an operation, with the code of its error where it has ended with one."""
    error = request.get("last_error") if request["status"] in ENDED else None
    return state(request["status"]) + (f" ({text(error['code'])})" if error else "")


def reason(request: Record) -> str:
    """Say why an operation stands where it stands: its last error, or why it was cancelled, or what came out."""
    error = request.get("last_error")
    if error:
        return _error(error)
    return text(request.get("cancellation_reason") or request.get("result"))


def _error(error: Record) -> str:
    return f"{text(error['code'])}: {text(error['message'])}"


# --- lists ------------------------------------------------------------------------------------------------------------


def requests(result: Record, now_ms: int, *, nothing: str = "Nothing is waiting.", every: bool = True) -> str:
    """Show operations in the order of processing, or `nothing`, and the sizes of the queue.

    `every`: all that wait or run are among them, so that the children of a parent that are missing have ended.
    """
    listed = result["requests"]
    left = Counter(each.get("parent_id") for each in listed) if every and not result.get("next_cursor") else None
    rows = [
        [
            str(n),
            text(request["request_id"]),
            what(request),
            whom(request) + _ended_of(request, left),
            text(request["priority"]),
            state(request["status"]),
            age(request["expires_at"], now_ms),
        ]
        for n, request in enumerate(listed, 1)
    ]
    headers = ("#", "request", "what", "for", "priority", "status", "expires")
    return (table(headers, rows) if rows else nothing) + _sizes(result) + more(result)


def _ended_of(parent: Record, left: "Counter[str] | None") -> str:
    if left is None or not parent.get("targets") or parent.get("result"):
        return ""
    ended = len(parent["targets"]) - left[parent["request_id"]]
    return f", {ended} ended" if ended else ""


def _sizes(result: Record) -> str:
    sizes = result.get("queue_status")
    if not sizes:
        return ""
    return "\n\n" + ", ".join(
        f"{name} queue {sizes[f'{name}_queue_size']}" for name in ("standard", "priority", "proxy")
    )


def picked(result: Record, now_ms: int) -> str:
    """Show operations that were picked by a filter."""
    return requests(result, now_ms, nothing="None.", every=False)


def proxy_queue(result: Record, now_ms: int) -> str:
    """Show list_proxy_queue: what a proxy is to do, and for whom it may act."""
    return f"{requests(result, now_ms, every=False)}\n\nmay act for: {text(result['authorized_targets'])}"


def dead_letters(result: Record, now_ms: int) -> str:
    """Show list_dead_letters: what has failed for good, and why."""
    rows = [
        [
            text(request["request_id"]),
            what(request),
            whom(request),
            state(request["status"]),
            str(request["retry_count"] + 1),
            age(request.get("finished_at"), now_ms),
            reason(request),
        ]
        for request in result["requests"]
    ]
    headers = ("request", "what", "for", "status", "tries", "ended", "why")
    return (table(headers, rows) if rows else "No dead letters.") + more(result)


def history(result: Record, _: int) -> str:
    """Show get_history: operations, the newest first."""
    rows = [
        [
            text(request["request_id"]),
            what(request),
            whom(request),
            ending(request),
            text(request["creator"]),
            text(request["created_at"]),
        ]
        for request in result["requests"]
    ]
    headers = ("request", "what", "for", "status", "creator", "created")
    return (table(headers, rows) if rows else "None.") + more(result)


# --- one by one -------------------------------------------------------------------------------------------------------


def request_status(result: Record, now_ms: int) -> str:
    """Show one operation: where it stands first, the rest of its record below, then its children."""
    request = dict(result["request"])
    children: Sequence[Record] = result.get("children") or []
    first = [("request_id", text(request.pop("request_id"))), ("what", what(request))]
    status = request.pop("status")
    first.append(("status", state(status) + _MEANING.get(status, "")))
    if children:
        first.append(("progress", progress(children)))
    first.append(("queue_position", text(result.get("queue_position"))))
    first.append(("estimated", _estimate(result.get("estimated_processing"), now_ms)))
    hidden = {"kind", "command_type", "arguments", "initiator_component", "request_type"}
    if request.get("last_error"):
        request["last_error"] = _error(request["last_error"])
    if f"{status.lower()}_at" in request:  # finished_at says the same again
        hidden.add("finished_at")
    if request.get("result"):
        request["result"] = {name: value for name, value in request["result"].items() if name != "children"}
    rest = [
        (_CALLED.get(name, name), text(value, now_ms))
        for name, value in request.items()
        if name not in hidden and value != {}
    ]
    return sheet(first + rest) + (f"\n\n{_children(children)}" if children else "")


def _estimate(told: str | None, now_ms: int) -> str:
    at_ms = time_of(told or "")
    return NOTHING if at_ms is None else f"{about(at_ms, now_ms)}, at {text(told)}"


def _children(children: Sequence[Record]) -> str:
    rows = [[_target(child), state(child["status"]), text(child["request_id"]), reason(child)] for child in children]
    return table(("component", "status", "request", "outcome"), rows)


def _target(child: Record) -> str:
    return text(child.get("component_id") or child.get("target_component"))


def progress(children: Sequence[Record]) -> str:
    """Say how far a routed operation has come."""
    statuses = Counter(child["status"] for child in children)
    ended = sum(count for status, count in statuses.items() if status in ENDED)
    counts = ", ".join(f"{count} {text(status)}" for status, count in statuses.items())
    return f"{ended} of {len(children)} ended ({counts})"


def child_ended(child: Record, nth: int, count: int) -> str:
    """Say that a child has ended, the nth of so many."""
    why = reason(child)
    told = "" if why == NOTHING else f": {why}"
    return f"{_target(child)} {state(child['status'])}{told} ({nth} of {count})"


def tried(request: Record, now_ms: int) -> str:
    """Say what an attempt came to, and when the next may begin."""
    again = age(request.get("not_before"), now_ms)
    return f"{reason(request)} Tried again" + (f" {again}." if again != NOTHING else " later.")


def queued(result: Record, now_ms: int) -> str:
    """Say that something was queued."""
    request, position = result["request"], result.get("queue_position")
    place = f", place {position} in its queue" if position else ""
    return (
        f"{text(request['request_id'])}: {what(request)}, for {whom(request)}: "
        f"{state(request['status'])}{place}; it may wait until {text(request['expires_at'], now_ms)}"
    )


def drained(result: Record, _: int) -> str:
    """Say what a drain did."""
    if result.get("accepted"):
        return f"Accepted: drain {text(result.get('drain_id'))}."
    return (
        f"{text(result['component_id'])}: {result['requests_processed']} processed, {result['successful']} successful, "
        f"{result['failed']} failed, in {exact(result['processing_time_ms'])}"
    )


def plan(result: Record, _: int) -> str:
    """Show route_command: who would be asked, in which order, and why."""
    rows = [
        [
            text(each.get("rank")),
            text(each["component_id"]),
            state(each["presence"]),
            text(each["capable"]),
            exact(each["score"]),
            text(each["reason"]),
        ]
        for each in sorted(result["plan"], key=lambda each: (each.get("rank") is None, each.get("rank") or 0))
    ]
    return table(("rank", "component", "presence", "capable", "takes", "why"), rows) if rows else "Nobody matches."
