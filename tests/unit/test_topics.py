import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MisuseError
from gateway.event import EVENT_TYPES
from gateway.ids import NAME_PATTERN
from gateway.sync.topics import CHANNELS, VERSION, Topics

TOPICS = Topics("gw-0042")
NAMES = st.from_regex(NAME_PATTERN.rstrip("$"), fullmatch=True)


def test_the_documentation_shows_the_topics_there_are() -> None:
    text = (Path(__file__).parents[2] / "docs" / "mqtt-protocol.md").read_text()
    rows = re.findall(r"^\| `/([^`]+)` \| (out|in) \| (\d) \| (yes|no) \|", text, re.MULTILINE)
    told = {(pattern, direction, int(qos), retained == "yes") for pattern, direction, qos, retained in rows}
    assert told == {(each.pattern, each.direction, each.qos, each.retained) for each in CHANNELS}
    assert f"`{VERSION}/{{gateway_id}}`" in text


def test_the_documentation_tells_of_every_event_there_is() -> None:
    text = (Path(__file__).parents[2] / "docs" / "mqtt-protocol.md").read_text()
    table = text.partition("| type | subject | attributes |")[2].partition("\n\n")[0]
    named = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in table.splitlines()[2:]]
    assert sorted(name for names in named for name in names) == sorted(EVENT_TYPES)


@pytest.mark.parametrize(
    ("made", "pattern"),
    [
        (TOPICS.state, "state"),
        (TOPICS.presence("m"), "components/{component_id}/presence"),
        (TOPICS.queue("m"), "components/{component_id}/queue"),
        (TOPICS.telemetry("m"), "components/{component_id}/telemetry"),
        (TOPICS.event("m", "request_queued"), "events/{subject}/{type}"),
        (TOPICS.request("anna", "get_health"), "requests/{actor}/{request}"),
        (TOPICS.reply("anna", "12345678"), "replies/{actor}/{id}"),
    ],
)
def test_every_topic_follows_its_pattern(made: str, pattern: str) -> None:
    expression = re.sub(r"\{\w+\}", "[^/]+", pattern)
    assert re.fullmatch(f"bms/v1/gw-0042/{expression}", made)
    assert pattern in {channel.pattern for channel in CHANNELS}


@given(NAMES, NAMES)
def test_a_request_topic_reads_as_it_was_written(actor: str, request: str) -> None:
    assert TOPICS.parse_request(TOPICS.request(actor, request)) == (actor, request)


@pytest.mark.parametrize(
    "topic",
    [
        "bms/v1/gw-0042/requests/anna",
        "bms/v1/gw-0042/requests/anna/get_health/more",
        "bms/v1/gw-0042/requests//get_health",
        "bms/v1/gw-0042/requests/anna\n/get_health",
        "bms/v1/gw-0042/requests/anna/",
        "bms/v1/gw-0042/requests/an na/get_health",
        "bms/v1/gw-0043/requests/anna/get_health",
        "bms/v1/gw-0042/replies/anna/12345678",
    ],
)
def test_any_other_topic_is_no_request(topic: str) -> None:
    assert TOPICS.parse_request(topic) is None


@given(st.text())
def test_no_topic_whatever_raises(topic: str) -> None:
    levels = TOPICS.parse_request(topic)
    assert levels is None or len(levels) == 2


@pytest.mark.parametrize("name", ["+", "#", "a/b", "", "a\0", "x" * 65, "../up"])
def test_a_name_that_is_no_level_never_becomes_part_of_a_topic(name: str) -> None:
    for build in (TOPICS.presence, TOPICS.queue, Topics, lambda bad: TOPICS.reply(bad, "12345678")):
        with pytest.raises(MisuseError):
            build(name)


def test_a_reply_goes_where_the_caller_wants_only_inside_the_callers_own_replies() -> None:
    own = "bms/v1/gw-0042/replies/anna/"
    default = own + "12345678"
    assert TOPICS.reply("anna", "12345678", own + "inbox") == own + "inbox"
    strange = [
        "bms/v1/gw-0042/replies/bert/x",
        "bms/v1/gw-0042/state",
        own,
        own + "one/more",  # where the broker's rules let nobody publish
        own + "+",
        own + "#",
        own + "bell\a",
        "x" * 300,
        own + "x" * 300,
    ]
    for topic in strange:
        assert TOPICS.reply("anna", "12345678", topic) == default
