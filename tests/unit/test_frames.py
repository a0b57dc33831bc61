"""Our frames: against the golden vectors, an independent E2E implementation, and cantools on the same DBC."""

import random
from pathlib import Path

import cantools
import e2e as oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bus import e2e
from gateway.bus.frames import Codec, codecs_of, dbc_path, load_codecs
from gateway.bus.wire import EXTENDED
from gateway.errors import PeerError

CODECS = load_codecs()
DATABASE = cantools.database.Database()
DATABASE.add_dbc_file(dbc_path())
BOTH = oracle.p01.E2E_P01_DATAID_BOTH
at_any_speed = settings(deadline=None)
NODE_BYTE_IN_DBC = 0xFE

HB_PACK = {
    "PackState": 5, "SoC": 160, "PackVoltage": 3842, "ContactorState": 2, "FaultLevel": 0, "PairState": 2, "CmdBusy": 0,
    "BootCount": 7, "ModulesOnline": 12,
}  # fmt: skip
HB_MODULE = {
    "ModuleState": 5, "ParentPack": 0x12, "CellVoltageMin": 2200, "CellVoltageMax": 2233, "TemperatureMax": 65,
    "BootCount": 1, "Balancing": 0, "PairState": 2, "FaultActive": 0,
}  # fmt: skip
CMD_REQ = {"CmdFlags": 0, "CmdSeq": 0x2A, "Opcode": 0x10, "Arg0": 1, "Arg1": 0}

GOLDEN = [
    ("HB_PACK", 0x12, 0, HB_PACK, "18 50 A0 02 0F 42 07 0C"),
    ("HB_PACK", 0x12, 1, HB_PACK, "45 51 A0 02 0F 42 07 0C"),
    ("HB_PACK", 0x12, 14, HB_PACK, "19 5E A0 02 0F 42 07 0C"),
    ("HB_PACK", 0x13, 0, HB_PACK, "7D 50 A0 02 0F 42 07 0C"),
    ("HB_MODULE", 0xA0, 9, HB_MODULE, "A4 59 12 98 98 8B 41 41"),
    ("CMD_REQ", 0x12, 3, CMD_REQ, "58 03 2A 10 01 00 00 00"),
]

LAYOUT = {  # message: (CAN id with node FE, data id base, {signal: (start, length)})
    "HB_PACK": (0x18FF10FE, 0x1000, {
        "PackState": (12, 4), "SoC": (16, 8), "PackVoltage": (24, 16), "ContactorState": (40, 3), "FaultLevel": (43, 2),
        "PairState": (45, 2), "CmdBusy": (47, 1), "BootCount": (48, 8), "ModulesOnline": (56, 8),
    }),
    "HB_MODULE": (0x18FF11FE, 0x1100, {
        "ModuleState": (12, 4), "ParentPack": (16, 8), "CellVoltageMin": (24, 12), "CellVoltageMax": (36, 12),
        "TemperatureMax": (48, 8), "BootCount": (56, 4), "Balancing": (60, 1), "PairState": (61, 2),
        "FaultActive": (63, 1),
    }),
    "EVENT": (0x0CFF12FE, 0x1200, {
        "Severity": (12, 4), "EventCode": (16, 16), "EventSeq": (32, 8), "EventData": (40, 24),
    }),
    "PAIR_REQ": (0x18EFFEFB, 0x2000, {
        "PairOp": (12, 4), "TxnId": (16, 8), "DiscoverScope": (24, 8), "SerialPrefix": (32, 32),
        "PartnerAddress": (24, 8), "BindSerialLow": (32, 32), "KeySlot": (24, 8), "Challenge": (32, 32),
        "ConfirmFlags": (24, 8), "GatewayMac": (32, 32), "UnpairReason": (24, 8), "UnpairSerialLow": (32, 32),
        "AbortReason": (24, 8),
    }),
    "PAIR_RSP": (0x18EFFBFE, 0x2100, {
        "PairOp": (12, 4), "TxnId": (16, 8), "PairStatus": (24, 8), "SerialLow": (32, 32), "SerialHigh": (32, 32),
        "FwVersion": (32, 32), "DeviceMac": (32, 32), "PairEpoch": (32, 16), "DeviceType": (48, 8),
        "HwRevision": (56, 8),
    }),
    "CMD_REQ": (0x0DEFFEFB, 0x3000, {
        "CmdFlags": (12, 4), "CmdSeq": (16, 8), "Opcode": (24, 8), "Arg0": (32, 16), "Arg1": (48, 16),
    }),
    "CMD_RSP": (0x19EFFBFE, 0x3100, {
        "CmdStatus": (12, 4), "CmdSeq": (16, 8), "Opcode": (24, 8), "ResultCode": (32, 8), "ResultData": (40, 24),
    }),
}  # fmt: skip


