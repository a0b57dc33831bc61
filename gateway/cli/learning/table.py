"""What was learned, for people: a table of the components, and why."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from gateway.bus.learn.proposals import Findings, Proposal, id_record
from gateway.cli.render import NOTHING, table, text

_HEADERS: Final = ("component", "kind", "confidence", "ids", "period", "declared", "first", "last", "silences", "why")


def components(findings: Findings) -> str:
    """Return a row for each component, the batteries first; the times are seconds since the listening began."""
    if not findings.proposals:
        return "No component was recognised."
    began = findings.survey.began or 0.0
    return table(_HEADERS, [list(_row(proposal, began)) for proposal in findings.proposals])


def _row(proposal: Proposal, began: float) -> Iterator[str]:
    traces, heartbeat = proposal.traces, proposal.heartbeat
    yield proposal.component_id
    yield str(proposal.kind) + ("" if proposal.is_ready else "?")
    yield f"{proposal.sureness} {proposal.confidence:.2f}"
    yield str(len(traces))
    yield NOTHING if heartbeat.learned_s is None else f"{1000 * heartbeat.learned_s:.0f} ms"
    yield NOTHING if heartbeat.declared_ms is None else f"{heartbeat.declared_ms} ms" + "!" * heartbeat.differs
    yield f"{min(trace.first for trace in traces) - began:.2f}"
    yield f"{max(trace.last for trace in traces) - began:.2f}"
    yield str(max(len(trace.silences) for trace in heartbeat.heard))
    yield text("; ".join(proposal.reasons))


def record(findings: Findings, bus: str, notes: Sequence[str]) -> dict[str, Any]:
    """Return all that was learned, for programs."""
    survey, began = findings.survey, findings.survey.began or 0.0
    return {
        "bus": bus,
        "seconds": round(survey.seconds, 3),
        "frames": survey.frames,
        "error_frames": survey.errors,
        "notes": list(notes),
        "components": [proposal.record(began) for proposal in findings.proposals],
        "others": [id_record(trace, began) for trace in findings.nobody],
    }
