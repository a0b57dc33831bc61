"""How people write what the API takes: its closed lists, durations, times, numbers, and values with their types.

The closed lists are spelled here once more, because `--help` need not wait for the models that own them.
"""

import json
import re
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final

import click

from gateway.clock import rfc3339

PRIORITIES: Final = ("LOW", "NORMAL", "HIGH", "CRITICAL")
STATUSES: Final = ("QUEUED", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED", "EXPIRED", "ABANDONED")
ENDED: Final = frozenset(STATUSES) - {"QUEUED", "PROCESSING"}
KINDS: Final = ("PACK", "MODULE", "OTHER")

_UNITS_S: Final = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|m|h|d|w)\s*")
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]+)?")
_LONGEST_S: Final = 36_525 * 86_400  # a century: no time that is reckoned with it leaves the calendar
_INT64: Final = range(-(1 << 63), 1 << 63)  # what a payload can carry


class Capitals(click.Choice[str]):
    """One of the words that the API spells in capitals; people may type them as they like."""

    def __init__(self, *words: str) -> None:
        super().__init__(words, case_sensitive=False)

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:
        """Spell a word in capitals, in help and errors too."""
        return super().normalize_choice(choice, ctx).upper()


# --- durations and times ----------------------------------------------------------------------------------------------


def seconds(text: str) -> float:
    """Read a duration as s: 90s, 15m, 2h, 1h30m, 7d; a bare number is seconds."""
    return _duration(text, "s")


def hours(text: str) -> float:
    """Read a duration as s, too; a bare number is hours."""
    return _duration(text, "h")


def _duration(text: str, bare: str) -> float:
    whole = text.strip().lower()
    if _NUMBER.fullmatch(whole):
        whole += bare
    parts = _PART.findall(whole)
    if not parts or _PART.sub("", whole):
        raise click.BadParameter(f"{text!r} is no duration; write 90s, 15m, 2h, 1h30m or 7d.")
    total = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if total > _LONGEST_S:
        raise click.BadParameter(f"{text!r} is longer than a century.")
    return total


@dataclass(frozen=True, slots=True)
class Moment:
    """A time as people say it: `at_ms` since the epoch, or else `away_s` from the present."""

    at_ms: int | None
    away_s: float = 0.0

    def ago(self, now_ms: int) -> str:
        """Spell it for the API; what is away lies in the past."""
        return rfc3339(now_ms - round(self.away_s * 1000) if self.at_ms is None else self.at_ms)

    def ahead(self, now_ms: int) -> str:
        """Spell it for the API; what is away lies in the future."""
        return rfc3339(now_ms + round(self.away_s * 1000) if self.at_ms is None else self.at_ms)


def moment(text: str) -> Moment:
    """Read a time: now, a duration with its unit, 2026-11-21, 2026-11-21T20:30 and on; UTC where no offset is given."""
    word = text.strip()
    if word.lower() == "now":
        return Moment(None)
    if _PART.match(word.lower()):
        return Moment(None, seconds(word))
    try:
        at = datetime.fromisoformat(word)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return Moment(int(at.timestamp() * 1000))
    except (ValueError, OverflowError) as why:
        raise click.BadParameter(f"{text!r} is no time; write 2026-11-21T20:30Z, or how far away: 2h.") from why


# --- values -----------------------------------------------------------------------------------------------------------


def whole(text: str) -> int:
    """Read a whole number: 163, 0xA3."""
    try:
        return int(text, 0)
    except ValueError as why:
        raise click.BadParameter(f"{text!r} is no whole number.") from why


def value_of(text: str) -> Any:
    """Read a value of the command line: true, 5, 0x12, 2.5, "text", [1, 2], {"a": 1}; anything else is text."""
    with suppress(ValueError, RecursionError):
        if "\n" not in text and _is_plain(value := tomllib.loads(f"value = {text}")["value"]):
            return value
    with suppress(ValueError, RecursionError):
        value = json.loads(text)
        if isinstance(value, dict | list) and _is_plain(value):
            return value
    return text


def _is_plain(value: Any) -> bool:
    """Whether a value is such as a payload can carry: TOML knows dates too, and JSON in Python NaN."""
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, int):
        return value in _INT64
    return value is None or isinstance(value, str) or (isinstance(value, float) and isfinite(value))


def texts(_: click.Context, param: click.Parameter | None, words: Sequence[str]) -> dict[str, str]:
    """Read `key=text` words as a map: nothing is taken for a number."""
    made = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{word!r} is not KEY=VALUE", param=param)
        made[key] = text
    return made


def pairs(ctx: click.Context, param: click.Parameter | None, words: Sequence[str]) -> dict[str, Any]:
    """Read `key=value` words as a map."""
    return {key: value_of(text) for key, text in texts(ctx, param, words).items()}


def listed_texts(ctx: click.Context, param: click.Parameter | None, words: Sequence[str]) -> dict[str, str]:
    """Read `key=text,key=text` words as one map."""
    return texts(ctx, param, [part for word in words for part in word.split(",")])
