"""The demo with everything real: it tells a true story, and says so when it does not."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from gateway.cli import cli
from gateway.cli.demo import stage
from gateway.cli.demo.story import CHAPTERS

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """amqtt may leave a connection to the garbage collector, which is to find it here and not amid another test."""
    yield
    gc.collect()


@pytest.mark.timeout(240)
def test_the_demo_tells_a_true_story() -> None:
    environ = {**os.environ, "BMS_GATEWAY__GATEWAY__ID": "someone-elses", "JOURNAL_STREAM": "8:1"}
    ran = subprocess.run(
        [sys.executable, "-m", "gateway", "demo", "--seconds", "15", "--plain"],
        capture_output=True,
        text=True,
        env=environ,
        timeout=200,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    assert "\x1b" not in ran.stdout
    titles = [f"{n}. {chapter.title}" for n, chapter in enumerate(CHAPTERS, 1)]
    assert [line for line in ran.stdout.splitlines() if line in titles] == titles
    assert ran.stdout.rstrip().splitlines()[-1].startswith("True:")


def run_here(capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli(["demo", "--seconds", "15", "--plain"])
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


def test_a_daemon_that_does_not_start_ends_the_story_with_its_last_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_ACCESS", "[actors.nobody]\n")
    code, out, _ = run_here(capsys)
    assert code == 1
    assert f"The daemon ended with 78 before this was seen: {CHAPTERS[0].title}." in out
    assert "actors.nobody.role" in out  # the log's tail


def test_a_request_that_is_refused_ends_the_story(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_ACCESS", '[actors.tech-anna]\nrole = "viewer"\n')
    code, out, _ = run_here(capsys)
    assert code == 1
    assert '"read the firmware version" was refused' in out
    assert "NOT_AUTHORIZED" in out


def test_without_the_embedded_broker_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "amqtt", None)
    for name in [name for name in sys.modules if name.startswith("amqtt.")]:
        monkeypatch.delitem(sys.modules, name)
    code, out, err = run_here(capsys)
    assert (code, out) == (1, "")
    assert 'pip install "bms-gateway[demo]"' in err
