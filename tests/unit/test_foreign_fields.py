"""Where a number stands in a frame: as cantools reads it, without cantools."""

from typing import Any

import pytest
from cantools.database.can import Message, Signal
from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.foreign.fields import Field


@st.composite
def placed(draw) -> tuple[Signal, bytes]:
    """A signal of whole bits anywhere in a frame, and such a frame."""
    size = draw(st.integers(1, 64))
    length = draw(st.integers(1, min(32, 8 * size)))
    at = draw(st.integers(0, 8 * size - length))
    little = draw(st.booleans())
    start = at if little else 8 * (at // 8) + 7 - at % 8
    order: Any = "little_endian" if little else "big_endian"
    signal = Signal("Some", start, length, byte_order=order, is_signed=draw(st.booleans()))
    return signal, draw(st.binary(min_size=size, max_size=size))


@given(placed())
def test_a_field_is_read_as_cantools_reads_the_bits_of_its_signal(case) -> None:
    signal, data = case
    message = Message(1, "Any", len(data), [signal], is_fd=True)
    read: Any = message.decode(data, scaling=False, decode_choices=False)
    expected = int(read["Some"]) % (1 << signal.length)  # a counter counts on beyond the sign, and starts at nought
    field = Field.of(signal)
    assert field.read(data) == field.reader()(data) == expected
    assert field.end <= len(data)


@given(placed())
def test_a_frame_of_just_so_many_bytes_holds_it(case) -> None:
    signal, data = case
    field = Field.of(signal)
    if field.little:
        assert field.read(data[: field.end]) == field.read(data)
    else:
        assert field.read(data[: field.end]) == field.read(data + b"\xff")


@given(placed())
def test_whole_bytes_are_named_and_others_are_not(case) -> None:
    signal, data = case
    field = Field.of(signal)
    if field.place is None:
        assert field.at % 8 or field.length % 8
        return
    there = data[field.place.start : field.place.stop]
    assert field.read(data) == int.from_bytes(there, "little" if field.little else "big")


@pytest.mark.parametrize(
    "signal",
    [
        Signal("Real", 0, 32, is_signed=True, conversion=None),
        Signal("Shown", 8, 8, multiplexer_ids=[1], multiplexer_signal="Page"),
    ],
)
def test_what_is_no_integer_of_every_frame_is_refused(signal) -> None:
    if signal.name == "Real":
        signal.conversion.is_float = True
    with pytest.raises(ValueError, match=f"{signal.name} is no plain integer of every frame"):
        Field.of(signal)
