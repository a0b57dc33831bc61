"""Figures, history, the audit chain and events of another time: what is asked for, and how it is told."""

from typing import Any

import pytest

from gateway.access import Actor
from gateway.clock import parse_rfc3339, rfc3339
from gateway.event import Event
from gateway.operation import Status
from gateway.ports import AuditCheck, AuditEntry, AuditRow, Figures, History, Page, Spread
from tests.api_scene import ANNA, CLOUD, OLGA, ROOT, VIEWER
from tests.doubles_api import HOUR_MS, ID, DeskScene, command

EARLY, LATE = "2026-09-01T00:00:00.000Z", "2026-09-02T00:00:00.000Z"


@pytest.fixture
def scene() -> DeskScene:
    return DeskScene()


def figures(key: str | None) -> Figures:
    return Figures(key, 4, 2.0, Spread(10.0, 8.0, 20.0, 30.0), Spread(), 1, 0.25)


def audit_row(seq: int) -> AuditRow:
    entry = AuditEntry("olga", "mqtt", "requeue", ID, "refused", "QUEUE_FULL")
    return AuditRow(seq, 1_790_000_000_000, entry, bytes([seq]) * 32, bytes([seq + 1]) * 32)


# --- metrics ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "hours"), [("HOUR", 1), ("DAY", 24)])
async def test_figures_of_a_window_end_now(scene: DeskScene, window: str, hours: int) -> None:
    scene.ledger.figures = [figures(None)]
    told = await scene.ok(VIEWER, "get_metrics", window=window)
    now = scene.clock.wall
    assert scene.ledger.asked == [("metrics", now - hours * HOUR_MS, now, None)]
    assert (told["from"], told["to"], told["groups"]) == (rfc3339(now - hours * HOUR_MS), rfc3339(now), [])
    assert told["totals"] == {
        "count": 4,
        "throughput_per_hour": 2.0,
        "wait_ms": {"mean": 10.0, "p50": 8.0, "p95": 20.0, "p99": 30.0},
        "processing_ms": {"mean": None, "p50": None, "p95": None, "p99": None},
        "retries": 1,
        "failure_rate": 0.25,
    }
    assert scene.store.studied == 1


async def test_figures_of_any_span_are_broken_down(scene: DeskScene) -> None:
    scene.ledger.figures = [figures(None), figures("COMPLETED"), figures("FAILED")]
    told = await scene.ok(VIEWER, "get_metrics", **{"from": EARLY, "to": LATE, "by": "status"})
    assert scene.ledger.asked == [("metrics", parse_rfc3339(EARLY), parse_rfc3339(LATE), "status")]
    assert [group["key"] for group in told["groups"]] == ["COMPLETED", "FAILED"]
    assert "key" not in told["totals"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "request"),
        ({"window": "HOUR", "from": EARLY, "to": LATE}, "request"),
        ({"from": EARLY}, "request"),
        ({"to": LATE}, "request"),
        ({"from": LATE, "to": EARLY}, "to"),
        ({"from": EARLY, "to": EARLY}, "to"),
        ({"from": "yesterday", "to": LATE}, "from"),
        ({"from": "0001-01-01T00:00:00+23:00", "to": LATE}, "from"),
        ({"window": "WEEK"}, "window"),
        ({"window": "HOUR", "by": "creator"}, "by"),
        ({"from_": EARLY, "to": LATE}, "from_"),
    ],
)
async def test_a_span_that_is_none_is_refused(scene: DeskScene, fields: dict[str, Any], field: str) -> None:
    assert await scene.no(VIEWER, "get_metrics", **fields) == ("INVALID_ARGUMENT", field)


# --- history ----------------------------------------------------------------------------------------------------------


async def test_history_is_asked_for_by_all_its_filters_and_comes_in_pages(scene: DeskScene) -> None:
    scene.ledger.page = Page([command()], "further")
    asked = {"creator": "anna", "component_id": "gone-01", "command_type": "identify", "status": "FAILED"}
    told = await scene.ok(VIEWER, "get_history", **asked, **{"from": EARLY, "to": LATE}, page_size=1, cursor="here")
    wanted = History("anna", "gone-01", "identify", Status.FAILED, parse_rfc3339(EARLY), parse_rfc3339(LATE))
    assert scene.ledger.asked == [("history", wanted, 1, "here")]
    assert ([each["request_id"] for each in told["requests"]], told["next_cursor"]) == ([ID], "further")
    assert scene.store.studied == 1


async def test_history_without_filters_is_all_there_is(scene: DeskScene) -> None:
    assert await scene.ok(VIEWER, "get_history") == {"requests": []}
    assert scene.ledger.asked == [("history", History(), 50, None)]
    assert await scene.no(VIEWER, "get_history", **{"from": LATE, "to": EARLY}) == ("INVALID_ARGUMENT", "to")


