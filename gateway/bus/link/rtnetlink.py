"""What the kernel knows of a CAN interface and sysfs does not show: controller state, error counters, bit rates.

One question (RTM_GETLINK) over a socket made for it, as `ip -details link show` asks. Layouts, all in the byte order of
the machine: Linux, include/uapi/linux/netlink.h, if_link.h and can/netlink.h.
"""

import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.bus.link.conditions import ControllerState

ANSWER_S: Final = 1.0
ANSWER_BYTES: Final = 65_536

_NLMSG_ERROR: Final = 2
_RTM_GETLINK: Final = 18
_NLM_F_REQUEST: Final = 1
_HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_IFINFO: Final = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ATTRIBUTE: Final = struct.Struct("=HH")  # struct nlattr: length with itself, type
_TYPE: Final = 0x3FFF  # without the flags "nested" and "network byte order"

_IFLA_IFNAME: Final = 3
_IFLA_LINKINFO: Final = 18
_IFLA_INFO_KIND: Final = 1
_IFLA_INFO_DATA: Final = 2
_IFLA_CAN_BITTIMING: Final = 1
_IFLA_CAN_STATE: Final = 4
_IFLA_CAN_BERR_COUNTER: Final = 8
_IFLA_CAN_DATA_BITTIMING: Final = 9
_WORD: Final = struct.Struct("=I")
_COUNTERS: Final = struct.Struct("=HH")  # struct can_berr_counter: transmitting, receiving

_STATES: Final[Mapping[int, ControllerState]] = {  # enum can_state; of one that is stopped or asleep nothing is told
    0: ControllerState.ACTIVE,
    1: ControllerState.WARNING,
    2: ControllerState.PASSIVE,
    3: ControllerState.BUS_OFF,
}


@dataclass(frozen=True, slots=True)
class CanDevice:
    """A CAN interface as the kernel tells of it. Only those with a controller ("can") have more than a kind.

    `transmit_errors`, `receive_errors`: the controller's counters, where its driver gives them. Bit rates in bit/s.
    """

    kind: str
    state: ControllerState | None = None
    transmit_errors: int | None = None
    receive_errors: int | None = None
    bitrate: int | None = None
    data_bitrate: int | None = None


def device_of(name: str) -> CanDevice | None:
    """Ask the kernel for an interface; None where it is not there, tells nothing, or may not be asked."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
            sock.settimeout(ANSWER_S)
            sock.send(question(name))
            return read_answer(sock.recv(ANSWER_BYTES))
    except (OSError, struct.error):
        return None


def question(name: str) -> bytes:
    """Return the message that asks for the interface `name`."""
    text = name.encode() + b"\0"
    body = _IFINFO.pack(0, 0, 0, 0, 0) + _attribute(_IFLA_IFNAME, text)
    return _HEADER.pack(_HEADER.size + len(body), _RTM_GETLINK, _NLM_F_REQUEST, 1, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def read_answer(answer: bytes) -> CanDevice | None:
    """Return what the answer tells; None where it tells of an error, or of no kind. Raises struct.error."""
    length, kind, *_ = _HEADER.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        return None
    info = _attributes(_attributes(answer[_HEADER.size + _IFINFO.size : length]).get(_IFLA_LINKINFO, b""))
    if _IFLA_INFO_KIND not in info:
        return None
    return _device(info[_IFLA_INFO_KIND].rstrip(b"\0").decode(errors="replace"), info.get(_IFLA_INFO_DATA, b""))


def _device(kind: str, data: bytes) -> CanDevice:
    told = _attributes(data) if kind == "can" else {}
    state = _STATES.get(_word(told, _IFLA_CAN_STATE, default=-1))
    bitrate, data_bitrate = (_word(told, each) or None for each in (_IFLA_CAN_BITTIMING, _IFLA_CAN_DATA_BITTIMING))
    if _IFLA_CAN_BERR_COUNTER not in told:
        return CanDevice(kind, state, bitrate=bitrate, data_bitrate=data_bitrate)
    transmit, receive = _COUNTERS.unpack_from(told[_IFLA_CAN_BERR_COUNTER])
    return CanDevice(kind, state, transmit, receive, bitrate, data_bitrate)


def _word(told: Mapping[int, bytes], kind: int, default: int = 0) -> int:
    return int(_WORD.unpack_from(told[kind])[0]) if kind in told else default


def _attributes(data: bytes) -> dict[int, bytes]:
    return dict(_each_attribute(data))


def _each_attribute(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _TYPE, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
