"""How ids are divided into devices: one rule after the other, each shown by senders that are known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.bus.frames import load_codecs
from gateway.bus.learn.battery import ENOUGH, marks
from gateway.bus.learn.knowledge import words
from gateway.bus.learn.proposals import Findings, Proposal
from gateway.bus.wire import EXTENDED
from gateway.component import ComponentKind
from tests.learn_scene import HEAD, Sender, ids, learned

EXT = EXTENDED


def named(findings: Findings) -> dict[str, set[int]]:
    return {proposal.component_id: ids(proposal) for proposal in findings.proposals}


def only(findings: Findings) -> Proposal:
    (proposal,) = findings.proposals
    return proposal


@pytest.fixture
def dbc(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "some.dbc"
        path.write_text(HEAD + text)
        return path

    return write


# --- our own protocol -------------------------------------------------------------------------------------------------


def heartbeats(message: str, node: int, period_s: float = 1.0, **signals: int) -> Sender:
    codec = load_codecs()[message]
    values = dict.fromkeys(codec.signals.keys() - {"E2E_CRC", "E2E_Counter"}, 0) | signals
    return Sender(codec.id_for(node), period_s, payload=lambda n: codec.encode(node, n % 15, values))


def test_nodes_of_our_own_protocol_become_ordinary_components() -> None:
    event = Sender(load_codecs()["EVENT"].id_for(0x12), 3.0)
    found = learned(heartbeats("HB_PACK", 0x12), heartbeats("HB_MODULE", 0xA3, ParentPack=0x12), event)
    pack, module = found.proposals
    assert (pack.component_id, pack.kind, pack.node, pack.heartbeat.table) == ("pack-12", "PACK", 0x12, None)
    assert event.can_id in ids(pack)
    assert (module.component_id, module.kind, module.node, module.parent) == ("module-a3", "MODULE", 0xA3, "pack-12")
    assert pack.is_ready
    assert module.is_ready
    assert not pack.heartbeat.differs


def test_a_pack_that_nobody_heard_is_nobodys_parent() -> None:
    assert only(learned(heartbeats("HB_MODULE", 0xA3, ParentPack=0x12))).parent is None


def test_an_id_like_ours_without_the_checksum_is_not_ours() -> None:
    alike = Sender(load_codecs()["HB_PACK"].id_for(0x12), 1.0, payload=lambda n: bytes([n, n, n, 0, 0, 0, 0, 0]))
    assert all(proposal.node is None for proposal in learned(alike).proposals)


# --- CANopen, J1939, storage batteries --------------------------------------------------------------------------------


def test_a_canopen_node_is_its_heartbeat_and_what_has_its_number() -> None:
    state = Sender(0x705, 1.0, payload=lambda n: bytes([0 if n == 0 else 5]))
    found = only(learned(state, Sender(0x185, 0.1), Sender(0x085, 3.0)))
    assert found.heartbeat.table == {"type": "canopen", "node": 5}
    assert ids(found) == {0x705, 0x185, 0x085}
    assert found.kind is ComponentKind.OTHER


@pytest.mark.parametrize("data", [b"\x05\x00", b"\x33", b""])
def test_other_frames_at_those_ids_are_no_canopen(data: bytes) -> None:
    assert learned(Sender(0x705, 1.0, payload=lambda _: data)).proposals == []


NAME = (1 << 63 | 0x1234).to_bytes(8, "little")


def test_a_j1939_device_is_its_source_address_and_known_by_the_name_it_claims() -> None:
    claim = Sender(EXT | 0x18EEFFF3, 100.0, payload=lambda _: NAME)
    found = only(learned(claim, Sender(EXT | 0x18F004F3, 0.1), Sender(EXT | 0x18FEEEF3, 1.0)))
    assert found.heartbeat.table == {"type": "j1939", "node": 0xF3, "name": "0x8000000000001234"}
    assert (len(ids(found)), found.confidence) == (3, 0.76)  # one of them came only ten times
    assert not found.heartbeat.declared_ms


def test_without_a_claim_several_groups_of_one_address_are_needed() -> None:
    two = learned(Sender(EXT | 0x18F00421, 0.1), Sender(EXT | 0x18FEEE21, 0.2), Sender(EXT | 0x18F00500, 0.1))
    assert named(two) == {"j1939-21": {EXT | 0x18F00421, EXT | 0x18FEEE21}}
    assert [trace.number for trace in two.nobody] == [0x18F00500]


@pytest.mark.parametrize("group", [0x18F09000, 0x19FFFD00])
def test_parameter_groups_of_storage_systems_mark_a_battery(group: int) -> None:
    found = learned(Sender(EXT | group | 0x45, 0.1), Sender(EXT | 0x18FEEE45, 0.2)).proposals[0]
    assert (found.kind, found.is_ready) == (ComponentKind.PACK, True)


def test_a_storage_battery_is_known_by_what_it_tells_inverters() -> None:
    found = learned(*(Sender(can_id, 1.0, until=30) for can_id in (0x351, 0x355, 0x356, 0x35E)), until=30).proposals[0]
    assert (found.component_id, found.kind) == ("battery", ComponentKind.PACK)
    assert ids(found) == {0x351, 0x355, 0x356, 0x35E}
    assert all(
        proposal.kind is ComponentKind.OTHER for proposal in learned(Sender(0x351, 0.1), Sender(0x355, 0.1)).proposals
    )


# --- by the database --------------------------------------------------------------------------------------------------

PACK = (
    'BO_ 100 PackValues: 8 BMS\n SG_ SoC : 0|8@1+ (1,0) [0|0] "%" ECU\n SG_ PackVolts : 8|16@1+ (1,0) [0|0] "V" ECU\n'
)
CELLS = 'BO_ 101 CellValues: 8 BMS\n SG_ CellVoltMax : 0|16@1+ (1,0) [0|0] "mV" ECU\n'
SPEED = 'BO_ 200 Speed: 8 ECU\n SG_ Rpm : 0|16@1+ (1,0) [0|0] "rpm" BMS\n'


def test_the_sender_of_the_database_is_one_device_and_a_battery_by_its_names(dbc: Callable[[str], Path]) -> None:
    found = learned(Sender(100), Sender(101), Sender(200), dbc=dbc(PACK + CELLS + SPEED))
    battery, other = found.proposals
    assert (battery.component_id, battery.kind, battery.is_ready) == ("bms", ComponentKind.PACK, True)
    assert battery.heartbeat.table == {"type": "dbc", "any_of": ["PackValues", "CellValues"]}
    assert (other.component_id, other.kind, other.is_ready) == ("ecu", ComponentKind.OTHER, False)
    assert other.heartbeat.table == {"type": "dbc", "message": "Speed"}


def test_ids_of_a_sender_that_do_not_live_together_make_it_less_sure_and_only_most_are_heard(dbc) -> None:
    third = "BO_ 102 PackLate: 8 BMS\n"
    found = only(learned(Sender(100), Sender(101), Sender(102, since=5.0), dbc=dbc(PACK + CELLS + third)))
    assert found.heartbeat.table == {"type": "dbc", "any_of": ["PackValues", "CellValues"]}
    assert ids(found) == {100, 101, 102}
    assert found.confidence < 0.95


def test_what_nobody_is_known_to_send_joins_whom_it_comes_and_goes_with(dbc) -> None:
    text = dbc(PACK + CELLS + SPEED)
    away: dict[str, Any] = {"since": 2.0, "until": 8.0}
    stranger, another = Sender(0x300, phase=0.01, **away), Sender(0x301, since=4.0)
    battery = learned(Sender(100, **away), Sender(101, **away), Sender(200), stranger, another, dbc=text).proposals[0]
    assert ids(battery) == {100, 101, 0x300}
    assert [trace.can_id for trace in battery.heartbeat.heard] == [100, 101]


def test_what_only_might_come_and_go_with_a_device_does_not_join_it(dbc) -> None:
    """A fast id that begins 30 ms before a slow one and ends 90 ms after it fits its life, and is another's."""
    away: dict[str, Any] = {"since": 2.0, "until": 8.0}
    fast = Sender(0x300, 0.01, since=1.97, until=8.0)
    found = learned(Sender(100, **away), Sender(101, **away), fast, dbc=dbc(PACK + CELLS))
    assert (ids(only(found)), [trace.can_id for trace in found.nobody]) == ({100, 101}, [0x300])


