"""Results as tables for people. Pure: maps as the API spells them in, text out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import click

Record = Mapping[str, Any]

_COLOURS: Final[Mapping[str, str]] = {
    "ONLINE": "green",
    "OFFLINE": "red",
    "UNKNOWN": "yellow",
    "COMPLETED": "green",
    "FAILED": "red",
    "ABANDONED": "red",
    "EXPIRED": "yellow",
    "CANCELLED": "yellow",
    "PROCESSING": "cyan",
    "UP": "green",
    "ERROR_PASSIVE": "yellow",
    "OVERFLOW": "yellow",
    "SILENT": "red",
    "DOWN": "red",
    "GONE": "red",
    "BUS_OFF": "red",
}


def text(value: Any) -> str:
    """Spell one value for a terminal: nothing as a dash, times without the T, no control characters."""
    if isinstance(value, Mapping):
        return ", ".join(f"{text(key)} {text(each)}" for key, each in value.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(text(each) for each in value) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    told = f"{value:g}" if isinstance(value, float) else str("" if value is None else value)
    if _is_time(told):
        return f"{told[:10]} {told[11:19]}Z"
    # What others wrote may hold escape sequences: a title must not repaint a technician's terminal.
    return "".join(character if character.isprintable() else "�" for character in told) or "–"


def _is_time(told: str) -> bool:
    return len(told) == len("2026-11-21T20:30:00.000Z") and told[10] == "T" and told[-1] == "Z"


def state(value: Any) -> str:
    """Spell a presence, status or condition in its colour."""
    told = text(value)
    return click.style(told, fg=_COLOURS[told]) if told in _COLOURS else told


def node(number: int) -> str:
    """Spell the address of a node, as the configuration does."""
    return f"0x{number:02X}"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out rows of cells below their headers."""
    from tabulate import tabulate  # noqa: PLC0415 - `--version` and `--help` need not wait for it

    return tabulate(list(rows), [header.upper() for header in headers], tablefmt="plain", disable_numparse=True)


def sheet(pairs: Iterable[tuple[str, str]]) -> str:
    """Lay out one record: a name and its value a line; what has no value is left out."""
    shown = [(name.replace("_", " "), value) for name, value in pairs if value != "–"]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{click.style(name.ljust(width), dim=True)}  {value}" for name, value in shown)


def components(result: Record) -> str:
    """Show get_presence: one line a component."""
    rows = [
        [
            text(component["component_id"]),
            text(component["kind"]),
            f"{text(component['bus'])}:{node(component['node'])}",
            state(component["presence"]) + (" (flapping)" if component.get("flapping") else ""),
            text(component["reason"]),
            text(component["since"]),
            text(component["last_seen"]),
            text(component["expected_return"]),
        ]
        for component in result["components"]
    ]
    headers = ("component", "kind", "node", "presence", "reason", "since", "last seen", "expected")
    return table(headers, rows) if rows else "No components."


def component(found: Record) -> str:
    """Show one component: its record, the evidence of its presence, and its vitals without the DBC's scale."""
    spelled: dict[str, Callable[[Any], str]] = {"presence": state, "node": node}
    names = {"vitals": "vitals (raw)"}
    return sheet((names.get(name, name), spelled.get(name, text)(value)) for name, value in found.items())


def requests(result: Record, nothing: str = "Nothing is waiting.") -> str:
    """Show get_queued_requests: operations in the order of processing, or `nothing`, and the sizes of the queue."""
    rows = [
        [
            str(n),
            text(request["request_id"]),
            what(request),
            text(request["target_component"]),
            text(request["priority"]),
            state(request["status"]),
            text(request["creator"]),
            text(request["expires_at"]),
        ]
        for n, request in enumerate(result["requests"], 1)
    ]
    headers = ("#", "request", "what", "for", "priority", "status", "creator", "expires")
    shown = table(headers, rows) if rows else nothing
    sizes = result.get("queue_status")
    if sizes:
        names = ("standard", "priority", "proxy")
        shown += "\n\n" + ", ".join(f"{name} queue {sizes[f'{name}_queue_size']}" for name in names)
    if result.get("next_cursor"):
        shown += "\nThere is more: see --limit."
    return shown


