"""The commands that ask: what each sends, what it shows, and with which code it ends."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway import __version__, daemon
from gateway.cli import cli, logs
from gateway.cli.asking import Where
from gateway.cli.desk import World, tick
from gateway.errors import ConfigError

ID = "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV"
REQUEST = {
    "request_id": ID,
    "kind": "COMMAND",
    "command_type": "identify",
    "arguments": {"seconds": 10},
    "target_component": "module-03",
    "priority": "NORMAL",
    "status": "QUEUED",
    "creator": "root",
    "created_at": "2026-11-21T20:30:00.000Z",
    "expires_at": "2026-11-22T20:30:00.000Z",
    "retry_count": 0,
    "delivery": "AT_LEAST_ONCE",
    "metadata": {},
}
QUEUED = {"request": REQUEST, "queue_position": 3}
PACK = {
    "component_id": "pack-01",
    "kind": "PACK",
    "bus": "can0",
    "node": 0x12,
    "presence": "ONLINE",
    "reason": None,
    "since": "2026-11-21T20:00:00.000Z",
    "last_seen": "2026-11-21T20:30:00.000Z",
    "expected_return": None,
}
PRESENCE = {"components": [PACK]}
HEALTH = {
    "healthy": True,
    "queue_depth": 4,
    "active_operations": 1,
    "average_wait_ms": 1500.0,
    "average_processing_ms": 20.0,
    "failure_rate": 0.125,
    "buses": [{"name": "can0", "state": "UP", "frames": 7}],
    "upstream": {"connected": False, "outbox": 2},
    "timestamp": "2026-11-21T20:30:00.000Z",
}


def status_of(status: str, **more: Any) -> dict[str, Any]:
    return {"request": {**REQUEST, "status": status, **more}, "queue_position": None}


class FakeGateway:
    """Answers each request with what was put there for it, the last answer again and again; notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.patience: list[float] = []
        self.where: Where | None = None
        self.slept: list[float] = []
        self._answers: dict[str, list[dict[str, Any]]] = {}
        self.world = World(connect=self._connect, sleep=self._sleep)

    def answers(self, request: str, *results: dict[str, Any]) -> "FakeGateway":
        self._answers[request] = [{"ok": True, "result": result} for result in results]
        return self

    def refuses(self, request: str, code: str, message: str = "Do it otherwise.", **more: Any) -> "FakeGateway":
        error = {"code": code, "message": message, "class": "REFUSED", **more}
        self._answers.setdefault(request, []).append({"ok": False, "error": error})
        return self

    async def call(self, request: str, fields: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        self.asked.append((request, dict(fields)))
        self.patience.append(timeout_s)
        waiting = self._answers[request]
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    @asynccontextmanager
    async def _connect(self, where: Where) -> AsyncIterator["FakeGateway"]:
        self.where = where
        yield self

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


def run(gateway: FakeGateway | None, *words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, words, obj=gateway and gateway.world, input=stdin)


# --- what is asked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (
            ["pair", "pack-01", "module-03"],
            {"initiator_component": "pack-01", "target_component": "module-03"},
        ),
        (
            ["pair", "pack-01", "module-03", "--emergency", "--expiry", "2", "--title", "swap", "--priority", "high"],
            {
                "initiator_component": "pack-01",
                "target_component": "module-03",
                "request_type": "EMERGENCY",
                "expiry_hours": 2.0,
                "title": "swap",
                "priority": "HIGH",
            },
        ),
        (
            ["pair", "pack-01", "module-03", "--proxy", "pack-02", "--metadata", "order=17", "--metadata", "bay=b=4"],
            {
                "initiator_component": "pack-01",
                "target_component": "module-03",
                "request_type": "PROXY",
                "proxy_component": "pack-02",
                "metadata": {"order": "17", "bay": "b=4"},
            },
        ),
    ],
)
def test_pair_queues_a_pairing_request(gateway: FakeGateway, words: list[str], fields: dict[str, Any]) -> None:
    gateway.answers("queue_pairing_request", QUEUED)
    assert run(gateway, *words).exit_code == 0
    assert gateway.asked == [("queue_pairing_request", fields)]


