"""Which values of a signal are worth telling: those that moved beyond a deadband, and not too often. Pure."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

Value = int | float | str
Read = Callable[[bytes], Value | None]
"""A signal's value in the data of a message; None where the data do not show it."""

_NEVER: Final = float("inf")
_AS_GOOD_AS: Final = 1e-9  # 403.0 - 402.9 is a step of 0.1, whatever floats make of it


@dataclass(frozen=True, slots=True)
class Reading:
    """Values of a component that are to be told together, by the names of their signals.

    `at_ms`: when the newest of them was heard, ms since the Unix epoch.
    """

    component_id: str
    at_ms: int
    values: Mapping[str, Value]


@dataclass(slots=True)
class Signal:
    """One signal: told when it is more than `deadband` away from what was told last, once in `min_interval_s` at most.

    `ready_at`: s, monotonic; it is not looked at before. `told`: the last value; None: none yet.
    """

    name: str
    read: Read
    deadband: float = 0.0
    min_interval_s: float = 1.0
    told: Value | None = None
    ready_at: float = -_NEVER
    seen: bytes | None = field(default=None, repr=False)  # the data it was looked up in last

    def look(self, data: bytes, now: float) -> Value | None:
        """Return its value in `data` if that is to be told now; it then counts as told."""
        self.seen = data
        value = self.read(data)
        if value is None or not self._is_news(value):
            return None
        self.told, self.ready_at = value, now + self.min_interval_s
        return value

    def _is_news(self, value: Value) -> bool:
        """Whether a value is beyond the deadband. One that is a text, or was, has no distance: any other is news."""
        told = self.told
        if told is None or isinstance(told, str) or isinstance(value, str):
            return value != told
        distance = abs(value - told)
        return distance > self.deadband and not math.isclose(distance, self.deadband, rel_tol=_AS_GOOD_AS)


class Source:
    """One message of a component: its newest data, and the signals of it that are told.

    Data are read only where they have changed and a signal may be told: until then the newest wait, and what they
    replace is never read. `valid`: whether data may be believed. `at`: s, monotonic, when the newest came.
    """

    __slots__ = ("_data", "_signals", "_valid", "at", "due_at")

    def __init__(self, signals: Iterable[Signal], valid: Callable[[bytes], bool] | None = None) -> None:
        self._signals = tuple(signals)
        self._valid = valid
        self._data: bytes | None = None
        self.at = 0.0
        self.due_at = _NEVER  # s, monotonic: look again then

    def hear(self, data: bytes, at: float) -> None:
        """Note the newest data."""
        self.at = at
        if data != self._data:
            self._data = data
            self.due_at = -_NEVER

    def look(self, now: float) -> dict[str, Value]:
        """Return what is to be told now, by name; it then counts as told."""
        if now < self.due_at or self._data is None:
            return {}
        self.due_at = _NEVER
        data = self._data
        if self._valid is not None and not self._valid(data):
            return {}
        told: dict[str, Value] = {}
        for signal in self._signals:
            if signal.seen is data:
                continue
            if now < signal.ready_at:
                self.due_at = min(self.due_at, signal.ready_at)
            elif (value := signal.look(data, now)) is not None:
                told[signal.name] = value
        return told