def test_slow_messages_are_not_what_a_device_is_heard_by(dbc) -> None:
    slow = "BO_ 102 PackSlow: 8 BMS\n"
    found = only(learned(Sender(100), Sender(101), Sender(102, 1.0), dbc=dbc(PACK + CELLS + slow)))
    assert found.heartbeat.table == {"type": "dbc", "any_of": ["PackValues", "CellValues"]}


def test_a_sender_that_says_nothing_regularly_is_no_component(dbc) -> None:
    found = learned(Sender(100, 4.0), dbc=dbc(PACK))
    assert (found.proposals, [trace.can_id for trace in found.nobody]) == ([], [100])


def test_names_without_a_sender_are_enough_where_they_are_a_batterys(dbc) -> None:
    text = (PACK + CELLS + SPEED).replace("8 BMS", "8 Vector__XXX").replace("8 ECU", "8 Vector__XXX")
    found = learned(Sender(100), Sender(101), Sender(200), dbc=dbc(text))
    assert named(found) == {"battery": {100, 101}}
    assert found.proposals[0].kind is ComponentKind.PACK


def test_a_battery_of_12_volts_is_not_the_one_meant(dbc) -> None:
    text = dbc(PACK.replace("PackValues", "TwelveVolt_Battery"))
    assert only(learned(Sender(100), dbc=text)).kind is ComponentKind.OTHER


