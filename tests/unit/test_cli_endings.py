"""How commands end: exit codes, what stands on stderr, progress, and the wait for an end."""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete

from gateway import __version__, daemon
from gateway.cli import cli, logs
from gateway.cli.asking import Where
from gateway.cli.desk import Desk, World, tick
from gateway.errors import ConfigError
from gateway.sync.caller import NobodyAnswers
from tests.cli_scene import HEALTH, ID, PARENT, PRESENCE, QUEUED, FakeGateway, child, run, status_of


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


# --- a no -------------------------------------------------------------------------------------------------------------


def test_request_prints_a_refusal_too_and_ends_with_1(gateway: FakeGateway) -> None:
    result = run(gateway.refuses("wake_up", "UNKNOWN_COMMAND"), "request", "wake_up")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == "UNKNOWN_COMMAND"
    assert "UNKNOWN_COMMAND: Do it otherwise." in result.stderr


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


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        (["module-3"], " Did you mean module-03?"),
        (["module-01", "modul-03"], " Did you mean module-03?"),
        (["--parent", "pak-01"], ""),  # the gateway does not say which one it misses
        (["lamp"], ""),
    ],
)
def test_a_component_that_does_not_exist_is_guessed_from_those_that_do(
    gateway: FakeGateway, fields: list[str], hint: str
) -> None:
    field = "targets" if len(fields) == 2 and fields[0] == "module-01" else "target_component"
    gateway.refuses("queue_command", "COMPONENT_NOT_FOUND", "There is none.", details={"field": field})
    gateway.answers("get_presence", {"components": [{"component_id": each} for each in ("module-01", "module-03")]})
    result = run(gateway, "command", "identify", *fields)
    assert result.exit_code == 1
    assert result.stderr == f"COMPONENT_NOT_FOUND: There is none.{hint}\n"


def test_a_no_is_told_even_where_no_guess_can_be_made(gateway: FakeGateway) -> None:
    gateway.refuses("process_offline_queue", "COMPONENT_NOT_FOUND", "There is none.", details={"field": "component_id"})
    gateway.refuses("get_presence", "RATE_LIMITED")
    assert run(gateway, "drain", "modul-03").stderr == "COMPONENT_NOT_FOUND: There is none.\n"


class VanishingGateway(FakeGateway):
    """Is gone after its first answer."""

    async def call(self, request: str, fields: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        if self.asked:
            raise NobodyAnswers("gone")
        return await super().call(request, fields, timeout_s)


def test_a_no_is_told_even_where_the_gateway_is_gone_before_a_guess_can_be_made() -> None:
    gateway = VanishingGateway()
    gateway.refuses("get_presence", "COMPONENT_NOT_FOUND", "There is none.", details={"field": "component_id"})
    result = run(gateway, "show", "modul-03")
    assert (result.exit_code, result.stderr) == (1, "COMPONENT_NOT_FOUND: There is none.\n")


@pytest.mark.parametrize(
    ("words", "request_name", "answer"),
    [
        ("health", "get_health", {"healthy": True}),
        ("components", "get_presence", {"components": [None]}),
        ("queue", "get_queued_requests", {"requests": [{"request_id": ID}]}),
        ("show pack-01", "get_presence", {"components": []}),
        (f"cancel {ID} --reason x", "cancel_request", {"request": None}),
    ],
)
def test_an_answer_that_is_not_understood_is_said_to_be_so(
    gateway: FakeGateway, words: str, request_name: str, answer: dict[str, Any]
) -> None:
    result = run(gateway.answers(request_name, answer), *words.split())
    assert result.exit_code == 1
    assert result.stderr.startswith("The answer is not understood (")


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (["show", "pack\udcff"], None),
        (["request", "x", "--from", "-"], f'{{"n": {1 << 64}}}'),
    ],
)
def test_what_no_payload_can_carry_ends_with_2(gateway: FakeGateway, words: list[str], stdin: str | None) -> None:
    gateway.strict = False
    result = run(gateway, *words, stdin=stdin)
    assert result.exit_code == 2
    assert "This cannot be sent" in result.stderr


