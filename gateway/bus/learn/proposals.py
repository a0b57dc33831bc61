"""What a gateway could watch on a bus: components, the batteries first, each with how it is heard and why."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.bus.learn.battery import ENOUGH, by_meaning, marks
from gateway.bus.learn.groups import Evidence, Group, by_life, by_number, by_sender, grouped
from gateway.bus.learn.heartbeats import Heartbeat, heartbeat_of
from gateway.bus.learn.knowledge import Databases
from gateway.bus.learn.protocols import canopen_nodes, j1939_devices, ours, storage_battery
from gateway.bus.learn.survey import Survey
from gateway.bus.learn.trace import Trace, spelled
from gateway.component import ComponentKind

RULES: Final = (ours, canopen_nodes, storage_battery, by_sender, j1939_devices, by_life, by_meaning, by_number)
HIGH: Final = 0.8
MEDIUM: Final = 0.5
FEWEST_FRAMES: Final = 20  # of an id that is listened to; fewer tell less
_KINDS: Final = list(ComponentKind)  # packs, modules, others
_UNFIT: Final = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Proposal:
    """One component. `confidence`: 0 to 1; `is_ready`: to be watched at once, else to be looked at first."""

    component_id: str
    kind: ComponentKind
    confidence: float
    reasons: Sequence[str]
    traces: Sequence[Trace]
    heartbeat: Heartbeat
    node: int | None = None
    parent: str | None = None
    is_ready: bool = False

    @property
    def sureness(self) -> str:
        """The confidence in a word."""
        return "high" if self.confidence >= HIGH else "medium" if self.confidence >= MEDIUM else "low"

    def record(self, began: float) -> Mapping[str, Any]:
        """Return it for programs. `began`: when the listening began; times are seconds since then."""
        heard = {trace.can_id for trace in self.heartbeat.heard}
        return {
            "id": self.component_id,
            "kind": str(self.kind),
            "ready": self.is_ready,
            "confidence": self.confidence,
            "reasons": list(self.reasons),
            "node": self.node,
            "parent": self.parent,
            "heartbeat": self.heartbeat.table,
            "period_ms": _ms(self.heartbeat.learned_s),
            "declared_ms": self.heartbeat.declared_ms,
            "notes": list(self.heartbeat.notes),
            "ids": [{**id_record(trace, began), "heard": trace.can_id in heard} for trace in self.traces],
        }


@dataclass(frozen=True, slots=True)
class Findings:
    """All that can be said of a bus. `nobody`: the ids of which nobody knows whose they are."""

    survey: Survey
    proposals: Sequence[Proposal]
    nobody: Sequence[Trace]

    @property
    def sureness(self) -> float:
        """How sure it is that there is a battery; 0: there seems to be none."""
        return max((each.confidence for each in self.proposals if each.kind is not ComponentKind.OTHER), default=0.0)


def propose(survey: Survey, databases: Databases) -> Findings:
    """Return what could be watched on a bus that was listened to."""
    evidence = Evidence(survey, databases)
    groups = grouped(evidence, RULES)
    made: list[Proposal] = []
    silent: list[Trace] = []
    for group in sorted(groups, key=lambda group: -group.confidence):
        heartbeat = heartbeat_of(group, databases)
        if heartbeat is None:
            silent += [*group.traces, *group.others]
        else:
            made.append(_proposal(group, heartbeat, databases, {each.component_id for each in made}))
    nobody = sorted([*evidence.free.values(), *silent], key=lambda trace: trace.can_id)
    return Findings(survey, _ranked(made), nobody)


def _proposal(group: Group, heartbeat: Heartbeat, databases: Databases, taken: set[str]) -> Proposal:
    score, why = marks(group.sender, databases.meanings(group.traces), group.traces)
    is_battery = group.is_battery or score >= ENOUGH
    few = any(trace.count < FEWEST_FRAMES for trace in heartbeat.heard)
    reasons = [
        *group.reasons,
        *(why if is_battery else []),
        *(["some of its ids came only a few times"] if few else []),
    ]
    return Proposal(
        component_id=_unique(_UNFIT.sub("-", group.name).strip("-_.")[:60] or "device", taken),
        kind=_kind(group, is_battery=is_battery),
        confidence=round(group.confidence * (0.8 if few else 1.0), 2),
        reasons=reasons,
        traces=sorted([*group.traces, *group.others], key=lambda trace: trace.can_id),
        heartbeat=heartbeat,
        node=group.node,
        parent=None if group.parent is None else f"pack-{group.parent:02x}",
    )


def _kind(group: Group, *, is_battery: bool) -> ComponentKind:
    if group.node is not None and group.name.startswith("module"):
        return ComponentKind.MODULE
    return ComponentKind.PACK if is_battery else ComponentKind.OTHER


def _unique(name: str, taken: set[str]) -> str:
    names = (name if n == 1 else f"{name}-{n}" for n in range(1, len(taken) + 2))
    return next(each for each in names if each not in taken)


def _ranked(made: Iterable[Proposal]) -> list[Proposal]:
    """Return the batteries first, then the surest; ready are the batteries, or where there is none, what is likely."""
    proposals = sorted(made, key=lambda each: (_KINDS.index(each.kind), -each.confidence, each.component_id))
    there = {each.component_id for each in proposals}
    batteries = any(each.kind is not ComponentKind.OTHER for each in proposals)
    return [
        replace(
            each,
            is_ready=each.kind is not ComponentKind.OTHER if batteries else each.confidence >= MEDIUM,
            parent=each.parent if each.parent in there else None,
        )
        for each in proposals
    ]


def id_record(trace: Trace, began: float) -> Mapping[str, Any]:
    """Return what was heard of an id, for programs."""
    return {
        "id": spelled(trace.can_id),
        "frames": trace.count,
        "period_ms": _ms(trace.period_s),
        "jitter": round(trace.jitter, 3),
        "first_s": round(trace.first - began, 3),
        "last_s": round(trace.last - began, 3),
        "silences_s": [[round(since - began, 3), round(to - began, 3)] for since, to in trace.silences],
        "lengths": sorted(trace.lengths),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)
