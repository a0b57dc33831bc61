"""What is learned is written as a configuration in which `check` finds no problem."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.bus.foreign.protection import PROFILES
from gateway.bus.learn.configuration import configuration, value
from gateway.bus.learn.proposals import Findings
from gateway.bus.wire import EXTENDED
from gateway.cli.check import problems_of
from gateway.settings import load
from tests.learn_scene import HEAD, Sender, learned
from tests.unit.test_learn_groups import CELLS, NAME, PACK, SPEED, heartbeats

BA = 'BA_DEF_ BO_ "GenMsgCycleTime" INT 0 65535;\nBA_DEF_DEF_ "GenMsgCycleTime" 0;\n'
DECLARED = PACK + CELLS + BA + 'BA_ "GenMsgCycleTime" BO_ 100 {};\nBA_ "GenMsgCycleTime" BO_ 101 {};\n'
Written = Callable[..., dict[str, Any]]


@pytest.fixture
def dbc(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "some.dbc"
        path.write_text(HEAD + text)
        return path

    return write


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Write what was learned, with and without the comments; return what it says without them."""

    def write(findings: Findings, *, dbc: bool = True) -> dict[str, Any]:
        bus = {"name": "can0", "interface": "virtual", "channel": "x", **({"dbc": ["some.dbc"]} if dbc else {})}
        text = configuration(findings, gateway="gw-1", bus=bus, notes=["some\x1b[2J note"])
        for version in (text, re.sub(r"^# (\[\[component|\w+ = |    \"|\]\})", r"\1", text, flags=re.MULTILINE)):
            (tmp_path / "gateway.toml").write_text(version)
            assert problems_of(tmp_path / "gateway.toml", {}) == []
            load(tmp_path / "gateway.toml", {})
        assert len(tomllib.loads(version)["component"]) == len(findings.proposals)
        return tomllib.loads(text) | {"text": text}

    return write


def test_batteries_are_ready_and_all_others_are_comments(dbc, written: Written) -> None:
    told = written(learned(Sender(100), Sender(101), Sender(200), Sender(0x700), dbc=dbc(PACK + CELLS + SPEED)))
    (component,) = told["component"]
    assert component == {
        "id": "bms",
        "kind": "PACK",
        "bus": "can0",
        "owner": "unassigned",
        "heartbeat": {"type": "dbc", "any_of": ["PackValues", "CellValues"]},
    }
    assert "# every 100 ms\n" in told["text"]
    assert '# id = "ecu"' in told["text"]
    assert "# Of nobody known: 700." in told["text"]
    assert "\x1b" not in told["text"]


def test_of_every_kind_there_can_be_a_component(written: Written) -> None:
    told = written(
        learned(
            heartbeats("HB_PACK", 0x12),
            heartbeats("HB_MODULE", 0xA3, ParentPack=0x12),
            Sender(0x705, 1.0, payload=lambda _: b"\x05"),
            Sender(EXTENDED | 0x18EEFFF3, 100.0, payload=lambda _: NAME),
            Sender(EXTENDED | 0x18F004F3, 0.1),
            Sender(0x200, since=3.0),
            Sender(0x201, since=3.0),
            Sender(EXTENDED | 0x1000FEFE, since=4.0, until=8.0),
            Sender(EXTENDED | 0x1000FFFE, since=4.0, until=8.0),
        ),
        dbc=False,
    )
    assert [component["id"] for component in told["component"]] == ["pack-12", "module-a3"]
    assert told["component"][1]["parent"] == "pack-12"
    assert told["component"][0]["node"] == 0x12
    assert 'heartbeat = {type = "raw", id = 0x200}' in told["text"]
    assert 'heartbeat = {type = "raw", id = 0x1000FEFE, extended = true}' in told["text"]
    assert 'name = "0x8000000000001234"' in told["text"]


