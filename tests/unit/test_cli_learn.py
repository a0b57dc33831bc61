"""`bms-gateway learn` from logs: what goes where, and what it refuses."""

import gzip
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import Result

from gateway.cli.check import problems_of
from gateway.cli.learning.progress import Progress
from tests.cli_scene import run
from tests.doubles import FakeClock
from tests.learn_scene import HEAD, Sender, candump, traffic
from tests.unit.test_learn_groups import CELLS, PACK, SPEED

BATTERY = traffic(Sender(100, since=1.0, until=4.0), Sender(101, since=1.0, until=4.0), Sender(200, until=5.0))
BODY = traffic(*(Sender(can_id, 0.02, until=5.0) for can_id in (0x300, 0x301, 0x302)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "some.dbc").write_text(HEAD + PACK + CELLS + SPEED)
    candump(tmp_path / "drive.log", ("can0", BATTERY))
    candump(tmp_path / "both.log", ("body", BODY), ("drive", BATTERY))
    return tmp_path


def learn(folder: Path, *words: str, code: int = 0) -> Result:
    placed = [str(folder / word) if Path(word).suffix[1:].isalpha() else word for word in words]
    result = run(None, "learn", *placed)
    assert result.exit_code == code, result.output
    return result


def test_the_configuration_goes_to_standard_output_and_all_else_beside_it(folder: Path) -> None:
    result = learn(folder, "--log", "drive.log", "--dbc", "some.dbc")
    told = tomllib.loads(result.stdout)
    assert told["bus"] == [
        {
            "name": "can0",
            "interface": "replay",
            "channel": str(folder / "drive.log"),
            "dbc": [str(folder / "some.dbc")],
        }
    ]
    assert [component["id"] for component in told["component"]] == ["bms"]
    assert "The databases know 3 of the 3 ids." in result.stderr
    assert "COMPONENT" in result.stderr
    assert "█" in result.stderr


def test_a_file_that_is_written_has_paths_from_where_it_stands_and_no_problems(folder: Path) -> None:
    result = learn(folder, "--log", "drive.log", "--dbc", "some.dbc", "--out", "new.toml", "--plot", "drive.svg")
    bus = tomllib.loads((folder / "new.toml").read_text())["bus"][0]
    assert (bus["channel"], bus["dbc"]) == ("drive.log", ["some.dbc"])
    assert problems_of(folder / "new.toml", {}) == []
    assert "COMPONENT" in result.stdout
    assert f"check --config {folder / 'new.toml'}" in result.stdout
    assert (folder / "drive.svg").read_text().startswith("<svg")


def test_of_a_log_that_was_cut_off_there_is_what_came_before(folder: Path) -> None:
    whole = gzip.compress((folder / "drive.log").read_bytes())
    (folder / "cut.log.gz").write_bytes(whole[: len(whole) // 2])
    result = learn(folder, "--log", "cut.log.gz")
    assert "cut.log.gz: is cut off; this is what came before." in result.stderr
    (folder / "cut.log.gz").write_bytes(whole[:20])
    assert learn(folder, "--log", "cut.log.gz", code=78).stderr.endswith("cut.log.gz: is cut off\n")


def test_nothing_is_overwritten(folder: Path) -> None:
    for option in ("--out", "--plot"):
        result = learn(folder, "--log", "drive.log", option, "some.dbc", code=1)
        assert "is there already: nothing is overwritten" in result.stderr
    assert (folder / "some.dbc").read_text().startswith(HEAD)


def test_a_file_that_cannot_be_written_is_told(folder: Path) -> None:
    assert "No such file or directory" in learn(folder, "--log", "drive.log", "--out", "no/new.toml", code=1).stderr


def test_of_several_buses_the_one_with_a_battery_is_taken_unless_another_is_named(folder: Path) -> None:
    told = learn(folder, "--log", "both.log", "--dbc", "some.dbc", "--out", "new.toml")
    assert tomllib.loads((folder / "new.toml").read_text())["bus"][0]["options"] == {"source": "drive"}
    assert "The log holds the buses body (750 frames), drive (110 frames); this is drive." in told.stdout
    assert problems_of(folder / "new.toml", {}) == []
    other = tomllib.loads(learn(folder, "--log", "both.log", "--source", "body").stdout)
    assert other["bus"][0]["name"] == "body"
    wrong = learn(folder, "--log", "both.log", "--source", "x", code=78)
    assert "has no bus x; it has body (750 frames), drive (110 frames)" in wrong.stderr


def test_as_json_all_of_it_is_for_programs(folder: Path) -> None:
    told = json.loads(learn(folder, "--log", "drive.log", "--dbc", "some.dbc", "--json").stdout)
    assert (told["bus"], told["frames"]) == ("can0", len(BATTERY))
    assert [component["id"] for component in told["components"]] == ["bms", "ecu"]
    assert told["components"][0]["heartbeat"]["any_of"] == ["PackValues", "CellValues"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "--log FILE, or --config FILE"),
        (("--config", "x.toml", "--bus", "can0"), "--log FILE, or --config FILE"),
        (("--log", "drive.log", "--seconds", "3"), "are two things to learn from"),
        (("--config", "x.toml", "--bus", "can0", "--seconds", "3", "--source", "0"), "--source goes with --log"),
        (("--config", "x.toml", "--bus", "can0", "--seconds", "0"), "--seconds"),
    ],
)
def test_what_makes_no_sense_is_refused(folder: Path, words: Sequence[str], why: str) -> None:
    assert why in learn(folder, *words, code=2).stderr


def test_files_that_tell_nothing_are_named(folder: Path) -> None:
    (folder / "empty.log").write_text("")
    assert "empty.log: holds no frames" in learn(folder, "--log", "empty.log", code=78).stderr
    assert "none.log: cannot be read" in learn(folder, "--log", "none.log", code=78).stderr
    assert "none.dbc: cannot be read" in learn(folder, "--log", "drive.log", "--dbc", "none.dbc", code=78).stderr
    candump(folder / "many.log", *((f"can{n}", BATTERY[:3]) for n in range(9)))
    assert "holds more than 8 buses" in learn(folder, "--log", "many.log", code=78).stderr


def test_lines_that_cannot_be_read_are_counted(folder: Path) -> None:
    rows = "".join(f"{n * 100000},00000123,false,Rx,0,1,00\n" for n in range(20))
    (folder / "x.csv").write_text(f"Time Stamp,ID,Extended,Dir,Bus,LEN,D1\n{rows}nonsense\n")
    assert "Lines of the log that could not be read: 1." in learn(folder, "--log", "x.csv").stderr


LIVE = '[gateway]\nid = "gw-7"\n[[bus]]\nname = "can0"\n'


def test_a_recording_that_is_configured_as_a_bus_is_read_as_such(folder: Path) -> None:
    (folder / "gw.toml").write_text(
        f'{LIVE}interface = "replay"\nchannel = "both.log"\noptions = {{source = "drive"}}\ndbc = ["some.dbc"]\n'
    )
    told = tomllib.loads(learn(folder, "--config", "gw.toml", "--bus", "can0", "--seconds", "1").stdout)
    assert (told["gateway"]["id"], told["component"][0]["id"]) == ("gw-7", "bms")


def test_a_bus_that_cannot_be_listened_to_is_told(folder: Path) -> None:
    (folder / "gw.toml").write_text(f'{LIVE}interface = "virtual"\nchannel = "x"\n')
    words = ("--config", "gw.toml", "--seconds", "0.1", "--bus")
    assert "nobody outside the gateway's own process" in learn(folder, *words, "can0", code=78).stderr
    assert "there is no bus can7; there are: can0" in learn(folder, *words, "can7", code=78).stderr
    (folder / "gw.toml").write_text(f'{LIVE}interface = "socketcan"\nchannel = "no-such-bus"\n')
    assert "Nothing was heard within 0.1 s. can0 " in learn(folder, *words, "can0", code=69).stderr


class Terminal:
    """A stderr that is one."""

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_what_takes_longer_than_a_second_says_how_far_it_is_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = Terminal(), FakeClock()
    monkeypatch.setattr("sys.stderr", terminal)
    with Progress(clock) as tell:
        tell("at once")
        clock.advance(1.0)
        tell("first")
        tell("too soon")
        clock.advance(1.0)
        tell("second")
    assert terminal.text == "\r\x1b[Kfirst\r\x1b[Ksecond\r\x1b[K"
    terminal.text = ""
    with Progress(clock) as tell:
        tell("at once")
    assert terminal.text == ""


def test_what_stays_to_be_read_is_said_on_any_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    clock = FakeClock()
    with Progress(clock) as tell:
        clock.advance(1.0)
        tell("how far")
        tell.note("can0 UP")
    assert capsys.readouterr().err == "can0 UP\n"
