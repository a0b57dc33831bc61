"""Tables for people: what is shown, and what never reaches a terminal."""

from typing import Any

import click
import pytest

from gateway.cli import render

REQUEST = {
    "request_id": "req_01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "kind": "PAIRING",
    "initiator_component": "pack-01",
    "request_type": "STANDARD",
    "target_component": "module-03",
    "priority": "HIGH",
    "status": "QUEUED",
    "creator": "tech-anna",
    "expires_at": "2026-11-22T20:30:00.000Z",
}


def plain(text: str) -> str:
    return click.unstyle(text)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        ("", "–"),
        ([], "–"),
        ({}, "–"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (0.5, "0.5"),
        ("2026-11-21T20:30:00.123Z", "2026-11-21 20:30:00Z"),
        (["a", "b"], "a, b"),
        ({"rule": "silence", "window_ms": 3500}, "rule silence, window_ms 3500"),
        ({"a": {"b": None}}, "a b –"),
    ],
)
def test_values_are_spelled_for_people(value: Any, shown: str) -> None:
    assert render.text(value) == shown


def test_what_others_wrote_cannot_steer_the_terminal() -> None:
    evil = "\x1b[2Jall is well\r\n\x07"
    for shown in (
        render.text(evil),
        render.text({evil: [evil]}),
        render.state(evil),
        render.requests({"requests": [{**REQUEST, "creator": evil, "initiator_component": evil}]}),
        render.request_status({"request": {**REQUEST, "title": evil}}),
        render.parameters({"params": {evil: evil}}),
    ):
        assert not set("\x1b\r\x07") & set(plain(shown))
        assert "\x1b[2J" not in shown


def test_a_presence_is_coloured_and_a_stranger_is_not() -> None:
    assert render.state("ONLINE") == click.style("ONLINE", fg="green")
    assert render.state("SOMETHING") == "SOMETHING"


def test_columns_stand_below_their_headers_in_spite_of_colours() -> None:
    rows = [["a", render.state("ONLINE"), "x"], ["b", render.state("OFFLINE"), "y"]]
    lines = plain(render.table(("one", "two", "three"), rows)).splitlines()
    assert lines[0].split() == ["ONE", "TWO", "THREE"]
    assert len({lines[0].index("THREE"), lines[1].index("x"), lines[2].index("y")}) == 1


def test_ids_that_look_like_numbers_stay_as_they_are() -> None:
    assert "1e5" in render.table(("id",), [["1e5"]])


def test_a_sheet_leaves_out_what_has_no_value() -> None:
    assert (
        plain(render.sheet([("last_seen", "–"), ("id", "x"), ("queue_depth", "3")])) == "id           x\nqueue depth  3"
    )


def test_no_components_and_no_requests_are_said() -> None:
    assert render.components({"components": []}) == "No components."
    assert render.requests({"requests": []}) == "Nothing is waiting."


def test_a_flapping_component_is_marked() -> None:
    component = {
        "component_id": "module-03",
        "kind": "MODULE",
        "bus": "can0",
        "node": 0xA3,
        "presence": "OFFLINE",
        "reason": "heartbeat_timeout",
        "since": "2026-11-21T20:30:00.000Z",
        "last_seen": None,
        "expected_return": None,
        "flapping": True,
    }
    shown = plain(render.components({"components": [component]}))
    assert "can0:0xA3" in shown
    assert "OFFLINE (flapping)" in shown
    assert "heartbeat_timeout" in shown


def test_the_evidence_of_a_component_is_shown() -> None:
    shown = plain(
        render.component({"presence": "OFFLINE", "evidence": {"rule": "silence", "missed": 4}, "parent": None})
    )
    assert shown.splitlines() == ["presence  OFFLINE", "evidence  rule silence, missed 4"]


def test_a_component_shows_its_node_as_the_configuration_does_and_calls_raw_what_is_raw() -> None:
    shown = plain(render.component({"node": 0xA3, "vitals": {"temperature_max": 65}}))
    assert shown.splitlines() == ["node          0xA3", "vitals (raw)  temperature_max 65"]


