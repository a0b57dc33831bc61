"""What a heartbeat says of its sender, under the names the rest of the gateway uses."""

import re
from collections.abc import Mapping
from typing import Final

from gateway.bus.frames import Codec

_WORD: Final = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
_PROTECTION: Final = frozenset({"E2E_CRC", "E2E_Counter"})
_FAULT: Final = ("FaultLevel", "FaultActive")  # a message has one of them


def snake(signal: str) -> str:
    """Spell a signal's name as we do: PackVoltage -> pack_voltage, SoC -> soc."""
    return _WORD.sub("_", signal).lower()


def vitals_of(codec: Codec, data: bytes) -> Mapping[str, int]:
    """Return the raw values of a heartbeat and, as `fault`, whichever fault signal it has. No data: nothing."""
    if not data:
        return {}
    values = codec.decode(data)
    vitals = {snake(name): value for name, value in values.items() if name not in _PROTECTION}
    return vitals | {"fault": max(values.get(name, 0) for name in _FAULT)}
