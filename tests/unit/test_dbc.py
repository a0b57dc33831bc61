"""Databases of messages as they are found: each defect that is repaired, each that is only told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.dbc import MOST_BYTES, can_id_of, cycle_ms, load
from gateway.bus.dbc.decoding import decode
from gateway.bus.dbc.normalise import normalise
from gateway.bus.dbc.report import Reading, Rule
from gateway.bus.wire import EXTENDED
from gateway.errors import ConfigError

HEAD = 'VERSION ""\n\nNS_ :\n\tCM_\n\tVAL_\n\tBA_\n\nBS_:\n\nBU_: BMS\n\n'
MESSAGE = 'BO_ 100 Pack: 8 BMS\n SG_ Soc : 0|8@1+ (0.5,0) [0|100] "%" Vector__XXX\n\n'


@pytest.fixture
def read(tmp_path):
    def write_and_load(text: str, name: str = "some.dbc", encoding: str = "utf-8"):
        path = tmp_path / name
        path.write_text(text, encoding=encoding)
        return load(path)

    return write_and_load


def rules(definitions) -> list[tuple[Rule, int]]:
    return [(change.rule, change.line) for change in definitions.report.changes]


def test_a_sound_file_is_read_as_it_is(read):
    found = read(HEAD + MESSAGE)
    assert found.report.reading is Reading.STRICT
    assert found.report.changes == ()
    assert found.by_id[100] is found.by_name["Pack"]
    assert (found.report.messages, found.report.signals, found.report.periodic) == (1, 1, 0)
    assert found.report.lines()[0].endswith("read as it is; 1 messages, 1 signals, 0 with a cycle time")


def test_a_list_of_nodes_that_is_missing_is_added(read):
    names = 'VERSION ""\n\nNS_ :\n  NS_DESC_\n\n'
    found = read(names + MESSAGE)
    assert found.report.reading is Reading.NORMALISED
    assert rules(found) == [(Rule.SECTION, 6)]
    assert "Pack" in found.by_name
    assert rules(read(names + "BU_: BMS\n\n" + MESSAGE, "b.dbc")) == []
    assert rules(read(names + "BS_:\n\n" + MESSAGE, "c.dbc")) == []


@pytest.mark.parametrize(
    "line",
    [
        'VAL_ 100 Nothing 1 "on" 0 "off; or \\" so" ;',
        'VAL_ 999 Soc 1 "on" ;',
        'CM_ SG_ 999 Soc "two\nlines";',
        'CM_ BO_ 999 "of nothing";',
        'BA_DEF_ SG_ "X" INT 0 1;\nBA_DEF_DEF_ "X" 0;\nBA_ "X" SG_ 100 Nothing 1;',
        "SIG_VALTYPE_ 100 Nothing : 1;",
        "SG_MUL_VAL_ 100 Nothing Soc 1-1;",
    ],
)
def test_lines_about_nothing_are_left_out(read, line):
    found = read(HEAD + MESSAGE + 'VAL_ 77 X 1 "makes it fail" ;\n' + line + '\nVAL_ 100 Soc 255 "invalid" ;\n')
    assert found.report.reading is Reading.NORMALISED
    first, second = rules(found)
    assert first == (Rule.DANGLING, 15)
    assert second == (Rule.DANGLING, 18 if line.startswith("BA_DEF_") else 16)
    assert found.by_name["Pack"].get_signal_by_name("Soc").choices == {255: "invalid"}


def test_long_ids_without_bit_31_get_it_wherever_they_stand(read):
    text = (
        HEAD + MESSAGE.replace("100", "419365632") + 'VAL_ 419365632 Soc 255 "invalid" ;\nCM_ SG_ 419365632 Soc "x";\n'
    )
    found = read(text)
    assert rules(found) == [(Rule.EXTENDED_ID, 12), (Rule.REFERENCE, 15), (Rule.REFERENCE, 16)]
    message = found.by_id[419365632 | EXTENDED]
    assert message.is_extended_frame
    assert can_id_of(message) == 419365632 | EXTENDED
    assert message.get_signal_by_name("Soc").choices == {255: "invalid"}
    assert message.get_signal_by_name("Soc").comment == "x"


def test_names_that_begin_with_a_digit_get_an_underscore_wherever_they_stand(read):
    text = HEAD.replace("BU_: BMS", "BU_: 12V_BMS") + (
        'BO_ 100 3Phase: 8 12V_BMS\n SG_ 1st : 0|8@1+ (1E-3,0) [0|1e2] "3rd unit" 12V_BMS\n\n'
        'VAL_ 100 1st 1 "2nd value" ;\nCM_ SG_ 100 1st "4th";\n'
    )
    found = read(text)
    assert {change.rule for change in found.report.changes} == {Rule.IDENTIFIER}
    assert [change.line for change in found.report.changes] == [10, 12, 12, 13, 13, 15, 16]
    signal = found.by_name["_3Phase"].get_signal_by_name("_1st")
    assert (signal.scale, signal.maximum, signal.unit, signal.comment) == (0.001, 100, "3rd unit", "4th")
    assert signal.choices == {1: "2nd value"}
    assert signal.receivers == ["_12V_BMS"]


def test_names_with_other_signs_get_underscores(read):
    found = read(HEAD + MESSAGE.replace("Soc", "State-of.Charge") + 'VAL_ 100 State-of.Charge 1 "x" ;\n')
    assert {change.rule for change in found.report.changes} == {Rule.IDENTIFIER}
    assert found.by_name["Pack"].get_signal_by_name("State_of_Charge").choices == {1: "x"}


def test_messages_that_contradict_themselves_are_tolerated_and_named(read):
    found = read(HEAD + MESSAGE + 'BO_ 101 Bad: 1 BMS\n SG_ Long : 0|16@1+ (1,0) [0|0] "" X\n\n')
    assert found.report.reading is Reading.LAX
    (change,) = found.report.changes
    assert change.rule is Rule.MISFIT
    assert "Long does not fit in message Bad" in str(change)
    assert len(found.by_name) == 2


def test_a_long_report_is_cut_short(read):
    report = read(HEAD + MESSAGE + 'VAL_ 7 X 1 "y" ;\n' * 30).report
    assert len(report.changes) == 30
    assert len(report.lines(5)) == 7
    assert report.lines(5)[-1] == "  … and 25 more changes"


def test_what_cannot_be_read_is_told_with_file_and_line(read, tmp_path):
    with pytest.raises(ConfigError, match=r"some\.dbc:13: .*[Ii]nvalid syntax"):
        read(HEAD + MESSAGE.replace("0|8@1+", "0|8@"))
    with pytest.raises(ConfigError, match=r"none\.dbc: cannot be read: No such file"):
        load(tmp_path / "none.dbc")
    with pytest.raises(ConfigError, match=r"is none of \.dbc, \.kcd"):
        read("", "some.txt")
    with pytest.raises(ConfigError, match=r"large\.dbc: has \d+ bytes; at most"):
        read(" " * (MOST_BYTES[".dbc"] + 1), "large.dbc")
    with pytest.raises(ConfigError, match="entities are not read"):
        read('<!DOCTYPE x [<!ENTITY a "aaaa">]><NetworkDefinition/>', "bomb.kcd")
    with pytest.raises(ConfigError, match=r"deep\.kcd"):
        read("<a>" * 10, "deep.kcd")


@given(st.binary(max_size=300))
def test_whatever_is_in_a_file_it_is_read_or_told_why_not(tmp_path_factory, junk):
    path = tmp_path_factory.getbasetemp() / "junk.dbc"
    path.write_bytes(HEAD.encode() + junk)
    assert all(problem.startswith(str(path)) for problem in problems_of(path))


def problems_of(path) -> list[str]:
    try:
        load(path)
    except ConfigError as why:
        return why.problems
    return []


def test_texts_of_old_tools_and_marks_at_the_beginning_are_read(read):
    text = HEAD + MESSAGE + 'CM_ BO_ 100 "Grad °C";\n'
    assert read(text, "old.dbc", "cp1252").by_name["Pack"].comment == "Grad °C"
    assert read(text, "marked.dbc", "utf-8-sig").by_name["Pack"].comment == "Grad °C"
    assert read(text.replace("\n", "\r\n"), "dos.dbc").report.reading is Reading.STRICT


def test_a_cycle_time_counts_where_a_message_has_its_own(read):
    attribute = 'BA_DEF_ BO_ "GenMsgCycleTime" INT 0 65535;\nBA_DEF_DEF_ "GenMsgCycleTime" 100;\n'
    other = MESSAGE.replace("100 Pack", "101 Slow")
    found = read(HEAD + MESSAGE + other + attribute + 'BA_ "GenMsgCycleTime" BO_ 101 500;\n')
    assert cycle_ms(found.by_name["Pack"]) is None
    assert cycle_ms(found.by_name["Slow"]) == 500
    assert found.report.periodic == 1


@pytest.mark.parametrize(
    ("kind", "value", "cycle"),
    [
        ("INT -10 65535", "-5", None),
        ("INT 0 65535", "0", None),
        ("INT 0 0", "99999999999999999999", None),
        ("FLOAT 0 1E9", "1E999", None),
        ("FLOAT 0 1E9", "0.5", None),
        ("FLOAT 0 1E9", "200.0", 200),
        ("STRING", '"200"', 200),
        ("STRING", '"fast"', None),
    ],
)
def test_a_cycle_time_that_is_none_is_not_believed(read, kind, value, cycle):
    lines = f'BA_DEF_ BO_ "GenMsgCycleTime" {kind};\nBA_ "GenMsgCycleTime" BO_ 100 {value};\n'
    assert cycle_ms(read(HEAD + MESSAGE + lines).by_name["Pack"]) == cycle


def test_a_file_that_is_empty_is_told_to_be(read):
    with pytest.raises(ConfigError, match=r"some\.dbc: is empty$"):
        read("\n")


def test_a_file_is_read_anew_when_it_has_changed(read):
    assert "Pack" in read(HEAD + MESSAGE).by_name
    assert "Stack" in read(HEAD + MESSAGE.replace("Pack", "Stack ")).by_name


KCD = """<NetworkDefinition xmlns="http://kayak.2codeornot2code.org/1.0"><Document/><Node id="1" name="BMS"/>
<Bus name="b"><Message id="0x64" name="Pack" length="8" interval="200"><Signal name="Soc" offset="0" length="8"/>
</Message></Bus>
</NetworkDefinition>"""
SYM = """FormatVersion=6.0 // Do not edit this line!
Title="x"