@pytest.mark.parametrize(
    ("check", "code"),
    [
        ({"entries": 7, "last_seq": 7, "first_broken": None, "head": "ab"}, 0),
        ({"entries": 7, "last_seq": 7, "first_broken": 4, "head": "ab"}, 1),
    ],
)
def test_a_broken_audit_chain_ends_with_1(gateway: FakeGateway, check: dict[str, Any], code: int) -> None:
    result = run(gateway.answers("verify_audit", check), "audit", "verify")
    assert result.exit_code == code
    assert ("BROKEN: entry 4" in result.stdout) == (code == 1)
    assert ("who had access" in result.stderr) == (code == 1)


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
        ("health --broker mqtt://a", "--broker needs --gateway and --actor"),
        ("health --actor x", "go with --broker"),
        ("--socket s health --broker mqtt://a", "take one"),
        ("pair a b --type STANDARD --emergency", "--type STANDARD contradicts EMERGENCY"),
        ("pair a b --proxy c --emergency", "--proxy contradicts --emergency"),
        ("pair a b --ttl 2h --expiry 2h", "--ttl and --expiry say the same"),
        ("pair a b --metadata order", "'order' is not KEY=VALUE"),
        ("pair a b --ttl soon", "Invalid value for '--ttl': 'soon' is no duration; write 90s"),
        ("command identify", "Name the targets, or say which match"),
        ("command identify module-03 --kind module", "--selector. Not both."),
        ("command identify module-03 =5", "'=5' is not KEY=VALUE"),
        ("command identify --selector kind", "'kind' is not KEY=VALUE"),
        ("route identify a b --policy QUORUM", "--policy QUORUM needs --quorum N"),
        ("route identify a b --policy ANY --quorum 2", "--quorum contradicts --policy ANY"),
        (f"cancel {ID}", "--reason"),
        (f"discard {ID}", "--reason"),
        (f"settle {ID} captured", "--settlement-ref"),
        ("reorder module-03", "Missing argument 'ID...'"),
        ("adopt m --bus can0 --node 0xZZ --kind module --owner x", "'0xZZ' is no whole number"),
        ("mark m online --reason x --expected-return 2h", "--expected-return goes with offline"),
        ("history --from yesterday", "Invalid value for '--from': 'yesterday' is no time; write 2026"),
        ("metrics day --from 2h", "--from and --to say another span"),
        ("metrics --to 2h", "--to needs --from"),
        ("audit check", "'check' is not 'verify'"),
        ("params set", "params set KEY=VALUE"),
        ("params get", "params set KEY=VALUE"),
        ("nonsense", "No such command"),
    ],
)
def test_misuse_ends_with_2(gateway: FakeGateway, words: str, problem: str) -> None:
    result = run(gateway, *words.split())
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


def test_wait_tells_each_child_once_as_it_ends(gateway: FakeGateway) -> None:
    error = {"code": "EXCHANGE_TIMEOUT", "message": "No answer."}
    first, second = child(1, "COMPLETED"), child(2, "FAILED", last_error=error)
    looks: list[dict[str, Any]] = [
        {"request": PARENT, "children": [child(1, "QUEUED"), child(2, "QUEUED")]},
        {"request": {**PARENT, "status": "PROCESSING"}, "children": [first, child(2, "PROCESSING")]},
        {"request": {**PARENT, "status": "PROCESSING"}, "children": [first, child(2, "PROCESSING")]},
        {"request": {**PARENT, "status": "FAILED", "result": {"succeeded": 1}}, "children": [first, second]},
    ]
    gateway.answers("queue_command", {"request": PARENT, "children": [], "queue_position": None})
    gateway.answers("get_request_status", *looks)
    result = run(gateway, "command", "identify", "module-01", "module-02", "--wait")
    assert result.exit_code == 1
    told = result.stderr.splitlines()
    assert told[1:3] == ["module-01 COMPLETED (1 of 2)", "module-02 FAILED: EXCHANGE_TIMEOUT: No answer. (2 of 2)"]
    assert told[3:] == [f"{PARENT['request_id']} is FAILED. succeeded 1"]
    assert "2 of 2 ended (1 COMPLETED, 1 FAILED)" in result.stdout


def test_wait_tells_once_what_an_attempt_came_to_that_was_not_the_last(gateway: FakeGateway) -> None:
    error = {"code": "EXCHANGE_TIMEOUT", "message": "No answer."}
    retried = status_of("QUEUED", retry_count=1, last_error=error)
    gateway.answers("queue_command", QUEUED)
    gateway.answers("get_request_status", QUEUED, retried, retried, status_of("COMPLETED"))
    result = run(gateway, "command", "identify", "module-03", "--wait")
    assert result.stderr.splitlines()[1:] == ["EXCHANGE_TIMEOUT: No answer. Tried again later."]


@pytest.mark.parametrize(
    ("typed", "hint"),
    [("read_parametr", " Did you mean read_parameter?"), ("fly", " There are: balancing, boot_loader, ")],
)
def test_a_command_type_that_is_none_gets_a_hint(gateway: FakeGateway, typed: str, hint: str) -> None:
    result = run(gateway.refuses("queue_command", "UNKNOWN_COMMAND"), "command", typed, "module-03")
    assert hint in result.stderr


def test_wait_bears_a_rate_limit_for_as_long_as_it_says(gateway: FakeGateway) -> None:
    gateway.answers("queue_command", QUEUED)
    gateway.refuses("get_request_status", "RATE_LIMITED", retry_after_ms=7000)
    gateway.then("get_request_status", status_of("COMPLETED"))
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


def test_on_a_terminal_a_note_takes_the_place_of_the_line_that_counts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(FakeGateway(), Where(), World())
    desk.note("module-01 COMPLETED")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    desk.note("module-02 COMPLETED")
    assert capsys.readouterr().err == "module-01 COMPLETED\n\r\x1b[Kmodule-02 COMPLETED\n"


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


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    result = run(None, "completion", shell)
    assert "_BMS_GATEWAY_COMPLETE" in result.stdout


@pytest.mark.parametrize(
    ("words", "begun", "completed"),
    [
        ("", "set-", ["set-priority"]),
        ("pair a b --priority", "h", ["HIGH"]),
        ("route identify", "--conflict-p", ["--conflict-policy"]),
        ("mark module-03", "o", ["offline", "online"]),
        ("audit", "", ["verify"]),
    ],
)
def test_words_are_completed(words: str, begun: str, completed: list[str]) -> None:
    found = ShellComplete(cli, {}, "bms-gateway", "_BMS_GATEWAY_COMPLETE").get_completions(words.split(), begun)
    assert [each.value for each in found] == completed
