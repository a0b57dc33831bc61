"""One connection to the broker: the only file beside `dial`, `publishing` and `parting` that knows aiomqtt and paho.

aiomqtt connects and runs paho on our loop. What it leaves out is done on the paho client inside it: a message is
acknowledged when we say so, a publish tells its reason code, nothing that came in is dropped unseen, a message that
paho cannot read does not end the connection, and the end of a connection says why.
A link is one connection. Connecting again is the caller's loop.
"""

import asyncio
import fcntl
import logging
import socket
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import aiomqtt
from paho.mqtt import MQTTException
from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from gateway.errors import ConfigError, PeerError
from gateway.sync.broker import Broker
from gateway.sync.cancellation import heed_cancellation
from gateway.sync.diagnosis import cause, silence
from gateway.sync.dial import dial, incoming_of, inner, why_not_open
from gateway.sync.inbox import Inbox
from gateway.sync.loss import NOT_AUTHORIZED, Cause, LinkLost, of_disconnect
from gateway.sync.message import Incoming, Outgoing, PublishRefused, Unpublishable
from gateway.sync.parting import abandon, heard_out, last_word
from gateway.sync.publishing import Publishing
from gateway.sync.window import MOST, Window

log = logging.getLogger(__name__)

ANSWER_WITHIN_S: Final = 30.0  # a broker that is alive acknowledges the oldest of our publishes within this
_CONNECT_WITHIN_S: Final = 10.0
_LEAVE_WITHIN_S: Final = 1.0
_REFUSED: Final = 0x80  # reason codes from here on are failures
_NO_ROOM: Final = 0x97  # quota exceeded
_NEVER: Final = frozenset({0x90, 0x95, 0x99})  # topic, packet size, format: no use in repeating this message
_ENVELOPE: Final = 64  # bytes a publish may take beside topic, payload and correlation data
_SPARE_BYTES: Final = 4096  # of what nobody waits for may be before something that matters
_UNREADABLE: Final = (MQTTException, struct.error, LookupError, ValueError)  # what paho's parser says of garbage


