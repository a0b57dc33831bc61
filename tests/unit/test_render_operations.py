"""Operations for people: in a few words, in lists, one by one, and how far a routed one has come."""

from typing import Any

import click
import pytest

from gateway.cli import render
from gateway.cli.render.operations import progress, what, whom
from gateway.clock import parse_rfc3339, rfc3339
from tests.cli_scene import PARENT, child

NOW = parse_rfc3339("2026-11-21T20:35:00.000Z")
PAIRING = {
    "request_id": "req_01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "kind": "PAIRING",
    "initiator_component": "pack-01",
    "request_type": "STANDARD",
    "target_component": "module-03",
    "priority": "HIGH",
    "status": "QUEUED",
    "creator": "tech-anna",
    "created_at": "2026-11-21T20:30:00.000Z",
    "expires_at": "2026-11-22T20:30:00.000Z",
    "retry_count": 0,
}
ERROR = {"code": "EXCHANGE_TIMEOUT", "message": "No answer."}
CHILDREN = [child(1, "COMPLETED", result={"data": 7}), child(2, "FAILED", last_error=ERROR), child(3, "QUEUED")]


def plain(text: str) -> str:
    return click.unstyle(text)


def columns(shown: str, line: int) -> list[str]:
    """Return the cells of a line of a table, which stand at least two spaces apart."""
    return [cell.strip() for cell in plain(shown).splitlines()[line].split("  ") if cell.strip()]


# --- in a few words ---------------------------------------------------------------------------------------------------


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
    assert what({**PAIRING, **changes}) == shown


@pytest.mark.parametrize(
    ("request_", "shown"),
    [
        (PAIRING, "module-03"),
        ({**PAIRING, "proxy_component": "pack-02"}, "module-03 via pack-02"),
        (PARENT, "3 targets"),
        ({**PARENT, "result": {"succeeded": 2, "failed": 1}}, "3 targets, 2 done"),
    ],
)
def test_for_whom_an_operation_is(request_: dict[str, Any], shown: str) -> None:
    assert whom(request_) == shown


# --- lists ------------------------------------------------------------------------------------------------------------


def test_an_empty_list_says_what_it_has_none_of() -> None:
    empty: dict[str, Any] = {"requests": []}
    assert render.requests(empty, NOW) == "Nothing is waiting."
    assert render.picked(empty, NOW) == "None."
    assert render.history(empty, NOW) == "None."
    assert render.dead_letters(empty, NOW) == "No dead letters."
    assert render.plan({"plan": []}, NOW) == "Nobody matches."


def test_a_queue_tells_its_sizes_and_that_there_is_more() -> None:
    sizes = {"standard_queue_size": 1, "priority_queue_size": 2, "proxy_queue_size": 0}
    shown = plain(render.requests({"requests": [PAIRING], "queue_status": sizes, "next_cursor": "x"}, NOW))
    assert columns(shown, 1)[2:] == ["pair with pack-01", "module-03", "HIGH", "QUEUED", "in 24 h"]
    assert "standard queue 1, priority queue 2, proxy queue 0" in shown
    assert "--limit" in shown


@pytest.mark.parametrize(
    ("listed", "more", "shown"),
    [
        ([PARENT, *CHILDREN], {}, "3 targets"),
        ([PARENT, *CHILDREN[1:]], {}, "3 targets, 1 ended"),
        ([PARENT], {}, "3 targets, 3 ended"),
        ([PARENT], {"next_cursor": "x"}, "3 targets"),
        ([{**PARENT, "result": {"succeeded": 3}}], {}, "3 targets, 3 done"),
    ],
)
def test_the_line_of_a_parent_tells_how_many_of_its_children_are_no_longer_listed(
    listed: list[dict[str, Any]], more: dict[str, Any], shown: str
) -> None:
    assert columns(render.requests({"requests": listed, **more}, NOW), 1)[3] == shown


def test_a_proxy_queue_tells_for_whom_it_may_act() -> None:
    told = {"requests": [{**PAIRING, "proxy_component": "pack-02"}], "authorized_targets": ["module-03", "module-04"]}
    shown = render.proxy_queue(told, NOW)
    assert "module-03 via pack-02" in shown
    assert shown.endswith("\n\nmay act for: module-03, module-04")


def test_dead_letters_tell_how_often_they_were_tried_and_why_they_failed() -> None:
    letter = {
        **PAIRING,
        "status": "FAILED",
        "retry_count": 3,
        "last_error": ERROR,
        "finished_at": rfc3339(NOW - 180_000),
    }
    cells = columns(render.dead_letters({"requests": [letter]}, NOW), 1)
    assert cells[3:] == ["FAILED", "4", "3 min ago", "EXCHANGE_TIMEOUT: No answer."]


def test_the_history_tells_what_became_of_each() -> None:
    failed = {**PAIRING, "status": "FAILED", "last_error": ERROR, "finished_at": rfc3339(NOW)}
    retried = {**PAIRING, "last_error": ERROR}
    shown = render.history({"requests": [failed, retried]}, NOW)
    assert columns(shown, 1)[3:] == ["FAILED (EXCHANGE_TIMEOUT)", "tech-anna", "2026-11-21 20:30:00Z"]
    assert columns(shown, 2)[3:] == ["QUEUED", "tech-anna", "2026-11-21 20:30:00Z"]


# --- one by one -------------------------------------------------------------------------------------------------------


