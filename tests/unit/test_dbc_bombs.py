"""Files that are made to take a reader's time or memory: refused at once, or read in proportion to their size."""

import logging
import time
from collections.abc import Callable

import pytest

from gateway.bus.dbc import LONGEST_MESSAGE, load
from gateway.bus.dbc.decoding import decode
from gateway.bus.dbc.normalise import normalise
from gateway.bus.dbc.report import Reading, Rule
from gateway.errors import ConfigError

HEAD = 'VERSION ""\n\nNS_ :\n\nBS_:\n\nBU_: BMS\n\n'
SIGNAL = ' SG_ Soc : 0|8@1+ (0.5,0) [0|100] "%" X\n'
MESSAGE = "BO_ 100 Pack: 8 BMS\n" + SIGNAL + "\n"
KCD = (
    '<NetworkDefinition xmlns="http://kayak.2codeornot2code.org/1.0"><Document/>'
    '<Bus name="b">{}</Bus></NetworkDefinition>'
)
SYM = (
    'FormatVersion=6.0 // x\nTitle="x"\n\n{{SENDRECEIVE}}\n\n[Pack]\nID=064h\nLen={}\nSig=Soc {}\n\n'
    "{{SIGNALS}}\nSig=Soc unsigned 8\n"
)


@pytest.fixture
def read(tmp_path):
    def write_and_load(text: str, suffix: str = ".dbc"):
        path = tmp_path / f"some{suffix}"
        path.write_text(text)
        return load(path)

    return write_and_load


@pytest.mark.parametrize(
    ("suffix", "text", "line"),
    [
        (".dbc", HEAD + MESSAGE.replace(": 8 B", ": 100000000 B"), 9),
        (".dbc", HEAD + MESSAGE.replace(": 0|8", " : 100000000|8"), 10),
        (".dbc", HEAD + MESSAGE.replace("0|8", "0|100000000"), 10),
        (".dbc", HEAD + MESSAGE.replace("0.5", "1" * 400), 10),
        (".kcd", KCD.format('<Message id="0x1" name="M" length="100000000"/>'), 1),
        (
            ".kcd",
            KCD.format('\n<Message id="0x1" name="M" length="8"><Signal name="S" offset="100000000"/></Message>'),
            2,
        ),
        (".sym", SYM.format(100000000, 0), 8),
        (".sym", SYM.format(8, 100000000), 9),
        (".arxml", "<AUTOSAR>\n<FRAME-LENGTH>100000000</FRAME-LENGTH></AUTOSAR>", 2),
        (".arxml", "<AUTOSAR>\n<START-POSITION>100000000</START-POSITION></AUTOSAR>", 2),
    ],
)
def test_sizes_that_no_message_has_are_refused_with_their_line_before_anything_is_made_of_them(
    read, suffix, text, line
):
    with pytest.raises(ConfigError, match=rf"some{suffix}:{line}: no message has so much room"):
        read(text, suffix)


def test_a_message_longer_than_any_bus_carries_is_refused(read):
    assert read(HEAD + MESSAGE.replace(": 8 B", f": {LONGEST_MESSAGE} B")).by_name["Pack"].length == LONGEST_MESSAGE
    with pytest.raises(ConfigError, match=r"message Pack has 4097 bytes; at most 4096 are read"):
        read(HEAD + MESSAGE.replace(": 8 B", f": {LONGEST_MESSAGE + 1} B"))


def test_numbers_as_tools_write_them_are_read(read):
    largest = "179769313486231570000000" + "0" * 285
    found = read(HEAD + MESSAGE.replace("[0|100]", f"[-{largest}|{largest}]"))
    assert found.by_name["Pack"].get_signal_by_name("Soc").maximum == pytest.approx(1.7976931348623157e308)
    assert read(SYM.format(8, "0 // order 1234567"), ".sym").by_id[100].length == 8


@pytest.mark.parametrize("suffix", [".kcd", ".arxml"])
@pytest.mark.parametrize(
    "text", ["<a>" * 100_000, "<a>" * 50_000 + "</a>" * 50_000, "<a " + "b='1' " * 2 + "/>", "<a>" + "<b/>" * 50_000]
)
def test_xml_nested_without_end_is_told_and_ends(read, suffix, text):
    with pytest.raises(ConfigError, match=rf"some{suffix}"):
        read(text, suffix)