def oracle_protects(data_id: int, data: bytes) -> bytes:
    """Let the other implementation put its CRC into a frame that has its counter already."""
    frame = bytearray(data)
    oracle.p01.e2e_p01_protect(frame, data_id, length=len(data), data_id_mode=BOTH, increment_counter=False)
    return bytes(frame)


@st.composite
def frames(draw: st.DrawFn) -> tuple[Codec, int, int, dict[str, int]]:
    """A message, a node, a counter, and values for exactly the signals this message shows."""
    codec = CODECS[draw(st.sampled_from(sorted(CODECS)))]
    selector = None
    shown = sorted({s.selector for s in codec.signals.values() if s.selector is not None})
    if codec.multiplexer is not None:
        selector = draw(st.sampled_from(shown))
    values = {
        name: draw(st.integers(0, signal.mask))
        for name, signal in codec.signals.items()
        if not name.startswith("E2E") and signal.selector in {None, selector}
    }
    if codec.multiplexer is not None and selector is not None:
        values[codec.multiplexer] = selector
    return codec, draw(st.integers(0, 249)), draw(st.integers(0, 14)), values


# --- the layout ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("message", "node", "counter", "values", "expected"), GOLDEN)
def test_golden_vectors(message, node, counter, values, expected) -> None:
    data = CODECS[message].encode(node, counter, values)
    assert data == bytes.fromhex(expected)
    assert CODECS[message].is_valid(node, data)
    assert CODECS[message].decode(data).items() >= values.items()


def test_the_golden_vectors_are_those_of_the_other_implementation() -> None:
    for message, node, _, _, expected in GOLDEN:
        data = bytes.fromhex(expected)
        assert oracle_protects(CODECS[message].data_id_base + node, data) == data


@pytest.mark.parametrize("message", LAYOUT)
def test_each_message_is_laid_out_as_specified(message) -> None:
    frame_id, data_id_base, signals = LAYOUT[message]
    codec = CODECS[message]
    placed = {name: (signal.start, signal.mask.bit_length()) for name, signal in codec.signals.items()}
    assert placed == {"E2E_CRC": (0, 8), "E2E_Counter": (8, 4), **signals}
    assert codec.id_for(NODE_BYTE_IN_DBC) == EXTENDED | frame_id
    assert (codec.data_id_base, codec.max_delta) == (data_id_base, 3)


def test_the_dbc_holds_these_messages_and_no_others() -> None:
    assert set(CODECS) == set(LAYOUT) == {message.name for message in DATABASE.messages}


def test_only_heartbeats_have_a_cycle_time_because_only_theirs_is_explicit() -> None:
    cycles = {name: codec.cycle_ms for name, codec in CODECS.items() if codec.cycle_ms is not None}
    assert cycles == {"HB_PACK": 1000, "HB_MODULE": 1000}


@at_any_speed
@given(frames())
def test_cantools_reads_what_we_write_as_we_do(frame) -> None:
    codec, node, counter, values = frame
    data = codec.encode(node, counter, values)
    theirs = DATABASE.get_message_by_name(codec.name).decode(data, decode_choices=False, scaling=False)
    assert codec.decode(data) == theirs
    assert theirs == values | {"E2E_CRC": data[0], "E2E_Counter": counter}


