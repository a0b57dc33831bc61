"""Messages that were read and wait to be taken, in order and bounded."""

import asyncio
from collections.abc import Callable
from typing import Final

from gateway.sync.message import Incoming

ROOM: Final = 256  # for what has QoS 0: nothing slows it down
ROOM_ACKNOWLEDGED: Final = 512  # for the others beside it: a broker that heeds our receive maximum sends far fewer


class Inbox:
    """What came in. `dropped`: turned away, as nobody took those before. `owed`: one of them will come again, later."""

    def __init__(self) -> None:
        self.dropped = 0
        self.owed = False
        self._waiting: asyncio.Queue[Incoming] = asyncio.Queue()
        self._takers: dict[str, Callable[[Incoming], None]] = {}

    def hand(self, topic: str, take: Callable[[Incoming], None]) -> None:
        """Let `take` have what comes on this very topic."""
        self._takers[topic] = take

    def put(self, message: Incoming) -> bool:
        """Take in a message. Returns whether it has been dealt with already."""
        take = self._takers.get(message.topic)
        if take is not None:
            take(message)
            return True
        if self._waiting.qsize() < (ROOM_ACKNOWLEDGED if message.qos else ROOM):
            self._waiting.put_nowait(message)
        else:
            self.dropped += 1
            self.owed |= message.qos > 0  # never acknowledged, it comes again with the next connection
        return False

    async def get(self) -> Incoming:
        """Return the next message."""
        return await self._waiting.get()

    @property
    def empty(self) -> bool:
        """Whether all has been taken."""
        return self._waiting.empty()
