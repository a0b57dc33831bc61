"""J1939 and RV-C: whatever a source address sends is a sign of its life, and its NAME says who has the address.

A device claims its address by PGN 60928 with its 64-bit NAME, and may claim another at any time; one that is
configured by its NAME is followed. Source: SAE J1939-81.
"""

from collections.abc import Sequence
from typing import Final

from gateway.bus.wire import EXTENDED, Filter

ADDRESS_CLAIM: Final = EXTENDED | 0x00EE_FF00  # to all, of whatever priority, from whatever address
CLAIM_MASK: Final = EXTENDED | 0x03FF_FF00
ADDRESS_MASK: Final = EXTENDED | 0xFF
NAME_BYTES: Final = 8
LAST_ADDRESS: Final = 253  # 254 is that of a device that found none


def is_claim(can_id: int) -> bool:
    """Whether frames of an id claim the address they come from."""
    return can_id & CLAIM_MASK == ADDRESS_CLAIM


class Claims:
    """Which address a component has. `name`: its NAME; None: it keeps the address it is configured with."""

    def __init__(self, address: int | None, name: int | None) -> None:
        self.address = address
        self.name = name

    @property
    def owned(self) -> Sequence[Filter]:
        """The frames of its address; none while it has none."""
        return () if self.address is None else (Filter(EXTENDED | self.address, ADDRESS_MASK),)

    @property
    def filters(self) -> Sequence[Filter]:
        """The frames that may be its own: of its address, or where it may move, of any."""
        return self.owned if self.name is None else (Filter(EXTENDED, EXTENDED),)

    def take(self, can_id: int, data: bytes) -> bool:
        """Take a claim. Returns whether this component's address has changed by it."""
        if self.name is None or len(data) != NAME_BYTES:
            return False
        address, before = can_id & 0xFF, self.address
        if int.from_bytes(data, "little") == self.name:
            self.address = None if address > LAST_ADDRESS else address
        elif address == before:  # somebody else has it now
            self.address = None
        return self.address != before
