"""Which ids belong to one device, by whatever tells: protocol, database, or that they come and go together.

Each rule looks at the ids that no rule before it has taken; the surest come first.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.bus.learn.knowledge import Databases
from gateway.bus.learn.lives import Household, households
from gateway.bus.learn.survey import Survey
from gateway.bus.learn.trace import Trace, spelled


@dataclass(slots=True)
class Group:
    """Ids of one device.

    Attributes:
        name: what the device may be called; not yet unique.
        traces: its ids.
        others: more ids that are likely its own; it is not heard by them.
        confidence: 0 to 1, that they are of one device.
        reasons: why, in words.
        heartbeat: how it is heard, where that is the same for every device of its kind; None: by messages or an id.
        node, parent: its address, and that of its pack, in our own protocol.
        sender: as the database names it.
        is_battery: whether its protocol says so already.
    """

    name: str
    traces: list[Trace]
    confidence: float
    reasons: list[str]
    heartbeat: Mapping[str, Any] | None = None
    node: int | None = None
    parent: int | None = None
    sender: str | None = None
    is_battery: bool = False
    others: list[Trace] = field(default_factory=list)


@dataclass(slots=True)
class Evidence:
    """What there is to go by. `free`: the ids that are nobody's so far, by CAN id."""

    survey: Survey
    databases: Databases
    free: dict[int, Trace] = field(init=False)

    def __post_init__(self) -> None:
        self.free = {trace.can_id: trace for trace in self.survey.traces}

    def regular(self) -> list[Trace]:
        """Return what is nobody's and comes regularly."""
        return [trace for trace in self.free.values() if trace.is_regular]

    def is_told(self, home: Household) -> bool:
        """Whether some ids came or went while somebody listened."""
        return home.life.is_told(self.survey.began or 0.0, self.survey.until)

    def span(self, traces: Sequence[Trace]) -> str:
        """Say when some ids were there."""
        began = self.survey.began or 0.0
        first, last = min(trace.first for trace in traces), max(trace.last for trace in traces)
        return f"from {first - began:.2f} s to {last - began:.2f} s"


Rule = Callable[[Evidence], Iterable[Group]]


def grouped(evidence: Evidence, rules: Sequence[Rule]) -> list[Group]:
    """Divide the ids into devices, rule by rule. What stays in `evidence.free` is of nobody known."""
    found: list[Group] = []
    for rule in rules:
        for group in rule(evidence):
            for trace in (*group.traces, *group.others):
                del evidence.free[trace.can_id]
            found.append(group)
    return found


def by_sender(evidence: Evidence) -> list[Group]:
    """Ids of which the database says that the same node sends them; those that nobody is known to send join in."""
    by_name: dict[str, list[Trace]] = {}
    for trace in evidence.free.values():
        sender = evidence.databases.sender(trace)
        if sender is not None:
            by_name.setdefault(sender, []).append(trace)
    strangers = [trace for trace in evidence.regular() if evidence.databases.sender(trace) is None]
    groups = []
    for sender, traces in by_name.items():
        group = _sent(sender, traces, evidence)
        if group is not None:
            groups.append(group)
    _join(strangers, groups, evidence)
    return groups


def _sent(sender: str, traces: list[Trace], evidence: Evidence) -> Group | None:
    regular = [trace for trace in traces if trace.is_regular]
    if not regular:
        return None
    together = _largest(households(regular))
    share = len(together.traces) / len(regular)
    reasons = [f"the database names {sender} as the sender of {_ids(traces)}"]
    if share < 1:
        reasons.append(f"only {len(together.traces)} of its {len(regular)} regular ids come and go together")
    elif len(regular) > 1 and evidence.is_told(together):
        reasons.append(f"they come and go together, {evidence.span(regular)}")
    return Group(sender.lower(), traces, 0.55 + 0.4 * share, reasons, sender=sender)


def _join(strangers: list[Trace], groups: list[Group], evidence: Evidence) -> None:
    """Give ids without a sender to the device whose ids come and go at the same moments."""
    homes = [(group, _largest(households([trace for trace in group.traces if trace.is_regular]))) for group in groups]
    told = [(group, home) for group, home in homes if evidence.is_told(home)]
    for trace in strangers:
        (alone,) = households([trace])
        fitting = [(_apart_s(home, trace), group) for group, home in told if home.life.joined(alone.life) is not None]
        apart_s, group = min(fitting, key=lambda pair: pair[0], default=(float("inf"), None))
        if group is not None and evidence.is_told(alone) and apart_s <= (trace.period_s or 0.0):
            group.others.append(trace)
            group.reasons.append(f"{spelled(trace.can_id)} comes and goes with it")


def _apart_s(home: Household, trace: Trace) -> float:
    """Return how far from a trace's first and last frames are those of the nearest of others."""
    return min(abs(each.first - trace.first) + abs(each.last - trace.last) for each in home.traces)


def _largest(homes: list[Household]) -> Household:
    return max(homes, key=lambda home: len(home.traces))


def by_life(evidence: Evidence) -> Iterator[Group]:
    """Ids that come and go together, and are away together."""
    for home in households(evidence.regular()):
        traces = sorted(home.traces, key=lambda trace: trace.can_id)
        if len(traces) > 1 and evidence.is_told(home):
            absences = len(home.life.absences)
            reasons = [f"{_ids(traces)} come and go together, {evidence.span(traces)}"]
            if absences:
                reasons.append(f"they were away together {absences} time{'s' if absences > 1 else ''} in between")
            edges = _edges(home, evidence) + 2 * absences
            confidence = min(0.85, 0.35 + 0.1 * min(edges, 3) + 0.03 * min(len(traces), 7))
            yield Group(_device(traces), traces, confidence, reasons)


def _edges(home: Household, evidence: Evidence) -> int:
    began, until = evidence.survey.began or 0.0, evidence.survey.until
    return (home.life.came[0] > began) + (home.life.went[1] < until)


NEIGHBOURS: Final = 0x10  # ids so near to each other are often of one device
ALIKE: Final = 0.25  # of a period


def by_number(evidence: Evidence) -> Iterator[Group]:
    """Ids that follow each other with the same period: a weak hint, for what is there all the time."""
    run: list[Trace] = []
    for trace in [*evidence.regular(), None]:
        if trace is not None and run and _adjoins(run[-1], trace):
            run.append(trace)
            continue
        if len(run) > 1:
            reasons = [f"{_ids(run)} follow each other and come as often: a weak hint"]
            yield Group(_device(run), run, 0.3, reasons)
        run = [] if trace is None else [trace]


def _adjoins(before: Trace, trace: Trace) -> bool:
    one, other = before.period_s or 0.0, trace.period_s or 0.0
    if trace.can_id - before.can_id > NEIGHBOURS or abs(one - other) > ALIKE * max(one, other):
        return False
    return len(households([before, trace])) == 1


def _device(traces: Sequence[Trace]) -> str:
    """Name a device of which nothing else is known by its lowest id."""
    return f"device-{spelled(traces[0].can_id).lower()}"


def _ids(traces: Sequence[Trace]) -> str:
    """Spell some ids, the first few of many."""
    names = [spelled(trace.can_id) for trace in traces]
    return ", ".join(names) if len(names) <= 8 else f"{', '.join(names[:6])} and {len(names) - 6} more"  # noqa: PLR2004
