"""Whose id is it? For people who look at a bus; never asked for a frame."""

from collections.abc import Iterable

from gateway.bus.foreign.watch import ForeignWatch
from gateway.bus.link.filters import matches
from gateway.bus.monitor.heartbeat import NodeWatch
from gateway.bus.watch import Watch


def speaker(can_id: int, watches: Iterable[Watch]) -> str | None:
    """Return the component that is heard by frames of `can_id`; None: none is, or more than one."""
    found = [watch.component.component_id for watch in watches if _is_heard_by(can_id, watch)]
    return found[0] if len(found) == 1 else None


def _is_heard_by(can_id: int, watch: Watch) -> bool:
    if isinstance(watch, NodeWatch):
        return watch.can_id == can_id
    return isinstance(watch, ForeignWatch) and matches(can_id, watch.listening.filters)
