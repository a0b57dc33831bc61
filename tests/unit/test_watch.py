"""`watch`: how a message becomes a line, what is subscribed to, and how a frame is decoded."""

import asyncio
import base64
import json
from typing import Any

import msgpack  # type: ignore[import-untyped] # it ships no types
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.frames import codecs_of, dbc_path
from gateway.bus.wire import EXTENDED, BusEvent, Condition
from gateway.cli import cli
from gateway.cli.watching.bus import Dictionary, Spectator
from gateway.cli.watching.essence import essence, read
from gateway.cli.watching.mqtt import filters
from gateway.cli.watching.screen import Screen
from gateway.settings import BusSection, Settings
from gateway.sync.payload import Encoding, encode
from gateway.sync.topics import Topics
from tests.doubles import FakeClock

EVENT = {
    "seq": 4711,
    "epoch": 17,
    "type": "request_queued",
    "subject": "module-03",
    "at": "2026-11-21T20:10:00.350Z",
    "time_trusted": True,
    "attributes": {
        "request": {"request_id": "cmd_1", "kind": "COMMAND", "command_type": "wake", "status": "QUEUED", "title": "x"},
        "queue_position": 3,
        "children": [f"cmd_{n}" for n in range(20)],
        "reason": None,
    },
}
TOPICS = Topics("gw-0042")


# --- what a message says ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", list(Encoding))
def test_an_event_is_one_line_of_what_is_new_in_it(encoding: Encoding) -> None:
    told = read(encode(EVENT, encoding))
    assert told == EVENT
    assert essence(told) == (
        "seq=4711  request=cmd_1/COMMAND/wake/QUEUED  queue_position=3  "
        "children=cmd_0,cmd_1,cmd_2,cmd_3,cmd_4,cmd_5,cmd_6,cmd_7,… (20)"
    )


@pytest.mark.parametrize(
    ("payload", "line"),
    [
        (b"", "(cleared)"),
        (b"\xff\x00", "2 bytes that are no map: ff 00"),
        (b"[1]", "3 bytes that are no map: 5b 31 5d"),
        (b"x" * 40, f"40 bytes that are no map: {' '.join(['78'] * 32)}…"),
        (b'{"a": [], "b": {}, "c": {"x": 1}, "d": true}', "a=()  b=(0 values)  c=(1 values)  d=yes"),
        (msgpack.packb({"a": b"\x01\x02"}), "a=0102"),
        (b'{"ok": false, "error": {"code": "NOT_OWNER", "message": "Ask."}}', "ok=no  code=NOT_OWNER  message=Ask."),
        (json.dumps({"a": "x" * 300}).encode(), f"a={'x' * 200}…"),
        (b'{"title": "\\u001b[2J\\n"}', "title=�[2J�"),
    ],
)
def test_whatever_comes_is_one_line_that_cannot_paint_the_terminal(payload: bytes, line: str) -> None:
    assert essence(read(payload)) == line


@pytest.mark.parametrize("encoding", list(Encoding))
def test_of_a_signed_request_the_body_is_shown_and_the_signature_is_not(encoding: Encoding) -> None:
    body, signature = encode({"id": "call-0001", "component_id": "m"}, encoding), b"s" * 64
    both: dict[str, Any] = {"signature": signature, "body": body}
    if encoding is Encoding.JSON:
        both = {name: base64.b64encode(value).decode() for name, value in both.items()}
    told = read(encode({"key_id": "phone", **both}, encoding))
    assert told == {"key_id": "phone", "body": {"id": "call-0001", "component_id": "m"}}
    assert essence(told) == "key_id=phone  id=call-0001"


@pytest.mark.parametrize("body", [b"no base64", "!", 7, None])
def test_a_body_that_is_none_is_shown_as_it_is(body: Any) -> None:
    told = read(encode({"key_id": "phone", "signature": "s", "body": body}, Encoding.MSGPACK))
    assert told == {"key_id": "phone", "body": body}
    assert isinstance(essence(told), str)