def test_command_queues_a_command_with_its_arguments(gateway: FakeGateway) -> None:
    gateway.answers("queue_command", QUEUED)
    words = ["write_parameter", "module-03", "id=0x10", "value=7", "--ttl", "60", "--idempotency-key", "k1"]
    assert run(gateway, "command", *words).exit_code == 0
    fields = {
        "command_type": "write_parameter",
        "target_component": "module-03",
        "arguments": {"id": 16, "value": 7},
        "ttl_s": 60.0,
        "idempotency_key": "k1",
    }
    assert gateway.asked == [("queue_command", fields)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("5", 5),
        ("0x1F", 31),
        ("-2.5", -2.5),
        ('"5"', "5"),
        ("[1, 2]", [1, 2]),
        ('{"a": {"b": 1}}', {"a": {"b": 1}}),
        ("{a = 1}", {"a": 1}),
        ("plain", "plain"),
        ("", ""),
        ("inf", "inf"),
        ("2026-11-21", "2026-11-21"),
        ("1\nother = 2", "1\nother = 2"),
    ],
)
def test_values_of_the_command_line_have_their_types(gateway: FakeGateway, text: str, value: Any) -> None:
    gateway.answers("queue_command", QUEUED)
    assert run(gateway, "command", "odd", "module-03", f"x={text}").exit_code == 0
    assert gateway.asked[0][1]["arguments"] == {"x": value}


@pytest.mark.parametrize(
    ("words", "request_name", "fields"),
    [
        (["cancel", ID, "--reason", "late"], "cancel_request", {"request_id": ID, "cancellation_reason": "late"}),
        (["request-status", ID], "get_request_status", {"request_id": ID}),
        (
            ["drain", "module-03", "--max", "5", "--proxy"],
            "process_offline_queue",
            {"component_id": "module-03", "max_operations": 5, "process_proxy_queue": True, "wait": True},
        ),
        (
            ["drain", "module-03", "--no-wait"],
            "process_offline_queue",
            {"component_id": "module-03", "process_proxy_queue": False, "wait": False},
        ),
        (["params"], "get_params", {}),
        (
            ["params", "set", "max_retry_attempts=5", "enable_retry=false"],
            "set_params",
            {"params": {"max_retry_attempts": 5, "enable_retry": False}},
        ),
        (["health"], "get_health", {}),
        (["components"], "get_presence", {}),
    ],
)
def test_each_command_sends_its_request(
    gateway: FakeGateway, words: list[str], request_name: str, fields: dict[str, Any]
) -> None:
    drained = {"component_id": "x", "requests_processed": 1, "successful": 1, "failed": 0, "processing_time_ms": 9}
    result = {**QUEUED, **HEALTH, **PRESENCE, **drained, "params": {"enable_retry": True}}
    gateway.answers(request_name, result)
    assert run(gateway, *words).exit_code == 0
    assert gateway.asked == [(request_name, fields)]


def test_status_tells_health_and_presence(gateway: FakeGateway) -> None:
    shown = run(gateway.answers("get_health", HEALTH).answers("get_presence", PRESENCE), "status").stdout
    assert "healthy" in shown
    assert "queue depth" in shown
    assert "12.5%" in shown
    assert "can0" in shown
    assert "away" in shown
    assert "pack-01" in shown


def test_show_tells_presence_and_what_waits(gateway: FakeGateway) -> None:
    gateway.answers("get_presence", PRESENCE)
    gateway.answers("get_queued_requests", {"requests": [REQUEST]})
    shown = run(gateway, "show", "pack-01").stdout
    assert gateway.asked[1] == ("get_queued_requests", {"component_id": "pack-01"})
    assert "ONLINE" in shown
    assert ID in shown