@pytest.mark.parametrize("suffix", [".kcd", ".arxml"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_entities_are_not_read_however_they_are_written(tmp_path, suffix, encoding):
    bomb = '<?xml version="1.0"?>\n<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>\n<x>&b;</x>'
    path = tmp_path / f"some{suffix}"
    path.write_bytes(bomb.encode(encoding))
    with pytest.raises(ConfigError, match="entities are not read" if encoding != "utf-16" else "some"):
        load(path)


CASES: dict[str, Callable[[int], str]] = {
    "names that begin with a digit, in one comment": lambda n: HEAD + MESSAGE + "CM_ " + "1a\n" * n,
    "dangling lines": lambda n: HEAD + MESSAGE + 'VAL_ 77 Soc 1 "x" ;\n' * n,
    "one long line of values": lambda n: HEAD + MESSAGE + "VAL_ 100 Soc " + '1 "x" ' * n + ";\n",
    "texts that never end": lambda n: HEAD + MESSAGE + 'CM_ "\\' * n,
    "digits": lambda n: HEAD + "BO_ 1 " + "11" * n,
    "spaces": lambda n: HEAD + " " * 4 * n + "\n" + "VAL_ " + "\t" * 4 * n,
    "keywords": lambda n: HEAD + "VAL_ BO_ " * n + "\nVAL_\n" * n,
}


@pytest.mark.parametrize("what", CASES)
def test_repairs_take_time_in_proportion_to_a_file(what):
    def took(n: int) -> float:
        text = CASES[what](n)
        began = time.process_time()
        normalise(text)
        return time.process_time() - began

    took(100)
    small = min(took(4_000) for _ in range(3))
    assert min(took(32_000) for _ in range(3)) < 30 * small + 0.05  # in proportion: 8; with its square: 64


def test_doubles_are_counted_in_the_report_and_not_in_the_log(read, caplog):
    with caplog.at_level(logging.DEBUG):
        found = read(HEAD + MESSAGE + MESSAGE.replace("Pack", "Cells") + MESSAGE.replace("100 P", "101 P"))
    assert found.report.reading is Reading.LAX
    assert [(change.rule, change.what) for change in found.report.changes] == [
        (Rule.DOUBLE, "message Cells, id 0x64, for message Pack, id 0x64"),
        (Rule.DOUBLE, "message Pack, id 0x65, for message Pack, id 0x64"),
    ]
    assert found.by_name["Pack"].frame_id == 101
    assert found.by_id[100].name == "Cells"
    assert [record for record in caplog.records if record.name.startswith("cantools")] == []


ARXML = """<?xml version="1.0"?>
<AUTOSAR xmlns="http://autosar.org/schema/r4.0"><AR-PACKAGES><AR-PACKAGE><SHORT-NAME>P</SHORT-NAME><ELEMENTS>
<CAN-CLUSTER><SHORT-NAME>Bus</SHORT-NAME><CAN-CLUSTER-VARIANTS><CAN-CLUSTER-CONDITIONAL><BAUDRATE>500000</BAUDRATE>
<PHYSICAL-CHANNELS><CAN-PHYSICAL-CHANNEL><SHORT-NAME>C</SHORT-NAME><FRAME-TRIGGERINGS><CAN-FRAME-TRIGGERING>
<SHORT-NAME>T</SHORT-NAME><FRAME-REF DEST="CAN-FRAME">/P/F</FRAME-REF>
<CAN-ADDRESSING-MODE>STANDARD</CAN-ADDRESSING-MODE><IDENTIFIER>100</IDENTIFIER></CAN-FRAME-TRIGGERING>
</FRAME-TRIGGERINGS></CAN-PHYSICAL-CHANNEL></PHYSICAL-CHANNELS></CAN-CLUSTER-CONDITIONAL></CAN-CLUSTER-VARIANTS>
</CAN-CLUSTER>
<CAN-FRAME><SHORT-NAME>F</SHORT-NAME><FRAME-LENGTH>8</FRAME-LENGTH><PDU-TO-FRAME-MAPPINGS><PDU-TO-FRAME-MAPPING>
<SHORT-NAME>M</SHORT-NAME><PACKING-BYTE-ORDER>MOST-SIGNIFICANT-BYTE-LAST</PACKING-BYTE-ORDER>
<PDU-REF DEST="I-SIGNAL-I-PDU">/P/Pack</PDU-REF><START-POSITION>0</START-POSITION></PDU-TO-FRAME-MAPPING>
</PDU-TO-FRAME-MAPPINGS></CAN-FRAME>
<I-SIGNAL-I-PDU><SHORT-NAME>Pack</SHORT-NAME><LENGTH>8</LENGTH><I-SIGNAL-TO-PDU-MAPPINGS><I-SIGNAL-TO-I-PDU-MAPPING>
<SHORT-NAME>S</SHORT-NAME><I-SIGNAL-REF DEST="I-SIGNAL">/P/Soc</I-SIGNAL-REF>
<PACKING-BYTE-ORDER>MOST-SIGNIFICANT-BYTE-LAST</PACKING-BYTE-ORDER><START-POSITION>8</START-POSITION>
</I-SIGNAL-TO-I-PDU-MAPPING></I-SIGNAL-TO-PDU-MAPPINGS></I-SIGNAL-I-PDU>
<I-SIGNAL><SHORT-NAME>Soc</SHORT-NAME><LENGTH>8</LENGTH>
<SYSTEM-SIGNAL-REF DEST="SYSTEM-SIGNAL">/P/SocSystem</SYSTEM-SIGNAL-REF></I-SIGNAL>
<SYSTEM-SIGNAL><SHORT-NAME>SocSystem</SHORT-NAME></SYSTEM-SIGNAL>
</ELEMENTS></AR-PACKAGE></AR-PACKAGES></AUTOSAR>
"""


def test_arxml_is_read_too(read):
    found = read(ARXML, ".arxml")
    (message,) = found.by_id.values()
    assert (found.report.reading, message.frame_id, message.length) == (Reading.STRICT, 100, 8)
    assert decode(message, bytes((0, 42, 0, 0, 0, 0, 0, 0))) == {"Soc": 42}
