"""Who holds the key: the two message authentication codes of a pairing.

AES-128-CMAC (RFC 4493), of which the first four bytes travel, little-endian. 32 bits stop mix-ups and simple clones,
not a determined attacker on the bus.
"""

import struct

from gateway.bus.frames import GATEWAY_ADDRESS


def device_mac(key: bytes, serial: int, challenge: int, txn_id: int) -> int:
    """Return what a device with `key` (16 bytes) answers: over challenge LE32, serial LE64, FB, TxnId."""
    return _word(key, struct.pack("<IQBB", challenge, serial, GATEWAY_ADDRESS, txn_id))


def gateway_mac(key: bytes, serial: int, challenge: int, txn_id: int) -> int:
    """Return what the gateway proves itself with: over serial LE64, challenge LE32, TxnId, FB."""
    return _word(key, struct.pack("<QIBB", serial, challenge, txn_id, GATEWAY_ADDRESS))


def _word(key: bytes, message: bytes) -> int:
    from cryptography.hazmat.primitives.ciphers.algorithms import AES  # noqa: PLC0415 - 6 MiB, for keys alone
    from cryptography.hazmat.primitives.cmac import CMAC  # noqa: PLC0415

    mac = CMAC(AES(key))
    mac.update(message)
    return int.from_bytes(mac.finalize()[:4], "little")
