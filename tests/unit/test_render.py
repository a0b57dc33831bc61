"""Values, components, figures and records for people: what is shown, and what never reaches a terminal."""

from typing import Any

import click
import pytest

from gateway.cli import render
from gateway.cli.render import ages, cells
from gateway.cli.render.buses import condition
from gateway.cli.render.upstream import CAUSES, upstream
from gateway.clock import parse_rfc3339, rfc3339
from gateway.sync.loss import Cause
from tests.cli_scene import HEALTH, PACK, REQUEST

NOW = parse_rfc3339("2026-11-21T20:35:00.000Z")
SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000


def plain(text: str) -> str:
    return click.unstyle(text)


# --- values -----------------------------------------------------------------------------------------------------------


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
        ("2026-99-99T20:30:00.123Z", "2026-99-99T20:30:00.123Z"),
        (["a", "b"], "a, b"),
        ({"rule": "silence", "window_ms": 3500}, "rule silence, window_ms 3500"),
        ({"a": {"b": None}}, "a b –"),
    ],
)
def test_values_are_spelled_for_people(value: Any, shown: str) -> None:
    assert cells.text(value) == shown


def test_a_time_has_its_age_beside_it_where_the_time_is_known() -> None:
    assert cells.text("2026-11-21T20:30:00.123Z", NOW) == "2026-11-21 20:30:00Z (5 min ago)"
    assert cells.text({"a": ["2026-11-21T22:35:00.000Z"]}, NOW) == "a 2026-11-21 22:35:00Z (in 2 h)"
    assert cells.age("2026-11-21T22:35:00.000Z", NOW) == "in 2 h"
    assert cells.age(None, NOW) == "–"


@pytest.mark.parametrize(
    ("away_ms", "beside", "about"),
    [
        (0, "now", "at any moment"),
        (-999, "now", "at any moment"),
        (-SECOND, "1 s ago", "at any moment"),
        (400, "now", "at any moment"),
        (SECOND, "in 1 s", "in about 1 second"),
        (45 * SECOND, "in 45 s", "in about 45 seconds"),
        (89 * SECOND, "in 89 s", "in about 89 seconds"),
        (-119 * SECOND, "119 s ago", "at any moment"),
        (2 * MINUTE, "in 2 min", "in about 2 minutes"),
        (170 * SECOND, "in 3 min", "in about 3 minutes"),
        (-90 * MINUTE, "90 min ago", "at any moment"),
        (47 * HOUR, "in 47 h", "in about 2 days"),
        (2 * DAY - SECOND, "in 2 d", "in about 2 days"),
        (7 * DAY - SECOND, "in 7 d", "in about 7 days"),
    ],
)
def test_how_far_away_a_time_is(away_ms: int, beside: str, about: str) -> None:
    assert ages.beside(NOW + away_ms, NOW) == beside
    assert ages.about(NOW + away_ms, NOW) == about


@pytest.mark.parametrize(
    ("length_ms", "shown"),
    [
        (None, "–"),
        (0, "0 ms"),
        (4.25, "4.25 ms"),
        (999.4, "999 ms"),
        (999.9, "1 s"),
        (1250, "1.25 s"),
        (90_000, "90 s"),
        (120_000, "2 min"),
        (7_300_000, "2 h"),
    ],
)
def test_a_measured_duration_has_the_digits_that_count(length_ms: float | None, shown: str) -> None:
    assert ages.exact(length_ms) == shown


EVIL = "\x1b[2Jall is well\r\n\x07"
EVIL_TIME = "\x1b[2J\x1b[2J..T........\r\n\x07..Z"


@pytest.mark.parametrize("evil", [EVIL, EVIL_TIME])
def test_what_others_wrote_cannot_steer_the_terminal(evil: str) -> None:
    request = {**REQUEST, "creator": evil, "title": evil, "command_type": evil, "cancellation_reason": evil}
    listed = {"requests": [{**request, "last_error": {"code": evil, "message": evil}}]}
    entry = dict.fromkeys(("seq", "at", "actor", "transport", "action", "subject", "outcome", "code"), evil)
    for shown in (
        cells.text(evil),
        cells.text({evil: [evil]}),
        cells.state(evil),
        render.requests(listed, NOW),
        render.dead_letters(listed, NOW),
        render.history(listed, NOW),
        render.request_status({"request": request, "children": [request]}, NOW),
        render.queued({"request": request}, NOW),
        render.parameters({"params": {evil: evil}}, NOW),
        render.audit({"entries": [entry]}, NOW),
        render.plan({"plan": [{**PLACE, "component_id": evil, "reason": evil}]}, NOW),
    ):
        assert not set("\x1b\r\x07") & set(plain(shown))
        assert "\x1b[2J" not in shown


