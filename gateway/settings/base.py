"""What all sections of the configuration share."""

from typing import Final

from pydantic import ConfigDict

FROZEN: Final = ConfigDict(frozen=True, extra="forbid")  # and a misspelt key must not pass silently


def hexadecimal(value: object) -> object:
    """Read text as a hexadecimal number; anything else is left to the type. Raises ValueError."""
    try:
        return int(value.encode("ascii"), 16) if isinstance(value, str) else value  # nor digits of other scripts
    except ValueError:
        raise ValueError(f'"{value}" is no hexadecimal number') from None
