"""How long frames last on the wire, in bits: at most, to stay within a budget; probably, to tell a load.

A classical CAN frame with s data bytes has g + 8 s bits that may be stuffed, g = 34 with an 11-bit id and 54 with a
29-bit one, and 13 more that may not, three bits of space between frames among them. After the first bit each four may
bring one more. Source: Davis, Burns, Bril, Lukkien, "Controller Area Network (CAN) schedulability analysis: Refuted,
revisited and revised", Real-Time Systems 35 (2007), equation 1.

Real frames bring far fewer stuff bits than they may: one to twenty bits is assumed. Of a CAN FD frame the data is
counted at the bit rate of its data phase, all else as if it were classical.
"""

from typing import Final

_HEAD: Final = 34
_HEAD_EXTENDED: Final = 54
_TAIL: Final = 13
_STUFFED: Final = 1 / 20


def longest_bits(length: int) -> int:
    """Return how many bits a classical frame with a 29-bit id and `length` data bytes takes at most."""
    stuffed = _HEAD_EXTENDED + 8 * length
    return stuffed + _TAIL + (stuffed - 1) // 4


def likely_s(frames: int, data_bytes: int, extended: float, bitrate: int, data_bitrate: int | None = None) -> float:
    """Return how many seconds `frames` with `data_bytes` in all take. `extended`: the part of them with a 29-bit id."""
    head = frames * (_HEAD + (_HEAD_EXTENDED - _HEAD) * extended)
    longer = 1 + _STUFFED
    return (head * longer + frames * _TAIL) / bitrate + 8 * data_bytes * longer / (data_bitrate or bitrate)