PLACE = {"component_id": "x", "presence": "ONLINE", "capable": True, "score": 1.0, "rank": 1, "reason": "idle"}


def test_a_presence_is_coloured_and_a_stranger_is_not() -> None:
    assert render.state("ONLINE") == click.style("ONLINE", fg="green")
    assert render.state("SOMETHING") == "SOMETHING"


# --- layout -----------------------------------------------------------------------------------------------------------


def test_columns_stand_below_their_headers_in_spite_of_colours() -> None:
    rows = [["a", render.state("ONLINE"), "x"], ["b", render.state("OFFLINE"), "y"]]
    lines = plain(render.table(("one", "two", "three"), rows)).splitlines()
    assert lines[0].split() == ["ONE", "TWO", "THREE"]
    assert len({lines[0].index("THREE"), lines[1].index("x"), lines[2].index("y")}) == 1


def test_a_table_fits_the_terminal_by_wrapping_text_and_never_an_id() -> None:
    rows = [["req_01ARZ3NDEKTSV4RRFFQ69G5FAV", render.state("FAILED"), "The component said no, and why. " * 5]]
    wide = plain(render.table(("request", "status", "why"), rows))
    assert len(wide.splitlines()) == 2
    before = cells.ROOM.set(80)
    try:
        fitted = plain(render.table(("request", "status", "why"), rows)).splitlines()
        narrow = plain(render.table(("request", "request"), [[rows[0][0]] * 2]))
    finally:
        cells.ROOM.reset(before)
    assert 70 < max(map(len, fitted)) <= 80
    assert [word for line in fitted for word in line.split()][3:5] == [rows[0][0], "FAILED"]
    assert " ".join(line[40:].strip() for line in fitted[1:]) == rows[0][2].strip()
    assert narrow.splitlines()[1] == "  ".join([rows[0][0]] * 2)


def test_a_time_is_wrapped_after_the_text_beside_it() -> None:
    before = cells.ROOM.set(40)
    try:
        lines = render.table(("what", "at"), [["read what stands there", "2026-11-21 20:30:00Z"]]).splitlines()
    finally:
        cells.ROOM.reset(before)
    assert lines[1:] == ["read what stands  2026-11-21 20:30:00Z", "there"]


def test_ids_that_look_like_numbers_stay_as_they_are() -> None:
    assert "1e5" in render.table(("id",), [["1e5"]])


def test_a_sheet_leaves_out_what_has_no_value() -> None:
    assert (
        plain(cells.sheet([("last_seen", "–"), ("id", "x"), ("queue_depth", "3")])) == "id           x\nqueue depth  3"
    )


# --- components -------------------------------------------------------------------------------------------------------


def test_a_component_takes_a_line_with_the_ages_of_its_times() -> None:
    away = {**PACK, "presence": "OFFLINE", "reason": "heartbeat_timeout", "flapping": True}
    away["expected_return"] = "2026-11-21T22:36:00.000Z"
    shown = plain(render.components({"components": [away]}, NOW)).splitlines()[1]
    assert shown.split("  ")[-1] == "in 2 h"
    for told in (
        "can0:0x12",
        "OFFLINE (flapping)",
        "heartbeat_timeout",
        "35 min ago",
        "5 min ago",
    ):
        assert told in shown


def test_no_components_are_said() -> None:
    assert render.components({"components": []}, NOW) == "No components."


def test_the_evidence_of_a_component_is_shown() -> None:
    told = {"presence": "OFFLINE", "evidence": {"rule": "silence", "missed": 4}, "parent": None}
    assert plain(render.component(told, NOW)).splitlines() == ["presence  OFFLINE", "evidence  rule silence, missed 4"]


def test_a_component_shows_its_node_as_the_configuration_does_and_calls_raw_what_is_raw() -> None:
    shown = plain(render.component({"node": 0xA3, "vitals": {"temperature_max": 65}}, NOW))
    assert shown.splitlines() == ["node          0xA3", "vitals (raw)  temperature_max 65"]


