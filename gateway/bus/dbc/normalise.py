"""Repairs of DBC files as they are found: what makes readers give up is put right, and every change is told.

A rule looks at the statements of a text and returns edits, each with its reason. Rules do not guess what a file
means: they add what is missing, spell ids and names as the format asks, and leave out lines about nothing. Texts in
quotation marks are never touched, and no edit adds or removes a line break but at its place, so that lines keep
their numbers.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.bus.dbc.report import Change, Rule

BIT_31: Final = 1 << 31
STANDARD_LAST: Final = 0x7FF
EXTENDED_LAST: Final = 0x1FFF_FFFF

# One statement: from its keyword at the beginning of a line to its semicolon outside quotation marks; BO_ and SG_ end
# with their line. A keyword alone on its line is an entry of section NS_, not a statement.
_TEXT: Final = r'"(?:[^"\\]|\\.)*+"'
_STATEMENT: Final = re.compile(
    rf"^[ \t]*(?:(?P<line>BO_|SG_|BU_|BS_)(?=[\s:])(?:{_TEXT}|[^\"\n])*+"
    rf"|(?P<block>VAL_|CM_|BA_|SG_MUL_VAL_|SIG_VALTYPE_|SIG_GROUP_|BO_TX_BU_)(?=[ \t]+\S)(?:{_TEXT}|[^\";])*+;?)",
    re.MULTILINE,
)
_REFERENCE: Final[dict[str, re.Pattern[str]]] = {  # block -> where it names a message, and perhaps a signal of it
    "VAL_": re.compile(r"VAL_\s+(?P<id>\d+)\s+(?P<signal>[^\s;]+)"),
    "CM_": re.compile(r"CM_\s+(?:BO_\s+(?P<id>\d+)|SG_\s+(?P<id2>\d+)\s+(?P<signal>\S+))"),
    "BA_": re.compile(r'BA_\s+"[^"]*"\s+(?:BO_\s+(?P<id>\d+)|SG_\s+(?P<id2>\d+)\s+(?P<signal>[^\s;]+))'),
    "SG_MUL_VAL_": re.compile(r"SG_MUL_VAL_\s+(?P<id>\d+)\s+(?P<signal>\S+)"),
    "SIG_VALTYPE_": re.compile(r"SIG_VALTYPE_\s+(?P<id>\d+)\s+(?P<signal>[^\s:;]+)"),
    "SIG_GROUP_": re.compile(r"SIG_GROUP_\s+(?P<id>\d+)"),
    "BO_TX_BU_": re.compile(r"BO_TX_BU_\s+(?P<id>\d+)"),
}
_MESSAGE: Final = re.compile(r"BO_\s+(?P<id>\d+)\s+(?P<name>[^\s:]+)")
_SIGNAL: Final = re.compile(r"SG_\s+(?P<name>[^\s:]+)")
_BEGINS_WITH_DIGIT: Final = re.compile(rf"{_TEXT}|(?<![\w.+\-|@,(\[])(?P<name>\d+[A-Za-z_]\w*)")
_NUMBER: Final = re.compile(r"\d+[eE]\d*|0[xX][0-9A-Fa-f]+|\d+[mM]")
_FOREIGN_SIGN: Final = re.compile(r"[^A-Za-z0-9_]")


@dataclass(frozen=True, slots=True)
class Edit:
    """Put `text` in place of what stands from `start` to `end`."""

    start: int
    end: int
    text: str
    change: Change


@dataclass(slots=True)
class Statement:
    """One statement: its keyword, where it stands, and what it is about."""

    keyword: str
    start: int
    end: int
    line: int
    text: str


@dataclass(slots=True)
class Outline:
    """The statements of a text, and the messages it defines with the names of their signals."""

    text: str
    statements: list[Statement] = field(default_factory=list)
    messages: dict[int, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> "Outline":
        """Read a text."""
        outline, current, line, counted = cls(text), set[str](), 1, 0
        for found in _STATEMENT.finditer(text):
            keyword = found["line"] or found["block"]
            start = found.start(found.lastgroup or 0)
            line, counted = line + text.count("\n", counted, start), start
            statement = Statement(keyword, start, found.end(), line, text[start : found.end()])
            outline.statements.append(statement)
            if keyword == "BO_" and (message := _MESSAGE.match(statement.text)):
                current = outline.messages.setdefault(int(message["id"]), set())
            elif keyword == "SG_" and (signal := _SIGNAL.match(statement.text)):
                current.add(signal["name"])
        return outline

    def references(self) -> Iterator[tuple[Statement, re.Match[str], str, int]]:
        """Yield every statement about a message: itself, the match, the name of its group for the id, and the id."""
        for statement in self.statements:
            pattern = _REFERENCE.get(statement.keyword)
            found = pattern.match(statement.text) if pattern else None
            if found is None:
                continue
            groups = found.groupdict()
            group = "id" if groups["id"] is not None else "id2"
            if groups.get(group) is not None:
                yield statement, found, group, int(groups[group])


def _missing_section(outline: Outline) -> Iterator[Edit]:
    """The list of nodes may be empty, but without it the list of names before it has no end."""
    if any(statement.keyword in {"BS_", "BU_"} for statement in outline.statements):
        return
    first = next((each for each in outline.statements if each.keyword == "BO_"), None)
    if first is not None:
        at = outline.text.rfind("\n", 0, first.start) + 1
        yield Edit(at, at, "BU_:\n", Change(Rule.SECTION, first.line, "BU_: added"))


def _digits_first(outline: Outline) -> Iterator[Edit]:
    """Put an underscore before names that begin with a digit, wherever they stand."""
    for statement in outline.statements:
        line, counted = statement.line, 0
        for found in _BEGINS_WITH_DIGIT.finditer(statement.text):
            name = found["name"]
            if name is None or _NUMBER.fullmatch(name):
                continue
            line, counted = line + statement.text.count("\n", counted, found.start()), found.start()
            at = statement.start + found.start()
            yield Edit(at, at, "_", Change(Rule.IDENTIFIER, line, f"{name} is now _{name}"))


def _foreign_signs(outline: Outline) -> Iterator[Edit]:
    """Put underscores for other signs in the names of messages and signals, and where they are referred to."""
    for statement in outline.statements:
        pattern = {"BO_": _MESSAGE, "SG_": _SIGNAL}.get(statement.keyword)
        group = "name" if pattern else "signal"
        pattern = pattern or _REFERENCE.get(statement.keyword)
        found = pattern.match(statement.text) if pattern else None
        name = found.groupdict().get(group) if found else None
        if found is None or name is None or not _FOREIGN_SIGN.search(name):
            continue
        mended = _FOREIGN_SIGN.sub("_", name)
        start, end = statement.start + found.start(group), statement.start + found.end(group)
        yield Edit(start, end, mended, Change(Rule.IDENTIFIER, statement.line, f"{name} is now {mended}"))


def _extended_ids(outline: Outline) -> Iterator[Edit]:
    """Set bit 31 of ids that have more than 11 bits, where the message is defined."""
    for statement in outline.statements:
        found = _MESSAGE.match(statement.text) if statement.keyword == "BO_" else None
        if found is None or not STANDARD_LAST < int(found["id"]) <= EXTENDED_LAST:
            continue
        change = Change(Rule.EXTENDED_ID, statement.line, f"message {found['name']}: id {int(found['id']):#x}")
        start, end = statement.start + found.start("id"), statement.start + found.end("id")
        yield Edit(start, end, str(int(found["id"]) | BIT_31), change)


def _references(outline: Outline) -> Iterator[Edit]:
    """Set bit 31 where a statement means a message that is known only with it."""
    for statement, found, group, message_id in outline.references():
        if message_id in outline.messages or message_id | BIT_31 not in outline.messages:
            continue
        start, end = statement.start + found.start(group), statement.start + found.end(group)
        change = Change(Rule.REFERENCE, statement.line, f"{statement.keyword} of message {message_id:#x}")
        yield Edit(start, end, str(message_id | BIT_31), change)


def _dangling(outline: Outline) -> Iterator[Edit]:
    """Leave out statements about messages and signals that are nowhere defined; their lines stay, empty."""
    for statement, found, _, message_id in outline.references():
        signal = found.groupdict().get("signal")
        signals = outline.messages.get(message_id)
        if signals is not None and (signal is None or signal in signals):
            continue
        about = f"message {message_id:#x}" + (f", signal {signal}" if signal else "")
        left = "\n" * statement.text.count("\n")
        yield Edit(
            statement.start,
            statement.end,
            left,
            Change(Rule.DANGLING, statement.line, f"left out: {statement.keyword} of {about}"),
        )


RULES: Final[Sequence[Callable[[Outline], Iterable[Edit]]]] = (  # each sees what those before it have made
    _digits_first,
    _foreign_signs,
    _extended_ids,
    _references,
    _dangling,
    _missing_section,  # last: it moves lines
)


def normalise(text: str) -> tuple[str, list[Change]]:
    """Return the text of a DBC with everything put right that is known to be put right, and what was changed."""
    changes: list[Change] = []
    for rule in RULES:
        edits = sorted(rule(Outline.of(text)), key=lambda edit: edit.start)
        changes += [edit.change for edit in edits]
        text = _apply(text, edits)
    return text, sorted(changes, key=lambda change: change.line)


def _apply(text: str, edits: Iterable[Edit]) -> str:
    pieces, at = [], 0
    for edit in edits:
        pieces += [text[at : edit.start], edit.text]
        at = edit.end
    return "".join([*pieces, text[at:]])
