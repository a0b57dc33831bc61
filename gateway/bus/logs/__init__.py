"""Recorded buses, frame by frame: candump, ASC, BLF, TRC, SavvyCAN's GVRET CSV, each also compressed by gzip.

Frames come as from a link: ids in SocketCAN's spelling, times in seconds that never run backwards; the file's first
frame is at 0. A recorder's clock may have been set while it recorded: time goes on from there. ASC, BLF and TRC are
read by python-can.
"""

import gzip
import math
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.bus.logs import candump, gvret
from gateway.bus.wire import ERROR_FRAME, EXTENDED, Frame
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from can import Message

SUFFIXES: Final = (".log", ".asc", ".blf", ".trc", ".csv")
_OURS: Final = {".log": candump.read, ".csv": gvret.read}
STUMBLE_S: Final = 1.0  # back in time by less: frames of several buses, or two threads of the recorder
LONGEST_SILENCE_S: Final = 86_400.0  # of all buses; no more than that can be told from a clock that was set
Channel = int | str | None
Record = tuple[int, bytes, float, str]
"""A frame of any channel, its time as the file has it, and the channel."""


class Recording:
    """One recorded bus. `channel`: of a file of several buses the one meant, as the file names it; None: all.

    Iterate over it once. `skipped`: lines so far that could not be read, as where a recorder was cut off.
    """

    def __init__(self, path: Path, channel: Channel = None) -> None:
        self.path = path
        self.skipped = 0
        self._channel = channel

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames. Raises ConfigError for a file that cannot be read, or is none of ours."""
        return map(itemgetter(1), self.by_channel())

    def by_channel(self) -> Iterator[tuple[str, Frame]]:
        """Yield the frames with the channel that each is from, as the file names it. Raises as iterating does."""
        try:
            yield from self._in_order(self._records())
        except OSError as why:
            raise ConfigError([f"{self.path}: cannot be read: {why.strerror or why}"]) from why
        except EOFError as why:
            raise ConfigError([f"{self.path}: is cut off"]) from why

    def _records(self) -> Iterator[Record]:
        kind = next((suffix for suffix in reversed(self.path.suffixes) if suffix != ".gz"), "").lower()
        if kind not in SUFFIXES:
            raise ConfigError([f"{self.path}: is none of {', '.join(SUFFIXES)}"])
        opener: Any = gzip.open if self.path.suffix == ".gz" else open
        how: Any = {"mode": "rb"} if kind == ".blf" else {"mode": "rt", "errors": "replace"}
        with opener(self.path, **how) as file:
            if kind in _OURS:
                yield from _OURS[kind](file, self.path, self._skip)
            else:
                yield from self._foreign(kind, file)

    def _foreign(self, kind: str, file: Any) -> Iterator[Record]:
        """Yield what python-can reads."""
        import can  # noqa: PLC0415 - heavy, and most of its users have no log

        readers = {".asc": can.ASCReader, ".blf": can.BLFReader, ".trc": can.TRCReader}
        first_channel = 1 if kind == ".asc" else 0  # python-can counts from 0 what such a file counts from 1
        try:
            reader: Any = readers[kind](file)
            for message in reader:
                channel = message.channel
                if not message.is_remote_frame:
                    named = str(channel + first_channel if isinstance(channel, int) else channel)
                    yield _id_of(message), bytes(message.data), message.timestamp, named
        except (OSError, EOFError):
            raise
        except Exception as why:  # its readers raise what they like on what is none of theirs
            raise ConfigError([f"{self.path}: cannot be read: {type(why).__name__}: {why}"]) from why

    def _skip(self) -> None:
        self.skipped += 1

    def _in_order(self, records: Iterable[Record]) -> Iterator[tuple[str, Frame]]:
        """Yield the frames of our channel, from 0 on and never back in time."""
        began: float | None = None
        latest = before = 0.0
        wanted = None if self._channel is None else str(self._channel)
        for can_id, data, at, channel in records:
            if not math.isfinite(at):
                self._skip()
                continue
            if began is None:
                began = before = at  # of the whole file: its buses keep step
            elif at < before - STUMBLE_S:
                began += at - before
            elif at > before + LONGEST_SILENCE_S:
                began += at - before - LONGEST_SILENCE_S
            before = at
            latest = max(latest, at - began)
            if wanted is None or channel == wanted:
                yield channel, (can_id, data, latest)


def _id_of(message: "Message") -> int:
    if message.is_error_frame:
        return int(message.arbitration_id) | ERROR_FRAME
    return int(message.arbitration_id) | (EXTENDED if message.is_extended_id else 0)
