"""Recorded buses: every format gives the same frames, and what is damaged is told or skipped."""

import gzip

import can
import pytest

from gateway.bus.logs import Recording
from gateway.bus.wire import ERROR_FRAME, EXTENDED
from gateway.errors import ConfigError
from tests.shared_data import shared

START = 1_700_000_000.0
FRAMES = [(0x123, b"\x01\x02", 0.0), (0x18FF1012 | EXTENDED, bytes(range(8)), 0.25), (0x7FF, b"", 0.5)]
NEW = "Time Stamp,ID,Extended,Dir,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8"
OLD = "Time Stamp,ID,Extended,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8"


def message(can_id: int, data: bytes, at: float, **more) -> can.Message:
    extended = bool(can_id & EXTENDED)
    plain = can_id & ~EXTENDED
    return can.Message(
        timestamp=START + at,
        arbitration_id=plain,
        is_extended_id=extended,
        data=data,
        channel=more.pop("channel", 0),
        **more,
    )


@pytest.mark.parametrize("suffix", [".log", ".asc", ".blf", ".trc", ".log.gz", ".asc.gz"])
def test_what_other_tools_write_is_read_frame_by_frame(tmp_path, suffix):
    path = tmp_path / f"drive{suffix.removesuffix('.gz')}"
    with can.Logger(str(path)) as logger:
        for frame in FRAMES:
            logger(message(*frame))
        logger(message(0x55, b"", 0.75, is_remote_frame=True))
    if suffix.endswith(".gz"):
        path.with_name(f"drive{suffix}").write_bytes(gzip.compress(path.read_bytes()))
        path = path.with_name(f"drive{suffix}")
    read = list(Recording(path))
    assert [frame[:2] for frame in read] == [frame[:2] for frame in FRAMES]
    assert [frame[2] for frame in read] == pytest.approx([0.0, 0.25, 0.5], abs=0.002)


def test_error_frames_are_kept_as_such(tmp_path):
    path = tmp_path / "drive.log"
    with can.Logger(str(path)) as logger:
        logger(message(0x40, bytes(8), 0, is_error_frame=True))
    ((can_id, _, _),) = Recording(path)
    assert can_id & ERROR_FRAME
    assert not can_id & EXTENDED


def gvret(tmp_path, header, *lines, name="drive.csv"):
    path = tmp_path / name
    text = "\n".join([header, *lines, ""])
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize(("header", "direction"), [(NEW, "Rx,"), (OLD, "")])
@pytest.mark.parametrize("name", ["drive.csv", "drive.csv.gz"])
def test_both_layouts_of_gvret_are_read(tmp_path, header, direction, name):
    lines = [
        f"1000000,00000123,false,{direction}0,2,01,02,",
        f"1250000,18FF1012,true,{direction}1,8,00,01,02,03,04,05,06,07",
        f"1500000,000007FF,false,{direction}0,0,",
    ]
    path = gvret(tmp_path, header, *lines, name=name)
    assert list(Recording(path)) == FRAMES
    assert list(Recording(path, channel=1)) == FRAMES[1:2]
    assert list(Recording(path, channel="0")) == [FRAMES[0], FRAMES[2]]


def test_a_recorders_clock_that_begins_anew_goes_on_and_one_that_stumbles_stands_still(tmp_path):
    stamps = [4_294_000_000, 4_294_500_000, 532_704, 400_000, 1_532_704]
    path = gvret(tmp_path, OLD, *(f"{stamp},100,false,0,0," for stamp in stamps))
    assert [at for _, _, at in Recording(path)] == pytest.approx([0, 0.5, 1.5, 1.5, 2.5])


def test_lines_that_are_no_frames_are_skipped_and_counted(tmp_path):
    good = "1,100,false,0,1,FF,"
    bad = ["x,100,false,0,1,FF", "1,zz,false,0,1,FF", "1,100", "1,100,false,0,2,FF", "1,100,false,0,1,GG"]
    recording = Recording(gvret(tmp_path, OLD, good, *bad, good, "", "1,100,fal"))
    assert len(list(recording)) == 2
    assert recording.skipped == len(bad) + 1