def what(request: Record) -> str:
    """Say in a few words what an operation is to do."""
    if request["kind"] == "COMMAND":
        arguments = " ".join(f"{name}={text(value)}" for name, value in request["arguments"].items())
        return f"{text(request['command_type'])} {arguments}".rstrip()
    initiator = text(request.get("initiator_component"))
    kind = text(request.get("request_type"))
    return f"pair with {initiator}" if kind == "STANDARD" else f"pair with {initiator} ({kind})"


def request_status(result: Record) -> str:
    """Show one operation: where it stands first, the rest of its record below."""
    request = dict(result["request"])
    first = [("request_id", text(request.pop("request_id"))), ("what", what(request))]
    status = request.pop("status")
    first.append(("status", state(status)))
    first.append(("queue_position", text(result.get("queue_position"))))
    hidden = {"kind", "command_type", "arguments", "initiator_component", "request_type"}
    if f"{status.lower()}_at" in request:  # finished_at says the same again
        hidden.add("finished_at")
    rest = [(name, text(value)) for name, value in request.items() if name not in hidden and value != {}]
    return sheet(first + rest)


def queued(result: Record) -> str:
    """Say that something was queued."""
    request, position = result["request"], result.get("queue_position")
    place = f", place {position} in its queue" if position else ""
    return (
        f"{text(request['request_id'])}: {what(request)}, for {text(request['target_component'])}: "
        f"{state(request['status'])}{place}; it may wait until {text(request['expires_at'])}"
    )


def drained(result: Record) -> str:
    """Say what a drain did."""
    if result.get("accepted"):
        return f"Accepted: drain {text(result.get('drain_id'))}."
    return (
        f"{text(result['component_id'])}: {result['requests_processed']} processed, {result['successful']} successful, "
        f"{result['failed']} failed, in {result['processing_time_ms'] / 1000:.1f} s"
    )


def health(result: Record) -> str:
    """Show get_health: figures, then one line a bus, then upstream."""
    verdict = click.style("healthy", fg="green") if result["healthy"] else click.style("not healthy", fg="red")
    figures = [
        ("gateway", verdict),
        ("queue_depth", text(result["queue_depth"])),
        ("active_operations", text(result["active_operations"])),
        ("average_wait", f"{result['average_wait_ms'] / 1000:.1f} s"),
        ("average_processing", f"{result['average_processing_ms'] / 1000:.2f} s"),
        ("failure_rate", f"{result['failure_rate']:.1%}"),
    ]
    buses = [(f"bus {text(bus.get('name'))}", condition(bus)) for bus in result["buses"]]
    return sheet([*figures, *buses, ("upstream", upstream(result["upstream"]))])


def condition(bus: Record) -> str:
    """Say how a bus is, by what is heard on it: a link may say UP while nobody is heard."""
    link, heard = bus.get("state"), bus.get("heard")
    rest = {name: value for name, value in bus.items() if name not in {"name", "state", "heard"}}
    if heard is None or heard == link:
        return _remarks(state(link), rest)
    return _remarks(state(heard), {"link": link, **rest})


def upstream(told: Record) -> str:
    """Say whether the broker is reached."""
    if told.get("configured") is False:
        return "none configured"
    verdict = click.style("connected", fg="green") if told.get("connected") else click.style("away", fg="red")
    return _remarks(verdict, {name: value for name, value in told.items() if name not in {"configured", "connected"}})


def _remarks(verdict: str, figures: Record) -> str:
    """Put what is remarkable behind a verdict."""
    remarkable = _remarkable(figures)
    return f"{verdict}; {text(remarkable)}" if remarkable else verdict


def _remarkable(value: Any) -> Any:
    """Leave out, at any depth, what is zero or empty."""
    if not isinstance(value, Mapping):
        return value
    return {name: sifted for name, each in value.items() if (sifted := _remarkable(each))}


def parameters(result: Record) -> str:
    """Show get_params: a name and its value a line."""
    return table(("parameter", "value"), [[text(name), text(value)] for name, value in result["params"].items()])