def test_a_queue_tells_its_sizes_and_that_there_is_more() -> None:
    sizes = {"standard_queue_size": 1, "priority_queue_size": 2, "proxy_queue_size": 0}
    shown = plain(render.requests({"requests": [REQUEST], "queue_status": sizes, "next_cursor": "x"}))
    assert "pair with pack-01" in shown
    assert "standard queue 1, priority queue 2, proxy queue 0" in shown
    assert "--limit" in shown


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, "pair with pack-01"),
        ({"request_type": "EMERGENCY"}, "pair with pack-01 (EMERGENCY)"),
        ({"kind": "COMMAND", "command_type": "wake", "arguments": {}}, "wake"),
        ({"kind": "COMMAND", "command_type": "read_parameter", "arguments": {"id": 7}}, "read_parameter id=7"),
    ],
)
def test_an_operation_is_said_in_a_few_words(changes: dict[str, Any], shown: str) -> None:
    assert render.what({**REQUEST, **changes}) == shown


def test_one_operation_tells_where_it_stands_first() -> None:
    error = {"code": "EXCHANGE_TIMEOUT", "message": "No answer."}
    told = {"request": {**REQUEST, "last_error": error, "metadata": {}}, "queue_position": 2}
    lines = [line.split("  ")[0].strip() for line in plain(render.request_status(told)).splitlines()]
    assert lines[:4] == ["request id", "what", "status", "queue position"]
    assert "last error" in lines
    assert "metadata" not in lines


def test_an_operation_that_ended_tells_the_time_of_its_end_once() -> None:
    times = {"finished_at": "2026-11-21T20:31:00.000Z", "completed_at": "2026-11-21T20:31:00.000Z"}
    shown = plain(render.request_status({"request": {**REQUEST, "status": "COMPLETED", **times}}))
    assert "completed at" in shown
    assert "finished at" not in shown
    alone = {**REQUEST, "status": "FAILED", "finished_at": times["finished_at"]}
    assert "finished at" in plain(render.request_status({"request": alone}))


def test_a_queued_operation_tells_its_place_if_it_has_one() -> None:
    assert "place 3 in its queue" in plain(render.queued({"request": REQUEST, "queue_position": 3}))
    assert "place" not in plain(render.queued({"request": REQUEST, "queue_position": None}))


def test_a_drain_tells_what_it_did() -> None:
    report = {"component_id": "module-03", "requests_processed": 5, "successful": 4, "failed": 1}
    shown = render.drained({**report, "processing_time_ms": 1250})
    assert shown == "module-03: 5 processed, 4 successful, 1 failed, in 1.2 s"


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ({"configured": False}, "none configured"),
        ({"connected": True}, "connected"),
        ({"connected": False, "outbox": 3, "last_error": None}, "away; outbox 3"),
        (
            {"configured": True, "connected": True, "broker": "b:1883", "outbox": 0, "turned_away": {}, "dropped": 0},
            "connected; broker b:1883",
        ),
        ({"connected": True, "turned_away": {"too large": 2, "stale": 0}}, "connected; turned_away too large 2"),
    ],
)
def test_upstream_is_said(told: dict[str, Any], shown: str) -> None:
    assert plain(render.upstream(told)) == shown


@pytest.mark.parametrize(
    ("bus", "shown"),
    [
        ({"name": "can0", "state": "UP", "heard": "UP"}, "UP"),
        (
            {"state": "UP", "heard": "UP", "frames": 7, "overflow": 0, "off_period": [], "last_error": None},
            "UP; frames 7",
        ),
        ({"state": "UP", "answers_dropped": {"invalid": 0, "late": 0}}, "UP"),
        ({"state": "UP", "answers_dropped": {"invalid": 0, "late": 3}}, "UP; answers_dropped late 3"),
        ({"state": "UP", "heard": "SILENT", "online": 0}, "SILENT; link UP"),
    ],
)
def test_a_bus_is_said_by_what_is_heard_and_what_is_remarkable(bus: dict[str, Any], shown: str) -> None:
    assert plain(render.condition(bus)) == shown


def test_a_dead_bus_does_not_look_green() -> None:
    assert render.condition({"state": "UP", "heard": "SILENT"}).startswith(click.style("SILENT", fg="red"))


def test_health_tells_an_unhealthy_gateway_and_a_bus_without_figures() -> None:
    told = {
        "healthy": False,
        "queue_depth": 0,
        "active_operations": 0,
        "average_wait_ms": 0,
        "average_processing_ms": 0,
        "failure_rate": 0,
        "buses": [{"name": "can0", "state": "BUS_OFF"}],
        "upstream": {"configured": False},
    }
    shown = plain(render.health(told))
    assert "not healthy" in shown
    assert "bus can0            BUS_OFF\n" in shown
