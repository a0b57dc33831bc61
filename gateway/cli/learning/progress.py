"""How far something has come, on one line of a terminal, for what takes longer than a second."""

import sys
from types import TracebackType
from typing import Final, Self

import click

from gateway.clock import Clock

EVERY_S: Final = 1.0
_CLEARED: Final = "\r\x1b[K"


class Progress:
    """Called with what to say. Shows it only where stderr is a terminal; its line is gone at the end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._shows = sys.stderr.isatty()
        self._next = clock.monotonic() + EVERY_S
        self._is_dirty = False

    def __call__(self, text: str) -> None:
        """Say `text` in the place of what was said before, once a second."""
        if not self._shows or self._clock.monotonic() < self._next:
            return
        self._next = self._clock.monotonic() + EVERY_S
        self._is_dirty = True
        click.echo(f"{_CLEARED}{text}", err=True, nl=False)

    def note(self, text: str) -> None:
        """Say what stays to be read, terminal or not."""
        self._clear()
        click.echo(text, err=True)

    def _clear(self) -> None:
        if self._is_dirty:
            click.echo(_CLEARED, err=True, nl=False)
            self._is_dirty = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None) -> None:
        self._clear()