# --- the audit chain --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_name", ["get_audit", "verify_audit"])
@pytest.mark.parametrize("actor", [VIEWER, ANNA, OLGA, CLOUD])
async def test_the_audit_chain_is_for_administrators(scene: DeskScene, request_name: str, actor: Actor) -> None:
    assert await scene.no(actor, request_name) == ("NOT_AUTHORIZED", None)


async def test_the_audit_chain_comes_row_by_row_and_page_by_page(scene: DeskScene) -> None:
    scene.ledger.rows = [audit_row(seq) for seq in range(1, 8)]
    seqs, cursor = [], None
    for _ in range(3):
        told = await scene.ok(ROOT, "get_audit", page_size=3, **({} if cursor is None else {"cursor": cursor}))
        seqs.append([entry["seq"] for entry in told["entries"]])
        cursor = told.get("next_cursor")
    assert (seqs, cursor) == ([[1, 2, 3], [4, 5, 6], [7]], None)
    (entry,) = (await scene.ok(ROOT, "get_audit", from_seq=7))["entries"]
    assert entry == {
        "seq": 7,
        "at": "2026-09-21T14:13:20.000Z",
        "actor": "olga",
        "transport": "mqtt",
        "action": "requeue",
        "subject": ID,
        "outcome": "refused",
        "code": "QUEUE_FULL",
        "previous_hash": "07" * 32,
        "hash": "08" * 32,
    }


@pytest.mark.parametrize(
    "cursor", ["nonsense", "YXVkaXQ6", "b3RoZXI6MQ", "é", "YXVkaXQ6LTE", "", "YXVkaXQ6" + "OTk5" * 30]
)
async def test_a_cursor_of_somebody_elses_is_refused(scene: DeskScene, cursor: str) -> None:
    assert await scene.no(ROOT, "get_audit", cursor=cursor) == ("INVALID_ARGUMENT", "cursor")


@pytest.mark.parametrize("from_seq", [0, -1, 1 << 63, "1"])
async def test_a_seq_has_its_bounds(scene: DeskScene, from_seq: Any) -> None:
    assert await scene.no(ROOT, "get_audit", from_seq=from_seq) == ("INVALID_ARGUMENT", "from_seq")


@pytest.mark.parametrize("first_broken", [None, 12])
async def test_the_whole_chain_is_checked(scene: DeskScene, first_broken: int | None) -> None:
    scene.ledger.check = AuditCheck(40, 41, first_broken, b"\xab" * 32)
    told = await scene.ok(ROOT, "verify_audit")
    assert told == {"entries": 40, "last_seq": 41, "first_broken": first_broken, "head": "ab" * 32}
    assert scene.store.studied == 1


# --- replay -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("actor", [VIEWER, CLOUD])
async def test_events_are_published_again(scene: DeskScene, actor: Actor) -> None:
    scene.ledger.events = [Event("bus_up", "gateway", 0, seq=seq) for seq in (4, 8, 9, 11, 12)]
    scene.upstream.sent = 10
    told = await scene.ok(actor, "replay", from_seq=5, to_seq=10_004)
    assert told == {
        "replayed": 10_000,
        "from_seq": 5,
        "to_seq": 10_004,
        "gone": 4,  # 5, 6, 7, 10: what was not sent is not looked at
        "stored_from": 8,
        "sent_seq": 10,
        "last_seq": 12,
    }
    assert scene.upstream.replayed == [(5, 10_004)]
    assert scene.ledger.audited == []


async def test_whoever_has_seen_more_than_there_is_learns_it(scene: DeskScene) -> None:
    scene.ledger.events = [Event("bus_up", "gateway", 0, seq=3)]
    told = await scene.ok(VIEWER, "replay", from_seq=5, to_seq=6)
    assert (told["stored_from"], told["last_seq"]) == (None, 3)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"from_seq": 5, "to_seq": 4}, "to_seq"),
        ({"from_seq": 5, "to_seq": 10_005}, "to_seq"),
        ({"from_seq": 0, "to_seq": 4}, "from_seq"),
        ({"from_seq": 1}, "to_seq"),
        ({"from_seq": 1, "to_seq": 1 << 64}, "to_seq"),
    ],
)
async def test_a_range_that_is_none_or_too_long_is_refused(
    scene: DeskScene, fields: dict[str, int], field: str
) -> None:
    assert await scene.no(VIEWER, "replay", **fields) == ("INVALID_ARGUMENT", field)
    assert scene.upstream.replayed == []
