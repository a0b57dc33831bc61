"""The control socket, from the byte stream up, and who may use it."""

import asyncio
import contextlib
import errno
import grp
import os
import pwd
import socket
import stat
import struct
from collections.abc import Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped] # it ships no types
import pytest

from gateway.access import Actor, Role
from gateway.clock import rfc3339
from gateway.errors import Code, ConfigError
from gateway.ports import AuditEntry, Call
from gateway.sync import socket as module
from gateway.sync.caller import NobodyAnswers, SocketCaller
from gateway.sync.frames import write_frame
from gateway.sync.refusals import FIRST
from gateway.sync.socket import ControlSocket, _hang_up, identify, listen, log
from gateway.sync.tally import Tally
from tests.doubles import FakeClock

Reply = dict[str, Any]


class EchoApi:
    """Answers with what it was asked; `big` answers are larger than any request may be."""

    def __init__(self) -> None:
        self.asked: list[tuple[Actor, str, Mapping[str, Any], Call | None]] = []
        self.gate: asyncio.Event | None = None

    async def call(self, actor: Actor, request: str, fields: Mapping[str, Any], call: Call | None = None) -> Reply:
        self.asked.append((actor, request, fields, call))
        if self.gate is not None:
            await self.gate.wait()
        return {"ok": True, "result": {**fields, "big": "x" * 200_000 if request == "big" else ""}}


class Scene:
    def __init__(self, folder: Path, **options: Any) -> None:
        self.path = folder / "control.sock"
        self.api = EchoApi()
        self.clock = FakeClock()
        self.tally = Tally(log, self.clock)
        self.audited: list[AuditEntry] = []
        self.control = ControlSocket(
            path=self.path,
            group=None,
            api=self.api,
            clock=self.clock,
            tally=self.tally,
            audit=self._audit,
            **options,
        )

    async def _audit(self, entry: AuditEntry) -> None:
        self.audited.append(entry)

    @asynccontextmanager
    async def serving(self):
        task = asyncio.create_task(self.control.run())
        await asyncio.sleep(0)  # it listens from its first step on
        try:
            yield self
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    @asynccontextmanager
    async def connection(self):
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            yield reader, writer
        finally:
            writer.close()


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    async with asyncio.timeout(10):
        (length,) = struct.unpack(">I", await reader.readexactly(4))
        reply: Reply = msgpack.unpackb(await reader.readexactly(length))
    return reply


def frame(request: str = "get_health", call_id: Any = "call-0001", **fields: Any) -> bytes:
    return write_frame({"request": request, "id": call_id, **fields})


async def test_a_caller_is_answered_and_known_by_its_user_name(tmp_path: Path) -> None:
    async with Scene(tmp_path).serving() as scene:
        reply = await SocketCaller(scene.path).call("get_presence", {"component_id": "m"}, 10)
    assert (reply["ok"], reply["result"]["component_id"]) == (True, "m")
    ((actor, request, fields, call),) = scene.api.asked
    role = Role.ADMIN if os.geteuid() == 0 else Role.TECHNICIAN
    assert actor == Actor(pwd.getpwuid(os.geteuid()).pw_name, role, transport="socket")
    assert (request, fields, call) == ("get_presence", {"component_id": "m"}, None)


async def test_a_reply_may_be_longer_than_any_request(tmp_path: Path) -> None:
    async with Scene(tmp_path).serving() as scene:
        reply = await SocketCaller(scene.path).call("big", {}, 10)
    assert len(reply["result"]["big"]) == 200_000


async def test_frames_may_come_in_any_pieces_and_are_answered_in_order(tmp_path: Path) -> None:
    async with Scene(tmp_path).serving() as scene, scene.connection() as (reader, writer):
        for byte in frame(n=1):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert (await read_reply(reader))["result"]["n"] == 1
        writer.write(frame(n=2, call_id="call-0002") + frame(n=3, call_id="call-0003")[:7])
        assert (await read_reply(reader))["id"] == "call-0002"
        writer.write(frame(n=3, call_id="call-0003")[7:])
        assert (await read_reply(reader))["id"] == "call-0003"


