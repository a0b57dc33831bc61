"""One gateway, as a Python program at the other end of MQTT sees it."""

import asyncio
import random
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from gateway.client.bell import Bell
from gateway.client.calls import Calls
from gateway.client.connection import Connection
from gateway.client.dispatch import EVENTS, STATES, Dispatch
from gateway.client.events import Events
from gateway.client.mirror import ComponentPresence, Mirror
from gateway.client.recovery import Recovery
from gateway.client.sequencer import ROOM
from gateway.client.verbs import Verbs
from gateway.clock import Clock, SystemClock, rfc3339
from gateway.errors import ConfigError
from gateway.payloads import GatewayOffline, GatewayOnline, QueueState, Replayed
from gateway.presence import Presence
from gateway.sync.broker import EXPOSED, Broker, parse_url
from gateway.sync.payload import Encoding
from gateway.sync.signing import Signer
from gateway.sync.topics import Topics

LONG_WORK_S: Final[Mapping[str, float]] = {  # what may take longer than others, and how long
    "process_offline_queue": 300.0,
    "verify_audit": 300.0,
    "replay": 60.0,
}


class GatewayClient(Verbs):
    """One gateway: its requests as methods, its events without gaps, its components as live maps.

    Use it in `async with`: it connects in the background, and again whenever the connection is lost. All of it belongs
    to one event loop.

    Args:
        url: mqtt://host[:port] or mqtts://host[:port]. Without TLS only to loopback, unless `allow_plaintext`.
        gateway: The id of the gateway.
        actor: Whom the broker knows us as, and the gateway's access file.
        username: For the broker, with `password_file`; left out, the actor.
        password_file: Read anew for every connection, as are the others.
        ca_file: Who issued the broker's certificate; left out, whomever this machine trusts.
        cert_file: Our own certificate, with `key_file`.
        client_id: A name of our own at the broker, which then keeps events for us while we are away, for
            `session_expiry_s`. Left out: a new name each time, and what is missed is asked for again.
        protocol: "5" or "3.1.1".
        encoding: Of requests, "msgpack" or "json"; what comes in may be either.
        signer: Signs every request.
        timeout_s: How long a call waits for its answer unless it says otherwise; at most 59 minutes.
        reconnect_s: The shortest and the longest wait before a new connection.

    Raises:
        ConfigError: For a URL that is none, or one without TLS to somewhere else.
    """

    def __init__(
        self,
        url: str,
        *,
        gateway: str,
        actor: str,
        username: str | None = None,
        password_file: Path | None = None,
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        client_id: str | None = None,
        session_expiry_s: int = 86_400,
        protocol: Literal["5", "3.1.1"] = "5",
        encoding: Literal["msgpack", "json"] = "msgpack",
        signer: Signer | None = None,
        timeout_s: float = 30.0,
        keepalive_s: int = 30,
        reconnect_s: tuple[float, float] = (1.0, 30.0),
        allow_plaintext: bool = False,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        host, port, tls = parse_url(url)
        broker = Broker(
            host=host,
            port=port,
            tls=tls,
            client_id=client_id or f"{actor}-{secrets.token_hex(8)}",
            protocol=protocol,
            username=username or (actor if password_file else None),
            password_file=password_file,
            ca_file=ca_file,
            cert_file=cert_file,
            key_file=key_file,
            keepalive_s=keepalive_s,
            session_expiry_s=session_expiry_s if client_id else 0,
        )
        if broker.exposed and not allow_plaintext:
            raise ConfigError([f"{broker.name}: {EXPOSED}"])
        clock = clock or SystemClock()
        topics = Topics(gateway)
        self._root = topics.root
        self._timeout_s = timeout_s
        self._tasks: asyncio.TaskGroup | None = None
        self._work: list[asyncio.Task[None]] = []
        self._changed = Bell()
        self._mirror = Mirror()
        self._recovery = Recovery(self._replay)
        self._connection = Connection(broker, rng or random.Random(), reconnect_s)  # noqa: S311 - jitter, no secret
        self._calls = Calls(
            connection=self._connection,
            topics=topics,
            actor=actor,
            clock=clock,
            encoding=Encoding(encoding),
            signer=signer,
        )
        self._dispatch = Dispatch(
            root=topics.root,
            mirror=self._mirror,
            calls=self._calls,
            recovery=self._recovery,
            changed=self._changed,
            clock=clock,
        )
        for channel in (*STATES, f"replies/{actor}/+"):
            self._connection.want(f"{topics.root}/{channel}")

    async def __aenter__(self) -> Self:
        self._recovery.open()
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._work = [
            self._tasks.create_task(self._connection.run(self._dispatch), name="stay connected to the broker"),
            self._tasks.create_task(self._recovery.run(), name="ask for events that are missing"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks, self._tasks = self._tasks, None
        assert tasks is not None
        self._recovery.close()
        for task in self._work:
            task.cancel()
        if isinstance(why, asyncio.CancelledError):
            await tasks.__aexit__(kind, why, trace)
        else:  # what the block itself raised stays what it is, and is not put into a group
            await tasks.__aexit__(None, None, None)

    # --- what is known ----------------------------------------------------------------------------------------------

    @property
    def gateway(self) -> GatewayOnline | GatewayOffline | None:
        """What the gateway said of itself last, or the broker in its place; None: nothing so far."""
        return self._mirror.gateway

    @property
    def in_touch(self) -> bool:
        """Whether what is known holds now: the gateway has a connection to the broker, and so have we."""
        return self._mirror.in_touch

    @property
    def presence(self) -> Mapping[str, ComponentPresence]:
        """The presence of every component, by component_id: live. UNKNOWN while we are not in touch."""
        return self._mirror.presence

    @property
    def queues(self) -> Mapping[str, QueueState]:
        """How much waits for every component, by component_id: live, and as of the last word while not in touch."""
        return self._mirror.queues

    @property
    def trouble(self) -> str:
        """What is wrong between the broker and us, for people; empty: nothing."""
        return self._connection.trouble

    async def synced(self, *, timeout_s: float = 10.0) -> None:
        """Wait until the maps are complete: all that the gateway named is in them. Raises TimeoutError."""
        if not await self._until(lambda: self._mirror.complete, timeout_s):
            raise TimeoutError(
                f"{self._root}: nothing is known of it: {self.trouble or 'the broker keeps no state of it'}"
            )

    async def wait_for(
        self, component_id: str, presence: Presence | str = Presence.ONLINE, *, timeout_s: float
    ) -> ComponentPresence:
        """Wait until a component's presence is this. Raises TimeoutError that says what it is instead."""
        wanted = Presence(presence)

        def seen() -> bool:
            found = self.presence.get(component_id)
            return found is not None and found.presence is wanted

        if not await self._until(seen, timeout_s):
            found = self.presence.get(component_id)
            what = "is not known" if found is None else f"is {found.presence}"
            raise TimeoutError(f"{component_id} {what}, and was not {wanted} within {timeout_s:g} s")
        return self.presence[component_id]

    # --- what is told and asked -------------------------------------------------------------------------------------

    def events(self, since: int | None = None, *, room: int = ROOM) -> Events:
        """Return the events after the one with seq `since`, in order, each once; left out, those from now on.

        Where some will not come there is a `Gap` in their place. Keep the `seq` of what you have dealt with, and begin
        after it next time. `room`: how many may wait for you; a slow reader has the rest asked for later.
        """
        self._connection.want(f"{self._root}/{EVENTS}")
        return self._recovery.reader(since, room)

    async def request(self, request: str, /, *, within_s: float | None = None, **fields: Any) -> dict[str, Any]:
        """Ask for anything by its name; returns the result as it comes. Fields that are None are left out.

        One call has at most one effect, whatever becomes of connections meanwhile.

        Raises:
            Refusal: The gateway says no.
            NoAnswer: Nobody answered in time; it says whether the request may have had an effect.
        """
        if self._tasks is None:
            raise RuntimeError("use the client in: async with GatewayClient(...) as client")
        told = {name.rstrip("_"): _spelled(value) for name, value in fields.items() if value is not None}
        patience_s = max(self._timeout_s, LONG_WORK_S.get(request, 0.0))
        return await self._calls.call(request, told, patience_s if within_s is None else within_s)

    async def _replay(self, first: int, last: int) -> Replayed:
        return await self.replay(first, last)

    async def _until(self, holds: Callable[[], bool], timeout_s: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not holds():
                    await self._changed.heard()
        return holds()


def _spelled(value: Any) -> Any:
    """Spell a time as the gateway does. Raises ValueError for one without its offset from UTC."""
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise ValueError(f"{value} needs its offset from UTC: datetime.now(UTC)")
    return rfc3339(round(value.timestamp() * 1000))
