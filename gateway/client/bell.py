"""Wakes everybody who waits for news."""

import asyncio


class Bell:
    """`ring` wakes all who are in `heard`, once."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake them."""
        rung, self._rung = self._rung, asyncio.Event()
        rung.set()

    async def heard(self) -> None:
        """Wait for the next ring."""
        await self._rung.wait()
