"""Who spoke when, as characters: a line an id, its frames over time, and nothing where it was silent."""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Final

from gateway.bus.learn.proposals import Findings
from gateway.bus.learn.survey import Survey
from gateway.bus.learn.trace import Trace, spelled

LEVELS: Final = "▂▄▆█"  # a quarter of the frames expected, a half, …
BETWEEN: Final = "·"  # alive, but no frame was due
NARROW: Final = 20
_MARKS: Final = 5  # on the axis
_DENSE: Final = 0.5  # frames a cell; with fewer each one is seen for itself
_ENOUGH: Final = 1.5  # frames in either direction to tell how dense they are
_WIDEST: Final = 3  # cells
_SEEN: Final = 0.3  # of a frame, where it falls between two cells
_NEARLY: Final = 0.15  # of the frames may be missing before it shows


def picture(findings: Findings, width: int) -> str:
    """Return the picture, at most `width` characters wide where that is possible at all."""
    lanes = [(proposal.component_id, proposal.traces) for proposal in findings.proposals]
    lanes += [("of nobody known", findings.nobody)] if findings.nobody else []
    longest = max((len(spelled(trace.can_id)) for _, traces in lanes for trace in traces), default=3)
    room = max(NARROW, width - longest - 12)
    lines = [" " * (longest + 3) + _axis(findings.survey.seconds, room)]
    for name, traces in lanes:
        lines.append(name)
        lines += [_line(trace, findings.survey, longest, room) for trace in traces]
    return "\n".join(lines)


def _axis(seconds: float, room: int) -> str:
    """Return the times at even distances."""
    step = room // _MARKS
    marks = [f"{seconds * n * step / room:.4g}".ljust(step) for n in range(_MARKS)]
    return "".join(marks) + f"{seconds:.4g} s"


def _line(trace: Trace, survey: Survey, longest: int, room: int) -> str:
    period_s = trace.period_s
    told = "" if period_s is None else f"{1000 * period_s:.0f} ms"
    return f" {spelled(trace.can_id):>{longest}}  {''.join(_cells(trace, survey, room))} {told:>7}".rstrip()


def _cells(trace: Trace, survey: Survey, room: int) -> Iterator[str]:
    """Yield a character for each slice of time; where frames are dense, with its neighbours', or their beat shows."""
    cell_s = survey.seconds / room or 1.0
    counts, alive = _counts(trace, survey, room), _alive(trace, survey, room)
    due = cell_s / trace.period_s if trace.period_s else 0.0
    wide = min(_WIDEST, ceil(_ENOUGH / due)) if due > _DENSE else 0
    for n in range(room):
        if not alive[n]:
            yield " "
        elif not wide:
            yield LEVELS[-1] if counts[n] >= _SEEN else BETWEEN
        else:
            window = [each for each in range(max(0, n - wide), min(room, n + wide + 1)) if alive[each]]
            yield _level(sum(counts[each] for each in window) / len(window), due)


def _level(count: float, due: float) -> str:
    """Return how many frames there were, of those that were due."""
    return LEVELS[min(len(LEVELS) - 1, int(len(LEVELS) * (count / due + _NEARLY)))]


def _alive(trace: Trace, survey: Survey, room: int) -> Sequence[bool]:
    began, cell_s = survey.began or 0.0, survey.seconds / room or 1.0
    spoken = [(since - began, until - began) for since, until in lives(trace)]
    return [any(since < (n + 1) * cell_s and n * cell_s <= until for since, until in spoken) for n in range(room)]


def _counts(trace: Trace, survey: Survey, room: int) -> Sequence[float]:
    """Return the frames in each cell, from the slices of the trace, which are finer or coarser."""
    cells = [0.0] * room
    cells_a_bin = survey.bin_s * room / survey.seconds if survey.seconds else 0.0
    for n, count in enumerate(trace.bins):
        first, last = n * cells_a_bin, (n + 1) * cells_a_bin
        for cell in range(int(first), min(room, int(last) + 1) if count else 0):
            part = min(last, cell + 1) - max(first, cell)
            cells[cell] += count * part / cells_a_bin if cells_a_bin else count
    return cells


def lives(trace: Trace) -> Iterator[tuple[float, float]]:
    """Yield from when to when it spoke, silences left out."""
    since = trace.first
    for silent, again in trace.silences:
        yield since, silent
        since = again
    yield since, trace.last
