"""What the configuration may say of telemetry: `check` names what is wrong, and so does a start."""

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.check import problems_of
from gateway.errors import ConfigError
from gateway.settings import load

CONFIG = """
[gateway]
id = "gw-0042"
state_dir = "state"
socket = "control.sock"

[[bus]]
name = "can0"
interface = "virtual"

[[component]]
id = "pack-01"
kind = "PACK"
bus = "can0"
node = 0x12
owner = "fleet-north"

[sync]
broker = "mqtt://127.0.0.1:9"

[telemetry]
enabled = true
signals = [{ component = "pack-01", signal = "SoC", deadband = 0.5, min_interval_s = 5 }]
"""
SIGNAL = '{ component = "pack-01", signal = "SoC", deadband = 0.5, min_interval_s = 5 }'


def told(folder: Path, before: str = "", after: str = "") -> list[str]:
    """Return the problems after a change of the configuration, without the names of folders."""
    assert before in CONFIG
    file = folder / "gateway.toml"
    file.write_text(CONFIG.replace(before, after) if before else CONFIG)
    return [problem.replace(f"{folder}/", "") for problem in problems_of(file, {})]


def test_a_signal_that_there_is_has_no_problems(tmp_path: Path) -> None:
    assert told(tmp_path) == []
    (signal,) = load(tmp_path / "gateway.toml", {}).telemetry.signals
    assert (signal.component, signal.signal, signal.deadband, signal.min_interval_s) == ("pack-01", "SoC", 0.5, 5)


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('"SoC"', '"SoH"', 'telemetry.signals: pack-01: has no signal "SoH"; did you mean "SoC"?'),
        ('"SoC"', '"HB_MODULE.BootCount"', 'telemetry.signals: pack-01: has no signal "HB_MODULE.BootCount"'),
        ('"pack-01", signal', '"pack-02", signal', "telemetry.signals[0].component: there is no component pack-02"),
        (SIGNAL, f"{SIGNAL}, {SIGNAL}", "telemetry.signals[1].signal: SoC of pack-01 is used twice"),
        ('[sync]\nbroker = "mqtt://127.0.0.1:9"\n', "", "telemetry.enabled: there is no broker to tell"),
        ("deadband = 0.5", "deadband = -1", "telemetry.signals[0].deadband: "),
        ("deadband = 0.5", "deadband = nan", "telemetry.signals[0].deadband: "),
        ("min_interval_s = 5", "min_interval_s = 0.09", "telemetry.signals[0].min_interval_s: "),
        ("min_interval_s = 5", "interval_s = 5", "telemetry.signals[0].interval_s: "),
    ],
)
def test_each_problem_is_named_with_its_place(tmp_path: Path, before: str, after: str, problem: str) -> None:
    (only,) = told(tmp_path, before, after)
    assert only.startswith(f"gateway.toml: {problem}")


def test_what_is_wrong_elsewhere_does_not_hide_or_multiply_it(tmp_path: Path) -> None:
    problems = told(tmp_path, 'kind = "PACK"', 'kind = "PACKET"')
    assert [problem.split(":")[1] for problem in problems] == [" component[0].kind (pack-01)"]
    problems = told(tmp_path, 'interface = "virtual"', 'interface = "virtual"\ndbc = ["gone.dbc"]')
    assert len(problems) == 1
    assert "gone.dbc" in problems[0]


def test_while_it_is_off_nobody_looks(tmp_path: Path) -> None:
    wrong = 'enabled = false\nsignals = [{ component = "pack-02", signal = "SoH" }]\n#'
    assert told(tmp_path, "enabled = true\nsignals =", wrong) == []


def test_a_start_names_the_same_and_ends(tmp_path: Path) -> None:
    expected = told(tmp_path, '"SoC"', '"SoH"')
    assert load(tmp_path / "gateway.toml", {}), "no contradiction shows in the file alone"
    line = [sys.executable, "-m", "gateway", "run", "--config", str(tmp_path / "gateway.toml")]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 78
    assert expected[0].removeprefix("gateway.toml: ") in ended.stderr
    told(tmp_path, '"pack-01", signal', '"pack-02", signal')
    with pytest.raises(ConfigError, match="there is no component"):
        load(tmp_path / "gateway.toml", {})
