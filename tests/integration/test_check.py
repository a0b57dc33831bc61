"""`check` reads what the daemon would read, and names what is wrong with it."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.bus.frames import dbc_path
from gateway.cli.caution import warnings_of
from gateway.cli.check import problems_of
from gateway.queue.store.sql import MIGRATIONS, connect, migrate

ALL_WELL = """
[gateway]
id = "gw-0042"
state_dir = "state"

[[bus]]
name = "can0"
interface = "virtual"
channel = "demo"
dbc = ["own.dbc"]

[[component]]
id = "pack-01"
kind = "PACK"
bus = "can0"
node = 0x12
owner = "fleet-north"
key_file = "pack-01.key"
capabilities = ["identify"]

[queue]
safety_commands = ["precharge"]

[sync]
broker = "mqtts://broker.example"
username = "gw"
password_file = "password"

[access]
file = "access.toml"
"""
NOT_DESCRIBED = 'gateway.toml: component pack-01: capabilities: no [[command]] called "identify" is described for it'
ACCESS = '[actors.tech-anna]\nrole = "technician"\ncomponents = ["pack-01"]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "gateway.toml").write_text(ALL_WELL)
    (tmp_path / "access.toml").write_text(ACCESS)
    (tmp_path / "pack-01.key").write_bytes(bytes(16))
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "state").mkdir()
    shutil.copy(dbc_path(), tmp_path / "own.dbc")
    return tmp_path


def told(folder: Path, before: str = "", after: str = "") -> list[str]:
    """Return the problems after a change of the configuration, without the names of folders."""
    assert before in ALL_WELL
    file = folder / "gateway.toml"
    file.write_text(ALL_WELL.replace(before, after) if before else ALL_WELL)
    return [problem.replace(f"{folder}/", "") for problem in problems_of(file, {})]


def test_a_sound_configuration_has_no_problems_whether_or_not_there_is_a_database(folder: Path) -> None:
    assert told(folder) == []
    with closing(connect(folder / "state" / "gateway.db")) as db:
        migrate(db, "gateway.db")
    assert told(folder) == []


def test_it_makes_no_database(folder: Path) -> None:
    told(folder)
    assert list((folder / "state").iterdir()) == []


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('"virtual"', '"virtul"', 'bus can0: interface "virtul" is not known to python-can; did you mean "virtual"?'),
        ('"virtual"', '"zzz"', 'bus can0: interface "zzz" is not known to python-can'),
        ('"virtual"', '"replay"', "bus can0: demo: is none of .log"),
        ('"virtual"\nchannel = "demo"', '"replay"\nchannel = "no.log"', "bus can0: no.log: cannot be read"),
        ('"virtual"', '"replay"\noptions = {sped = 2}', "bus can0: options.sped: unknown key"),
        ('["own.dbc"]', '["none.dbc"]', "bus can0: dbc none.dbc: cannot be read: No such file or directory"),
        ('["own.dbc"]', '["gateway.toml"]', "bus can0: dbc gateway.toml: is none of"),
        ('["identify"]', '["identfy"]', 'component pack-01: capabilities: there is no command type "identfy"'),
        ('["precharge"]', '["lamp"]', 'queue.safety_commands: there is no command type "lamp"'),
        ('["precharge"]', '["wake"]', 'queue.safety_commands: "wake" is taken without being named here'),
        ('"pack-01.key"', '"password"', "component pack-01: key_file must hold 16 bytes, not 7"),
        ('"pack-01.key"', '"no.key"', "component pack-01: key_file no.key: No such file or directory"),
        ('"access.toml"', '"no.toml"', "access: no.toml: cannot be read: No such file or directory"),
        ('"password"', '"no"', "sync.password_file: no: No such file or directory"),
        ('"state"\n', '"state"\nsocket_group = "no-such-group"\n', 'socket_group: there is no group "no-such-group"'),
        ("node = 0x12", "node = 999", "component[0].node (pack-01): must be at most 249"),
    ],
)
def test_each_problem_is_named_with_its_place_and_nothing_else_is(
    folder: Path, before: str, after: str, problem: str
) -> None:
    (only,) = told(folder, before, after)
    assert only.startswith("gateway.toml: ")
    assert problem in only


def test_what_was_done_to_a_database_of_messages_is_told_and_no_problem(folder: Path) -> None:
    text = (folder / "own.dbc").read_text().replace("BS_:", "", 1)
    (folder / "own.dbc").write_text(text + '\nVAL_ 77 Nothing 1 "on" ;\n')
    assert told(folder) == []
    (warning,) = (each for each in warnings_of(folder / "gateway.toml", {}) if "bus can0: dbc" in each)
    assert "own.dbc: read after repairs; " in warning
    assert "left out: VAL_ of message 0x4d, signal Nothing: a line about a message or signal" in warning


def test_a_heartbeat_of_another_maker_must_be_in_the_databases_of_its_bus(folder: Path) -> None:
    def problem(heartbeat: str) -> str:
        only, ours = told(folder, "node = 0x12", f"heartbeat = {{{heartbeat}}}")
        assert ours == NOT_DESCRIBED
        return only.removeprefix("gateway.toml: component pack-01: heartbeat: ")

    assert problem('type = "dbc", message = "HB_PAK"') == (
        'the databases of its bus have no message "HB_PAK"; did you mean "HB_PACK"?'
    )
    assert problem('type = "dbc", message = "HB_PACK", counter = "E2E_Count"') == (
        'message HB_PACK has no signal "E2E_Count"; did you mean "E2E_Counter"?'
    )
    assert problem('type = "canopen", node = 200') == "a CANopen node is one of 1 to 127"
    assert told(folder, "node = 0x12", 'heartbeat = {type = "dbc", message = "HB_PACK"}') == [NOT_DESCRIBED]


def test_a_recording_that_can_be_played_is_no_problem(folder: Path) -> None:
    (folder / "drive.log").write_text("(1.000000) can0 123#00\n")
    assert (
        told(folder, '"virtual"\nchannel = "demo"', '"replay"\nchannel = "drive.log"\noptions = {speed = "max"}') == []
    )


def test_a_backend_whose_library_is_missing_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("can").interfaces.BACKENDS, "odd", ("no_such_library_at_all", "Bus"))
    (only,) = told(folder, '"virtual"', '"odd"')
    assert 'interface "odd" needs what is not installed' in only


def test_the_access_file_is_read_too(folder: Path) -> None:
    (folder / "access.toml").write_text(ACCESS.replace("pack-01", "pack-09"))
    (only,) = told(folder)
    assert only == "gateway.toml: access: access.toml: actors.tech-anna.components: there is no component pack-09"


def test_a_dbc_whose_messages_lack_our_attributes_is_named(folder: Path) -> None:
    text = (folder / "own.dbc").read_text()
    lines = [line for line in text.splitlines() if not (line.startswith("BA_ ") and "E2EDataIdBase" in line)]
    (folder / "lame.dbc").write_text("\n".join(lines))
    (only,) = told(folder, '["own.dbc"]', '["lame.dbc"]')
    assert "lame.dbc: a message with GwRole lacks the attribute 'E2EDataIdBase'" in only


def test_a_database_newer_than_this_program_is_a_problem(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "state" / "gateway.db")) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    (only,) = told(folder)
    assert f"state/gateway.db: its schema is version {len(MIGRATIONS) + 1}" in only


def test_a_file_that_is_no_database_is_a_problem(folder: Path) -> None:
    (folder / "state" / "gateway.db").write_bytes(b"not a database" * 100)
    (only,) = told(folder)
    assert "state/gateway.db: cannot be read: file is not a database" in only


def test_every_problem_is_told_at_once(folder: Path) -> None:
    (folder / "pack-01.key").unlink()
    (folder / "password").unlink()
    problems = told(folder, 'id = "gw-0042"', "id = 7")
    assert len(problems) == 3
    assert "gateway.id" in problems[0]
    assert "pack-01.key" in problems[1]
    assert "password" in problems[2]


def test_no_toml_is_the_only_problem(folder: Path) -> None:
    (folder / "gateway.toml").write_text("[[[")
    (only,) = problems_of(folder / "gateway.toml", {})
    assert "no valid TOML" in only