def test_queue_follows_the_pages_up_to_its_limit(gateway: FakeGateway) -> None:
    page = [REQUEST] * 200
    gateway.answers(
        "get_queued_requests", {"requests": page, "next_cursor": "a"}, {"requests": page[:50], "next_cursor": "b"}
    )
    result = run(gateway, "queue", "--limit", "250", "--json")
    assert len(json.loads(result.stdout)["requests"]) == 250
    assert [(fields["page_size"], fields.get("cursor")) for _, fields in gateway.asked] == [(200, None), (50, "a")]


def test_queue_ends_with_the_last_page(gateway: FakeGateway) -> None:
    gateway.answers("get_queued_requests", {"requests": []})
    assert run(gateway, "queue", "module-03", "--status", "failed").stdout == "None.\n"
    (asked,) = gateway.asked
    assert asked[1] == {
        "component_id": "module-03",
        "queue_type": "ALL",
        "status_filter": "FAILED",
        "page_size": 50,
    }


def test_an_empty_queue_has_nothing_waiting(gateway: FakeGateway) -> None:
    gateway.answers("get_queued_requests", {"requests": []})
    assert run(gateway, "queue", "module-03").stdout == "Nothing is waiting.\n"


@pytest.mark.parametrize("words", [["--help"], ["identify", "module-03", "--priority", "urgent"]])
def test_words_of_the_api_are_shown_in_capitals(gateway: FakeGateway, words: list[str]) -> None:
    result = run(gateway, "command", *words)
    assert "LOW" in result.output
    assert "low" not in result.output.replace("allow", "").replace("below", "")


# --- any request ------------------------------------------------------------------------------------------------------


def test_request_sends_anything_and_prints_the_reply(gateway: FakeGateway) -> None:
    gateway.answers("get_metrics", {"window": "HOUR"})
    result = run(gateway, "request", "get_metrics", "window=HOUR")
    assert gateway.asked == [("get_metrics", {"window": "HOUR"})]
    assert json.loads(result.stdout) == {"ok": True, "result": {"window": "HOUR"}}


def test_request_reads_its_fields_from_a_file_or_standard_input(gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.answers("queue_command", QUEUED)
    (tmp_path / "fields.json").write_text('{"command_type": "wake", "ttl_s": 5}')
    assert run(gateway, "request", "queue_command", "--from", str(tmp_path / "fields.json"), "ttl_s=7").exit_code == 0
    assert run(gateway, "request", "queue_command", "--from", "-", stdin='{"a": 1}').exit_code == 0
    assert [fields for _, fields in gateway.asked] == [{"command_type": "wake", "ttl_s": 7}, {"a": 1}]


@pytest.mark.parametrize(("text", "problem"), [("{", "no valid JSON"), ("[1]", "write one map")])
def test_request_refuses_a_file_that_is_no_map(gateway: FakeGateway, text: str, problem: str) -> None:
    result = run(gateway, "request", "queue_command", "--from", "-", stdin=text)
    assert result.exit_code == 2
    assert problem in result.stderr


def test_request_prints_a_refusal_too_and_ends_with_1(gateway: FakeGateway) -> None:
    result = run(gateway.refuses("wake_up", "UNKNOWN_COMMAND"), "request", "wake_up")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == "UNKNOWN_COMMAND"
    assert "UNKNOWN_COMMAND: Do it otherwise." in result.stderr


# --- how it ends ------------------------------------------------------------------------------------------------------


def test_a_refusal_is_told_with_code_and_advice_on_stderr(gateway: FakeGateway) -> None:
    gateway.refuses("queue_command", "RATE_LIMITED", "Wait.", retry_after_ms=1500)
    result = run(gateway, "command", "identify", "module-03")
    assert result.exit_code == 1
    assert result.stderr == "RATE_LIMITED: Wait. (in 1.5 s)\n"
    assert result.stdout == ""


def test_a_refusal_is_json_where_that_was_asked_for(gateway: FakeGateway) -> None:
    result = run(gateway.refuses("get_health", "INTERNAL"), "--json", "health")
    assert result.exit_code == 1
    assert json.loads(result.stderr)["code"] == "INTERNAL"


@pytest.mark.parametrize("words", [["--json", "components"], ["components", "--json"]])
def test_options_are_good_before_and_after_the_verb(gateway: FakeGateway, words: list[str]) -> None:
    assert json.loads(run(gateway.answers("get_presence", PRESENCE), *words).stdout) == PRESENCE


def test_what_is_said_after_the_verb_goes_over_what_was_said_before(gateway: FakeGateway) -> None:
    gateway.answers("get_health", HEALTH)
    words = [
        "--broker",
        "mqtt://a",
        "--gateway",
        "gw-1",
        "--timeout",
        "3",
        "health",
        "--actor",
        "x",
        "--broker",
        "mqtt://b",
    ]
    assert run(gateway, *words).exit_code == 0
    assert gateway.where is not None
    assert (gateway.where.broker, gateway.where.gateway, gateway.where.actor) == ("mqtt://b", "gw-1", "x")
    assert gateway.patience == [3.0]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["health", "--broker", "mqtt://a"], "--broker needs --gateway and --actor"),
        (["health", "--actor", "x"], "go with --broker"),
        (["--socket", "s", "health", "--broker", "mqtt://a"], "take one"),
        (["command", "identify", "module-03", "seconds"], "'seconds' is not KEY=VALUE"),
        (["pair", "a", "b", "--type", "STANDARD", "--emergency"], "--type STANDARD contradicts EMERGENCY"),
        (["pair", "a", "b", "--proxy", "c", "--emergency"], "--proxy contradicts --emergency"),
        (["cancel", ID], "--reason"),
        (["params", "set"], "params set KEY=VALUE"),
        (["params", "get"], "params set KEY=VALUE"),
        (["nonsense"], "No such command"),
    ],
)
def test_misuse_ends_with_2(gateway: FakeGateway, words: list[str], problem: str) -> None:
    result = run(gateway, *words)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert gateway.asked == []


