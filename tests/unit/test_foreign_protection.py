"""Checksums of others: beside the package autosar-e2e, beside plain loops, and beside the watch of our own protocol."""

from dataclasses import replace

import pytest
from e2e.p01 import e2e_p01_check, e2e_p01_protect
from e2e.p02 import e2e_p02_check, e2e_p02_protect
from e2e.p05 import e2e_p05_check, e2e_p05_protect
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bus.dbc import load
from gateway.bus.foreign.fields import Field
from gateway.bus.foreign.listening import listening_of, listenings_of
from gateway.bus.foreign.protection import PROFILES, Checksum, Protection
from gateway.bus.frames import dbc_path, load_codecs
from gateway.bus.monitor import Monitor
from gateway.bus.wire import Condition, Frame
from gateway.component import Component, ComponentKind
from gateway.errors import ConfigError
from gateway.ports import PresenceChange
from gateway.settings import ComponentSection, HeartbeatSection, PresenceSection
from tests.doubles import FakeClock
from tests.doubles_bus import FakeNode, FakeWire
from tests.foreign_scene import foreign, messages_of

IDS = st.integers(0, 0xFFFF)
LISTS = st.binary(min_size=16, max_size=16)


def summed(profile: str, at: int, ids: tuple[int, ...], length: int, counter: Field | None) -> Protection:
    """A checksum whose first byte is `at`."""
    width = PROFILES[profile].width
    field = Field(8 * at, 8 * width, little=True)
    return Protection(counter, Checksum(PROFILES[profile], field, range(at, at + width), ids, length))


def nibble(byte: int) -> Field:
    return Field(8 * byte, 4, little=True)


def broken(data: bytes | bytearray, draw) -> bytes:
    """Change one bit."""
    bit = draw(st.integers(0, 8 * len(data) - 1))
    changed: int = int.from_bytes(data, "little") ^ 1 << bit
    return changed.to_bytes(len(data), "little")


@given(st.data(), st.integers(2, 64), IDS)
def test_profile_1_is_that_of_autosar(data, size, data_id) -> None:
    offset = data.draw(st.integers(0, size - 2))
    frame = bytearray(data.draw(st.binary(min_size=size, max_size=size)))
    e2e_p01_protect(frame, data_id, offset=offset, increment_counter=False)
    protection = summed("E2E_P01", offset, (data_id,), size, nibble(offset + 1))
    assert protection.judge(bytes(frame)) == frame[offset + 1] & 0xF
    wrong = broken(frame, data.draw)
    assert (protection.judge(wrong) is not None) == e2e_p01_check(bytearray(wrong), data_id, offset=offset)


@given(st.data(), st.integers(2, 64), LISTS)
def test_profile_2_is_that_of_autosar_with_an_id_for_each_counter(data, size, ids) -> None:
    frame = bytearray(data.draw(st.binary(min_size=size, max_size=size)))
    e2e_p02_protect(frame, ids, increment_counter=False)
    protection = summed("E2E_P02", 0, tuple(ids), size, nibble(1))
    assert protection.judge(bytes(frame)) == frame[1] & 0xF
    wrong = broken(frame, data.draw)
    assert (protection.judge(wrong) is not None) == e2e_p02_check(wrong, ids)


@given(st.data(), st.integers(3, 64), IDS)
def test_profile_5_is_that_of_autosar_with_eight_bits_of_counter(data, size, data_id) -> None:
    offset = data.draw(st.integers(0, size - 3))
    frame = bytearray(data.draw(st.binary(min_size=size, max_size=size)))
    e2e_p05_protect(frame, data_id, offset=offset, increment_counter=False)
    protection = summed("E2E_P05", offset, (data_id,), size, Field(8 * (offset + 2), 8, little=True))
    assert protection.judge(bytes(frame)) == frame[offset + 2]
    wrong = broken(frame, data.draw)
    assert (protection.judge(wrong) is not None) == e2e_p05_check(wrong, data_id, offset=offset)


@given(st.data(), st.binary(min_size=1, max_size=64), IDS)
def test_the_plain_sums_are_made_over_all_other_bytes_and_the_data_id(data, frame, data_id) -> None:
    at = data.draw(st.integers(0, len(frame) - 1))
    added = xored = 0
    for n, byte in enumerate(frame):
        if n != at:
            added, xored = (added + byte) & 0xFF, xored ^ byte
    for byte in divmod(data_id, 256):
        added, xored = (added + byte) & 0xFF, xored ^ byte
    for profile, right in (("SUM8", added), ("XOR8", xored)):
        protection = summed(profile, at, (data_id,), len(frame), None)
        assert protection.judge(frame[:at] + bytes((right,)) + frame[at + 1 :]) == 0
        assert protection.judge(frame[:at] + bytes((right ^ 1,)) + frame[at + 1 :]) is None