def test_what_is_no_log_of_ours_is_told(tmp_path):
    def problem(path) -> str:
        with pytest.raises(ConfigError) as refused:
            list(Recording(path))
        return str(refused.value)

    assert problem(tmp_path / "none.log").endswith("none.log: cannot be read: No such file or directory")
    assert "is none of .log, .asc" in problem(tmp_path / "drive.pcap")
    assert "drive.csv:1: is no GVRET CSV" in problem(gvret(tmp_path, "timestamp,arbitration_id,extended"))
    cut = gvret(tmp_path, OLD, *["1,100,false,0,1,FF"] * 1000, name="cut.csv.gz")
    cut.write_bytes(cut.read_bytes()[:60])
    assert "is cut off" in problem(cut)
    (tmp_path / "junk.blf").write_bytes(b"junk" * 100)
    assert "junk.blf: cannot be read: " in problem(tmp_path / "junk.blf")
    for lines in (1, 1000):
        (tmp_path / "junk.log").write_text("this is no log\n" * lines)
        assert "junk.log: cannot be read: " in problem(tmp_path / "junk.log")


def candump(tmp_path, *lines):
    path = tmp_path / "drive.log"
    path.write_text("\n".join(lines))
    return path


def test_all_that_candump_writes_is_read(tmp_path):
    path = candump(
        tmp_path,
        "(1.000000) can0 123#0102",
        "(1.25) vcan1 18FF1012#00.01.02.03.04.05.06.07 R",
        "",
        "(1.5) can0 7FF# T",
        "(2.0) can0 123##1" + "AB" * 64,
        "(2.1) can0 123#R",
        "(2.2) can0 123#R8",
        "(2.3) can0 20000040#0000000000000000",
        "(2.4) can0 123#1122334455667788_B",
    )
    recording = Recording(path)
    assert list(recording) == [
        (*frame[:2], pytest.approx(at))
        for frame, at in (
            *((frame, frame[2]) for frame in FRAMES),
            ((0x123, b"\xab" * 64), 1.0),
            ((ERROR_FRAME | 0x40, bytes(8)), 1.3),
            ((0x123, bytes.fromhex("1122334455667788")), 1.4),
        )
    ]
    assert recording.skipped == 0


def test_a_candump_log_that_was_cut_off_or_damaged_is_read_but_for_those_lines(tmp_path):
    bad = ["(2.0) can0 12", "2.0 can0 123#00", "(inf) can0 123#00", "(2.0) can0 123#0", "(2.0) can0 123#GG", "(2."]
    recording = Recording(candump(tmp_path, "00", "(1.0) can0 123#00", *bad))
    assert [at for _, _, at in recording] == [0.0]
    assert recording.skipped == len(bad) + 1


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([10.0, 10.1, 3.0, 3.1], [0.0, 0.1, 0.1, 0.2]),  # set back
        ([10.0, 10.1, 10.05, 10.2], [0.0, 0.1, 0.1, 0.2]),  # two buses
        ([10.0, 1.7e9, 1.7e9 + 0.1], [0.0, 86_400.0, 86_400.1]),  # set forward
        ([10.0, 50_000.0], [0.0, 49_990.0]),  # parked
    ],
)
def test_time_goes_on_where_a_recorders_clock_was_set(tmp_path, stamps, times):
    path = candump(tmp_path, *(f"({at:.6f}) can0 123#00" for at in stamps))
    assert [at for _, _, at in Recording(path)] == pytest.approx(times)


def test_numbers_that_no_recorder_writes_are_no_frames(tmp_path):
    good = "1,100,false,0,1,FF,"
    bad = [f"{'9' * 400},100,false,0,1,FF", "-5,100,false,0,1,FF", "1,FFFFFFFF,true,0,1,FF", "1,-1,true,0,1,FF"]
    recording = Recording(gvret(tmp_path, OLD, good, *bad, good))
    assert list(recording) == [(0x100, b"\xff", 0.0)] * 2
    assert recording.skipped == len(bad)


def test_a_recorded_car_is_read_whole():
    path = shared("log/kona-2019-power-off-on-ready-off.gvret.csv")
    frames = list(Recording(path, 0))
    assert len(frames) == 24263
    assert frames[-1][2] == pytest.approx(10.8422)
    first = next(at for can_id, _, at in frames if can_id == 0x594)
    assert first == pytest.approx(2.18, abs=0.01)
    assert sum(1 for _ in Recording(shared("log/kona-bms-diag_Main_Relay__+__On.asc"), channel=0)) > 500
