"""Who spoke when, as a drawing for any browser: a band a component, a line an id, nothing where it was silent."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from gateway.bus.learn.proposals import Findings, Proposal
from gateway.bus.learn.survey import Survey
from gateway.bus.learn.trace import Trace, spelled
from gateway.cli.learning.picture import lives

WIDTH: Final = 1000
LEFT: Final = 150  # for names
RIGHT: Final = 80  # for periods
ROW: Final = 14
HEAD: Final = 22  # of a band
TOP: Final = 40
BOTTOM: Final = 30
_SHORTEST: Final = 1.0  # a single frame is seen, too
_TICKS: Final = 10
_STYLE: Final = (
    "text{font:11px sans-serif;fill:#222}.name{font-weight:bold}.axis{fill:#555}.band{fill:#f2f4f7}"
    ".battery{fill:#e3f1e6}.line{fill:#35648f}.heard{fill:#1d7a3c}.tick{stroke:#ccc}"
)


def drawing(findings: Findings, title: str) -> str:
    """Return an SVG that stands by itself. `title`: what it is of."""
    bands = [_Band.of(proposal) for proposal in findings.proposals]
    if findings.nobody:
        bands.append(_Band("of nobody known", "", "band", findings.nobody, frozenset()))
    height = TOP + sum(band.height for band in bands) + BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"',
        ' role="img" aria-labelledby="title description">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="description">{escape(_description(findings))}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="18" class="name">{escape(title)}</text>',
        *_axis(findings.survey, height),
    ]
    top = TOP
    for band in bands:
        lines += band.drawn(findings.survey, top)
        top += band.height
    return "\n".join([*lines, "</svg>"]) + "\n"


def _description(findings: Findings) -> str:
    """Say in words what is drawn, for those who cannot see it."""
    began = findings.survey.began or 0.0
    told = [
        f"{each.component_id}: {len(each.traces)} ids from {min(trace.first for trace in each.traces) - began:.2f} s"
        f" to {max(trace.last for trace in each.traces) - began:.2f} s"
        for each in findings.proposals
    ]
    return f"Frames of each CAN id over {findings.survey.seconds:.1f} s. {'; '.join(told)}."


def _axis(survey: Survey, height: int) -> Iterator[str]:
    for n in range(_TICKS + 1):
        x = _x(survey, (survey.began or 0.0) + survey.seconds * n / _TICKS)
        yield f'<line class="tick" x1="{x}" x2="{x}" y1="{TOP - 6}" y2="{height - BOTTOM}"/>'
        yield (
            f'<text class="axis" x="{x}" y="{height - 12}" text-anchor="middle">'
            f"{survey.seconds * n / _TICKS:.4g}{' s' if n == _TICKS else ''}</text>"
        )


def _x(survey: Survey, at: float) -> float:
    part = (at - (survey.began or 0.0)) / (survey.seconds or 1.0)
    return round(LEFT + part * (WIDTH - LEFT - RIGHT), 2)


class _Band:
    """A component: its name, and a line for each of its ids."""

    def __init__(self, name: str, told: str, style: str, traces: Sequence[Trace], heard: frozenset[int]) -> None:
        self._name, self._told, self._style, self._traces, self._heard = name, told, style, traces, heard
        self.height = HEAD + ROW * len(traces) + 4

    @classmethod
    def of(cls, proposal: Proposal) -> "_Band":
        style = "battery" if proposal.is_ready else "band"
        heard = frozenset(trace.can_id for trace in proposal.heartbeat.heard)
        told = f"{proposal.kind}, confidence {proposal.sureness}"
        return cls(proposal.component_id, told, style, proposal.traces, heard)

    def drawn(self, survey: Survey, top: int) -> Iterator[str]:
        """Yield its elements, from `top` down."""
        yield f'<g aria-label="{escape(self._name)}">'
        yield f'<rect class="{self._style}" x="2" y="{top}" width="{WIDTH - 4}" height="{self.height - 3}" rx="3"/>'
        yield f'<text class="name" x="8" y="{top + 15}">{escape(self._name)}</text>'
        yield f'<text class="axis" x="{LEFT}" y="{top + 15}">{escape(self._told)}</text>'
        for n, trace in enumerate(self._traces):
            yield from self._line(trace, survey, top + HEAD + n * ROW)
        yield "</g>"

    def _line(self, trace: Trace, survey: Survey, top: int) -> Iterator[str]:
        period_s = trace.period_s
        style = "heard" if trace.can_id in self._heard else "line"
        yield f'<text x="{LEFT - 8}" y="{top + 9}" text-anchor="end">{spelled(trace.can_id)}</text>'
        for since, until in lives(trace):
            x = _x(survey, since)
            width = max(_SHORTEST, round(_x(survey, until) - x, 2))
            yield f'<rect class="{style}" x="{x}" y="{top + 1}" width="{width}" height="{ROW - 5}"/>'
        if period_s is not None:
            told = f"{1000 * period_s:.0f} ms"
            yield f'<text class="axis" x="{WIDTH - 8}" y="{top + 9}" text-anchor="end">{told}</text>'
