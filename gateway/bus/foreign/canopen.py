"""CANopen: the heartbeat of a node, and the message by which it says that it has booted. Source: CiA 301."""

from typing import Final

from gateway.bus.foreign.watch import Said

HEARTBEAT: Final = 0x700  # plus the node
LAST_NODE: Final = 127
BOOT_UP: Final = 0
STATES: Final = frozenset({BOOT_UP, 4, 5, 127})  # and: stopped, operational, pre-operational
_STATE_BITS: Final = 0x7F  # the highest one toggles where a node is guarded instead


def read(data: bytes) -> Said | None:
    """Return what a heartbeat says; None for one that is none."""
    if len(data) != 1 or data[0] & _STATE_BITS not in STATES:
        return None
    state = data[0] & _STATE_BITS
    return _SAID[state]


_SAID: Final = {state: Said(boots=state == BOOT_UP, vitals={"nmt_state": state}) for state in STATES}
