"""AUTOSAR E2E profile 1, variant 1A: the checksum and counter that every one of our frames carries.

CRC-8, polynomial 0x1D, start 0x00, no final XOR, not reflected, over data id (low byte, high byte) and payload bytes
1-7. The plain "SAE J1850" CRC starts at and is inverted by 0xFF, and gives other values.
Source: AUTOSAR "E2E Protocol Specification" (FO), profile 1, data id mode BOTH.
"""

from typing import Final

POLYNOMIAL: Final = 0x1D
COUNTER_MODULO: Final = 15  # 0…14; 15 says "not available"
COUNTER_INVALID: Final = 15


def _table() -> bytes:
    rows = []
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = (crc << 1) ^ POLYNOMIAL if crc & 0x80 else crc << 1
        rows.append(crc & 0xFF)
    return bytes(rows)


TABLE: Final = _table()


def seed(data_id: int) -> int:
    """Return the CRC over the two bytes of `data_id`: where the CRC of every frame with that id starts."""
    return TABLE[TABLE[data_id & 0xFF] ^ data_id >> 8]


def crc_of(start: int, data: bytes) -> int:
    """Return the CRC over bytes 1-7 of an 8-byte frame, from `seed(data_id)`. Unrolled: it runs for every frame."""
    t = TABLE
    _, a, b, c, d, e, f, g = data
    return t[t[t[t[t[t[t[start ^ a] ^ b] ^ c] ^ d] ^ e] ^ f] ^ g]


def delta(previous: int, counter: int) -> int:
    """Return how far `counter` is ahead of `previous`, modulo 15: 0 a repeat, 1 the next, more: frames were lost."""
    return (counter - previous) % COUNTER_MODULO
