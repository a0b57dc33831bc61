"""SavvyCAN's GVRET CSV: a header, then a line a frame; microseconds and hexadecimal. Older files lack the direction.

Time Stamp,ID,Extended,Dir,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8
166064000,0000021A,false,Rx,0,8,FE,36,12,FE,69,05,07,AD,
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.bus.wire import EXTENDED, EXTENDED_MASK
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.bus.logs import Record

_HEADERS: Final = {  # the columns before the data -> where bus and length stand
    ("time stamp", "id", "extended", "dir", "bus", "len"): (4, 5),
    ("time stamp", "id", "extended", "bus", "len"): (3, 4),
}
_TURN_US: Final = 1 << 32  # the recorder's clock begins anew after 71 minutes
_LAST_US: Final = 1 << 63


def read(lines: Iterable[str], path: Path, skip: Callable[[], None]) -> "Iterator[Record]":
    """Yield the frames; call `skip` for each line that is none. Raises ConfigError for a header of another format."""
    rows = iter(lines)
    bus_at, length_at = _columns(next(rows, ""), path)
    turns, before = 0, 0
    for line in rows:
        try:
            cells = line.split(",")
            stamp, length = int(cells[0]), int(cells[length_at])
            data = bytes(int(cells[length_at + 1 + n], 16) for n in range(length))
            can_id = int(cells[1], 16)
        except (ValueError, IndexError):
            stamp = can_id = -1
        if not (0 <= can_id <= EXTENDED_MASK and 0 <= stamp <= _LAST_US):
            if line.strip():
                skip()
            continue
        can_id |= EXTENDED if cells[2].strip().lower() == "true" else 0
        if stamp < before - _TURN_US // 2:
            turns += 1
        before = stamp
        yield can_id, data, (stamp + turns * _TURN_US) / 1e6, cells[bus_at].strip()


def _columns(header: str, path: Path) -> tuple[int, int]:
    names = tuple(name.strip().lower() for name in header.split(","))
    for known, where in _HEADERS.items():
        if names[: len(known)] == known:
            return where
    raise ConfigError([f"{path}:1: is no GVRET CSV: the columns must be Time Stamp,ID,Extended,[Dir,]Bus,LEN,D1,…"])
