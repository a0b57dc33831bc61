"""Proposals as a configuration that the gateway reads: those that are ready as tables, the others as comments."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.bus.learn.proposals import Findings, Proposal
from gateway.bus.learn.trace import spelled

OWNER: Final = "unassigned"
_WIDTH: Final = 110
_FEW: Final = 6


def configuration(findings: Findings, *, gateway: str, bus: Mapping[str, Any], notes: Sequence[str]) -> str:
    """Return the text of a TOML file. `gateway`: its id; `bus`: the keys of its bus; `notes`: said at its head."""
    lines = [line for note in notes for line in _comment(note)]
    lines += ["", "[gateway]", f"id = {value(gateway)}", "", "[[bus]]"]
    lines += [f"{key} = {value(content)}" for key, content in bus.items()]
    waiting = [each for each in findings.proposals if not each.is_ready]
    for proposal in findings.proposals:
        if proposal.is_ready:
            lines += ["", *_described(proposal, findings), *_table(proposal, str(bus["name"]))]
    if waiting:
        lines += ["", "# What else speaks here. Take the # away from what the gateway shall watch, too."]
    for proposal in waiting:
        lines += ["", *_described(proposal, findings)]
        lines += [f"# {line}" if line else "#" for line in _table(proposal, str(bus["name"]))]
    if findings.nobody:
        names = ", ".join(spelled(trace.can_id) for trace in findings.nobody)
        lines += ["", *_comment(f"Of nobody known: {names}.")]
    return "\n".join(lines) + "\n"


def _described(proposal: Proposal, findings: Findings) -> Iterator[str]:
    """Say in comments what was learned of a component, and how sure that is."""
    began = findings.survey.began or 0.0
    yield from _comment(f"{proposal.component_id}: confidence {proposal.sureness} ({proposal.confidence:.2f})")
    for reason in proposal.reasons:
        yield from _comment(f"- {reason}")
    for note in proposal.heartbeat.notes:
        yield from _comment(f"- {note}")
    silences = [silence for trace in proposal.heartbeat.heard[:1] for silence in trace.silences]
    for since, to in silences[:_FEW]:
        yield from _comment(f"- silent from {since - began:.2f} s to {to - began:.2f} s")


def _table(proposal: Proposal, bus: str) -> Iterator[str]:
    heartbeat = proposal.heartbeat
    yield "[[component]]"
    yield f"id = {value(proposal.component_id)}"
    yield f"kind = {value(str(proposal.kind))}"
    yield f"bus = {value(bus)}"
    if proposal.node is not None:
        yield f"node = 0x{proposal.node:02X}"
    if proposal.parent is not None:
        yield f"parent = {value(proposal.parent)}"
    yield f"owner = {value(OWNER)}"
    if heartbeat.learned_s is not None:
        yield from _period(proposal)
    if heartbeat.table is not None:
        yield f"heartbeat = {_inline(heartbeat.table)}"


def _period(proposal: Proposal) -> Iterator[str]:
    """The gateway learns periods itself: only one that its database has wrong must be told."""
    heartbeat = proposal.heartbeat
    learned_ms = round(1000 * (heartbeat.learned_s or 0.0))
    if heartbeat.differs:
        yield f"period_ms = {max(1, learned_ms)}  # as heard; the database says {heartbeat.declared_ms}"
    else:
        yield f"# every {learned_ms} ms" + (", as declared" if heartbeat.declared_ms else "")


def _inline(table: Mapping[str, Any]) -> str:
    """Spell an inline table: ids in hexadecimal, long lists over several lines."""
    parts = [f"{key} = {f'0x{content:X}' if key == 'id' else value(content)}" for key, content in table.items()]
    return f"{{{', '.join(parts)}}}"


def value(content: Any) -> str:
    """Spell a value as TOML does. Texts are JSON's, which are TOML's too."""
    match content:
        case bool():
            return "true" if content else "false"
        case str():
            return json.dumps(content).replace("\x7f", "\\u007f")
        case int() | float():
            return str(content)
        case Mapping():
            return f"{{{', '.join(f'{_key(key)} = {value(each)}' for key, each in content.items())}}}"
        case _:
            return _list([value(each) for each in content])


def _key(key: str) -> str:
    return key if key.replace("_", "a").replace("-", "a").isalnum() and key.isascii() else json.dumps(key)


def _list(items: Sequence[str]) -> str:
    """Spell a list, over several lines where it is long: those are allowed within an inline table's lists."""
    line = f"[{', '.join(items)}]"
    if len(line) <= _WIDTH:
        return line
    lines = [""]
    for item in items:
        if len(lines[-1]) + len(item) > _WIDTH:
            lines.append("")
        lines[-1] += f"{item}, "
    return "[\n" + "\n".join(f"    {each.rstrip()}" for each in lines) + "\n]"


def _comment(text: str) -> Iterator[str]:
    """Break a text into lines of comment; names come from others' files, and no control character is allowed."""
    line = "#"
    for word in "".join(each if each.isprintable() else " " for each in text).split():
        if len(line) + len(word) > _WIDTH:
            yield line
            line = "#  "
        line += f" {word}"
    yield line
