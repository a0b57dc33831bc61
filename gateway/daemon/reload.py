"""SIGHUP: the access file is read again while everything goes on."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from gateway.component import Registry
from gateway.errors import ConfigError, Refusal
from gateway.event import GATEWAY
from gateway.ports import AuditEntry
from gateway.sync.access import Access

log = logging.getLogger(__name__)

ACTION: Final = "reload_access"


class AccessReload:
    """Reads `file` into `access` again whenever it is asked to. What cannot be used is told, and the old one stays."""

    def __init__(
        self, access: Access, file: Path | None, registry: Registry, audit: Callable[[AuditEntry], Awaitable[None]]
    ) -> None:
        self._access = access
        self._file = file
        self._registry = registry
        self._audit = audit

    async def run(self) -> None:
        """Heed SIGHUP, for ever."""
        asked, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, asked.set)
        try:
            while True:
                await asked.wait()
                asked.clear()
                await self._tell(self._reread())
        finally:
            loop.remove_signal_handler(signal.SIGHUP)

    def _reread(self) -> str:
        """Return "accepted" or "refused", as the audit says it."""
        try:
            self._access.reload(self._file, frozenset(component.component_id for component in self._registry))
        except ConfigError as why:
            problems = why.problems
        else:
            log.info("read the access file again: %d actors", len(self._access.actors))
            return "accepted"
        for problem in problems:
            log.error("the access file cannot be used, what it said before holds: %s", problem)
        return "refused"

    async def _tell(self, outcome: str) -> None:
        try:
            await self._audit(AuditEntry(GATEWAY, "signal", ACTION, GATEWAY, outcome))
        except Refusal as why:  # a full disk must not stand between an actor and its dismissal
            log.warning("the new access file is not in the audit: %s", why)