def test_without_a_battery_what_is_likely_is_ready(written: Written) -> None:
    likely = [Sender(0x100, since=2.0, until=8.0), Sender(0x105, since=2.0, until=8.0)]
    told = written(learned(*likely, Sender(0x200), Sender(0x201)), dbc=False)
    assert [(component["id"], component["kind"]) for component in told["component"]] == [("device-100", "OTHER")]
    assert '# id = "device-200"' in told["text"]


@pytest.mark.parametrize(
    ("declared", "period_ms"),
    [((100, 100), None), ((120, 120), None), ((0, 0), None), ((50, 100), None), ((200, 200), 110), ((100, 5400), 110)],
)
def test_only_a_period_that_is_declared_wrongly_is_written(
    dbc, written: Written, declared: tuple[int, int], period_ms: int | None
) -> None:
    """Of several messages the second-fastest decides, by what is declared as by what is heard."""
    told = written(learned(Sender(100, 0.11), Sender(101), dbc=dbc(DECLARED.format(*declared))))
    assert told["component"][0].get("period_ms") == period_ms
    assert ("as heard; the database says" in told["text"]) == (period_ms is not None)
    if period_ms is not None:
        assert f"period_ms = 110  # as heard; the database says {declared[1]}" in told["text"]


PROTECTED = (
    "BO_ 100 PackValues: 8 BMS\n"
    ' SG_ Crc : 0|8@1+ (1,0) [0|0] "" ECU\n SG_ Alive : 8|4@1+ (1,0) [0|0] "" ECU\n'
    ' SG_ SoC : 16|8@1+ (1,0) [0|0] "%" ECU\n SG_ PackVolts : 24|16@1+ (1,0) [0|0] "V" ECU\n'
)


def protected(n: int) -> bytes:
    data = bytes([0, n % 15, n * 7 & 0xFF, n * 31 & 0xFF, n // 3 & 0xFF, 0, 0, 0])
    return bytes([PROFILES["E2E_P01"].computed(data, range(1), 0, (0x1234,))]) + data[1:]


def test_one_message_is_checked_by_what_it_proves_and_the_database_names(dbc, written: Written) -> None:
    told = written(learned(Sender(100, payload=protected), dbc=dbc(PROTECTED)))
    heartbeat = told["component"][0]["heartbeat"]
    assert PROFILES["E2E_P01"].computed(protected(9), range(1), 0, (heartbeat.pop("data_id"),)) == protected(9)[0]
    assert heartbeat == {
        "type": "dbc",
        "message": "PackValues",
        "counter": "Alive",
        "counter_max": 14,
        "crc": "Crc",
        "profile": "E2E_P01",
    }


def test_of_several_messages_it_is_said_that_one_could_be_checked(dbc, written: Written) -> None:
    told = written(learned(Sender(100, payload=protected), Sender(101), dbc=dbc(PROTECTED + CELLS)))
    assert set(told["component"][0]["heartbeat"]) == {"type", "any_of"}
    assert "PackValues has a checksum (E2E_P01): named alone" in told["text"]


def test_an_id_without_a_database_tells_what_a_database_could_use(written: Written) -> None:
    senders = [Sender(0x100, since=2.0, payload=protected), Sender(0x101, 0.11, since=2.0, payload=protected)]
    told = written(learned(*senders), dbc=False)
    assert "100 counts to 14 in bits 8 to 15" in told["text"]
    assert "100 has a checksum in byte 0: E2E_P01" in told["text"]


def test_what_it_was_silent_for_is_told(dbc, written: Written) -> None:
    told = written(learned(Sender(100, absences=((3.0, 5.0),)), dbc=dbc(PACK)))
    assert "# - silent from 2.90 s to 5.00 s" in told["text"]


@pytest.mark.parametrize(
    "content", ["a", 'q"\\\n\x7f é', 1, 2.5, True, False, [], ["a", 1], {"a": 1, "b c": [True]}, ["x" * 20] * 9]
)
def test_every_value_is_spelled_as_toml_reads_it(content: Any) -> None:
    assert tomllib.loads(f"value = {value(content)}")["value"] == content
