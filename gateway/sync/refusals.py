"""The audit of what is refused before the API sees it: all of it is there, and a flood of it is a few rows a minute.

Of each actor and code the first few of a minute have a row each; one more row tells how many came after them.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from gateway.errors import Code, Refusal
from gateway.ports import AuditEntry
from gateway.sync.tally import Tally

FIRST: Final = 5  # rows of one actor and code in a minute
MINUTE_S: Final = 60.0
SEVERAL: Final = "several"  # the action of the row that tells of many
_FAREWELL_S: Final = 1.0

Audit = Callable[[AuditEntry], Awaitable[None]]


class Refusals:
    """Counts what is refused over one `transport` and audits it. `audit` writes one row."""

    def __init__(self, audit: Audit, tally: Tally, transport: str = "mqtt") -> None:
        self._audit = audit
        self._transport = transport
        self._tally = tally
        self._seen: Counter[tuple[str, Code]] = Counter()  # of this minute; accounts are those of the access file

    def count(self, account: str, code: Code) -> bool:
        """Count one; whether it gets a row of its own."""
        self._seen[account, code] += 1
        return self._seen[account, code] <= FIRST

    async def tell(self, account: str, entry: AuditEntry, code: Code) -> None:
        """Audit one that is refused with `code`."""
        if self.count(account, code):
            await self.write(entry)

    async def write(self, entry: AuditEntry) -> None:
        """Write a row. Where the disk does not take it, the log does: the answer stays the same."""
        try:
            await self._audit(entry)
        except Refusal as why:
            self._tally.count("a refusal that could not be audited", f"{entry.actor}, {entry.code}: {why.code}")

    async def run(self) -> None:
        """Tell of the others at the end of every minute, for ever."""
        try:
            while True:
                await asyncio.sleep(MINUTE_S)
                await self.close_minute()
        except asyncio.CancelledError:
            with suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    await self.close_minute()
            raise

    async def close_minute(self) -> None:
        """Begin a new minute; one row for each actor and code of which there were more."""
        seen, self._seen = self._seen, Counter()
        for (account, code), number in seen.items():
            if number > FIRST:
                subject = f"{number - FIRST} more"
                await self.write(AuditEntry(account, self._transport, SEVERAL, subject, "refused", code))
