"""A TCP proxy before a broker, on loopback, that makes the weather: slow, half-open, cut, deaf, babbling."""

import asyncio
from typing import Self

from tests.listening import stop_listening

UP, DOWN = "up", "down"  # to the broker, from the broker
_CHUNK = 4096
_PUBACK = 4


def packets(data: bytes) -> list[bytes]:
    """Split what a broker sends, of which no packet is longer than 127 bytes."""
    found = []
    while data:
        end = 2 + data[1]
        found.append(data[:end])
        data = data[end:]
    return found


class Proxy:
    """Forwards what comes in on `port` to the broker at `to`. Use as an async context manager.

    What it is told holds for the connections there are and for those to come. A direction that is blackholed swallows
    what comes, and nobody is told: to either side the connection stands.
    """

    def __init__(self, to: int) -> None:
        self.port = 0
        self.connections = 0  # there have been
        self.deaf = False  # accept, and never answer
        self.garbage = b""  # the answer to whatever comes, instead of the broker's
        self.bytes_per_s: float | None = None
        self.delay_s = 0.0
        self.swallow_acknowledgements = False  # PUBACK alone: pings are answered
        self._to = to
        self._blackholed: set[str] = set()
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            await stop_listening(self._server)
        self.cut()
        for task in [*self._pumps, *self._connections]:
            task.cancel()
        await asyncio.gather(*self._pumps, *self._connections, return_exceptions=True)

    # --- the weather

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def blackhole(self, *directions: str) -> None:
        """Swallow what comes, on the connections there are."""
        self._blackholed = set(directions)

    # ---

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._accept(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(lambda _: writer.close())  # one that is cancelled before it begins, too
        connection.add_done_callback(self._connections.discard)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            if self.deaf or self.garbage:
                await self._misbehave(reader, writer)
            else:
                await self._forward(reader, writer)
        finally:
            self._writers.discard(writer)

    async def _misbehave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(_CHUNK):
            writer.write(self.garbage)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            return
        self._writers.add(back)
        lost: set[str] = set()  # of this connection, for ever
        try:
            ways = self._pump(reader, back, UP, lost), self._pump(there, writer, DOWN, lost)
            pumps = {asyncio.create_task(way) for way in ways}
            self._pumps |= pumps
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._pumps -= pumps
        finally:
            self._writers.discard(back)
            back.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str, lost: set[str]
    ) -> None:
        while True:
            chunk = _CHUNK if self.bytes_per_s is None else max(1, int(self.bytes_per_s / 50))
            data = await reader.read(chunk)
            if direction in self._blackholed or direction in lost:
                lost.add(direction)
                if not data:
                    await asyncio.Event().wait()  # nobody is told
                continue
            if not data:
                return
            if direction == DOWN and self.swallow_acknowledgements:
                data = b"".join(packet for packet in packets(data) if packet[0] >> 4 != _PUBACK)
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if self.bytes_per_s is not None:
                await asyncio.sleep(len(data) / self.bytes_per_s)
            writer.write(data)
            await writer.drain()