@given(st.sampled_from(sorted(PROFILES)), st.binary(max_size=64), st.integers(0, 40), st.integers(1, 64))
def test_a_frame_too_short_is_damaged_and_never_an_exception(profile, data, at, length) -> None:
    protection = summed(profile, at, (0x12,), max(length, at + PROFILES[profile].width), nibble(at))
    told = protection.judge(data)
    if len(data) < protection.shortest:
        assert told is None


def test_what_a_can_fd_frame_is_filled_up_with_is_not_summed() -> None:
    protection = summed("SUM8", 0, (0,), 9, None)
    frame = bytes((8, *[1] * 8))
    assert protection.judge(frame + b"\x55\x55\x55") == 0
    assert protection.judge(frame[:8]) is None


# --- from the configuration ------------------------------------------------------------------------------------------

PACK = {"type": "dbc", "message": "Pack"}


def counter_max(dbc: str = "", **said) -> int | None:
    messages = messages_of(dbc) if dbc else messages_of()
    return listening_of(HeartbeatSection.model_validate(PACK | said), None, messages).counter_max


def test_the_greatest_counter_is_the_one_told_else_the_profiles_else_all_that_fits() -> None:
    crc = {"crc": "Crc", "counter": "Alive"}
    assert counter_max() is None
    assert counter_max(counter="Alive") == 15
    assert counter_max(counter="Alive", counter_max=9) == 9
    assert counter_max(**crc, profile="E2E_P01") == 14
    assert counter_max(**crc, profile="E2E_P02") == 15
    assert counter_max(**crc, profile="XOR8") == 15
    assert counter_max(counter="Volts", crc="Crc", profile="E2E_P02") == 15
    with pytest.raises(ConfigError, match="counter_max 16 does not fit into Alive: 15 does"):
        counter_max(counter="Alive", counter_max=16)


def test_a_profile_whose_counter_has_eight_bits_counts_no_further_than_its_signal() -> None:
    wide = 'BO_ 256 Pack: 8 B\n SG_ Crc : 0|16@1+ (1,0) [0|0] "" X\n SG_ Alive : 16|{}@1+ (1,0) [0|0] "" X\n'
    said = {"crc": "Crc", "counter": "Alive", "profile": "E2E_P05"}
    head = 'VERSION ""\n\nNS_ :\n\nBS_:\n\nBU_: B\n\n'
    assert counter_max(head + wide.format(8), **said) == 255
    assert counter_max(head + wide.format(4), **said) == 15


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"counter": "Alife"}, 'message Pack has no signal "Alife"; did you mean "Alive"'),
        ({"message": "Pak"}, 'no message "Pak"; did you mean "Pack"'),
        ({"crc": "Alive", "profile": "E2E_P01"}, "Alive must fill 1 whole bytes for E2E_P01"),
        ({"crc": "Crc", "profile": "E2E_P05"}, "Crc must fill 2 whole bytes for E2E_P05"),
        ({"message": "Cells", "node_signal": "Module"}, "node_signal needs the component's node"),
        ({"message": "Far", "counter": "Wide"}, "Wide is no counter: it has 32 bits"),
    ],
)
def test_what_cannot_be_is_told_before_anything_runs(said, problem) -> None:
    far = 'VERSION ""\n\nNS_ :\n\nBS_:\n\nBU_: B\n\nBO_ 9 Far: 8 B\n SG_ Wide : 0|32@1+ (1,0) [0|0] "" X\n'
    messages = {**messages_of(), **messages_of(far)}
    with pytest.raises(ConfigError, match=problem):
        listening_of(HeartbeatSection.model_validate(PACK | said), None, messages)


def test_a_node_must_fit_into_the_signal_or_beside_the_mask() -> None:
    cells = HeartbeatSection(type="dbc", message="Cells", node_signal="Module")
    with pytest.raises(ConfigError, match="node 256 does not fit into Module, which has 8 bits"):
        listening_of(cells, 256, messages_of())
    said = HeartbeatSection(type="raw", id=0x7F0, mask=0x7F0)
    assert listening_of(said, 0xF, {}).filters[0].can_id == 0x7FF
    with pytest.raises(ConfigError, match="node 31 does not fit beside mask 0x7f0"):
        listening_of(said, 0x1F, {})


