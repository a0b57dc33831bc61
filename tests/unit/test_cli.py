"""The commands that ask: what each sends, as the models of the requests want it, and what it shows."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from gateway.api import REQUESTS
from gateway.cli import cli
from tests.cli_scene import HEALTH, ID, NOW, PARENT, PRESENCE, QUEUED, REQUEST, FakeGateway, child, run, status_of

DOCS = Path(__file__).parents[2] / "docs"
OTHER_ID = f"{ID[:-1]}W"


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


# --- pairing ----------------------------------------------------------------------------------------------------------

PAIRING = {"initiator_component": "pack-01", "target_component": "module-03"}


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ("", {}),
        ("--type standard", {"request_type": "STANDARD"}),
        (
            "--emergency --expiry 2 --title swap --priority high",
            {"request_type": "EMERGENCY", "ttl_s": 7200.0, "title": "swap", "priority": "HIGH"},
        ),
        ("--expiry 90m", {"ttl_s": 5400.0}),
        ("--ttl 90", {"ttl_s": 90.0}),
        (
            "--proxy pack-02 --metadata order=17 --metadata bay=b=4",
            {"request_type": "PROXY", "proxy_component": "pack-02", "metadata": {"order": "17", "bay": "b=4"}},
        ),
        (
            "--hold-ref wo-7 --hold-amount 12.5 --source erp --source-ref e1 --description d --delivery at_most_once",
            {
                "hold_ref": "wo-7",
                "hold_amount": 12.5,
                "source": "erp",
                "source_ref": "e1",
                "description": "d",
                "delivery": "AT_MOST_ONCE",
            },
        ),
        ("--expected-duration 2m --idempotency-key k", {"expected_duration_s": 120.0, "idempotency_key": "k"}),
    ],
)
def test_pair_queues_a_pairing_request(gateway: FakeGateway, options: str, fields: dict[str, Any]) -> None:
    gateway.answers("queue_pairing_request", QUEUED)
    assert run(gateway, "pair", "pack-01", "module-03", *options.split()).exit_code == 0
    assert gateway.asked == [("queue_pairing_request", {**PAIRING, **fields})]


# --- commands ---------------------------------------------------------------------------------------------------------

IDENTIFY = {"command_type": "identify", "arguments": {}}
ROUTED = {**IDENTIFY, "targets": ["module-01", "module-03"]}
CHOSEN = {**IDENTIFY, "selector": {"kind": "MODULE"}}


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("module-03", {**IDENTIFY, "target_component": "module-03"}),
        ("module-03 seconds=30", {**IDENTIFY, "target_component": "module-03", "arguments": {"seconds": 30}}),
        ("module-01 seconds=30 module-03", {**ROUTED, "arguments": {"seconds": 30}}),
        ("--kind module", CHOSEN),
        ("--selector kind=module,parent=pack-01", {**IDENTIFY, "selector": {"kind": "MODULE", "parent": "pack-01"}}),
        (
            "--kind pack --bus can0 --capability identify --parent pack-01 seconds=3",
            {
                **IDENTIFY,
                "selector": {"kind": "PACK", "parent": "pack-01", "bus": "can0", "capability": "identify"},
                "arguments": {"seconds": 3},
            },
        ),
        ("module-01 module-03 --strategy failover", {**ROUTED, "strategy": "FAILOVER"}),
        ("--kind MODULE --strategy optimal", {**CHOSEN, "strategy": "OPTIMAL"}),
        ("--kind MODULE --policy any", {**CHOSEN, "aggregation": {"policy": "ANY"}}),
        ("--kind MODULE --quorum 2", {**CHOSEN, "aggregation": {"policy": "QUORUM", "n": 2}}),
        ("--kind MODULE --policy QUORUM --quorum 2", {**CHOSEN, "aggregation": {"policy": "QUORUM", "n": 2}}),
        ("--kind MODULE --barrier", {**CHOSEN, "barrier": True}),
        (
            f"module-03 --depends-on {ID} --depends-on {OTHER_ID} --conflict-key lamp --conflict-policy supersede",
            {
                **IDENTIFY,
                "target_component": "module-03",
                "depends_on": [ID, OTHER_ID],
                "conflict_key": "lamp",
                "conflict_policy": "SUPERSEDE",
            },
        ),
        (
            "module-03 --ttl 90s --answer-within 500ms --idempotency-key k1",
            {**IDENTIFY, "target_component": "module-03", "ttl_s": 90.0, "timeout_s": 0.5, "idempotency_key": "k1"},
        ),
        ("module-03 --expiry 1d", {**IDENTIFY, "target_component": "module-03", "ttl_s": 86_400.0}),
    ],
)
@pytest.mark.parametrize(("verb", "request_name"), [("command", "queue_command"), ("route", "route_command")])
def test_a_command_is_queued_or_planned_alike(
    gateway: FakeGateway, verb: str, request_name: str, words: str, fields: dict[str, Any]
) -> None:
    gateway.answers(request_name, QUEUED if verb == "command" else {"plan": []})
    assert run(gateway, verb, "identify", *words.split()).exit_code == 0
    assert gateway.asked == [(request_name, fields)]


def test_a_plan_tells_who_would_be_asked_and_why(gateway: FakeGateway) -> None:
    rows = [
        {
            "component_id": "module-02",
            "presence": "OFFLINE",
            "capable": True,
            "score": 9.5,
            "rank": None,
            "reason": "away",
        },
        {
            "component_id": "module-01",
            "presence": "ONLINE",
            "capable": True,
            "score": 0.25,
            "rank": 1,
            "reason": "idle",
        },
    ]
    shown = run(gateway.answers("route_command", {"plan": rows}), "route", "identify", "--kind", "module").stdout
    lines = [line.split() for line in shown.splitlines()]
    assert lines[1:] == [
        ["1", "module-01", "ONLINE", "yes", "0.25", "ms", "idle"],
        ["–", "module-02", "OFFLINE", "yes", "9.5", "ms", "away"],
    ]


def test_a_routed_command_is_said_to_be_for_so_many_targets(gateway: FakeGateway) -> None:
    gateway.answers("queue_command", {"request": PARENT, "children": [ID], "queue_position": None})
    shown = run(gateway, "command", "identify", "module-01", "module-02", "module-03").stdout
    assert "identify seconds=10, for 3 targets: QUEUED; it may wait until 2026-11-22 20:30:00Z (in 24 h)\n" in shown


# --- each command, its request ----------------------------------------------------------------------------------------

DRAINED = {"component_id": "x", "requests_processed": 1, "successful": 1, "failed": 0, "processing_time_ms": 9}
SPREAD = {"mean": 1.5, "p50": 1.0, "p95": 3.0, "p99": 4.0}
FIGURES = {
    "count": 3,
    "throughput_per_hour": 3.0,
    "wait_ms": SPREAD,
    "processing_ms": SPREAD,
    "retries": 1,
    "failure_rate": 0.25,
}
METRICS = {"from": "2026-11-21T19:35:00.000Z", "to": NOW, "totals": FIGURES, "groups": []}
REPLAYED = {"replayed": 3, "from_seq": 5, "to_seq": 7}
WHOLE = {"entries": 7, "last_seq": 7, "first_broken": None, "head": "ab" * 32}


@pytest.mark.parametrize(
    ("words", "request_name", "fields"),
    [
        (f"cancel {ID} --reason late", "cancel_request", {"request_id": ID, "cancellation_reason": "late"}),
        (f"request-status {ID}", "get_request_status", {"request_id": ID}),
        (
            "drain module-03 --max 5 --proxy",
            "process_offline_queue",
            {"component_id": "module-03", "max_operations": 5, "process_proxy_queue": True, "wait": True},
        ),
        (
            "drain module-03 --no-wait",
            "process_offline_queue",
            {"component_id": "module-03", "process_proxy_queue": False, "wait": False},
        ),
        ("health", "get_health", {}),
        ("components", "get_presence", {}),
        ("proxy-queue pack-01", "list_proxy_queue", {"proxy_component": "pack-01", "page_size": 50}),
        ("dead-letters", "list_dead_letters", {"page_size": 50}),
        ("dead-letters module-03 --limit 3", "list_dead_letters", {"component_id": "module-03", "page_size": 3}),
        (f"requeue {ID}", "requeue", {"request_id": ID}),
        (f"requeue {ID} --ttl 2h", "requeue", {"request_id": ID, "ttl_s": 7200.0}),
        (f"discard {ID} --reason done", "discard", {"request_id": ID, "reason": "done"}),
        (f"set-priority {ID} high", "set_priority", {"request_id": ID, "priority": "HIGH"}),
        (
            f"reorder module-03 {OTHER_ID} {ID}",
            "reorder_queue",
            {"component_id": "module-03", "request_ids": [OTHER_ID, ID]},
        ),
        (
            f"settle {ID} captured --settlement-ref s-1",
            "settle",
            {"request_id": ID, "outcome": "CAPTURED", "settlement_ref": "s-1"},
        ),
        ("history", "get_history", {"page_size": 50}),
        (
            "history --creator root --component module-03 --type identify --status failed --from 2026-11-20 --to 30m",
            "get_history",
            {
                "creator": "root",
                "component_id": "module-03",
                "command_type": "identify",
                "status": "FAILED",
                "from": "2026-11-20T00:00:00.000Z",
                "to": "2026-11-21T20:05:00.000Z",
                "page_size": 50,
            },
        ),
        ("metrics", "get_metrics", {"window": "HOUR"}),
        ("metrics day --by TYPE", "get_metrics", {"window": "DAY", "by": "type"}),
        ("metrics --from 1h", "get_metrics", {"from": "2026-11-21T19:35:00.000Z", "to": NOW}),
        (
            "metrics --from 2026-11-20T10:00+02:00 --to 2026-11-21 --by status",
            "get_metrics",
            {"from": "2026-11-20T08:00:00.000Z", "to": "2026-11-21T00:00:00.000Z", "by": "status"},
        ),
        ("params", "get_params", {}),
        (
            "params set max_retry_attempts=5 enable_retry=false",
            "set_params",
            {"params": {"max_retry_attempts": 5, "enable_retry": False}},
        ),
        (
            "adopt module-09 --bus can0 --node 0xA9 --kind module --owner fleet --parent pack-01",
            "adopt_component",
            {
                "component_id": "module-09",
                "bus": "can0",
                "node": 0xA9,
                "kind": "MODULE",
                "owner": "fleet",
                "parent": "pack-01",
            },
        ),
        ("mark module-03 online --reason seen", "mark_online", {"component_id": "module-03", "reason": "seen"}),
        (
            "mark module-03 OFFLINE --reason removed --expected-return 2h",
            "mark_offline",
            {"component_id": "module-03", "reason": "removed", "expected_return": "2026-11-21T22:35:00.000Z"},
        ),
        ("audit --from-seq 4 --limit 9", "get_audit", {"from_seq": 4, "page_size": 9}),
        ("audit verify", "verify_audit", {}),
        ("replay 5", "replay", {"from_seq": 5, "to_seq": 5}),
        ("replay 5 7", "replay", {"from_seq": 5, "to_seq": 7}),
        ("confirm-clock", "confirm_clock", {}),
    ],
)
def test_each_command_sends_its_request(
    gateway: FakeGateway, words: str, request_name: str, fields: dict[str, Any]
) -> None:
    lists: dict[str, Any] = {"requests": [], "authorized_targets": [], "entries": []}
    result = {**QUEUED, **HEALTH, **PRESENCE, **DRAINED, **METRICS, **REPLAYED, **lists}
    result |= {"params": {"enable_retry": True}, "component": PRESENCE["components"][0]}
    gateway.answers(request_name, WHOLE if request_name == "verify_audit" else result)
    ended = run(gateway, *words.split())
    assert ended.exit_code == 0, ended.stderr
    assert gateway.asked == [(request_name, fields)]
    assert ended.stdout


def test_status_tells_health_and_presence(gateway: FakeGateway) -> None:
    shown = run(gateway.answers("get_health", HEALTH).answers("get_presence", PRESENCE), "status").stdout
    for told in ("healthy", "queue depth", "12.5%", "can0", "away", "pack-01"):
        assert told in shown


def test_show_tells_presence_and_what_waits(gateway: FakeGateway) -> None:
    gateway.answers("get_presence", PRESENCE)
    gateway.answers("get_queued_requests", {"requests": [REQUEST]})
    shown = run(gateway, "show", "pack-01").stdout
    assert gateway.asked[1] == ("get_queued_requests", {"component_id": "pack-01"})
    assert "ONLINE" in shown
    assert ID in shown


# --- lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "request_name"),
    [
        ("queue", "get_queued_requests"),
        ("history", "get_history"),
        ("dead-letters", "list_dead_letters"),
        ("proxy-queue pack-01", "list_proxy_queue"),
    ],
)
def test_a_list_follows_the_pages_up_to_its_limit(gateway: FakeGateway, words: str, request_name: str) -> None:
    page = [REQUEST] * 200
    gateway.answers(request_name, {"requests": page, "next_cursor": "a"}, {"requests": page[:50], "next_cursor": "b"})
    result = run(gateway, *words.split(), "--limit", "250", "--json")
    assert len(json.loads(result.stdout)["requests"]) == 250
    assert [(fields["page_size"], fields.get("cursor")) for _, fields in gateway.asked] == [(200, None), (50, "a")]


def test_a_list_bears_a_rate_limit_in_its_middle_and_not_at_its_start(gateway: FakeGateway) -> None:
    gateway.answers("get_history", {"requests": [REQUEST], "next_cursor": "a"})
    gateway.refuses("get_history", "RATE_LIMITED", retry_after_ms=900)
    gateway.then("get_history", {"requests": [REQUEST]})
    result = run(gateway, "history", "--json")
    assert len(json.loads(result.stdout)["requests"]) == 2
    assert gateway.slept == [0.9]
    gateway.answers("get_history", {"requests": [REQUEST], "next_cursor": "a"})
    gateway.refuses("get_history", "RATE_LIMITED", retry_after_ms=900)
    assert "RATE_LIMITED" in run(gateway, "history", "--timeout", "5").stderr
    gateway.refuses("get_queued_requests", "RATE_LIMITED", retry_after_ms=900)
    gateway.slept.clear()
    assert run(gateway, "queue").exit_code == 1
    assert gateway.slept == []
    gateway.answers("get_audit", {"entries": [], "next_cursor": "a"}).refuses("get_audit", "INVALID_ARGUMENT")
    assert run(gateway, "audit").exit_code == 1


def test_a_list_that_is_cut_off_says_so(gateway: FakeGateway) -> None:
    gateway.answers("get_history", {"requests": [REQUEST], "next_cursor": "a"})
    assert run(gateway, "history", "--limit", "1").stdout.endswith("There is more: see --limit.\n")


@pytest.mark.parametrize("last", [{"requests": []}, {"requests": [], "next_cursor": None}])
def test_a_list_ends_with_the_last_page(gateway: FakeGateway, last: dict[str, Any]) -> None:
    gateway.answers("get_queued_requests", last)
    assert run(gateway, "queue", "module-03", "--status", "failed").stdout == "None.\n"
    (asked,) = gateway.asked
    assert asked[1] == {"component_id": "module-03", "queue_type": "ALL", "status_filter": "FAILED", "page_size": 50}


def test_an_empty_queue_has_nothing_waiting(gateway: FakeGateway) -> None:
    gateway.answers("get_queued_requests", {"requests": []})
    assert run(gateway, "queue", "module-03").stdout == "Nothing is waiting.\n"


def test_the_queue_tells_how_many_children_of_a_parent_have_ended_only_where_it_lists_all(gateway: FakeGateway) -> None:
    waiting = {**REQUEST, "parent_id": PARENT["request_id"]}
    gateway.answers("get_queued_requests", {"requests": [PARENT, waiting]})
    assert "3 targets, 2 ended" in run(gateway, "queue").stdout
    assert "3 targets, 2 ended" not in run(gateway, "queue", "--status", "queued").stdout
    assert "3 targets, 2 ended" not in run(gateway, "queue", "--type", "standard").stdout


def test_the_status_of_a_parent_tells_its_children(gateway: FakeGateway) -> None:
    children = [child(1, "COMPLETED", result={"result_code": 0, "data": 7}), child(2, "PROCESSING"), child(3, "QUEUED")]
    gateway.answers("get_request_status", {"request": PARENT, "queue_position": None, "children": children})
    shown = run(gateway, "request-status", PARENT["request_id"]).stdout
    assert "1 of 3 ended (1 COMPLETED, 1 PROCESSING, 1 QUEUED)" in shown
    assert "result_code 0, data 7" in shown


# --- any request ------------------------------------------------------------------------------------------------------


def test_request_sends_anything_and_prints_the_reply(gateway: FakeGateway) -> None:
    gateway.answers("get_metrics", {"from": NOW})
    result = run(gateway, "request", "get_metrics", "window=HOUR")
    assert gateway.asked == [("get_metrics", {"window": "HOUR"})]
    assert json.loads(result.stdout) == {"ok": True, "result": {"from": NOW}}


def test_request_takes_lists_and_maps(gateway: FakeGateway) -> None:
    gateway.answers("queue_command", QUEUED)
    words = [
        "command_type=identify",
        'arguments={"seconds": 3}',
        "selector={kind = 'MODULE'}",
        'aggregation={"policy": "ANY"}',
    ]
    assert run(gateway, "request", "queue_command", *words, f'depends_on=["{ID}"]', "barrier=true").exit_code == 0
    fields = {
        "command_type": "identify",
        "arguments": {"seconds": 3},
        "selector": {"kind": "MODULE"},
        "aggregation": {"policy": "ANY"},
        "depends_on": [ID],
        "barrier": True,
    }
    assert gateway.asked == [("queue_command", fields)]


def test_request_reads_its_fields_from_a_file_or_standard_input(gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.strict = False
    gateway.answers("queue_command", QUEUED)
    (tmp_path / "fields.json").write_text('{"command_type": "wake", "ttl_s": 5}')
    assert run(gateway, "request", "queue_command", "--from", str(tmp_path / "fields.json"), "ttl_s=7").exit_code == 0
    assert run(gateway, "request", "queue_command", "--from", "-", stdin='{"a": 1}').exit_code == 0
    assert [fields for _, fields in gateway.asked] == [{"command_type": "wake", "ttl_s": 7}, {"a": 1}]


@pytest.mark.parametrize(
    ("text", "problem"),
    [("{", "no valid JSON"), ("[" * 100_000, "no valid JSON"), ("[1]", "write one map"), ("\xff", "no valid JSON")],
)
def test_request_refuses_a_file_that_is_no_map(gateway: FakeGateway, text: str, problem: str) -> None:
    result = run(gateway, "request", "queue_command", "--from", "-", stdin=text)
    assert result.exit_code == 2
    assert problem in result.stderr


# --- the document -----------------------------------------------------------------------------------------------------

COMMAND_LINE = (DOCS / "command-line.md").read_text().replace("\\\n", "")
EXAMPLES = re.findall(r"^bms-gateway (.*?)(?: +#.*| \|.*)?$", COMMAND_LINE, re.MULTILINE)
ASKING = [words for words in EXAMPLES if not {"access", "watch"} & set(words.split())]  # the others ask no gateway


@pytest.mark.parametrize("words", ASKING)
def test_the_examples_of_the_document_are_what_a_gateway_understands(gateway: FakeGateway, words: str) -> None:
    lists: dict[str, Any] = {"requests": [], "plan": [], "children": [], "params": {}}
    result = {**QUEUED, **HEALTH, **PRESENCE, **DRAINED, **METRICS, **lists, "component": PRESENCE["components"][0]}
    for name in REQUESTS:
        gateway.answers(name, WHOLE if name == "verify_audit" else result)
    gateway.answers("get_request_status", status_of("COMPLETED"))
    ended = run(gateway, *shlex.split(words))
    assert ended.exit_code == 0, ended.stderr
    assert gateway.asked


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["identify", "module-03", "--priority", "urgent"]])
def test_words_of_the_api_are_shown_in_capitals(gateway: FakeGateway, words: list[str]) -> None:
    result = run(gateway, "command", *words)
    assert "LOW" in result.output
    assert "low" not in result.output.replace("allow", "").replace("below", "")


def test_every_command_explains_itself() -> None:
    for name in cli.commands:
        result = run(None, name, "--help")
        assert result.exit_code == 0
        assert len(result.stdout.splitlines()) > 4


def test_the_help_tells_every_command_once_in_one_line() -> None:
    shown = run(None, "--help").stdout
    _, *sections = re.split(r"^(?:Run|Look|Queue work|Tend the queues|Tend the gateway):\n", shown, flags=re.MULTILINE)
    lines = [line for section in sections for line in section.splitlines() if line]
    assert [line.split()[0] for line in lines] == list(cli.commands)
    assert len(sections) == 5
    assert not [line for line in lines if line.endswith("...")]