@pytest.mark.parametrize(
    "raw",
    [
        struct.pack(">I", 65_537),
        struct.pack(">I", 0xFFFFFFFF) + b"x" * 100,
        struct.pack(">I", 0),
        struct.pack(">I", 1) + b"\xc1",
        write_frame({"a": 1})[:4] + b"\x91\x01\x02\x03",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_a_bad_frame_is_answered_and_ends_its_connection_alone(tmp_path: Path, raw: bytes) -> None:
    async with Scene(tmp_path).serving() as scene, scene.connection() as (reader, writer):
        async with scene.connection() as (bad_reader, bad_writer):
            bad_writer.write(raw)
            reply = await read_reply(bad_reader)
            assert (reply["id"], reply["error"]["code"]) == (None, "INVALID_ARGUMENT")
            assert await bad_reader.read() == b""
        writer.write(frame())
        assert (await read_reply(reader))["ok"]
        assert scene.control.tally.totals.total() == 1


async def test_a_frame_cut_off_by_its_sender_is_no_harm(tmp_path: Path) -> None:
    async with Scene(tmp_path).serving() as scene:
        async with scene.connection() as (reader, writer):
            writer.write(frame()[:9])
            writer.write_eof()
            assert (await read_reply(reader))["error"]["code"] == "INVALID_ARGUMENT"
        assert (await SocketCaller(scene.path).call("get_health", {}, 10))["ok"]


@pytest.mark.parametrize("fields", [{"id": None}, {"id": "short"}, {"request": 7}, {"request": None}])
async def test_a_request_without_id_or_name_is_refused_and_the_connection_goes_on(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    async with Scene(tmp_path).serving() as scene, scene.connection() as (reader, writer):
        writer.write(write_frame({"request": "get_health", "id": "call-0001", **fields}))
        assert (await read_reply(reader))["error"]["code"] == "INVALID_ARGUMENT"
        writer.write(frame())
        assert (await read_reply(reader))["ok"]


async def test_an_end_is_optional_and_counts_where_it_is_given(tmp_path: Path) -> None:
    async with Scene(tmp_path).serving() as scene, scene.connection() as (reader, writer):
        writer.write(frame(expires_at=rfc3339(scene.clock.wall_ms() - 1)))
        assert (await read_reply(reader))["error"]["code"] == "REQUEST_EXPIRED"
        writer.write(frame(expires_at=rfc3339(scene.clock.wall_ms() + 1000)))
        assert (await read_reply(reader))["ok"]
    call = scene.api.asked[0][3]
    assert call is not None
    assert (call.call_id, call.until) == ("call-0001", scene.clock.wall_ms() + 1000)


async def test_connections_are_bounded_and_room_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTIONS", 2)
    async with Scene(tmp_path).serving() as scene:
        async with scene.connection() as (reader, writer), scene.connection():
            writer.write(frame())
            await read_reply(reader)
            async with scene.connection() as (third, _):
                assert await third.read() == b""
        assert scene.control.tally.totals == {"one connection too many": 1}
        for _ in range(200):
            try:
                await SocketCaller(scene.path).call("get_health", {}, 10)
                break
            except NobodyAnswers:
                await asyncio.sleep(0.01)
        assert len(scene.api.asked) == 2


async def test_who_does_not_read_the_answers_keeps_neither_connection_nor_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WRITE_WITHIN_S", 0.1)
    loop, asked, came = asyncio.get_running_loop(), 4, 0
    async with Scene(tmp_path).serving() as scene:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.setblocking(False)
            await loop.sock_connect(asking, str(scene.path))
            asking.send(frame("big") * asked)
            async with asyncio.timeout(10):
                while not scene.api.asked or scene.control._connections:
                    await asyncio.sleep(0.01)
            with contextlib.suppress(ConnectionResetError):
                while data := await loop.sock_recv(asking, 1 << 20):
                    came += len(data)
        assert came < len(scene.api.asked) * 200_000, "what nobody read was thrown away"


async def test_a_little_that_nobody_reads_keeps_no_connection_open_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITE_WITHIN_S", 0.01)
    ours, theirs = socket.socketpair()
    with theirs:
        _, writer = await asyncio.open_unix_connection(sock=ours)
        writer.write(b"x" * 1_000_000)
        await _hang_up(writer)
        await asyncio.sleep(0)
        assert ours.fileno() == -1


async def test_a_lack_of_file_descriptors_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACCEPT_AGAIN_S", 0.01)
    loop = asyncio.get_running_loop()
    accept, failures = loop.sock_accept, [OSError(errno.EMFILE, "Too many open files")] * 2

    async def scarce(listener: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return await accept(listener)

    monkeypatch.setattr(loop, "sock_accept", scarce)
    async with Scene(tmp_path).serving() as scene:
        assert (await SocketCaller(scene.path).call("get_health", {}, 10))["ok"]
    assert scene.control.tally.totals == {"a connection that could not be taken": 2}


async def test_an_idle_connection_is_closed(tmp_path: Path) -> None:
    async with Scene(tmp_path, idle_s=0.05).serving() as scene, scene.connection() as (reader, _):
        assert await reader.read() == b""


async def test_nobody_answers_where_nobody_listens_or_too_late(tmp_path: Path) -> None:
    with pytest.raises(NobodyAnswers, match="No such file"):
        await SocketCaller(tmp_path / "none").call("get_health", {}, 10)
    async with Scene(tmp_path).serving() as scene:
        scene.api.gate = asyncio.Event()
        with pytest.raises(NobodyAnswers, match="no answer within"):
            await SocketCaller(scene.path).call("get_health", {}, 0.05)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400\r\n\r\n", struct.pack(">I", 2) + b"\x91\x01"])
async def test_nobody_answers_where_something_else_listens(tmp_path: Path, answer: bytes) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(other, tmp_path / "s")
    with pytest.raises(NobodyAnswers):
        await SocketCaller(tmp_path / "s").call("get_health", {}, 10)
    server.close()


# --- the socket file --------------------------------------------------------------------------------------------------


async def test_the_socket_is_for_its_owner_and_group_and_gone_after_a_stop(tmp_path: Path) -> None:
    async with Scene(tmp_path).serving() as scene:
        assert stat.S_IMODE(scene.path.stat().st_mode) == 0o660
        assert scene.path.stat().st_gid == os.getegid()
    assert list(tmp_path.iterdir()) == []


async def test_a_socket_left_by_a_killed_gateway_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    listen(path, None).close()  # closed without unlinking, as by kill -9
    assert path.exists()
    async with Scene(tmp_path).serving() as scene:
        with pytest.raises(ConfigError, match="another gateway listens there"):
            listen(path, None)
        assert (await SocketCaller(scene.path).call("get_health", {}, 10))["ok"]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.write_text("precious"), "no socket"),
        (lambda path: path.mkdir(), "no socket"),
        (lambda path: path.symlink_to("elsewhere"), "no socket"),
    ],
)
def test_what_is_no_socket_is_left_alone(tmp_path: Path, make: Any, why: str) -> None:
    path = tmp_path / "control.sock"
    make(path)
    with pytest.raises(ConfigError, match=why):
        listen(path, None)
    assert os.path.lexists(path)


def test_a_place_or_group_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.socket: .*No such file"):
        listen(tmp_path / "none" / "control.sock", None)
    with pytest.raises(ConfigError, match="there is no group no-such-group"):
        listen(tmp_path / "control.sock", "no-such-group")
    assert not (tmp_path / "control.sock").exists()


def test_the_group_named_in_the_configuration_owns_the_socket(tmp_path: Path) -> None:
    own = grp.getgrgid(os.getgroups()[-1] if os.getgroups() else os.getegid())
    listen(tmp_path / "control.sock", own.gr_name).close()
    assert (tmp_path / "control.sock").stat().st_gid == own.gr_gid


# --- who asks ---------------------------------------------------------------------------------------------------------


class Peer:
    """The kernel's word about another process."""

    def __init__(self, uid: int, gid: int, groups: tuple[int, ...] | None = ()) -> None:
        self._credentials = struct.pack("3i", 1, uid, gid)
        self._groups = groups

    def getsockopt(self, _level: int, option: int, _length: int) -> bytes:
        if option == socket.SO_PEERCRED:
            return self._credentials
        if self._groups is None:
            raise OSError("an old kernel")
        return struct.pack(f"{len(self._groups)}I", *self._groups)


@pytest.mark.parametrize(
    ("peer", "role"),
    [
        (Peer(0, 0), Role.ADMIN),
        (Peer(0, 5000), Role.ADMIN),
        (Peer(5000, 77), Role.TECHNICIAN),
        (Peer(5000, 5000, (1, 77, 3)), Role.TECHNICIAN),
        (Peer(5000, 77, None), Role.TECHNICIAN),
        (Peer(5000, 5000, (1, 3)), None),
        (Peer(5000, 5000, None), None),
    ],
)
def test_root_is_admin_the_group_are_technicians_and_nobody_else_is_heard(peer: Any, role: Role | None) -> None:
    actor = identify(peer, gid=77)
    assert (actor.role if actor else None) == role


def test_a_user_without_a_usable_name_is_known_by_its_number() -> None:
    actor = identify(Peer(4_000_000, 77), gid=77)  # type: ignore[arg-type] # a peer in the hand
    assert actor is not None
    assert (actor.name, actor.transport) == ("uid-4000000", "socket")


async def test_one_who_may_not_ask_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "identify", lambda _connection, _gid: None)
    async with Scene(tmp_path).serving() as scene:
        reply = await SocketCaller(scene.path).call("get_health", {}, 10)
        assert reply["error"]["code"] == "NOT_AUTHORIZED"
        assert scene.api.asked == []
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert scene.audited == [AuditEntry(user, "socket", "get_health", "gateway", "refused", Code.NOT_AUTHORIZED)]


async def test_changes_that_are_refused_before_the_gateway_looks_at_them_are_audited_and_a_flood_is_a_few_rows(
    tmp_path: Path,
) -> None:
    async with Scene(tmp_path).serving() as scene, scene.connection() as (reader, writer):
        late = rfc3339(scene.clock.wall_ms() - 1)
        for _ in range(FIRST + 3):
            writer.write(frame("set_params", expires_at=late, component_id="module-03"))
            assert (await read_reply(reader))["error"]["code"] == "REQUEST_EXPIRED"
        writer.write(frame("get_health", expires_at=late))
        await read_reply(reader)
    rows = [(entry.transport, entry.action, entry.subject, entry.code) for entry in scene.audited]
    expired = Code.REQUEST_EXPIRED
    assert rows == [("socket", "set_params", "module-03", expired)] * FIRST + [("socket", "several", "3 more", expired)]
