"""Signals read one by one say what the whole message says of them."""

import math
from collections import OrderedDict
from typing import Any

import cantools.database
import pytest
from cantools.database.can import Message, Signal
from cantools.database.conversion import BaseConversion
from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.dbc import load
from gateway.bus.dbc.decoding import decode
from gateway.bus.dbc.extraction import reader, shown
from gateway.bus.frames import dbc_path
from tests.shared_data import shared

LENGTH = 8  # bytes of a message
SCALES = st.sampled_from([1, 0.1, 0.5, -0.25, 1.5, 1e-20, 3])
OFFSETS = st.sampled_from([0, -40, 0.05, 100.125])


@st.composite
def signals(draw: st.DrawFn, /, name: str = "S", **more: Any) -> Signal:
    """A signal anywhere in a message, of either byte order."""
    is_float = draw(st.booleans())
    length = draw(st.sampled_from([16, 32, 64]) if is_float else st.integers(1, 64))
    at = draw(st.integers(0, 8 * LENGTH - length))
    little = draw(st.booleans())
    named = draw(st.dictionaries(st.integers(0, 7), st.sampled_from(["open", "closed"]), max_size=3))
    choices: Any = OrderedDict(named) or None
    return Signal(
        name,
        start=at if little else 8 * (at // 8) + 7 - at % 8,
        length=length,
        byte_order="little_endian" if little else "big_endian",
        is_signed=not is_float and draw(st.booleans()),
        conversion=BaseConversion.factory(draw(SCALES), draw(OFFSETS), choices, is_float),
        **more,
    )


def agree(whole: object, alone: object) -> bool:
    """Whether two values are the same, but for the noise of floats and for what is no number."""
    if isinstance(whole, float) and not math.isfinite(whole):
        return alone is None
    if isinstance(whole, int | float) and isinstance(alone, int | float):
        return math.isclose(whole, alone, rel_tol=1e-9, abs_tol=1e-12)
    return whole == alone


@given(signals(), st.binary(max_size=LENGTH) | st.binary(max_size=64))
def test_a_signal_is_read_as_its_message_is(signal: Signal, data: bytes) -> None:
    message = Message(1, "M", LENGTH, [signal], strict=False)
    assert agree(decode(message, data, names=True).get("S"), reader(signal)(data))


@given(st.integers(0, 3), st.sampled_from([(0,), (1, 2), (3,)]), signals(multiplexer_signal="Mux", multiplexer_ids=[0]))
def test_a_multiplexed_signal_is_shown_where_its_multiplexer_says_so(
    value: int, ids: tuple[int, ...], signal: Signal
) -> None:
    signal.multiplexer_ids = list(ids)
    mux = Signal("Mux", start=0, length=2, is_multiplexer=True)
    shows = shown(Message(1, "M", LENGTH, [mux, signal], strict=False), signal)
    assert shows is not None
    assert shows(bytes((value | 0xFC, *[0] * 7))) is (value in ids)
    assert not shows(b""), "too short to tell"


def test_a_signal_below_two_multiplexers_needs_both() -> None:
    text = (
        'VERSION ""\n\nBU_: N\n\nBO_ 1 M: 8 N\n SG_ A M : 0|8@1+ (1,0) [0|0] "" N\n'
        ' SG_ B m1M : 8|8@1+ (1,0) [0|0] "" N\n'
        ' SG_ C m2 : 16|8@1+ (1,0) [0|0] "" N\n\nSG_MUL_VAL_ 1 B A 1-1;\nSG_MUL_VAL_ 1 C B 2-3;\n'
    )
    message = cantools.database.load_string(text, "dbc").messages[0]  # type: ignore[union-attr]  # a DBC has messages
    shows = shown(message, message.get_signal_by_name("C"))
    assert shows is not None
    assert [shows(bytes((a, b, 9))) for a, b in ((1, 2), (1, 3), (1, 4), (0, 2))] == [True, True, False, False]


@pytest.mark.parametrize("name", ["savvycan-ThinkCity", "kona-pcan", "tesla-Model3CAN", None])
def test_every_signal_of_real_databases_is_read_as_its_message_is(name: str | None) -> None:
    compared = 0
    for message in load(dbc_path() if name is None else shared(f"dbc/{name}.dbc")).by_name.values():
        for data in (bytes(range(17, 17 + message.length)), bytes(message.length), b"\xff" * message.length):
            whole = decode(message, data, names=True)
            for signal in message.signals:
                shows = shown(message, signal)
                if signal.name in whole and (shows is None or shows(data)):
                    compared += 1
                    assert agree(whole[signal.name], reader(signal)(data)), (message.name, signal.name)
    assert compared > 100


def test_a_multiplexer_whose_name_was_cut_off_is_found_all_the_same() -> None:
    message = load(shared("dbc/tesla-Model3CAN.dbc")).by_name["ID201VCFRONT_loggingAndVitals10Hz"]
    shows = shown(message, message.get_signal_by_name("VCFRONT_chillerExvFlow"))
    assert shows is not None
    assert [shows(bytes((index, *[0] * 7))) for index in (2, 3)] == [False, True]


def test_a_signal_whose_multiplexer_is_missing_cannot_be_told_apart() -> None:
    lost = Signal("S", 8, 8, multiplexer_signal="Mux", multiplexer_ids=[1])
    message = Message(1, "M", LENGTH, [Signal("Other", 0, 8)], strict=False)
    with pytest.raises(ValueError, match="message M has no multiplexer Mux"):
        shown(message, lost)


def test_physical_values_have_no_noise() -> None:
    volts = load(dbc_path()).by_name["HB_PACK"].get_signal_by_name("PackVoltage")
    raw = (4029).to_bytes(2, "little")
    assert repr(reader(volts)(bytes(3) + raw + bytes(3))) == "402.9"


def test_numbers_too_large_for_an_integer_of_64_bits_are_told_as_floats() -> None:
    huge = Signal("S", 0, 64, conversion=BaseConversion.factory(3, 0, None, False))
    assert reader(huge)(b"\xff" * 8) == pytest.approx(3 * 2**64)
    assert isinstance(reader(huge)(b"\xff" * 8), float)