NESTED = st.recursive(
    st.none() | st.text() | st.binary() | st.floats() | st.booleans(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.binary(max_size=64) | st.dictionaries(st.text(), NESTED).map(msgpack.packb))
def test_no_payload_ends_the_watching(payload: bytes) -> None:
    line = essence(read(payload))
    assert line.isprintable()


@pytest.mark.parametrize("deep", [b'{"a":' * 900 + b"1" + b"}" * 900, b"\x81\xa1a" * 900 + b"\x01"])
def test_what_is_nested_deeper_than_anything_of_ours_is_bytes(deep: bytes) -> None:
    assert read(deep) == deep
    assert read(b'{"a":' * 9 + b"1" + b"}" * 9) != deep


# --- what is subscribed to --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("component", "events", "states", "wanted"),
    [
        (None, False, False, ["#"]),
        (None, True, False, ["events/+/+"]),
        (None, False, True, ["components/+/+", "state"]),
        (None, True, True, ["events/+/+", "components/+/+", "state"]),
        ("m-3", False, False, ["events/m-3/+", "components/m-3/+"]),
        ("m-3", True, False, ["events/m-3/+"]),
        ("m-3", False, True, ["components/m-3/+"]),
    ],
)
def test_only_what_is_asked_for_is_subscribed_to(
    component: str | None, events: bool, states: bool, wanted: list[str]
) -> None:
    found = filters(TOPICS, component, events=events, states=states)
    assert found == [f"bms/v1/gw-0042/{levels}" for levels in wanted]


# --- where it is printed ----------------------------------------------------------------------------------------------


async def test_it_ends_when_there_was_enough_and_prints_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(FakeClock(), as_json=False, count=2)

    async def work() -> None:
        for number in range(5):
            screen.show(f"line {number}", {}, 0)
        await asyncio.Event().wait()

    await screen.watch(work(), None)
    assert capsys.readouterr().out == "00:00:00.000  line 0\n00:00:00.000  line 1\n"


async def test_it_ends_after_its_seconds_and_with_what_went_wrong() -> None:
    screen = Screen(FakeClock(), as_json=False, count=None)
    await screen.watch(asyncio.Event().wait(), 0.01)  # type: ignore[arg-type] # it returns True, never

    async def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await screen.watch(fail(), None)


def test_as_json_bytes_are_hexadecimal(capsys: pytest.CaptureFixture[str]) -> None:
    Screen(FakeClock(), as_json=True, count=None).show("", {"payload": b"\x01\xff"}, 350)
    assert json.loads(capsys.readouterr().out) == {"at": "1970-01-01T00:00:00.350Z", "payload": "01ff"}


# --- frames -----------------------------------------------------------------------------------------------------------

FOREIGN = """VERSION ""
NS_ :
BS_:
BU_: Node
BO_ 291 Cooling: 2 Node
 SG_ Flow : 0|8@1+ (0.5,0) [0|127] "l" Node
 SG_ Pump : 8|1@1+ (1,0) [0|1] "" Node
VAL_ 291 Pump 0 "OFF" 1 "ON" ;
"""
HEARTBEAT = codecs_of([])["HB_MODULE"]
SOUND = HEARTBEAT.encode(
    0xA3,
    3,
    {
        "ModuleState": 2,
        "CellVoltageMin": 100,
        **dict.fromkeys(set(HEARTBEAT.signals) - {"E2E_CRC", "E2E_Counter", "ModuleState", "CellVoltageMin"}, 0),
    },
)


@pytest.fixture
def seen(tmp_path, capsys: pytest.CaptureFixture[str]):
    """Show frames on a bus with a database of its own; returns what is printed."""
    (tmp_path / "foreign.dbc").write_text(FOREIGN)
    bus = BusSection(name="can0", interface="remote", dbc=[tmp_path / "foreign.dbc"])
    settings = Settings.model_validate(
        {
            "gateway": {"id": "gw"},
            "bus": [bus.model_dump()],
            "component": [{"id": "module-03", "kind": "MODULE", "bus": "can0", "node": 0xA3, "owner": "x"}],
        }
    )

    def show(*frames: tuple[int, bytes], as_json: bool = False, component: str | None = None) -> list[str]:
        clock = FakeClock()
        screen = Screen(clock, as_json=as_json, count=None)
        spectator = Spectator("can0", Dictionary(settings, bus), screen, clock, component)
        spectator.take([(can_id, data, clock.monotonic()) for can_id, data in frames])
        spectator.condition(BusEvent(Condition.DOWN, 0.0, "unplugged"))
        out, err = capsys.readouterr()
        assert err.endswith("-- can0 DOWN: unplugged\n")
        return [line if as_json else line.partition("  ")[2] for line in out.splitlines()]

    return show


def test_a_frame_of_ours_is_shown_with_its_component(seen) -> None:
    (line,) = seen((HEARTBEAT.id_for(0xA3), SOUND))
    assert line.startswith(f"can0  {HEARTBEAT.id_for(0xA3) & ~EXTENDED:08X}  HB_MODULE  module-03     E2E_Counter=3  ")
    assert "CellVoltageMin=150" in line
    assert "CRC" not in line


