"""A wire to a broker that can be cut, and that can swallow everything while both its ends believe in it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.listening import stop_listening

UP, DOWN = "up", "down"  # towards the broker, and from it
CHUNK = 65_536


@dataclass(eq=False)
class _Line:
    """One connection through the wire. `deaf`: the directions that swallow what comes."""

    ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    deaf: frozenset[str] = field(default_factory=frozenset)

    def abort(self) -> None:
        for end in self.ends:
            end.transport.abort()


class Wire:
    """Leads from `port` to the broker's. `cut` and `go_deaf` are for the connections there are; new ones are sound."""

    def __init__(self, broker_port: int) -> None:
        self.port = 0
        self._broker_port = broker_port
        self._lines: set[_Line] = set()
        self._down = False

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def cut(self) -> int:
        """Break every connection without a word; returns how many were sound."""
        sound = sum(not line.deaf for line in self._lines)
        for line in self._lines:
            line.abort()
        return sound

    def go_deaf(self, *directions: str) -> int:
        """Swallow what comes, for good, and tell nobody; returns how many connections that is."""
        lines = [line for line in self._lines if not line.deaf]
        for line in lines:
            line.deaf = frozenset(directions)
        return len(lines)

    def down(self) -> None:
        """Break every connection, and let nobody connect until it is `up` again."""
        self._down = True
        self.cut()

    def up(self) -> None:
        self._down = False

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until it ends, at both ends."""
        if self._down:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except OSError:
            writer.transport.abort()
            return
        line = _Line((writer, far_writer))
        self._lines.add(line)
        try:
            await asyncio.gather(_carry(reader, far_writer, line, UP), _carry(far_reader, writer, line, DOWN))
        finally:
            line.abort()
            self._lines.discard(line)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: _Line, direction: str) -> None:
    """Carry one direction to its end. The end is passed on behind the last word: a reset might overtake a goodbye."""
    heard = True
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            if heard and direction not in line.deaf:
                writer.write(data)
                try:
                    await writer.drain()
                except OSError:
                    heard = False
    if direction not in line.deaf:  # an end that nobody hears of leaves the other end waiting
        with suppress(OSError):
            writer.write_eof()


@asynccontextmanager
async def wire(broker_port: int) -> AsyncIterator[Wire]:
    made = Wire(broker_port)
    lines: set[asyncio.Task[None]] = set()

    def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.create_task(made.join(reader, writer))
        lines.add(line)
        line.add_done_callback(lambda _: writer.transport.abort())  # one that is cancelled before it begins, too
        line.add_done_callback(lines.discard)

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        await stop_listening(server)
        for task in list(lines):
            task.cancel()
        await asyncio.gather(*lines, return_exceptions=True)
