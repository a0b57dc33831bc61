"""What had to be done to a database of messages before it could be read, and what it then held."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final


class Reading(StrEnum):
    """How a file could be read: the first way that succeeded."""

    STRICT = "strict"  # as it is
    LAX = "lax"  # as it is, with messages that contradict themselves or each other
    NORMALISED = "normalised"  # after a repair of its text


class Rule(StrEnum):
    """What was changed, or tolerated, and why."""

    SECTION = "the list of nodes, which may be empty, was missing"
    IDENTIFIER = "a name may not begin with a digit, nor hold other signs than letters, digits and _"
    EXTENDED_ID = "an id of more than 11 bits needs bit 31 set to say that it has 29"
    REFERENCE = "a line about a message that is known under its 29-bit id lacked bit 31"
    DANGLING = "a line about a message or signal that the file does not define"
    DOUBLE = "of several messages of one name or id only the last counts"
    MISFIT = "signals overlap or do not fit into their message"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the text, or one message that is tolerated. `line`: in the file, from 1; 0: of no line."""

    rule: Rule
    line: int
    what: str

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        return f"{place}{self.what}: {self.rule.value}"


@dataclass(frozen=True, slots=True)
class Report:
    """How a file was read. `periodic`: messages with a cycle time of their own."""

    file: Path
    reading: Reading
    changes: tuple[Change, ...]
    messages: int
    signals: int
    periodic: int

    def lines(self, most: int = 20) -> list[str]:
        """Return the report for people: one line on the whole, then at most `most` changes, alike ones counted."""
        counted = f"{self.messages} messages, {self.signals} signals, {self.periodic} with a cycle time"
        told = [f"{self.file}: read {_HOW[self.reading]}; {counted}"]
        told += [f"  {change}" for change in self.changes[:most]]
        if len(self.changes) > most:
            told.append(f"  … and {len(self.changes) - most} more changes")
        return told


_HOW: Final = {
    Reading.STRICT: "as it is",
    Reading.LAX: "as it is, though some of its messages contradict themselves or each other",
    Reading.NORMALISED: "after repairs",
}