def test_what_needs_an_address_must_have_one_that_there_is() -> None:
    for said, node, problem in [
        ({"type": "canopen"}, None, "a CANopen node is one of 1 to 127"),
        ({"type": "canopen", "node": 0}, 5, "a CANopen node is one of 1 to 127"),
        ({"type": "canopen"}, 128, "a CANopen node is one of 1 to 127"),
        ({"type": "j1939"}, None, "a J1939 device needs its node or its name"),
        ({"type": "j1939"}, 254, "a J1939 address is at most 253"),
    ]:
        with pytest.raises(ConfigError, match=problem):
            listening_of(HeartbeatSection.model_validate(said), node, {})


def test_every_problem_of_a_bus_is_told_with_its_component() -> None:
    def section(name: str, **said) -> ComponentSection:
        return ComponentSection.model_validate(
            {"id": name, "kind": "PACK", "bus": "can0", "owner": "anna", "heartbeat": said}
        )

    good, bad = section("a", **PACK), section("b", type="j1939")
    assert list(listenings_of([good], [{}, messages_of()])) == ["a"]
    with pytest.raises(ConfigError) as told:
        listenings_of([bad, good, section("c", type="canopen")], [messages_of()])
    assert told.value.problems == [
        "component b: heartbeat: a J1939 device needs its node or its name",
        "component c: heartbeat: a CANopen node is one of 1 to 127",
    ]


# --- beside the watch of our own protocol ----------------------------------------------------------------------------

NODE = 0xFE  # as the message of our DBC has it
CODEC = load_codecs()["HB_PACK"]
STEPS = st.one_of(
    st.just("beat"), st.just("beat"), st.just("beat"), st.sampled_from(["lost 1", "lost 2", "lost 4", "repeat", "bad"])
)


class Judge:
    """A monitor with one component."""

    def __init__(self, component: Component, **means) -> None:
        self.clock, self.wire = FakeClock(1000.0), FakeWire()
        self.told: list[tuple[object, ...]] = []
        self.monitor = Monitor(
            wire=self.wire,
            components=[(component, PresenceSection())],
            codecs=load_codecs(),
            clock=self.clock,
            rows={},
            sink=lambda notices: self.told.extend(map(self._told, notices)),
            on_ready=lambda *_: None,
            suspended=lambda: 0.0,
            **means,
        )
        self.planned = 1000.0
        self.wire.tell(Condition.UP, 1000.0)

    @staticmethod
    def _told(notice) -> tuple[object, ...]:
        assert isinstance(notice, PresenceChange)
        return replace(notice, since=0, last_seen=0), notice.since, notice.last_seen

    def take(self, at: float, frame: Frame | None) -> None:
        while self.planned <= at:
            self.clock.advance(max(0.0, self.planned - self.clock.now))
            self.planned = self.monitor.look(self.planned)
        self.clock.advance(at - self.clock.now)
        if frame is not None:
            self.wire.deliver(frame)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(STEPS, st.sampled_from([0.2, 1.0, 1.0, 1.0, 3.6, 40.0])), max_size=60))
def test_our_heartbeat_heard_as_anybodys_gets_the_verdicts_of_our_own_watch(steps) -> None:
    said = HeartbeatSection(
        type="dbc", message="HB_PACK", counter="E2E_Counter", crc="E2E_CRC", profile="E2E_P01", data_id=0x1000 + NODE
    )
    listening = listening_of(said, None, load(dbc_path()).by_name)
    ours = Judge(Component("p", ComponentKind.PACK, "can0", NODE))
    theirs = Judge(foreign("p"), listenings={"p": listening})
    node, at = FakeNode(CODEC, NODE), 1000.0
    for step, pause in steps:
        at = round(at + pause, 6)
        lost = int(step[5:]) if step.startswith("lost") else 0
        frame = node.beat(at, lost_before=lost, repeat=step == "repeat", bad_crc=step == "bad")
        for judge in (ours, theirs):
            judge.take(at, frame)
    for judge in (ours, theirs):
        judge.take(at + 60, None)
    assert theirs.told == ours.told
    assert theirs.monitor.stats()["invalid"] == ours.monitor.stats()["invalid"]
