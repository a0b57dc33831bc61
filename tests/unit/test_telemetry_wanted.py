"""What the names of signals in the configuration mean on a bus."""

import re
from pathlib import Path
from typing import Any

import pytest

from gateway.bus.dbc import load
from gateway.bus.frames import dbc_path, load_codecs
from gateway.bus.telemetry.wanted import Wanted, resolve
from gateway.bus.wire import EXTENDED
from gateway.component import Component, ComponentKind
from gateway.errors import ConfigError
from gateway.settings import SignalSection
from tests.doubles_bus import FakeNode

FOREIGN = """VERSION ""

BU_: X

BO_ 256 Charger: 8 X
 SG_ Current : 0|16@1- (0.1,0) [0|0] "A" X
 SG_ PairState : 16|8@1+ (1,0) [0|0] "" X
 SG_ Mux M : 24|8@1+ (1,0) [0|0] "" X
 SG_ First m0 : 32|8@1+ (1,0) [0|0] "" X
 SG_ Second m1 : 32|8@1+ (1,0) [0|0] "" X
 SG_ Also m1 : 40|8@1+ (1,0) [0|0] "" X

BO_ 2566844672 Heater: 8 X
 SG_ Current : 0|16@1+ (1,0) [0|0] "A" X
"""
COMPONENTS = {
    "pack": Component("pack", ComponentKind.PACK, "can0", 0x12),
    "module": Component("module", ComponentKind.MODULE, "can0", 0xA3),
    "charger": Component("charger", ComponentKind.OTHER, "can0", None, foreign=True),
    "elsewhere": Component("elsewhere", ComponentKind.MODULE, "can1", 0xA3),
}


@pytest.fixture
def find(tmp_path: Path):
    path = tmp_path / "foreign.dbc"
    path.write_text(FOREIGN)

    def found(*named: str, **more: Any) -> list[Wanted]:
        """Return what is wanted on can0 for signals named "component:signal"."""
        pairs = (each.split(":") for each in named)
        sections = [SignalSection(component=component, signal=signal, **more) for component, signal in pairs]
        return list(resolve(sections, COMPONENTS, {"can0": [path], "can1": []}).get("can0", ()))

    return found


def problem(find, *named: str) -> list[str]:
    with pytest.raises(ConfigError) as no:
        find(*named)
    return no.value.problems


def test_a_signal_of_our_heartbeats_is_that_of_the_components_own_node_and_must_be_sound(find) -> None:
    (wanted,) = find("pack:PackState", deadband=2, min_interval_s=9)
    codec = load_codecs()["HB_PACK"]
    assert (wanted.component_id, wanted.can_id, wanted.shown) == ("pack", codec.id_for(0x12), None)
    assert wanted.valid is not None
    node = FakeNode(codec, 0x12)
    sound, broken = node.beat(0)[1], node.beat(0, bad_crc=True)[1]
    assert [wanted.valid(sound), wanted.valid(broken)] == [True, False]
    (signal,) = wanted.signals
    assert (signal.name, signal.deadband, signal.min_interval_s) == ("PackState", 2, 9)
    assert signal.read(sound) == "active"


def test_the_kind_of_a_component_decides_which_heartbeat_is_meant(find) -> None:
    (wanted,) = find("module:HB_MODULE.PairState")
    assert wanted.can_id == load_codecs()["HB_MODULE"].id_for(0xA3)
    assert wanted.signals[0].name == "HB_MODULE.PairState"
    assert problem(find, "module:HB_PACK.PairState", "module:PackVoltage") == [
        'telemetry.signals: module: has no signal "HB_PACK.PairState"; did you mean "HB_MODULE.PairState"?',
        'telemetry.signals: module: has no signal "PackVoltage"',
    ]


def test_a_signal_of_somebody_elses_message_is_taken_by_its_own_id_and_believed(find) -> None:
    current, heater = find("charger:Charger.Current", "pack:Heater.Current")
    assert (current.component_id, current.can_id, current.valid) == ("charger", 256, None)
    assert current.signals[0].read((0xFFF6).to_bytes(2, "little") + bytes(6)) == -1.0
    assert (heater.component_id, heater.can_id) == ("pack", 2566844672)
    assert heater.can_id & EXTENDED


def test_signals_that_stand_in_the_same_data_are_read_together(find) -> None:
    wanted = find("charger:Second", "charger:First", "charger:Also", "charger:Mux", "pack:Also")
    assert [(each.component_id, [signal.name for signal in each.signals]) for each in wanted] == [
        ("charger", ["Second", "Also"]),
        ("charger", ["First"]),
        ("charger", ["Mux"]),
        ("pack", ["Also"]),
    ]
    second = wanted[0].shown
    assert second is not None
    assert [second(bytes((0, 0, 0, mux, 7, 8, 0, 0))) for mux in (0, 1, 2)] == [False, True, False]


def test_a_name_that_two_messages_have_is_a_problem_that_names_them(find) -> None:
    several = "stands in more than one message"
    assert problem(find, "charger:Current", "module:PairState") == [
        f'telemetry.signals: charger: "Current" {several}; write "Charger.Current" or "Heater.Current"',
        f'telemetry.signals: module: "PairState" {several}; write "HB_MODULE.PairState" or "Charger.PairState"',
    ]


def test_who_speaks_another_protocol_has_no_heartbeat_of_ours(find) -> None:
    assert len(find("charger:PairState")) == 1, "which would be ambiguous, if it had"
    assert problem(find, "charger:PackVoltage", "charger:Curent") == [
        'telemetry.signals: charger: has no signal "PackVoltage"',
        'telemetry.signals: charger: has no signal "Curent"; did you mean "Current"?',
    ]


def test_each_bus_has_its_own_messages(find) -> None:
    assert find("elsewhere:CellVoltageMax") == []
    assert problem(find, "elsewhere:First") == ['telemetry.signals: elsewhere: has no signal "First"']


def test_a_component_that_is_nowhere_is_told_elsewhere(find) -> None:
    assert find("nobody:First") == []


def test_the_document_tells_the_units_of_our_heartbeats() -> None:
    document = (Path(__file__).parents[2] / "docs" / "mqtt-protocol.md").read_text()
    table = document.partition("| signal | unit | of |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.+) \| (\S+) \| (packs|modules) \|$", table, re.MULTILINE)
    told = {(name, unit, of) for names, unit, of in rows for name in re.findall(r"`(\w+)`", names)}
    heartbeats = {"packs": "HB_PACK", "modules": "HB_MODULE"}
    ours = load(dbc_path()).by_name
    signals = {
        (each.name, each.unit, of) for of, name in heartbeats.items() for each in ours[name].signals if each.unit
    }
    assert told == signals
