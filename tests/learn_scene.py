"""Buses made up of senders that are known, and what is learned of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from gateway.bus.dbc import load
from gateway.bus.learn.knowledge import Databases
from gateway.bus.learn.proposals import Findings, Proposal, propose
from gateway.bus.learn.survey import Survey
from gateway.bus.wire import Frame

HEAD = 'VERSION ""\nNS_ :\nBS_:\nBU_: BMS ECU\n'


def constant(_: int) -> bytes:
    return bytes(8)


@dataclass(frozen=True)
class Sender:
    """One id, sent from `since` to `until` (s) but for `absences`; `phase` within its period; `payload` of a number."""

    can_id: int
    period_s: float = 0.1
    since: float = 0.0
    until: float = 10.0
    absences: tuple[tuple[float, float], ...] = ()
    phase: float = 0.0
    payload: Callable[[int], bytes] = constant

    def frames(self) -> Iterable[Frame]:
        n = 0
        while (at := self.since + self.phase + n * self.period_s) < self.until:
            if not any(away <= at < back for away, back in self.absences):
                yield self.can_id, self.payload(n), at
            n += 1


def traffic(*senders: Sender) -> list[Frame]:
    return sorted((frame for sender in senders for frame in sender.frames()), key=lambda frame: frame[2])


def surveyed(*senders: Sender, until: float = 10.0) -> Survey:
    survey = Survey(0.0)
    survey.take(traffic(*senders))
    survey.listened(0.0, until)
    return survey


def learned(*senders: Sender, dbc: Path | None = None, until: float = 10.0) -> Findings:
    return propose(surveyed(*senders, until=until), Databases([] if dbc is None else [load(dbc)]))


def ids(proposal: Proposal) -> set[int]:
    return {trace.can_id for trace in proposal.traces}


def candump(path: Path, *channels: tuple[str, list[Frame]]) -> Path:
    """Write a log as candump does."""
    frames = sorted(((frame, name) for name, each in channels for frame in each), key=lambda pair: pair[0][2])
    lines = []
    for (can_id, data, at), name in frames:
        spelled = f"{can_id & 0x1FFFFFFF:08X}" if can_id >> 31 else f"{can_id:03X}"
        lines.append(f"({1_700_000_000 + at:.6f}) {name} {spelled}#{data.hex().upper()}\n")
    path.write_text("".join(lines))
    return path
