"""The local control socket: the same requests, from this machine, by who the kernel says is asking.

Root is an admin, members of the socket's group are technicians, nobody else is heard. The actor is the user's name.
"""

import asyncio
import grp
import logging
import os
import pwd
import socket
import stat
import struct
from pathlib import Path
from typing import Any, Final

from gateway.access import Actor, Role
from gateway.api import REQUESTS, subject_of
from gateway.clock import Clock
from gateway.errors import Code, ConfigError, Refusal
from gateway.ids import is_name
from gateway.ports import AuditEntry, Call
from gateway.sync.envelope import Requests, digest, refused, take_id, take_life
from gateway.sync.frames import read_frame, read_map, write_frame
from gateway.sync.refusals import Audit, Refusals
from gateway.sync.tally import Tally

log = logging.getLogger(__name__)

MODE: Final = 0o660
TRANSPORT: Final = "socket"
UNKNOWN: Final = "unknown"  # the action of a row about a request that is none
CONNECTIONS: Final = 32
IDLE_S: Final = 300.0
WRITE_WITHIN_S: Final = 10.0
ACCEPT_AGAIN_S: Final = 1.0
_BACKLOG: Final = 16
_PEER: Final = struct.Struct("3i")  # pid, uid, gid: struct ucred
_SO_PEERGROUPS: Final = 59  # Linux 4.13; the socket module does not name it
_MOST_BYTES: Final = 1024  # what getsockopt of Python returns at most: 256 groups