class Link:
    """A connection that stands.

    `session_present`: the broker still had our session. `window`: what is under way.
    """

    def __init__(self, client: aiomqtt.Client, broker: Broker) -> None:
        self.session_present = False
        self._unreadable = 0
        self._loop = asyncio.get_running_loop()
        self.window = Window(self._loop.time)
        self._broker = broker
        self._client = client
        self._paho = inner(client)
        self._inbox = Inbox()
        self._largest: int | None = None  # packet the broker takes, bytes
        self._closed = False
        self._loss: LinkLost | None = None
        self._opening: asyncio.Task[Any] | None = None
        self._answered = False
        self._turned_away = False  # by that answer: `open` tells why
        self._complaint = ""  # what paho stumbled over before it was connected
        self._look: asyncio.TimerHandle | None = None  # set while something is under way
        self._asked = False  # for a sign of life
        self._tap()

    def _tap(self) -> None:
        """Put ourselves between paho and aiomqtt."""
        client = self._paho
        client.manual_ack_set(True)
        client.on_message = self._received
        self._read_publish = client._handle_publish  # noqa: SLF001 - no public way around its parser
        client._handle_publish = self._read_or_drop  # type: ignore[method-assign] # noqa: SLF001 - on this one alone
        client.on_publish = None
        self._publishing = Publishing(client, v5=self._broker.protocol == "5", acknowledged=self._published)
        self._tell_connected: Any = client.on_connect  # aiomqtt's own; paho's type covers every protocol version
        client.on_connect = self._connected
        self._tell_disconnected: Any = client.on_disconnect
        client.on_disconnect = self._disconnected
        self._tell_closing: Any = client.on_socket_close
        client.on_socket_close = self._closing
        client.on_log = self._complained  # until it is connected: it costs too much for every packet

    async def open(self) -> None:
        """Connect. Raises LinkLost."""
        garbled = self._client._disconnected  # noqa: SLF001 - where aiomqtt notes what its reader stumbled over
        self._opening = asyncio.create_task(self._client.__aenter__(), name="connect to the broker")
        try:
            await asyncio.wait({self._opening, garbled}, return_when=asyncio.FIRST_COMPLETED)
            if not self._opening.done():
                self._opening.cancel()
                raise self._lost(Cause.PROTOCOL_ERROR, f"no MQTT: {_heard(garbled)}")
            self._opening.result()
        except (aiomqtt.MqttError, OSError, ValueError) as why:  # ValueError: a host name that cannot be one
            raise self._lost(why_not_open(why), cause(why, self._broker)) from why
        except asyncio.CancelledError:
            if not self._opening.cancelled():
                self._opening.cancel()
                raise
            raise self._loss or self._lost(Cause.CLOSED, "went away") from None
        if self._paho.socket() is None:  # lost as soon as it stood: aiomqtt forgets that, and `watch` would not end
            raise self.loss()

    def pass_over(self, topic: str) -> None:
        """Acknowledge what comes on a topic, and do no more with it."""
        self._inbox.hand(topic, lambda _: None)

    async def subscribe(self, topic_filter: str, take: Callable[[Incoming], None] | None = None) -> None:
        """Subscribe with QoS 1. `take`: gets what comes on this very topic, instead of `receive`.

        Raises PeerError where the broker refuses, LinkLost.
        """
        if take is not None:
            self._inbox.hand(topic_filter, take)
        try:
            granted = await self._client.subscribe(topic_filter, qos=1)
        except aiomqtt.MqttError as why:
            raise self._loss or self._lost(Cause.NO_ANSWER, f"{topic_filter}: {why}") from why
        heed_cancellation()
        codes = [code.value if isinstance(code, ReasonCode) else code for code in granted]
        if any(code >= _REFUSED for code in codes):
            raise PeerError(f"the broker refuses the subscription to {topic_filter}")

    async def send(self, message: Outgoing) -> "asyncio.Future[None]":
        """Hand a message to the connection, once the window has room; the future ends with its acknowledgement.

        It fails with PublishRefused or LinkLost. Messages leave in the order of the calls. Raises LinkLost.
        """
        if (why := self._too_large(message)) is not None:
            return self._unpublishable(why)
        await self.window.room()
        if self._closed or self._loss is not None:
            self.window.give_back()
            raise self.loss()
        mid = self._publishing.send(message, self.window)
        if mid is None:
            self.window.give_back()
            raise self.loss()
        if self._look is None:
            self._look = self._loop.call_later(ANSWER_WITHIN_S / 2, self._look_for_progress)
        return self.window.put(mid, message.topic)

    async def publish(self, message: Outgoing) -> None:
        """Publish and wait for the broker's acknowledgement. Raises PublishRefused, LinkLost."""
        await self.acknowledged(await self.send(message))

    async def acknowledged(self, sent: "asyncio.Future[None]") -> None:
        """Wait for what `send` returned: it ends with the connection at the latest. Raises PublishRefused, LinkLost."""
        if sent.done():
            sent.result()
        else:
            await asyncio.shield(sent)  # who gives up waiting does not undo it

    def spare_bytes(self) -> int:
        """Return how much may be sent beside what must: nothing unless that leaves at once and comes back in time."""
        connection = self._paho.socket()
        if self._loss is not None or connection is None or self.window.slow() or self._paho.want_write():
            return 0
        unsent = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
        return max(_SPARE_BYTES - int.from_bytes(unsent, sys.byteorder), 0)

    def send_unacknowledged(self, message: Outgoing) -> None:
        """Hand on a message of QoS 0, which takes no place in the window; nobody learns what becomes of it.

        On a connection that is gone nothing happens. Raises Unpublishable.
        """
        if (why := self._too_large(message)) is not None:
            raise Unpublishable(why)
        if not self._closed and self._loss is None:
            self._publishing.send(message)

    async def receive(self) -> Incoming:
        """Return the next message. It comes again after a reconnect unless `acknowledge` is called for it."""
        if self._inbox.owed and self._inbox.empty:
            self._cut(Cause.RECEIVE_MAXIMUM, "sent more than it may, and must send some of it again")
        return await self._inbox.get()

    @property
    def dropped(self) -> int:
        """How many messages were turned away: they cannot be read, or nobody took those before them."""
        return self._unreadable + self._inbox.dropped

    def acknowledge(self, message: Incoming) -> None:
        """Tell the broker that `message` has been dealt with. Nothing happens on a connection that is gone."""
        if message.qos and not self._closed:
            self._paho.ack(message.mid, message.qos)

    async def watch(self) -> None:
        """Wait until the connection is lost. Raises LinkLost."""
        try:
            await anext(self._client.messages)  # ours never yields: `_received` takes them all
        except aiomqtt.MqttError as why:
            garbled = self._loss is None and why.__cause__ is not None  # no packet, and paho did not say so itself
            raise self._lost(Cause.PROTOCOL_ERROR, str(why.__cause__)) if garbled else self.loss() from why

    def loss(self) -> LinkLost:
        """Return why there is no connection."""
        return self._loss or self._lost(Cause.CLOSED, "closed the connection without a word")

    async def close(self) -> None:
        """Disconnect if the broker lets us, and leave nothing behind."""
        self._closed = True
        if self._look is not None:
            self._look.cancel()
        try:
            async with asyncio.timeout(_LEAVE_WITHIN_S if self._answered else 0), heard_out(self._paho):
                await self._client.__aexit__(None, None, None)
        except (aiomqtt.MqttError, TimeoutError):
            log.debug("%s: no orderly goodbye", self._broker.name)
        finally:
            self._client._disconnected.add_done_callback(_heard)  # noqa: SLF001 - asyncio would complain of it later
            abandon(self._paho)
            self.window.close(lambda: self._loss or self._lost(Cause.CLOSED, "closed"))

    # --- what ends it -----------------------------------------------------------------------------------------------

    def _look_for_progress(self) -> None:
        """Cut a connection whose oldest publish does not come back: what was under way is sent again on the next.

        Halfway there we ask for a sign of life, so that we can say whether the broker hears us at all.
        """
        self._look, stuck_s = None, self.window.stuck_s()
        if self._closed or self._loss is not None or not self.window.under_way():
            return
        if stuck_s >= ANSWER_WITHIN_S:
            alive = self._asked and not self._paho._ping_t  # noqa: SLF001 - 0: the answer to our ping has come
            ended = Cause.STALLED if alive else Cause.HALF_OPEN
            self._cut(ended, f"no acknowledgement within {ANSWER_WITHIN_S:g} s")
            return
        if stuck_s >= ANSWER_WITHIN_S / 2 and not self._asked:
            self._paho._send_pingreq()  # noqa: SLF001 - paho asks only after silence
            self._asked = True
        elif stuck_s < ANSWER_WITHIN_S / 2:
            self._asked = False
        wait_s = (ANSWER_WITHIN_S if self._asked else ANSWER_WITHIN_S / 2) - stuck_s
        self._look = self._loop.call_later(max(wait_s, 0.0), self._look_for_progress)

    def _cut(self, ended: Cause, why: str) -> None:
        self._lost(ended, why)
        connection = self._paho.socket()
        if isinstance(connection, socket.socket):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # paho notices, and tells `watch`

    def _lost(self, ended: Cause, why: str) -> LinkLost:
        """Note why the connection is lost, once: what follows is only its consequence."""
        if self._loss is None:
            oldest = self.window.oldest
            self._loss = LinkLost(ended, f"{self._broker.name}: {why}", None if oldest is None else oldest.topic)
        return self._loss

    def _disconnected(
        self, client: Any, userdata: Any, flags: paho.DisconnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        by_broker = flags.is_disconnect_packet_from_server
        ended = of_disconnect(reason.value, by_broker=by_broker)
        if ended is Cause.HALF_OPEN and not self._answered:
            ended = Cause.NO_ANSWER
        if not self._turned_away:
            self._lost(ended, self._words(ended, reason))
        self.window.close(self.loss)
        self._tell_disconnected(client, userdata, flags, reason, properties)
        self._client._disconnected.add_done_callback(_heard)  # noqa: SLF001 - aiomqtt may forget it: see `open`
        if self._opening is not None and not self._answered:
            self._opening.cancel()  # aiomqtt does not look before it is connected, and would wait on

    def _words(self, ended: Cause, reason: ReasonCode) -> str:
        if ended is Cause.HALF_OPEN:
            return "does not answer our pings"
        if ended is Cause.NO_ANSWER:
            return "takes our connection and does not answer"
        if ended is not Cause.CLOSED:
            return str(reason)
        return "closed the connection without a word" if self._answered else silence(self._broker, self._complaint)

    # --- what paho tells --------------------------------------------------------------------------------------------

    def _complained(self, _client: Any, _userdata: Any, level: int, text: str) -> None:
        if level == paho.MQTT_LOG_ERR:
            self._complaint += f"{text}\n"

    def _closing(self, client: Any, userdata: Any, connection: Any) -> None:
        if not self._answered:
            self._complaint += last_word(connection)
        self._tell_closing(client, userdata, connection)

    def _connected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._answered = True
        self._turned_away = reason.is_failure
        self._paho.on_log = None
        self._publishing.write_at_once()
        self.session_present = flags.session_present
        self.window = Window(self._loop.time, min(MOST, getattr(properties, "ReceiveMaximum", MOST)))
        self._largest = getattr(properties, "MaximumPacketSize", None)
        self._tell_connected(client, userdata, flags, reason, properties)

    def _read_or_drop(self) -> MQTTErrorCode:
        """Take a PUBLISH in. One that cannot be read is acknowledged: else it would end every connection to come.

        Brokers hand on what paho does not take, as U+FEFF in a content type.
        """
        try:
            return self._read_publish()
        except _UNREADABLE:
            self._unreadable += 1
            head, packet = self._paho._in_packet["command"], self._paho._in_packet["packet"]  # noqa: SLF001 - as above
            mid_at = 2 + int.from_bytes(packet[:2], "big")
            return self._paho.ack(int.from_bytes(packet[mid_at : mid_at + 2], "big"), head >> 1 & 3)

    def _received(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        incoming = incoming_of(message)
        if self._inbox.put(incoming):
            self.acknowledge(incoming)

    def _published(self, mid: int, code: int) -> None:
        sent = self.window.pop(mid)
        if sent is None or sent.done():  # nobody waits for it any more
            return
        if code < _REFUSED:
            sent.set_result(None)
            return
        told = f"{self._broker.name}: {_meaning(code)}"
        if code in _NEVER:
            sent.set_exception(Unpublishable(told))
        elif code in {NOT_AUTHORIZED, _NO_ROOM}:
            sent.set_exception(PublishRefused(told))
        else:  # it says nothing about this message: on another connection it may go
            sent.set_exception(LinkLost(Cause.REFUSED, told))
            self._cut(Cause.REFUSED, f"refuses a publish: {_meaning(code)}")
        _heard(sent)  # not everybody waits for theirs

    # --- what goes out ----------------------------------------------------------------------------------------------

    def _too_large(self, message: Outgoing) -> str | None:
        """Say why a message will never go over this connection; None: it will."""
        if self._largest is None or (size := _size(message)) <= self._largest:
            return None
        return f"{message.topic}: {size} bytes, and the broker takes {self._largest}"

    def _unpublishable(self, why: str) -> "asyncio.Future[None]":
        refused: asyncio.Future[None] = self._loop.create_future()
        refused.set_exception(Unpublishable(why))
        _heard(refused)  # not everybody waits for theirs
        return refused


def _size(message: Outgoing) -> int:
    """Return how many bytes a message takes, at most."""
    return len(message.topic) + len(message.payload) + len(message.correlation or b"") + _ENVELOPE


def _meaning(code: int) -> str:
    """Return what the reason code of an acknowledgement means."""
    try:
        return str(ReasonCode(PacketTypes.PUBACK, identifier=code))
    except (LookupError, ValueError):
        return f"reason code {code:#x}"


def _heard(future: "asyncio.Future[None]") -> BaseException | None:
    """Take note of how a future ended that nobody else may ask."""
    return None if future.cancelled() else future.exception()


@asynccontextmanager
async def connect(broker: Broker, will: Outgoing | None = None, *, old_news: str | None = None) -> AsyncIterator[Link]:
    """Connect to `broker`, leaving `will` with it. Raises LinkLost.

    `old_news`: what the session has kept on this topic is of no use any more, until the topic is subscribed to.
    """
    try:
        client = dial(broker, will, _CONNECT_WITHIN_S)
    except (ConfigError, OSError) as why:  # a file of ours: certificate, key, password
        raise LinkLost(Cause.FILE_UNREADABLE, f"{broker.name}: {why}") from why
    link = Link(client, broker)
    if old_news is not None:
        link.pass_over(old_news)
    try:
        await link.open()
        yield link
    finally:
        await link.close()
