"""How a client of the broker is set up, aiomqtt's and the paho client inside it, and what theirs is in our words."""

import logging
import socket
import ssl
from typing import Any, Final

import aiomqtt
from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.sync.broker import Broker
from gateway.sync.loss import Cause, of_connack
from gateway.sync.message import Incoming, Outgoing

RECEIVE_MAXIMUM: Final = 16  # requests on their way to us and not acknowledged

_PAHO_LOG: Final = logging.getLogger(f"{__name__}.paho")
_PAHO_LOG.setLevel(logging.CRITICAL)  # what it would say reaches us as LinkLost


def dial(broker: Broker, will: Outgoing | None, within_s: float) -> aiomqtt.Client:
    """Return a client that is ready to connect. `within_s`: how long the broker may take. Raises OSError."""
    v5 = broker.protocol == "5"
    last_will = None
    if will is not None:
        properties = properties_of(PacketTypes.WILLMESSAGE, will.content_type) if v5 else None
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
        timeout=within_s,
        logger=_PAHO_LOG,
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        **versioned,
    )


def inner(client: aiomqtt.Client) -> paho.Client:
    """Return the paho client inside."""
    return client._client  # noqa: SLF001 - aiomqtt offers no other way to hold an acknowledgement back


def why_not_open(why: BaseException) -> Cause:
    """Return what kept a connection from being made; aiomqtt hides what the socket said behind its own error."""
    if isinstance(why, aiomqtt.MqttCodeError):
        code = why.rc.value if isinstance(why.rc, ReasonCode) else why.rc
        return of_connack(code or 0)
    below = why.__context__ if isinstance(why, aiomqtt.MqttError) else why
    if isinstance(below, ssl.SSLError):
        return Cause.TLS_FAILED
    if isinstance(below, socket.gaierror | ValueError):
        return Cause.UNKNOWN_HOST
    if below is None or (isinstance(below, TimeoutError) and not below.args):  # aiomqtt's own patience, not a socket's
        return Cause.NO_ANSWER
    return Cause.UNREACHABLE


def incoming_of(message: paho.MQTTMessage) -> Incoming:
    """Return a message that came in."""
    properties = message.properties
    return Incoming(
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


def properties_of(packet: int, content_type: str | None, correlation: bytes | None = None) -> Properties:
    """Return what MQTT 5 adds to a message."""
    properties = _empty(packet)
    if content_type is not None:
        properties.ContentType = content_type
        properties.PayloadFormatIndicator = int(content_type == "application/json")  # 1: the payload is UTF-8
    if correlation is not None:
        properties.CorrelationData = correlation
    return properties


def _empty(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call] # paho leaves it untyped