def test_a_j1939_database_names_what_any_address_sends(dbc) -> None:
    text = dbc(PACK.replace("BO_ 100", f"BO_ {EXT | 0x18F101FE}"))
    found = only(learned(Sender(EXT | 0x18F10145, 0.1), Sender(EXT | 0x18F10245, 0.1), dbc=text))
    assert (found.component_id, found.kind) == ("j1939-45", ComponentKind.PACK)


def test_the_pump_of_a_battery_is_no_battery(dbc: Callable[[str], Path]) -> None:
    assert only(learned(Sender(100), dbc=dbc("BO_ 100 EWP_BMS_4E4: 8 EWP_BMS\n"))).kind is ComponentKind.OTHER
    assert only(learned(Sender(100), dbc=dbc("BO_ 100 BMS_4E4: 8 BMS\n"))).kind is ComponentKind.PACK


def test_who_is_only_named_after_a_battery_is_none() -> None:
    assert marks("BMS", [], [])[0] < ENOUGH  # a name alone, as of whoever only asks
    assert marks(None, [], [])[0] == 0


def test_names_are_read_word_by_word() -> None:
    assert list(words("VBattMax")) == ["v", "batt", "max"]
    assert list(words("pack_SoC_2")) == ["pack", "soc", "2"]
    assert list(words("HVBat")) == ["hv", "bat"]


# --- by when they come and go -----------------------------------------------------------------------------------------


def test_ids_that_come_and_go_together_are_one_device_whatever_their_periods() -> None:
    first = [Sender(0x100, 0.01, 2.0, 8.0), Sender(0x300, 0.1, 2.0, 8.0, phase=0.05), Sender(0x500, 0.5, 2.0, 8.0)]
    second = [Sender(0x101, 0.1, 3.0, 8.0), Sender(0x102, 0.1, 3.0, 8.0, phase=0.03)]
    third = [Sender(0x103, 0.1, 3.0), Sender(0x104, 0.1, 3.0)]
    found = learned(*first, *second, *third)
    assert sorted(map(sorted, named(found).values())) == [[0x100, 0x300, 0x500], [0x101, 0x102], [0x103, 0x104]]
    assert all(proposal.is_ready and proposal.kind is ComponentKind.OTHER for proposal in found.proposals)


def test_ids_that_are_away_together_are_one_device() -> None:
    away: dict[str, Any] = {"absences": ((3.0, 5.0),)}
    later: dict[str, Any] = {"absences": ((3.0, 6.5),)}
    found = learned(
        Sender(0x100, **away), Sender(0x200, phase=0.05, **away), Sender(0x300, **later), Sender(0x400, **later)
    )
    assert sorted(map(sorted, named(found).values())) == [[0x100, 0x200], [0x300, 0x400]]
    assert any("away together 1 time" in reason for reason in found.proposals[0].reasons)


def test_one_lost_burst_of_frames_divides_nobody() -> None:
    found = learned(
        Sender(0x100, since=2.0, absences=((4.0, 4.4),)), Sender(0x700, since=2.0), Sender(0x701, since=2.0)
    )
    assert ids(only(found)) == {0x100, 0x700, 0x701}


def test_a_few_lost_frames_are_no_absence_that_others_would_share() -> None:
    assert learned(Sender(0x100, absences=((4.0, 4.4),)), Sender(0x500), Sender(0x600)).proposals == []


def test_a_short_absence_does_not_show_in_what_is_slow() -> None:
    away = ((4.0, 5.5),)
    found = learned(Sender(0x100, since=2.0, absences=away), Sender(0x700, 1.0, since=2.0, absences=away))
    assert ids(only(found)) == {0x100, 0x700}


def test_what_is_there_all_the_time_is_only_guessed_by_its_numbers() -> None:
    found = learned(Sender(0x200), Sender(0x204), Sender(0x208), Sender(0x20A, 0.02), Sender(0x500))
    proposal = only(found)
    assert ids(proposal) == {0x200, 0x204, 0x208}
    assert (proposal.confidence, proposal.sureness, proposal.is_ready) == (0.3, "low", False)
    assert [trace.can_id for trace in found.nobody] == [0x20A, 0x500]


def test_neighbours_that_came_at_other_times_are_two_devices() -> None:
    assert learned(Sender(0x200), Sender(0x201, since=5.0)).proposals == []
