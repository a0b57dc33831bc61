"""Where `watch` prints: a line or a JSON object for each message, until there were enough of them."""

import asyncio
import json
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final

import click

from gateway.clock import Clock, rfc3339

_TIME: Final = slice(11, 23)  # of RFC 3339: 20:10:00.350


class Screen:
    """Prints what is seen, and says when it was enough. `count`: how much that is; None: never."""

    def __init__(self, clock: Clock, *, as_json: bool, count: int | None) -> None:
        self._clock = clock
        self._as_json = as_json
        self._left = count
        self._enough = asyncio.Event()

    def show(self, line: str, record: Mapping[str, Any], at_ms: int | None = None) -> None:
        """Print one message seen at `at_ms` (now, where nothing is said): as `line`, or as JSON the `record`."""
        if self._left == 0:
            return
        at = rfc3339(self._clock.wall_ms() if at_ms is None else at_ms)
        if self._as_json:
            click.echo(json.dumps({"at": at, **record}, default=_hexadecimal))
        else:
            click.echo(f"{at[_TIME]}  {line}")
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self._enough.set()

    def note(self, text: str) -> None:
        """Tell what happens to the watching itself, beside what is watched."""
        click.echo(f"{rfc3339(self._clock.wall_ms())[_TIME]}  -- {text}", err=True)

    async def watch(self, work: Coroutine[Any, Any, None], seconds: float | None) -> None:
        """Run `work` until there was enough, at most for `seconds`. Raises what `work` raises."""
        working = asyncio.create_task(work, name="watch")
        waiting = asyncio.create_task(self._enough.wait(), name="wait until it is enough")
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            pass
        finally:
            waiting.cancel()
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working


def _hexadecimal(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