def test_one_operation_tells_where_it_stands_first() -> None:
    told = {"request": {**PAIRING, "last_error": ERROR, "metadata": {}}, "queue_position": 2}
    told["estimated_processing"] = rfc3339(NOW + 180_000)
    lines = plain(render.request_status(told, NOW)).splitlines()
    assert [line.split("  ")[0] for line in lines[:5]] == [
        "request id",
        "what",
        "status",
        "queue position",
        "estimated",
    ]
    assert lines[4] == "estimated         in about 3 minutes, at 2026-11-21 20:38:00Z"
    assert "last error        EXCHANGE_TIMEOUT: No answer." in lines
    assert "expires at        2026-11-22 20:30:00Z (in 24 h)" in lines
    assert not [line for line in lines if line.startswith("metadata")]


@pytest.mark.parametrize("told", [{}, {"estimated_processing": None}])
def test_what_nobody_can_estimate_is_not_told(told: dict[str, Any]) -> None:
    assert "estimated" not in render.request_status({"request": PAIRING, **told}, NOW)


def test_an_operation_that_was_tried_again_tells_its_times_in_plain_words() -> None:
    times = {"started_at": rfc3339(NOW), "queued_at": rfc3339(NOW - 4000), "processing_at": rfc3339(NOW - 8000)}
    lines = plain(render.request_status({"request": {**PAIRING, **times}}, NOW)).splitlines()
    assert [line.split("  ")[0] for line in lines[-3:]] == ["started at", "back in queue at", "first started at"]


def test_an_operation_that_ended_tells_the_time_of_its_end_once() -> None:
    times = {"finished_at": "2026-11-21T20:31:00.000Z", "completed_at": "2026-11-21T20:31:00.000Z"}
    shown = plain(render.request_status({"request": {**PAIRING, "status": "COMPLETED", **times}}, NOW))
    assert "completed at" in shown
    assert "finished at" not in shown
    alone = {**PAIRING, "status": "FAILED", "finished_at": times["finished_at"]}
    assert "finished at" in plain(render.request_status({"request": alone}, NOW))


def test_a_parent_tells_its_children_in_a_table_and_not_again_in_its_result() -> None:
    result = {"policy": "ALL", "succeeded": 1, "failed": 1, "children": [{"request_id": "told below"}]}
    told = {"request": {**PARENT, "status": "FAILED", "result": result}, "children": CHILDREN}
    shown = plain(render.request_status(told, NOW))
    assert "2 of 3 ended (1 COMPLETED, 1 FAILED, 1 QUEUED)" in shown
    assert "policy ALL, succeeded 1, failed 1\n" in shown
    assert "told below" not in shown
    table = shown.split("\n\n")[1]
    assert columns(table, 0) == ["COMPONENT", "STATUS", "REQUEST", "OUTCOME"]
    assert [columns(table, n)[0::3] for n in (1, 2, 3)] == [
        ["module-01", "data 7"],
        ["module-02", "EXCHANGE_TIMEOUT: No answer."],
        ["module-03", "–"],
    ]


def test_a_child_that_ends_is_told_with_how_many_have() -> None:
    assert plain(render.child_ended(CHILDREN[1], 2, 3)) == "module-02 FAILED: EXCHANGE_TIMEOUT: No answer. (2 of 3)"
    assert plain(render.child_ended(child(1, "EXPIRED"), 3, 3)) == "module-01 EXPIRED (3 of 3)"
    assert plain(progress(CHILDREN[2:])) == "0 of 1 ended (1 QUEUED)"


def test_an_attempt_that_was_not_the_last_tells_when_the_next_one_may_begin() -> None:
    waiting = {**PAIRING, "retry_count": 1, "last_error": ERROR}
    assert render.tried(waiting, NOW) == "EXCHANGE_TIMEOUT: No answer. Tried again later."
    due = {**waiting, "not_before": rfc3339(NOW + 60_000)}
    assert render.tried(due, NOW) == "EXCHANGE_TIMEOUT: No answer. Tried again in 60 s."


def test_what_abandoned_means_is_said() -> None:
    shown = plain(render.request_status({"request": {**PAIRING, "status": "ABANDONED"}}, NOW))
    assert "ABANDONED: nobody can know whether it was done" in shown


def test_a_queued_operation_tells_its_place_if_it_has_one() -> None:
    assert "place 3 in its queue" in plain(render.queued({"request": PAIRING, "queue_position": 3}, NOW))
    assert "place" not in plain(render.queued({"request": PAIRING, "queue_position": None}, NOW))


def test_a_drain_tells_what_it_did() -> None:
    report = {"component_id": "module-03", "requests_processed": 5, "successful": 4, "failed": 1}
    shown = render.drained({**report, "processing_time_ms": 1250}, NOW)
    assert shown == "module-03: 5 processed, 4 successful, 1 failed, in 1.25 s"


def test_a_plan_lists_those_left_out_last_and_without_a_rank() -> None:
    place = {"component_id": "a", "presence": "ONLINE", "capable": True, "score": 100.04, "rank": 2, "reason": "idle"}
    left_out = {**place, "component_id": "c", "capable": False, "rank": None, "reason": "NOT_CAPABLE: no."}
    shown = render.plan({"plan": [left_out, place, {**place, "component_id": "b", "rank": 1}]}, NOW)
    assert [columns(shown, n)[:2] for n in (1, 2, 3)] == [["1", "b"], ["2", "a"], ["–", "c"]]
    assert columns(shown, 3)[2:] == ["ONLINE", "no", "100 ms", "NOT_CAPABLE: no."]
