"""J1939 and RV-C: whatever a source address sends is a sign of its life, and its NAME says who has the address.

A device claims its address by PGN 60928 with its 64-bit NAME, and may claim another at any time; one that is
configured by its NAME is followed. Source: SAE J1939-81.
"""

from collections.abc import Sequence
from typing import Final

from gateway.bus.wire import EXTENDED, Filter

ADDRESS_CLAIM: Final = EXTENDED | 0x00EE_FF00  # to all, of whatever priority, from whatever address
CLAIM_MASK: Final = EXTENDED | 0x00FF_FF00
NAME_BYTES: Final = 8
LAST_ADDRESS: Final = 253  # 254 is that of a device that found none


class Claims:
    """Which address a component has. `name`: its NAME; None: it keeps the address it is configured with."""

    def __init__(self, address: int | None, name: int | None) -> None:
        self.address = address
        self.name = name

    def owns(self, can_id: int) -> bool:
        """Whether an id is one of its address."""
        return bool(can_id & EXTENDED) and can_id & 0xFF == self.address

    @property
    def filters(self) -> Sequence[Filter]:
        """The frames that may be its own: of its address, or where it may move, of any."""
        if self.name is not None or self.address is None:
            return (Filter(EXTENDED, EXTENDED),)
        return (Filter(EXTENDED | self.address, EXTENDED | 0xFF),)

    def take(self, address: int, data: bytes) -> bool:
        """Take a claim of `address`. Returns whether this component's address has changed by it."""
        if self.name is None or len(data) != NAME_BYTES:
            return False
        before = self.address
        if int.from_bytes(data, "little") == self.name:
            self.address = None if address > LAST_ADDRESS else address
        elif address == before:  # somebody else has it now
            self.address = None
        return self.address != before