@at_any_speed
@given(frames())
def test_scale_and_offset_are_those_of_the_dbc(frame) -> None:
    codec, node, counter, values = frame
    theirs = DATABASE.get_message_by_name(codec.name).decode(codec.encode(node, counter, values), decode_choices=False)
    for name, raw in values.items():
        signal = codec.signals[name]
        assert theirs[name] == pytest.approx(raw * signal.scale + signal.offset)


@at_any_speed
@given(frames())
def test_unused_bits_are_sent_as_one(frame) -> None:
    codec, node, counter, values = frame
    used = 0xFFF
    for name in values:
        used |= codec.signals[name].mask << codec.signals[name].start
    assert int.from_bytes(codec.encode(node, counter, values), "little") | used == (1 << 64) - 1


# --- the addresses ---------------------------------------------------------------------------------------------------


@at_any_speed
@given(st.sampled_from(sorted(CODECS)), st.integers(0, 249))
def test_one_filter_a_message_lets_every_node_through(message, node) -> None:
    codec = CODECS[message]
    can_id = codec.id_for(node)
    assert codec.node_of(can_id) == node
    through = [name for name, c in CODECS.items() if can_id & c.filter.mask == c.filter.can_id & c.filter.mask]
    assert through == [message]


def test_standard_ids_never_pass_a_filter_of_ours() -> None:
    for codec in CODECS.values():
        for can_id in range(0x800):
            assert can_id & codec.filter.mask != codec.filter.can_id


# --- the protection --------------------------------------------------------------------------------------------------


@at_any_speed
@given(st.integers(0, 0xFFFF), st.binary(min_size=8, max_size=8).filter(lambda data: data[1] & 0xF != 15))
def test_the_crc_is_that_of_the_other_implementation(data_id, data) -> None:
    assert e2e.crc_of(e2e.seed(data_id), data) == oracle_protects(data_id, data)[0]


@at_any_speed
@given(frames())
def test_what_we_protect_the_other_implementation_accepts(frame) -> None:
    codec, node, counter, values = frame
    data = codec.encode(node, counter, values)
    assert oracle.p01.e2e_p01_check(bytearray(data), codec.data_id_base + node, length=len(data), data_id_mode=BOTH)


@at_any_speed
@given(frames(), st.integers(0, 63))
def test_a_single_flipped_bit_is_always_found(frame, bit) -> None:
    codec, node, counter, values = frame
    word = int.from_bytes(codec.encode(node, counter, values), "little") ^ 1 << bit
    assert not codec.is_valid(node, word.to_bytes(8, "little"))


@at_any_speed
@given(frames(), st.integers(0, 249))
def test_a_frame_of_another_node_is_never_valid(frame, other) -> None:
    codec, node, counter, values = frame
    assert codec.is_valid(other, codec.encode(node, counter, values)) is (node == other)


def test_a_counter_that_is_not_available_is_never_valid() -> None:
    codec = CODECS["HB_PACK"]
    assert not codec.is_valid(0x12, codec.encode(0x12, e2e.COUNTER_INVALID, HB_PACK))


@pytest.mark.parametrize("length", [0, 1, 7, 9, 64])
def test_a_wrong_length_is_never_valid_and_never_decoded(length) -> None:
    codec = CODECS["HB_PACK"]
    data = random.Random(1).randbytes(length)
    assert not codec.is_valid(0x12, data)
    with pytest.raises(PeerError, match=f"{length} bytes"):
        codec.decode(data)


@pytest.mark.parametrize(("previous", "counter", "delta"), [(3, 3, 0), (3, 4, 1), (14, 0, 1), (13, 1, 3), (1, 0, 14)])
def test_the_counter_goes_round_after_14(previous, counter, delta) -> None:
    assert e2e.delta(previous, counter) == delta


def test_a_value_that_does_not_fit_and_a_signal_that_is_not_there_are_refused() -> None:
    codec = CODECS["HB_PACK"]
    with pytest.raises(ValueError, match=r"HB_PACK\.PackState: 16 does not fit"):
        codec.encode(0x12, 0, {"PackState": 16})
    with pytest.raises(ValueError, match="does not fit"):
        codec.encode(0x12, 16, {})
    with pytest.raises(KeyError):
        codec.encode(0x12, 0, {"Nonsense": 1})


