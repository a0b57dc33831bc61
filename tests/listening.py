"""Servers of asyncio in tests, and their end."""

import asyncio
from typing import Final

_UNTIL_THEY_BEGIN: Final = 8  # turns of the loop, from accepting a connection to the first step of its handler


async def stop_listening(server: asyncio.Server) -> None:
    """Close a server, and let the handlers begin whose connections it has accepted.

    One that is cancelled before would leave its connection to the garbage collector, which complains in another test.
    """
    server.close()
    for _ in range(_UNTIL_THEY_BEGIN):
        await asyncio.sleep(0)
