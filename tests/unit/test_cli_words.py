"""How people write values, durations and times at the keyboard, and the words of the API that are spelled there."""

from typing import Any, get_args

import click
import pytest

from gateway import requests as ask
from gateway.cli import cli
from gateway.cli.words import ENDED, KINDS, PRIORITIES, STATUSES, Moment, hours, moment, seconds, value_of, whole
from gateway.clock import parse_rfc3339
from gateway.component import ComponentKind
from gateway.operation import FINAL
from gateway.requests.base import PriorityName, StatusName

NOW = "2026-11-21T20:35:00.000Z"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("5", 5),
        ("0x1F", 31),
        ("-2.5", -2.5),
        ('"5"', "5"),
        ("[1, 2]", [1, 2]),
        ('["a", ["b", {"c": 1}]]', ["a", ["b", {"c": 1}]]),
        ('{"a": {"b": [1, null]}}', {"a": {"b": [1, None]}}),
        ("{a = {b = [true]}}", {"a": {"b": [True]}}),
        ("{a.b = 1}", {"a": {"b": 1}}),
        ("plain", "plain"),
        ("", ""),
        ("[1", "[1"),
        ("inf", "inf"),
        ("null", "null"),
        ("[nan]", "[nan]"),
        ('{"a": Infinity}', '{"a": Infinity}'),
        ("2026-11-21", "2026-11-21"),
        ("[2026-11-21]", "[2026-11-21]"),
        ("9223372036854775808", "9223372036854775808"),
        ("1\nother = 2", "1\nother = 2"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_a_value_has_the_type_it_looks_like(text: str, value: Any) -> None:
    read = value_of(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "length_s"),
    [
        ("90", 90),
        ("1.5", 1.5),
        ("90s", 90),
        ("500ms", 0.5),
        ("15m", 900),
        ("15min", 900),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1 h 30 min", 5400),
        ("2H", 7200),
        ("7d", 604_800),
        ("2w", 1_209_600),
        (" 0.5h ", 1800),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str, length_s: float) -> None:
    assert seconds(text) == length_s


def test_a_bare_number_may_mean_hours() -> None:
    assert (hours("2"), hours("2s")) == (7200, 2)


@pytest.mark.parametrize("text", ["", "h", "2x", "-5", "soon", "1h30", "2 hours", "9999999w", "٣h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "ago", "ahead"),
    [
        ("now", NOW, NOW),
        ("2h", "2026-11-21T18:35:00.000Z", "2026-11-21T22:35:00.000Z"),
        ("2026-11-21", "2026-11-21T00:00:00.000Z", None),
        ("2026-11-21T20:30", "2026-11-21T20:30:00.000Z", None),
        ("2026-11-21 20:30:01Z", "2026-11-21T20:30:01.000Z", None),
        ("2026-11-21T20:30:00.001Z", "2026-11-21T20:30:00.001Z", None),
        ("2026-11-21T20:30+02:00", "2026-11-21T18:30:00.000Z", None),
    ],
)
def test_a_time_is_a_day_a_time_or_so_long_from_now(text: str, ago: str, ahead: str | None) -> None:
    read, now_ms = moment(text), parse_rfc3339(NOW)
    assert (read.ago(now_ms), read.ahead(now_ms)) == (ago, ahead or ago)


@pytest.mark.parametrize("text", ["", "yesterday", "5", "20:30", "2026-13-01", "2x"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        moment(text)


def test_the_farthest_moment_has_a_spelling() -> None:
    assert Moment(None, seconds("36525d")).ago(parse_rfc3339(NOW)) == "1926-11-21T20:35:00.000Z"


def test_a_whole_number_may_be_hexadecimal() -> None:
    assert (whole("163"), whole("0xA3")) == (163, 0xA3)


def test_the_words_offered_are_those_of_the_api() -> None:
    assert get_args(PriorityName) == PRIORITIES
    assert get_args(StatusName) == STATUSES
    assert frozenset(map(str, FINAL)) == ENDED
    assert tuple(ComponentKind) == KINDS == get_args(ask.AdoptComponent.model_fields["kind"].annotation)


CHOICES = [
    ("pair", "request_type", ask.QueuePairingRequest, "request_type"),
    ("command", "delivery", ask.QueueCommand, "delivery"),
    ("command", "strategy", ask.QueueCommand, "strategy"),
    ("command", "policy", ask.Aggregation, "policy"),
    ("command", "conflict_policy", ask.QueueCommand, "conflict_policy"),
    ("queue", "queue_type", ask.GetQueuedRequests, "queue_type"),
    ("settle", "outcome", ask.Settle, "outcome"),
    ("metrics", "window", ask.GetMetrics, "window"),
    ("metrics", "by", ask.GetMetrics, "by"),
]


@pytest.mark.parametrize(("command", "name", "model", "field"), CHOICES)
def test_an_option_offers_what_its_request_takes(command: str, name: str, model: Any, field: str) -> None:
    (offered,) = (param.type for param in cli.commands[command].params if param.name == name)
    assert isinstance(offered, click.Choice)
    annotation = model.model_fields[field].annotation
    taken = [word for part in (annotation, *get_args(annotation)) for word in get_args(part) if isinstance(word, str)]
    assert set(offered.choices) == set(taken)
