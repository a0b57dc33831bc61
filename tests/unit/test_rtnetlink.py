"""What the kernel answers about a CAN interface: as it lies in memory, whole, cut and wrong."""

import random
import struct

import pytest

from gateway.bus.link.conditions import ControllerState
from gateway.bus.link.rtnetlink import CanDevice, device_of, question, read_answer

NESTED = 0x8000


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def answer(*attributes: bytes, kind: int = 16) -> bytes:
    body = struct.pack("=BxHiII", 0, 280, 5, 0x400C1, 0) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


def of_kind(kind: str, *data: bytes) -> bytes:
    info = attribute(1, kind.encode() + b"\0") + attribute(2 | NESTED, b"".join(data))
    return answer(attribute(3, b"can0\0"), attribute(18 | NESTED, info))


WHOLE = of_kind(
    "can",
    attribute(1, struct.pack("=8I", 500_000, *range(7))),
    attribute(4, struct.pack("=I", 2)),
    attribute(8, struct.pack("=HH", 136, 7)),
    attribute(9, struct.pack("=8I", 2_000_000, *range(7))),
)


def test_an_answer_is_read_whole():
    assert read_answer(WHOLE) == CanDevice("can", ControllerState.PASSIVE, 136, 7, 500_000, 2_000_000)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (0, ControllerState.ACTIVE),
        (1, ControllerState.WARNING),
        (3, ControllerState.BUS_OFF),
        (4, None),  # stopped
        (5, None),  # asleep
    ],
)
def test_a_controller_without_counters_and_with_no_bit_rate_yet_tells_its_state(state, told):
    data = attribute(4, struct.pack("=I", state)), attribute(1, bytes(32))
    assert read_answer(of_kind("can", *data)) == CanDevice("can", told)


def test_a_virtual_interface_has_no_more_than_a_kind():
    assert read_answer(of_kind("vcan")) == CanDevice("vcan")
    assert read_answer(of_kind("vxcan", attribute(4, struct.pack("=I", 2)))) == CanDevice("vxcan")


def test_an_interface_without_a_kind_and_an_error_tell_nothing():
    assert read_answer(answer(attribute(3, b"eth0\0"))) is None
    assert read_answer(answer(kind=2)) is None


def test_whatever_else_comes_is_read_or_refused_and_nothing_else():
    rng = random.Random(5)
    for _ in range(2000):
        hurt = bytearray(WHOLE[: rng.randrange(len(WHOLE) + 1)])
        for _ in range(rng.randrange(4)):
            if hurt:
                hurt[rng.randrange(len(hurt))] = rng.randrange(256)
        try:
            read_answer(bytes(hurt))
        except struct.error:
            continue


def test_the_question_names_the_interface_and_is_as_long_as_it_says():
    asked = question("can0")
    assert struct.unpack_from("=IHH", asked) == (len(asked), 18, 1)
    assert asked.endswith(b"can0\0\0\0\0")


def test_an_interface_that_is_not_there_or_is_no_can_interface_is_none():
    assert device_of("none-such") is None
    assert device_of("lo") is None
