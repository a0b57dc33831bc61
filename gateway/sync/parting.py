"""How a connection to the broker ends: the last word of either side is heard, where there is one."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from paho.mqtt import client as paho

_UNREAD: Final = 65_536  # bytes thrown away at a time


@asynccontextmanager
async def heard_out(client: paho.Client) -> AsyncIterator[None]:
    """Hold on to the connection while the block says goodbye, and after it until the broker has closed its end.

    paho closes its socket right behind DISCONNECT. If something has come that nobody will read any more, that resets
    the connection; the broker may see the reset before our last word, and then publishes our Will.
    """
    ours = client.socket()
    if ours is None:
        yield
        return
    with socket.socket(fileno=os.dup(ours.fileno())) as connection:  # below TLS, which has nothing to say here
        connection.setblocking(False)
        yield
        with suppress(OSError):  # it is gone already
            connection.shutdown(socket.SHUT_WR)
            while await asyncio.get_running_loop().sock_recv(connection, _UNREAD):
                pass


def last_word(connection: object) -> str:
    """Return what a broker said over TLS when it turned us away; '' for nothing.

    It resets the connection behind its alert, so we may fail to write before anybody has read that.
    """
    if isinstance(connection, ssl.SSLSocket):
        try:
            connection.recv(1)
        except OSError as why:
            return str(why)
    return ""


def abandon(client: paho.Client) -> None:
    """Close the socket without a word. aiomqtt leaves it open, and watched, after a connect that was not answered."""
    with suppress(OSError):
        client._sock_close()  # noqa: SLF001 - `disconnect` would wait for room in the send buffer
