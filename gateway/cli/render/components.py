"""Who is there: one line a component, or all that is known of one."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.cli.render.cells import Record, age, node, sheet, state, table, text

_SPELLED: Final[Mapping[str, Callable[[Any], str]]] = {"presence": state, "node": node}


def components(result: Record, now_ms: int) -> str:
    """Show get_presence: one line a component."""
    rows = [
        [
            text(component["component_id"]),
            text(component["kind"]),
            _place(component),
            state(component["presence"]) + (" (flapping)" if component.get("flapping") else ""),
            text(component["reason"]),
            age(component["since"], now_ms),
            age(component["last_seen"], now_ms),
            age(component["expected_return"], now_ms),
        ]
        for component in result["components"]
    ]
    headers = ("component", "kind", "node", "presence", "reason", "since", "last seen", "expected")
    return table(headers, rows) if rows else "No components."


def _place(component: Record) -> str:
    at = component["node"]
    return text(component["bus"]) if at is None else f"{text(component['bus'])}:{node(at)}"


def component(found: Record, now_ms: int) -> str:
    """Show one component: its record, the evidence of its presence, and its vitals without the DBC's scale."""
    names = {"vitals": "vitals (raw)"}
    return sheet(
        (names.get(name, name), _SPELLED[name](value) if name in _SPELLED else text(value, now_ms))
        for name, value in found.items()
    )


def changed(result: Record, now_ms: int) -> str:
    """Show the component that a request has changed."""
    return component(result["component"], now_ms)