# --- the gateway ------------------------------------------------------------------------------------------------------


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
        (
            {"connected": True, "state": "slow", "under_way": 7, "oldest_under_way_ms": 4200, "outbox": 90},
            "slow; the oldest of 7 messages waits 4.2 s; outbox 90",
        ),
        (
            {"connected": True, "state": "refused", "refused": ["events"], "oldest_under_way_ms": 0},
            "refused; its access rules forbid events: see bms-gateway access mosquitto-acl",
        ),
        (
            {
                "connected": False,
                "state": "away",
                "cause": "broker_unavailable",
                "last_error": "b: x",
                "losses": {"closed": 2},
            },
            "away; broker_unavailable: it is busy or starting; lost so far: closed 2; last_error b: x",
        ),
        (
            {"connected": True, "state": "connected", "cause": "shutting_down", "losses": {}},
            "connected; lately shutting_down: it was shut down",
        ),
        ({"connected": False, "cause": "of a later version"}, "away; of a later version: see its log"),
    ],
)
def test_upstream_is_said(told: dict[str, Any], shown: str) -> None:
    assert plain(upstream(told)) == shown


def test_every_cause_the_gateway_knows_is_explained() -> None:
    assert set(CAUSES) == {str(cause) for cause in Cause}


@pytest.mark.parametrize(
    ("bus", "shown"),
    [
        ({"name": "can0", "state": "UP", "heard": "UP", "frames_judged": 7}, "UP"),
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
    assert plain(condition(bus)) == shown


BUSY: dict[str, Any] = {
    "state": "UP",
    "heard": "UP",
    "controller": "active",
    "transmit_error_counter": 0,
    "receive_error_counter": 0,
    "frames_per_s": 4012.4,
    "load": 0.93,
    "load_peak": 0.99,
    "talkers": [
        {"can_id": "123", "frames_per_s": 3900.0, "component_id": None},
        {"can_id": "18FF1012", "frames_per_s": 1.0, "component_id": "pack-01"},
    ],
    "transmit_full_ms": 12300,
}


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        (
            {},
            (
                "UP; load 93% (at most 99%, 4,012 frames a second); 123 (of nobody we know) babbles: 3,900 a second; "
                "no room to send for 12.3 s"
            ),
        ),
        (
            {"load": None, "load_peak": None, "talkers": BUSY["talkers"][1:], "transmit_full_ms": 0},
            "UP; 4,012 frames a second",
        ),
        (
            {"frames_per_s": 0.0, "talkers": [], "transmit_full_ms": 0, "controller": "bus_off"},
            "UP; controller bus off",
        ),
        (
            {
                "frames_per_s": 0.0,
                "transmit_full_ms": 0,
                "controller": "passive",
                "transmit_error_counter": 136,
                "talkers": [{"can_id": "18FF1012", "frames_per_s": 800.0, "component_id": "pack-01"}],
                "errors": {"transmit_passive": 1},
            },
            (
                "UP; controller passive (136 errors sending, 0 receiving); 18FF1012 (pack-01) babbles: 800 a second; "
                "errors transmit_passive 1"
            ),
        ),
    ],
)
def test_what_ails_a_bus_is_said_in_words(changed: dict[str, Any], shown: str) -> None:
    assert plain(condition({**BUSY, **changed})) == shown


def test_a_dead_bus_does_not_look_green() -> None:
    assert condition({"state": "UP", "heard": "SILENT"}).startswith(click.style("SILENT", fg="red"))


def test_health_tells_an_unhealthy_gateway_and_a_bus_without_figures() -> None:
    told = {
        **HEALTH,
        "healthy": False,
        "buses": [{"name": "can0", "state": "BUS_OFF"}],
        "upstream": {"configured": False},
    }
    shown = plain(render.health(told, NOW)).splitlines()
    assert shown[0].removeprefix("gateway").strip() == "not healthy"
    assert "average wait        1.5 s in the last hour" in shown
    assert "average processing  20 ms in the last hour" in shown
    assert "bus can0            BUS_OFF" in shown


def test_health_tells_no_averages_where_nothing_was_measured() -> None:
    shown = plain(render.health({**HEALTH, "average_wait_ms": 0.0, "average_processing_ms": 0.0}, NOW))
    assert "average" not in shown


def test_parameters_are_spelled_as_they_are_set() -> None:
    assert render.parameters({"params": {"enable_retry": False}}, NOW).splitlines()[1].split() == [
        "enable_retry",
        "false",
    ]


def test_health_tells_of_the_clock_only_where_it_is_not_trusted() -> None:
    assert "clock" not in plain(render.health({**HEALTH, "time_trusted": True}, NOW))
    assert "clock               not trusted: nothing expires" in plain(
        render.health({**HEALTH, "time_trusted": False}, NOW)
    )


