"""Why there is no connection, in words that say where to look."""

import re
import socket
import ssl
from collections.abc import Mapping
from typing import Final

from gateway.sync.broker import Broker

_UNTRUSTED: Final = "the broker's certificate was issued by nobody we trust: ca_file must hold who issued it"
_OTHER_NAME: Final = "the broker's certificate is not for {host}: ask for the broker by a name that stands in it"
_OLD_TLS: Final = "the broker speaks no TLS that we take: it must be 1.2 or newer"
_WANTS_ANOTHER: Final = (
    "the broker does not take our certificate: cert_file must be one that an authority it trusts issued"
)

_CERTIFICATE: Final[Mapping[int, str]] = {  # by the codes of OpenSSL, x509_vfy.h
    9: "the broker's certificate is not valid yet, or our clock is slow",
    10: "the broker's certificate has expired, or our clock is fast",
    18: _UNTRUSTED,
    19: _UNTRUSTED,
    20: _UNTRUSTED,
    21: _UNTRUSTED,
    62: _OTHER_NAME,
    64: _OTHER_NAME,
}
_TLS: Final[Mapping[str, str]] = {  # by the reasons of OpenSSL; an alert is the broker's own word
    "WRONG_VERSION_NUMBER": "the broker speaks no TLS at this port: is it the one for mqtt://?",
    "UNSUPPORTED_PROTOCOL": _OLD_TLS,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD_TLS,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the broker wants a certificate of ours: give cert_file and its key",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the broker ended the handshake: it may want a certificate of ours (cert_file)",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the broker says that our certificate (cert_file) has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the broker says that our certificate (cert_file) was revoked",
    "SSLV3_ALERT_BAD_CERTIFICATE": _WANTS_ANOTHER,
    "TLSV1_ALERT_UNKNOWN_CA": _WANTS_ANOTHER,
}
_LOGIN: Final = "the broker does not let {user} in: user name, password or certificate are not what it knows"
_NOT_LET_IN: Final = frozenset({0x86, 0x87})  # bad user name or password, not authorized

_REASON: Final = re.compile(r"\[\w+: (\w+)\]")


def cause(why: BaseException, broker: Broker) -> str:
    """Say why a connection to `broker` could not be made, `why` being what the libraries raised."""
    root = why.__context__ if isinstance(why.__context__, OSError) else why  # aiomqtt keeps only the text of an OSError
    found = None
    if isinstance(root, ssl.SSLCertVerificationError):
        found = _CERTIFICATE.get(root.verify_code)
    elif isinstance(root, ssl.SSLError):
        found = _TLS.get(root.reason or "")
    elif getattr(getattr(why, "rc", None), "value", None) in _NOT_LET_IN:
        found = _LOGIN
    elif isinstance(root, socket.gaierror):
        found = "no host of that name is known"
    elif broker.tls and isinstance(root, ConnectionResetError):
        found = f"{root}: does the broker speak TLS at this port?"
    return str(why) if found is None else found.format(host=broker.host, user=broker.username or "us")


def silence(broker: Broker, heard: str) -> str:
    """Say why a broker ended a connection without a word of MQTT. `heard`: what reading from it came to."""
    alert = _REASON.search(heard)
    if alert is not None and alert[1] in _TLS:
        return _TLS[alert[1]]
    where = "does it take our certificate? Its log says" if broker.tls else "does it want TLS (mqtts://) at this port?"
    return f"closed the connection without a word; {where}"