def test_of_a_node_nobody_configured_the_address_is_shown(seen) -> None:
    (line,) = seen((HEARTBEAT.id_for(0xB7), SOUND))
    assert "HB_MODULE  node 0xB7" in line
    assert "(" + SOUND.hex(" ").upper() + ": length, CRC or counter wrong)" in line  # it is another's


def test_a_frame_of_ours_that_is_too_short_is_shown_and_called_wrong(seen) -> None:
    (line,) = seen((HEARTBEAT.id_for(0xA3), b"\x01"))
    assert "module-03" in line
    assert "(01: length, CRC or counter wrong)" in line


def test_a_frame_of_the_buss_own_database_is_decoded_with_its_names(seen) -> None:
    assert seen((0x123, b"\x05\x01")) == ["can0       123  Cooling                Flow=2.5  Pump=ON"]


def test_an_unknown_frame_is_shown_as_candump_does(seen) -> None:
    assert seen((0x7FF, b"\xde\xad"), (EXTENDED | 0x123, b"")) == [
        "can0       7FF  [2]  DE AD",
        "can0  00000123  [0]  ",
    ]


def test_as_json_all_of_a_frame_is_told(seen) -> None:
    ours, raw = map(json.loads, seen((HEARTBEAT.id_for(0xA3), SOUND), (0x7FF, b"\xde\xad"), as_json=True))
    assert ours["signals"]["CellVoltageMin"] == 150
    assert (ours["message"], ours["component"], ours["node"], ours["valid"]) == ("HB_MODULE", "module-03", 0xA3, True)
    assert {name: raw[name] for name in raw if name != "at"} == {"bus": "can0", "id": "7FF", "data": "dead"}


def test_only_the_frames_of_one_component_where_one_is_named(seen) -> None:
    frames = [(HEARTBEAT.id_for(0xA3), SOUND), (HEARTBEAT.id_for(0xB7), SOUND), (0x7FF, b""), (0x123, b"\0\0")]
    (line,) = seen(*frames, component="module-03")
    assert "module-03" in line


# --- how it is asked for ----------------------------------------------------------------------------------------------

BROKER = ("--broker", "mqtts://b", "--gateway", "gw", "--actor", "anna")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "watch needs to know what: --broker URL --gateway ID --actor NAME"),
        (("--socket", "/run/x"), "The control socket tells no traffic"),
        (("--bus", "can0"), "--config and --bus go together"),
        (("--config", "x.toml"), "--config and --bus go together"),
        ((*BROKER, "--config", "x", "--bus", "y"), "take one"),
        (("--config", "x", "--bus", "y", "--events"), "--events and --states go with --broker"),
        (("--broker", "mqtts://b"), "--broker needs --gateway and --actor too"),
        (("--broker", "mqtts://b", "--gateway", "a/b", "--actor", "anna"), "--gateway: 'a/b' is no name"),
        (("--broker", "mqtts://b", "--gateway", "gw", "--actor", "+"), "--actor: '+' is no name"),
        ((*BROKER, "--component", "#"), "--component: '#' is no name"),
        ((*BROKER, "--cert-file", "x"), "--cert-file and --cert-key-file go together"),
        (("--cert-file", "x", "--cert-key-file", "y", "--config", "x", "--bus", "y"), "go with --broker"),
        (("--broker", "http://b", "--gateway", "gw", "--actor", "anna"), "is not mqtt://"),
    ],
)
def test_what_cannot_be_watched_is_a_usage_error_that_says_what_to_give(words: tuple[str, ...], told: str) -> None:
    result = CliRunner().invoke(cli, ["watch", *words])
    assert (result.exit_code, told in " ".join(result.stderr.split())) == (2, True), result.stderr


CONFIG = '[gateway]\nid = "gw"\n[[bus]]\nname = "can0"\ninterface = "virtual"\n'


@pytest.mark.parametrize(
    ("bus", "told"),
    [("can1", "there is no bus can1; there are: can0"), ("can0", "nobody outside the gateway's own process hears")],
)
def test_a_bus_that_cannot_be_watched_is_a_problem_of_the_configuration(tmp_path, bus: str, told: str) -> None:
    (tmp_path / "gateway.toml").write_text(CONFIG)
    result = CliRunner().invoke(cli, ["watch", "--config", str(tmp_path / "gateway.toml"), "--bus", bus])
    assert (result.exit_code, told in result.stderr) == (78, True), result.stderr


def test_our_own_database_is_where_it_is_looked_for() -> None:
    assert dbc_path().exists()
