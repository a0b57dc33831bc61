"""One connection to the broker: the only file that knows aiomqtt and paho.

aiomqtt connects and runs paho on our loop. Four things it leaves out are done on the paho client inside it: a message
is acknowledged when we say so, a publish tells its reason code, nothing that came in is dropped unseen, and a message
that paho cannot read does not end the connection.
A link is one connection. Connecting again is the caller's loop.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import aiomqtt
from paho.mqtt import MQTTException
from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.errors import LinkDown, PeerError
from gateway.sync.broker import Broker
from gateway.sync.message import Incoming, Outgoing, PublishRefused

log = logging.getLogger(__name__)

RECEIVE_MAXIMUM: Final = 16  # requests on their way to us and not acknowledged
WINDOW: Final = 64  # publishes of ours on their way and not acknowledged
ANSWER_WITHIN_S: Final = 30.0  # a broker that is alive acknowledges within this
_CONNECT_WITHIN_S: Final = 10.0
_LEAVE_WITHIN_S: Final = 1.0
_INBOX: Final = 256  # messages read and not yet taken; only QoS 0, which has no flow control, can fill it
_REFUSED: Final = 0x80  # reason codes from here on are failures
_FOR_GOOD: Final = frozenset(
    {0x87, 0x90, 0x95, 0x99}
)  # not authorized, topic, packet size, format: no use in repeating

_UNREADABLE: Final = (MQTTException, struct.error, LookupError, ValueError)  # what paho's parser says of garbage

_PAHO_LOG: Final = logging.getLogger(f"{__name__}.paho")
_PAHO_LOG.setLevel(logging.CRITICAL)  # what it would say reaches us as LinkDown


class Link:
    """A connection that stands.

    `session_present`: the broker still had our session. `dropped`: messages turned away because they cannot be read,
    or because nobody took those before them.
    """

    def __init__(self, client: aiomqtt.Client, broker: Broker) -> None:
        self.session_present = False
        self.dropped = 0
        self._broker = broker
        self._client = client
        self._v5 = broker.protocol == "5"
        self._paho = inner(client)
        self._inbox: asyncio.Queue[Incoming] = asyncio.Queue(_INBOX)
        self._room = asyncio.Semaphore(WINDOW)  # paho itself does not heed the broker's receive maximum
        self._unacknowledged: dict[int, asyncio.Future[None]] = {}
        self._by_content_type: dict[str | None, Properties] = {}
        self._closed = False
        self._paho.manual_ack_set(True)
        self._paho.max_inflight_messages_set(WINDOW)
        self._paho.on_message = self._received
        self._read_publish = self._paho._handle_publish  # noqa: SLF001 - no public way around its parser
        self._paho._handle_publish = self._read_or_drop  # type: ignore[method-assign] # noqa: SLF001 - on this one alone
        self._paho.on_publish = self._published
        self._tell_connected: Any = self._paho.on_connect  # aiomqtt's own; paho's type covers every protocol version
        self._paho.on_connect = self._connected
        self._tell_disconnected: Any = self._paho.on_disconnect
        self._paho.on_disconnect = self._disconnected
        self._opening: asyncio.Task[Any] | None = None
        self._answered = False

    async def open(self) -> None:
        """Connect. Raises LinkDown."""
        self._opening = asyncio.create_task(self._client.__aenter__(), name="connect to the broker")
        try:
            await asyncio.wait({self._opening})
            self._opening.result()
        except (aiomqtt.MqttError, OSError, ValueError) as why:  # ValueError: a host name that cannot be one
            raise LinkDown(f"{self._broker.name}: {why}") from why
        except asyncio.CancelledError:
            if not self._opening.cancelled():
                self._opening.cancel()
                raise
            raise LinkDown(f"{self._broker.name}: closed the connection without a word") from None
        if self._paho.socket() is None:  # lost as soon as it stood: aiomqtt forgets that, and `watch` would not end
            raise LinkDown(f"{self._broker.name}: closed the connection at once")

    async def subscribe(self, topic_filter: str) -> None:
        """Subscribe with QoS 1. Raises PeerError where the broker refuses, LinkDown."""
        try:
            granted = await self._client.subscribe(topic_filter, qos=1)
        except aiomqtt.MqttError as why:
            raise LinkDown(f"{self._broker.name}: {why}") from why
        codes = [code.value if isinstance(code, ReasonCode) else code for code in granted]
        if any(code >= _REFUSED for code in codes):
            raise PeerError(f"the broker refuses the subscription to {topic_filter}")

    async def send(self, message: Outgoing) -> "asyncio.Future[None]":
        """Hand a message to the connection, once the window has room; the future ends with its acknowledgement.

        It fails with PublishRefused or LinkDown. Messages leave in the order of the calls. Raises LinkDown.
        """
        if self._room.locked():
            await self._within(self._room.acquire(), "no room")
        else:
            await self._room.acquire()
        info = self._paho.publish(
            message.topic, message.payload, message.qos, message.retain, self._properties(message)
        )
        if self._closed or info.rc != paho.MQTT_ERR_SUCCESS:
            self._room.release()
            raise LinkDown(f"{self._broker.name}: {paho.error_string(info.rc)}")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unacknowledged[info.mid] = future
        return future

    async def publish(self, message: Outgoing) -> None:
        """Publish and wait for the broker's acknowledgement. Raises PublishRefused, LinkDown."""
        await self.acknowledged(await self.send(message))

    async def acknowledged(self, sent: "asyncio.Future[None]") -> None:
        """Wait for what `send` returned, but not for ever. Raises PublishRefused, LinkDown."""
        if sent.done():
            sent.result()
        else:
            await self._within(asyncio.shield(sent), "no acknowledgement")  # who gives up waiting does not undo it

    async def receive(self) -> Incoming:
        """Return the next message. It comes again after a reconnect unless `acknowledge` is called for it."""
        return await self._inbox.get()

    def acknowledge(self, message: Incoming) -> None:
        """Tell the broker that `message` has been dealt with. Nothing happens on a connection that is gone."""
        if message.qos and not self._closed:
            self._paho.ack(message.mid, message.qos)

    async def watch(self) -> None:
        """Wait until the connection is lost. Raises LinkDown."""
        try:
            await anext(self._client.messages)  # ours never yields: `_received` takes them all
        except aiomqtt.MqttError as why:
            raise LinkDown(f"{self._broker.name}: {why.__cause__ or why}") from why

    async def close(self) -> None:
        """Disconnect if the broker lets us, and leave nothing behind."""
        self._closed = True
        try:
            async with asyncio.timeout(_LEAVE_WITHIN_S if self._answered else 0):
                await self._client.__aexit__(None, None, None)
        except (aiomqtt.MqttError, TimeoutError):
            log.debug("%s: no orderly goodbye", self._broker.name)
        finally:
            self._client._disconnected.add_done_callback(_heard)  # noqa: SLF001 - asyncio would complain of it later
            abandon(self._paho)
            for future in self._unacknowledged.values():
                self._room.release()  # whoever waits for room learns in `send` that there is no connection
                if not future.done():
                    future.set_exception(LinkDown(f"{self._broker.name}: closed"))
                    _heard(future)  # not everybody waits for theirs
            self._unacknowledged.clear()

    async def _within(self, wait: Awaitable[Any], what: str) -> None:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await wait
        except TimeoutError as why:
            self._cut()
            raise LinkDown(f"{self._broker.name}: {what} within {ANSWER_WITHIN_S:.0f} s") from why

    def _cut(self) -> None:
        """End a connection that is alive and does not move: `watch` notices, what was under way is sent again."""
        connection = self._paho.socket()
        if isinstance(connection, socket.socket):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _properties(self, message: Outgoing) -> Properties | None:
        if not self._v5:
            return None
        if message.correlation is not None:
            return _properties(PacketTypes.PUBLISH, message.content_type, message.correlation)
        known = self._by_content_type.get(message.content_type)  # making them takes as long as all else of a publish
        if known is None:
            known = _properties(PacketTypes.PUBLISH, message.content_type)
            self._by_content_type[message.content_type] = known
        return known

    def _connected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._answered = True
        self.session_present = flags.session_present
        self._room = asyncio.Semaphore(min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW)))
        self._tell_connected(client, userdata, flags, reason, properties)

    def _disconnected(self, *told: Any) -> None:
        self._tell_disconnected(*told)
        self._client._disconnected.add_done_callback(_heard)  # noqa: SLF001 - aiomqtt may forget it: see `open`
        if self._opening is not None and not self._answered:
            self._opening.cancel()  # aiomqtt does not look before it is connected, and would wait on

    def _read_or_drop(self) -> MQTTErrorCode:
        """Take a PUBLISH in. One that cannot be read is acknowledged: else it would end every connection to come.

        Brokers hand on what paho does not take, as U+FEFF in a content type.
        """
        try:
            return self._read_publish()
        except _UNREADABLE:
            self.dropped += 1
            head, packet = self._paho._in_packet["command"], self._paho._in_packet["packet"]  # noqa: SLF001 - as above
            mid_at = 2 + int.from_bytes(packet[:2], "big")
            return self._paho.ack(int.from_bytes(packet[mid_at : mid_at + 2], "big"), head >> 1 & 3)

    def _received(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        properties = message.properties
        try:
            self._inbox.put_nowait(
                Incoming(
                    topic=message.topic,
                    payload=bytes(message.payload),
                    qos=message.qos,
                    retain=message.retain,
                    mid=message.mid,
                    content_type=getattr(properties, "ContentType", None),
                    correlation=getattr(properties, "CorrelationData", None),
                    response_topic=getattr(properties, "ResponseTopic", None),
                    expiry_s=getattr(properties, "MessageExpiryInterval", None),
                )
            )
        except asyncio.QueueFull:
            self.dropped += 1  # with QoS 1 it is not lost: never acknowledged, it comes again

    def _published(self, _client: Any, _userdata: Any, mid: int, reason: ReasonCode, _properties: Any) -> None:
        future = self._unacknowledged.pop(mid, None)
        if future is None:
            return
        self._room.release()
        if future.done():  # nobody waits for it any more
            return
        if reason.value < _REFUSED:
            future.set_result(None)
        elif reason.value in _FOR_GOOD:
            future.set_exception(PublishRefused(f"{self._broker.name}: {reason}"))
        else:
            future.set_exception(LinkDown(f"{self._broker.name}: {reason}"))


def _heard(future: "asyncio.Future[None]") -> None:
    """Take note of how a future ended that nobody else may ask."""
    if not future.cancelled():
        future.exception()


@asynccontextmanager
async def connect(broker: Broker, will: Outgoing | None = None) -> AsyncIterator[Link]:
    """Connect to `broker`, leaving `will` with it. Raises LinkDown."""
    try:
        client = _client(broker, will)
    except OSError as why:  # a file of ours: certificate, key, password
        raise LinkDown(f"{broker.name}: {why}") from why
    link = Link(client, broker)
    try:
        await link.open()
        yield link
    finally:
        await link.close()


def inner(client: aiomqtt.Client) -> paho.Client:
    """Return the paho client inside."""
    return client._client  # noqa: SLF001 - aiomqtt offers no other way to hold an acknowledgement back


def abandon(client: paho.Client) -> None:
    """Close the socket without a word. aiomqtt leaves it open, and watched, after a connect that was not answered."""
    with suppress(OSError):
        client._sock_close()  # noqa: SLF001 - `disconnect` would wait for room in the send buffer


def _client(broker: Broker, will: Outgoing | None) -> aiomqtt.Client:
    v5 = broker.protocol == "5"
    last_will = None
    if will is not None:
        properties = _properties(PacketTypes.WILLMESSAGE, will.content_type) if v5 else None
        last_will = aiomqtt.Will(will.topic, will.payload, will.qos, will.retain, properties)
    lasting = broker.session_expiry_s > 0
    versioned: dict[str, Any] = {"clean_session": not lasting, "protocol": aiomqtt.ProtocolVersion.V311}
    if v5:
        session = _empty(PacketTypes.CONNECT)
        session.ReceiveMaximum = RECEIVE_MAXIMUM
        session.SessionExpiryInterval = broker.session_expiry_s
        versioned = {"clean_start": not lasting, "protocol": aiomqtt.ProtocolVersion.V5, "properties": session}
    return aiomqtt.Client(
        broker.host,
        broker.port,
        identifier=broker.client_id,
        username=broker.username,
        password=broker.password(),
        tls_context=broker.tls_context(),
        keepalive=broker.keepalive_s,
        will=last_will,
        timeout=_CONNECT_WITHIN_S,
        logger=_PAHO_LOG,
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        **versioned,
    )


def _properties(packet: int, content_type: str | None, correlation: bytes | None = None) -> Properties:
    properties = _empty(packet)
    if content_type is not None:
        properties.ContentType = content_type
        properties.PayloadFormatIndicator = int(content_type == "application/json")  # 1: the payload is UTF-8
    if correlation is not None:
        properties.CorrelationData = correlation
    return properties


def _empty(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call] # paho leaves it untyped