def test_an_unknown_multiplexer_value_shows_only_what_is_always_there() -> None:
    data = bytes.fromhex("00 F0 2A 00 FF FF FF FF")
    assert set(CODECS["PAIR_RSP"].decode(data)) == {"E2E_CRC", "E2E_Counter", "PairOp", "TxnId", "PairStatus"}


def test_messages_that_are_not_of_our_protocol_are_passed_over(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.dbc"
    foreign.write_text('VERSION ""\n\nBU_: A\n\nBO_ 291 OTHER: 8 A\n SG_ X : 0|8@1+ (1,0) [0|255] "" A\n')
    assert load_codecs(foreign) == {}


# --- the page for people who build nodes -----------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "bus-protocol.md").read_text(encoding="utf-8")


def tables(text: str) -> list[list[str]]:
    """Return the cells of every row of every table in `text`."""
    rows = [line.strip().strip("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.split("|")] for row in rows]


def page_of(message: str) -> str:
    return PAGE.partition(f"### {message} —")[2].partition("\n#")[0]


@pytest.mark.parametrize("message", sorted(CODECS))
def test_the_page_lays_each_message_out_as_the_dbc_does(message) -> None:
    text = page_of(message)
    told = {name: (int(start), int(length)) for name, start, length, *_ in tables(text)[2:]}
    codec = CODECS[message]
    placed = {name: (signal.start, signal.mask.bit_length()) for name, signal in codec.signals.items()}
    assert told == {name: place for name, place in placed.items() if not name.startswith("E2E")}
    assert text.split()[0].rstrip(",") == f"{codec.id_for(NODE_BYTE_IN_DBC) & ~EXTENDED:08X}"
    assert ("every 1000 ms" in text) is (codec.cycle_ms == 1000)


def test_the_page_names_the_data_ids_and_golden_vectors() -> None:
    rows = tables(PAGE)
    assert {name: int(base, 16) for name, base in (row for row in rows if len(row) == 2) if name in CODECS} == {
        codec.name: codec.data_id_base for codec in CODECS.values()
    }
    told = {row[3].strip("`") for row in rows if len(row) == 4 and row[3].startswith("`")}
    assert told == {expected for *_, expected in GOLDEN}


def test_the_page_names_states_statuses_and_opcodes_as_the_dbc_does() -> None:
    choices = {
        signal.name: {int(number): str(name) for number, name in signal.choices.items()}
        for message in DATABASE.messages
        for signal in message.signals
        if signal.choices
    }
    states = PAGE.partition("### States")[2].partition("##")[0].split(",")
    assert dict(_numbered(states)) == choices["PackState"] == choices["ModuleState"]
    status = tables(PAGE.partition("### Pairing status")[2].partition("## ")[0])[2:]
    assert {int(number): meaning.partition(" (")[0] for number, meaning, _ in status} == choices["PairStatus"]
    opcodes = tables(PAGE.partition("## Commands")[2].partition("\n## ")[0])[2:]
    assert {int(number, 16): name for number, name, *_ in opcodes} == choices["Opcode"]


def _numbered(items: list[str]) -> list[tuple[int, str]]:
    parts = [item.strip().rstrip(".").partition(" ") for item in items]
    return [(int(number), " ".join(name.split())) for number, _, name in parts]


def test_a_bus_may_have_messages_of_its_own_in_place_of_ours(tmp_path) -> None:
    other = tmp_path / "other.dbc"
    other.write_text(
        dbc_path()
        .read_text()
        .replace('BA_ "E2EDataIdBase" BO_ 2566852862 4096', 'BA_ "E2EDataIdBase" BO_ 2566852862 9')
    )
    own = codecs_of([other])
    assert own["HB_PACK"].data_id_base == 9
    assert own["HB_MODULE"] == load_codecs()["HB_MODULE"]
    assert codecs_of([]) == load_codecs()
