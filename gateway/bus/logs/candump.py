"""What `candump -L` of Linux's can-utils writes: a line a frame; error frames are told by bit 29 of their id.

(1436509052.249713) can0 18FF10FE#1122334455667788
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.bus.wire import ERROR_FRAME, EXTENDED
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.bus.logs import Record

MOST_STRANGE: Final = 100  # lines at the beginning; a file of more is none of ours
_STANDARD_DIGITS: Final = 3  # ids of more have 29 bits
_LINE: Final = re.compile(
    r"\s*\((?P<at>\d{1,15}(?:\.\d*)?)\)\s+(?P<channel>\S+)\s+(?P<id>[0-9A-Fa-f]{1,8})#"
    r"(?:(?P<remote>[Rr])\w*|(?:#[0-9A-Fa-f])?(?P<data>(?:[0-9A-Fa-f]{2}\.?){0,64})(?:_[0-9A-Fa-f])?)"
    r"(?:\s+[RTrt])?\s*"
)


def read(lines: Iterable[str], path: Path, skip: Callable[[], None]) -> "Iterator[Record]":
    """Yield the frames; call `skip` for each line that is none. Raises ConfigError for a file of another format."""
    found, strange = False, 0
    for line in lines:
        read_line = _LINE.fullmatch(line)
        if read_line is not None:
            found = True
            if read_line["remote"] is None:
                data = bytes.fromhex(read_line["data"].replace(".", ""))
                yield _id_of(read_line["id"]), data, float(read_line["at"]), read_line["channel"]
        elif line.strip():
            skip()
            strange += 1
            if not found and strange == MOST_STRANGE:
                break
    if strange and not found:
        raise ConfigError([f"{path}: cannot be read: its lines are not like (1436509052.249713) can0 123#0011"])


def _id_of(digits: str) -> int:
    can_id = int(digits, 16)
    return can_id if can_id & ERROR_FRAME or len(digits) <= _STANDARD_DIGITS else can_id | EXTENDED
