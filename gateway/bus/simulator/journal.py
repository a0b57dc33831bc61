"""What simulated devices were made to do, in order: one JSON line for every request that was carried out.

Tests ask it whether something was executed twice, out of order or too late.
"""

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from gateway.clock import Clock

KEPT_IN_MEMORY: Final = 100_000


@dataclass(frozen=True, slots=True)
class Deed:
    """One request carried out. `kind`: PAIRING, COMMAND, UNPAIR. `sequence`: TxnId or CmdSeq.

    `at`: ms since the epoch. `serial`: whose pairing it is (of a proxy: its ward's). `partner`: node address.
    `repeat`: answered from what it remembered, not carried out again.
    """

    at: int
    component_id: str
    serial: str
    kind: str
    sequence: int
    partner: int | None = None
    epoch: int | None = None
    opcode: int | None = None
    arg0: int | None = None
    arg1: int | None = None
    repeat: bool = False


class Journal:
    """The journal of a simulation; in memory, and in a file where a path is given (appended, flushed by the line)."""

    def __init__(self, clock: Clock, path: Path | None = None) -> None:
        self._clock = clock
        self._deeds: deque[Deed] = deque(maxlen=KEPT_IN_MEMORY)
        self._file = None if path is None else path.open("a", encoding="utf-8", buffering=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def pairing(self, component_id: str, serial: int, txn_id: int, partner: int, epoch: int, *, repeat: bool) -> None:
        """Note a pairing that was confirmed."""
        self._note(
            Deed(self._clock.wall_ms(), component_id, _hex(serial), "PAIRING", txn_id, partner, epoch, repeat=repeat)
        )

    def unpair(self, component_id: str, serial: int, txn_id: int, *, repeat: bool) -> None:
        """Note a pairing that was undone."""
        self._note(Deed(self._clock.wall_ms(), component_id, _hex(serial), "UNPAIR", txn_id, repeat=repeat))

    def command(
        self, component_id: str, serial: int, sequence: int, opcode: int, words: tuple[int, int], *, repeat: bool
    ) -> None:
        """Note a command that was carried out."""
        arg0, arg1 = words
        at = self._clock.wall_ms()
        self._note(
            Deed(
                at,
                component_id,
                _hex(serial),
                "COMMAND",
                sequence,
                opcode=opcode,
                arg0=arg0,
                arg1=arg1,
                repeat=repeat,
            )
        )

    def deeds(self, component_id: str | None = None, kind: str | None = None, *, repeats: bool = False) -> list[Deed]:
        """Return what was carried out, in order, of one component or kind where asked; `repeats`: those, too."""
        return [
            deed
            for deed in tuple(self._deeds)  # the devices may go on in another thread
            if component_id in {None, deed.component_id} and kind in {None, deed.kind} and (repeats or not deed.repeat)
        ]

    def _note(self, deed: Deed) -> None:
        self._deeds.append(deed)
        if self._file is not None:
            self._file.write(json.dumps(asdict(deed)) + "\n")


def read_journal(path: Path) -> list[Deed]:
    """Read the file of a journal. A last line that was cut off by a kill is left out."""
    return list(_deeds(path.read_text(encoding="utf-8").splitlines(keepends=True)))


def _deeds(lines: Iterable[str]) -> Iterable[Deed]:
    return (Deed(**json.loads(line)) for line in lines if line.endswith("\n"))


def _hex(serial: int) -> str:
    return f"0x{serial:016X}"