def test_health_tells_what_a_later_gateway_adds_where_it_is_remarkable() -> None:
    added = {"clock": {"trusted": False, "jumped_s": 7200}, "quiet": {"errors": 0}}
    shown = plain(render.health({**HEALTH, **added}, NOW))
    assert "clock               jumped_s 7200" in shown
    assert "quiet" not in shown


# --- looking back -----------------------------------------------------------------------------------------------------

SPREAD = {"mean": 1500.0, "p50": 1000.0, "p95": 3000.0, "p99": 4000.0}
EMPTY = {"mean": None, "p50": None, "p95": None, "p99": None}
FIGURES = {
    "count": 3,
    "throughput_per_hour": 1.5,
    "wait_ms": SPREAD,
    "processing_ms": {**SPREAD, "p99": 12.0},
    "retries": 1,
    "failure_rate": 1 / 3,
}
NONE = {
    **FIGURES,
    "count": 0,
    "throughput_per_hour": 0.0,
    "wait_ms": EMPTY,
    "processing_ms": EMPTY,
    "failure_rate": 0.0,
}


def test_metrics_tell_all_and_each_group() -> None:
    told = {
        "from": rfc3339(NOW - HOUR),
        "to": rfc3339(NOW),
        "totals": FIGURES,
        "groups": [{"key": "FAILED", **FIGURES}],
    }
    head, _, counts, first, second, _, times, third, fourth = render.metrics(told, NOW).splitlines()
    assert head == "ended from 2026-11-21 19:35:00Z to 2026-11-21 20:35:00Z"
    assert counts.split() == ["ENDED", "PER", "HOUR", "RETRIES", "FAILED", "WAIT", "PROCESSING"]
    assert first.split() == ["all", "3", "1.5", "1", "33.3%", "1.5", "s", "1.5", "s"]
    assert second.split()[0] == "FAILED"
    assert times.split() == "WAIT P50 WAIT P95 WAIT P99 PROCESSING P50 PROCESSING P95 PROCESSING P99".split()
    assert third.split() == "all 1 s 3 s 4 s 1 s 3 s 12 ms".split()
    assert fourth.split()[0] == "FAILED"


def test_metrics_of_a_quiet_hour_tell_no_durations() -> None:
    shown = render.metrics({"from": rfc3339(NOW - HOUR), "to": rfc3339(NOW), "totals": NONE, "groups": []}, NOW)
    assert shown.splitlines()[-1].split() == ["all", "0", "0.0", "1", "0.0%", "–", "–"]


def test_the_audit_tells_who_did_what_and_with_which_code_it_was_refused() -> None:
    entry = {
        "seq": 7,
        "at": rfc3339(NOW),
        "actor": "anna",
        "transport": "mqtt",
        "action": "drain",
        "subject": "module-03",
    }
    entries = [{**entry, "outcome": "accepted", "code": None}, {**entry, "outcome": "refused", "code": "NOT_OWNER"}]
    lines = render.audit({"entries": entries, "next_cursor": "x"}, NOW).splitlines()
    assert lines[1].endswith("anna   mqtt       drain   module-03  accepted")
    assert lines[2].endswith("refused (NOT_OWNER)")
    assert lines[-1] == "There is more: see --limit."
    assert render.audit({"entries": []}, NOW) == "No entries."


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (
            {"entries": 7, "last_seq": 9, "first_broken": None, "head": "ab12"},
            "The audit chain is whole: 7 entries, up to 9, head ab12.",
        ),
        (
            {"entries": 7, "last_seq": 9, "first_broken": 4, "head": "ab12"},
            "The audit chain is BROKEN: entry 4 is the first that does not fit (7 entries).",
        ),
        (
            {"entries": 0, "last_seq": 0, "first_broken": None, "head": ""},
            "The audit chain is whole: it has no entries yet.",
        ),
    ],
)
def test_the_state_of_the_audit_chain_is_one_sentence(check: dict[str, Any], said: str) -> None:
    assert render.verified(check, NOW) == said


def test_what_was_done_to_the_gateway_is_one_sentence() -> None:
    replayed = render.replayed({"replayed": 3, "from_seq": 5, "to_seq": 9}, NOW)
    assert replayed == "3 of the events 5 to 9 were published again."
    assert render.confirmed({"timestamp": rfc3339(NOW)}, NOW).startswith(
        "The gateway takes 2026-11-21 20:35:00Z for right"
    )