class ControlSocket:
    """Serves the control socket at `path`. `group`: who may use it beside root; None: the daemon's own group.

    `tally`: counts what is turned away; `audit`: has what the API never sees of it.
    """

    def __init__(
        self,
        *,
        path: Path,
        group: str | None,
        api: Requests,
        clock: Clock,
        tally: Tally,
        audit: Audit,
        idle_s: float = IDLE_S,
    ) -> None:
        self.tally = tally
        self._refusals = Refusals(audit, tally, TRANSPORT)
        self._path = path
        self._group = group
        self._api = api
        self._clock = clock
        self._idle_s = idle_s
        self._connections = 0

    async def run(self) -> None:
        """Listen until cancelled. Raises ConfigError where the socket cannot be made."""
        listener = listen(self._path, self._group)
        gid = self._path.stat().st_gid
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._refusals.run(), name="audit what is refused at the control socket")
                while True:
                    try:
                        connection, _ = await loop.sock_accept(listener)
                    except OSError as why:  # no file descriptor is left: that passes, and is no reason to end
                        self.tally.count("a connection that could not be taken", str(why))
                        await asyncio.sleep(ACCEPT_AGAIN_S)
                        continue
                    if self._connections >= CONNECTIONS:
                        self.tally.count("one connection too many", str(self._path))
                        connection.close()
                        continue
                    self._connections += 1
                    tasks.create_task(self._serve(connection, gid), name="control connection")
        finally:
            listener.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, connection: socket.socket, gid: int) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        try:
            name, actor = user_of(connection), identify(connection, gid)
            await self._converse(reader, writer, name, actor)
        except (OSError, TimeoutError) as why:
            log.debug("control connection ended: %s", why)
            writer.transport.abort()
        finally:
            await _hang_up(writer)
            self._connections -= 1

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str, actor: Actor | None
    ) -> None:
        """Answer frame by frame. A frame that cannot be read is answered and ends the connection."""
        while True:
            fields: dict[str, Any] = {}
            try:
                body = await read_frame(reader, self._idle_s)
                if body is None:
                    return
                fields = read_map(body)
                sound = True
                answer = await self._answer(name, actor, fields)
            except Refusal as no:
                self.tally.count("a frame that cannot be read", no.message)
                sound, answer = False, {"id": None, **refused(no)}
            writer.write(write_frame(answer))
            async with asyncio.timeout(WRITE_WITHIN_S):
                await writer.drain()
            if not sound:
                return

    async def _answer(self, name: str, actor: Actor | None, fields: dict[str, Any]) -> dict[str, Any]:
        call_id, asked_for = take_id(fields), fields.get("request")
        try:
            who, request = self._admit(actor), _request(call_id, fields)
            life = take_life(fields, self._clock)
        except Refusal as no:
            await self._record(name, asked_for, no.code, subject_of(fields))
            return {"id": call_id, **refused(no)}
        call = None if life is None else Call(who.name, str(call_id), digest(request, fields), life.until)
        return {"id": call_id, **await self._api.call(who, request, fields, call)}

    async def _record(self, name: str, asked_for: object, code: Code, subject: str) -> None:
        """Audit a change that is refused, and whatever somebody asks who may not."""
        verb = REQUESTS.get(asked_for) if isinstance(asked_for, str) else None
        if code is Code.NOT_AUTHORIZED or (verb is not None and verb.changes):
            action = UNKNOWN if verb is None else str(asked_for)
            await self._refusals.tell(name, AuditEntry(name, TRANSPORT, action, subject, "refused", code), code)

    def _admit(self, actor: Actor | None) -> Actor:
        if actor is None:
            self.tally.count("a user who may not ask", str(self._path))
            raise Refusal(Code.NOT_AUTHORIZED, f"Be root or a member of the group of {self._path}.")
        return actor


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection. One who does not read what is left cannot keep it open, nor fill our memory with it."""
    writer.close()
    try:
        async with asyncio.timeout(WRITE_WITHIN_S):
            await writer.wait_closed()
    except (OSError, TimeoutError) as why:
        log.debug("control connection cut: %s", why)
    finally:
        writer.transport.abort()


def _request(call_id: str | None, fields: dict[str, Any]) -> str:
    request = fields.pop("request", None)
    if call_id is None or not isinstance(request, str):
        raise Refusal(Code.INVALID_ARGUMENT, "A frame needs id (8 to 64 letters, digits, - or _) and request.")
    return request


def identify(connection: socket.socket, gid: int) -> Actor | None:
    """Return who is at the other end, as the kernel knows it; None for one who may not ask. Raises OSError."""
    _, uid, primary = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    if uid == 0:
        return Actor(_user(uid), Role.ADMIN, transport=TRANSPORT)
    if gid == primary or gid in _groups(connection):
        return Actor(_user(uid), Role.TECHNICIAN, transport=TRANSPORT)
    return None


def user_of(connection: socket.socket) -> str:
    """Return the name of the user at the other end. Raises OSError."""
    _, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return _user(uid)


def listen(path: Path, group: str | None) -> socket.socket:
    """Return a socket that listens at `path`, in place of one that nobody answers. Raises ConfigError."""
    _make_way(path)
    fresh = path.with_name(f"{path.name}.new")  # its rights are set before anybody can find it
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        fresh.unlink(missing_ok=True)
        listener.bind(str(fresh))
        if group is not None:
            os.chown(fresh, -1, grp.getgrnam(group).gr_gid)
        fresh.chmod(MODE)
        listener.listen(_BACKLOG)
        fresh.rename(path)
    except KeyError as why:
        listener.close()
        raise ConfigError([f"gateway.socket_group: there is no group {group}"]) from why
    except OSError as why:
        listener.close()
        raise ConfigError([f"gateway.socket: {path}: {why.strerror or why}"]) from why
    return listener


def _make_way(path: Path) -> None:
    """Make sure that nobody listens at `path`, and that nothing else than a socket is there. Raises ConfigError."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError([f"gateway.socket: {path} is there and is no socket"])
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        return
    except OSError as why:
        raise ConfigError([f"gateway.socket: {path}: {why.strerror or why}"]) from why
    raise ConfigError([f"gateway.socket: {path}: another gateway listens there"])


def _user(uid: int) -> str:
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    return name if is_name(name) else f"uid-{uid}"


def _groups(connection: socket.socket) -> tuple[int, ...]:
    """Return the supplementary groups of the peer; none where the kernel cannot tell them."""
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_BYTES)
    except OSError:
        return ()
    return struct.unpack(f"{len(raw) // 4}I", raw)