{SENDRECEIVE}

[Pack]
ID=064h
Len=8
Sig=Soc 0

{SIGNALS}
Sig=Soc unsigned 8
"""


def test_other_formats_are_read_too(read):
    kcd = read(KCD, "some.kcd")
    assert kcd.by_id[100].get_signal_by_name("Soc").length == 8
    assert cycle_ms(kcd.by_id[100]) == 200
    assert read(SYM, "some.sym").by_id[100].name == "Pack"


MULTIPLEXED = (
    'BO_ 100 Pack: 8 BMS\n SG_ Page M : 0|8@1+ (1,0) [0|0] "" X\n SG_ Volts m1 : 8|16@1+ (0.1,0) [0|0] "V" X\n\n'
    'VAL_ 100 Page 1 "one" ;\n'
)


def test_frames_are_decoded_to_plain_values_whatever_they_hold(read):
    message = read(HEAD + MULTIPLEXED).by_name["Pack"]
    assert decode(message, bytes([1, 10, 0, 0, 0, 0, 0, 0])) == {"Page": 1, "Volts": 1.0}
    named = decode(message, bytes([1, 10, 0, 0, 0, 0, 0, 0]), names=True)
    assert named["Page"] == "one"
    assert type(named["Page"]) is str
    assert decode(message, bytes([9, 0, 0])) == {}
    assert decode(message, b"") == {}


def test_texts_in_quotation_marks_are_never_touched():
    text = HEAD + 'BO_ 100 Pack: 8 BMS\n SG_ Soc : 0|8@1+ (1,0) [0|0] "1st" X\nCM_ "VAL_ 7 3Phase; BO_ 5000 9Lives";\n'
    assert normalise(text) == (text, [])


def test_a_file_about_diagnostics_describes_no_messages(read):
    with pytest.raises(ConfigError, match=r"some\.arxml: "):
        read("<AUTOSAR/>", "some.arxml")


def test_a_file_that_vanishes_while_it_is_read_is_told(tmp_path, monkeypatch):
    path = tmp_path / "some.dbc"
    path.write_text(HEAD + MESSAGE)

    def fail(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(type(path), "read_bytes", fail)
    with pytest.raises(ConfigError, match="cannot be read: Input/output error"):
        load(path)