def test_nobody_on_the_socket_ends_with_69(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMS_GATEWAY_SOCKET", str(tmp_path / "nobody.sock"))
    result = run(None, "health")
    assert result.exit_code == 69
    assert result.stderr.startswith("Nobody answers: ")
    assert "nobody.sock" in result.stderr


def test_nobody_on_the_broker_ends_with_69() -> None:
    result = run(None, "health", "--broker", "mqtt://127.0.0.1:1", "--gateway", "gw", "--actor", "a", "--timeout", "5")
    assert result.exit_code == 69


def test_a_broker_address_that_is_none_ends_with_2() -> None:
    result = run(None, "health", "--broker", "http://x", "--gateway", "gw", "--actor", "a")
    assert result.exit_code == 2
    assert "http://x" in result.stderr


# --- waiting for the end ----------------------------------------------------------------------------------------------


def test_wait_shows_how_it_ended(gateway: FakeGateway) -> None:
    gateway.answers("queue_command", QUEUED)
    gateway.answers("get_request_status", QUEUED, status_of("PROCESSING"), status_of("COMPLETED"))
    result = run(gateway, "command", "identify", "module-03", "--wait")
    assert result.exit_code == 0
    assert "place 3" in result.stderr
    assert "COMPLETED" in result.stdout
    assert gateway.slept == [0.2, 0.4]


def test_wait_ends_with_1_unless_it_was_completed(gateway: FakeGateway) -> None:
    gateway.answers("queue_command", QUEUED)
    error = {"code": "DEVICE_REFUSED", "message": "The component said no."}
    gateway.answers("get_request_status", status_of("FAILED", last_error=error))
    result = run(gateway, "command", "identify", "module-03", "--wait")
    assert result.exit_code == 1
    assert result.stderr.endswith(f"{ID} is FAILED. DEVICE_REFUSED: The component said no.\n")


def test_wait_tells_who_cancelled_and_why(gateway: FakeGateway) -> None:
    gateway.answers("queue_command", QUEUED)
    gateway.answers("get_request_status", status_of("CANCELLED", cancellation_reason="too late"))
    result = run(gateway, "command", "identify", "module-03", "--wait")
    assert result.stderr.endswith(f"{ID} is CANCELLED. too late\n")


def test_wait_bears_a_rate_limit_for_as_long_as_it_says(gateway: FakeGateway) -> None:
    gateway.answers("queue_command", QUEUED)
    gateway.refuses("get_request_status", "RATE_LIMITED", retry_after_ms=7000)
    gateway._answers["get_request_status"].append({"ok": True, "result": status_of("COMPLETED")})
    assert run(gateway, "command", "identify", "module-03", "--wait").exit_code == 0
    assert gateway.slept == [7.0]


def test_wait_ends_with_any_other_refusal(gateway: FakeGateway) -> None:
    gateway.answers("queue_command", QUEUED).refuses("get_request_status", "REQUEST_NOT_FOUND")
    result = run(gateway, "command", "identify", "module-03", "--wait")
    assert result.exit_code == 1
    assert "REQUEST_NOT_FOUND" in result.stderr


def test_wait_has_an_end(gateway: FakeGateway) -> None:
    gateway.answers("queue_command", QUEUED).answers("get_request_status", QUEUED)
    result = run(gateway, "command", "identify", "module-03", "--wait", "--timeout", "9")
    assert result.exit_code == 1
    assert "has not ended within 9 s" in result.stderr
    assert max(gateway.slept) == 2.0
    assert 9 <= sum(gateway.slept) <= 11


class SlowGateway(FakeGateway):
    """Takes three turns of the loop for an answer, with progress shown at once."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(connect=self._connect, sleep=self._sleep, shown_after_s=0)

    async def call(self, request: str, fields: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        for _ in range(3):
            await asyncio.sleep(0)
        return await super().call(request, fields, timeout_s)


def test_slow_work_says_on_stderr_that_it_goes_on() -> None:
    gateway = SlowGateway()
    gateway.answers("process_offline_queue", {"accepted": True, "drain_id": "d1"})
    result = run(gateway, "drain", "module-03")
    assert result.stderr == "draining module-03 …\n"
    assert result.stdout == "Accepted: drain d1.\n"


def test_on_a_terminal_one_line_counts_the_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    async def two_turns() -> None:
        task = asyncio.create_task(tick("draining x", after_s=0))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(two_turns())
    assert capsys.readouterr().err.replace("\x1b[K", "") == "\rdraining x … 0 s\r"


# --- the daemon's own no ----------------------------------------------------------------------------------------------

WHOLE = '[gateway]\nid = "gw"\n[[bus]]\nname = "can0"\ninterface = "virtual"\n'


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (ConfigError(["no such group"]), 78),
        (ExceptionGroup("tasks", [ConfigError(["no such group"])]), 78),
        (ExceptionGroup("tasks", [ExceptionGroup("inner", [ConfigError(["no such group"])])]), 78),
        (ExceptionGroup("tasks", [ConfigError(["no such group"]), ValueError()]), 1),
    ],
)
def test_what_the_daemon_finds_wrong_with_its_configuration_ends_with_78(
    raised: Exception, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_in_vain(settings: Any, *, scenario: Path | None) -> None:
        raise raised

    monkeypatch.setattr(daemon, "run", run_in_vain)
    monkeypatch.setattr(logs, "configure", lambda settings: None)
    (tmp_path / "gateway.toml").write_text(WHOLE)
    result = run(None, "run", "--config", str(tmp_path / "gateway.toml"))
    assert result.exit_code == code
    assert (result.stderr == "no such group\n") == (code == 78)


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_it_tells_its_version() -> None:
    assert run(None, "--version").stdout.split()[-1] == __version__


def test_every_command_explains_itself() -> None:
    for name in cli.commands:
        result = run(None, name, "--help")
        assert result.exit_code == 0
        assert len(result.stdout.splitlines()) > 4


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    result = run(None, "completion", shell)
    assert "_BMS_GATEWAY_COMPLETE" in result.stdout
